//! What is printed: effective values, sources, schema.

use proptest::prelude::*;

use super::{
    super::{load::known_settings, schema, schema::to_json},
    LEAST, load, load_more,
};

const MORE: &str = r#"[admin]
tokens = [{ role = "chaos", file = "a \"b\".token" }]
[origin]
url = "http://127.0.0.1:8070"
[[territories]]
territory = "IT:lombardia"
labels = ["eu"]
[[territories]]
territory = "ES:madrid"
replicas = 5
"#;

#[test]
fn what_is_printed_reads_back_as_the_same() {
    let loaded = load_more(MORE).unwrap();
    for (sources, changed) in [(false, false), (true, false), (false, true), (true, true)] {
        let printed = loaded.print(sources, changed);
        let again = load(&printed, &[]).unwrap_or_else(|errors| panic!("{errors}\n{printed}"));
        assert_eq!(again.config, loaded.config, "{printed}");
    }
}

#[test]
fn sources_stand_behind_the_keys() {
    let env = [("HEXPOP__RAFT__HEARTBEAT", "60ms")];
    let loaded = load(&format!("{LEAST}{MORE}"), &env).unwrap();
    let printed = loaded.print(true, false);
    for line in [
        "id = 1 # file:2",
        "data_dir = \"/conf/data\" # file:4",
        "heartbeat = \"60ms\" # env HEXPOP__RAFT__HEARTBEAT",
        "election_min = \"250ms\" # default",
        "# advertise is not set",
        "url = \"http://127.0.0.1:8070\" # file:17",
        "[mesh.max_inflight]",
        "expect_nodes = 3 # default",
    ] {
        assert!(printed.lines().any(|found| found == line), "{line}\n---\n{printed}");
    }
    let changed = loaded.print(false, true);
    assert!(changed.contains("heartbeat = \"60ms\"\n"), "{changed}");
    assert!(!changed.contains("election_min") && !changed.contains("[limits]"), "{changed}");
}

#[test]
fn json_has_one_object_per_section() {
    let json = load_more(MORE).unwrap().to_json();
    assert_eq!(json["mesh"]["max_inflight"]["raft"], 1024);
    assert_eq!(json["origin"]["breaker"]["open_for"], "2s");
    assert_eq!(json["mesh"]["advertise"], serde_json::Value::Null);
    assert_eq!(json["territories"][1]["replicas"], 5);
}

#[test]
fn the_schema_knows_every_key_with_its_default() {
    let schema = schema();
    for setting in known_settings() {
        let mut at = &schema;
        for name in setting.key().split('.') {
            assert_eq!(at["additionalProperties"], false, "{}", setting.key());
            at = &at["properties"][name];
        }
        assert!(at["description"].is_string(), "{}: {at}", setting.key());
        let default = setting.default_value().map(to_json).unwrap_or_default();
        assert_eq!(at["default"], default, "{}", setting.key());
    }
    assert_eq!(schema["required"], serde_json::json!(["node", "mesh", "listen"]));
    assert_eq!(
        schema["properties"]["node"]["required"],
        serde_json::json!(["id", "pop", "data_dir"])
    );
    let raft = &schema["properties"]["raft"]["properties"];
    assert_eq!(
        raft["heartbeat"]["description"],
        "How often a leader tells its followers that it lives. From 10ms to 10s."
    );
    assert!(raft["heartbeat"].get("x-range").is_none());
    let territory = &schema["properties"]["territories"]["items"];
    assert_eq!(territory["required"], serde_json::json!(["territory"]));
    assert_eq!(territory["properties"]["replicas"]["maximum"], 7);
    assert_eq!(schema["properties"]["limits"]["properties"]["header_fields"]["minimum"], 16);
}

#[test]
fn every_key_says_what_it_governs_in_one_sentence() {
    for setting in known_settings() {
        let about = setting.about();
        assert!(about.ends_with('.') && about.starts_with(char::is_uppercase), "{about}");
    }
}

proptest! {
    /// Whatever a file holds, the outcome is a configuration or messages.
    #[test]
    fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
        prop_assert!(load(&text, &[]).is_err());
    }

    /// As before, with text that looks like one of our files.
    #[test]
    fn any_lines_are_read_or_refused(
        lines in prop::collection::vec(
            ("(\\[(node|mesh|raft|admin)\\]|(id|seeds|tokens|heartbeat|x) = )", "[-0-9a-z\"\\[\\]{}=,. ]{0,12}"),
            0..12,
        ),
    ) {
        let text: String = lines.into_iter().map(|(key, value)| format!("{key}{value}\n")).collect();
        prop_assert!(load(&text, &[]).is_err());
    }

    /// So is whatever stands in the environment.
    #[test]
    fn any_environment_is_read_or_refused(key in "[A-Z_]{0,20}", value in "\\PC{0,40}") {
        for name in [format!("HEXPOP__{key}"), "HEXPOP__ADMIN__TOKENS".to_owned()] {
            let env = [(&*name, &*value)];
            if let Err(errors) = load(LEAST, &env) {
                prop_assert!(!errors.problems().is_empty());
            }
        }
    }
}

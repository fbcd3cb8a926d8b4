//! File, environment and command line, one over the other.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    super::{Changes, Config, OriginHost, Role, Source},
    LEAST, load, load_more,
};
use crate::{ByteSize, NodeId};

#[test]
fn the_least_file_gets_all_defaults() {
    let config = load(LEAST, &[]).unwrap().config;
    assert_eq!(config.node.id, NodeId(1));
    assert_eq!(config.node.data_dir, PathBuf::from("/conf/data"), "relative to the file");
    assert_eq!(config.mesh.cert, PathBuf::from("/etc/node.pem"), "absolute as it stands");
    assert_eq!(config.mesh.advertised(), config.mesh.listen);
    assert_eq!(config.placement.expect_nodes, 3, "as many as found the cluster");
    assert_eq!(config.listen.admin.to_string(), "127.0.0.1:9080");
    assert_eq!(config.raft, super::super::Raft::default());
    assert_eq!(config.limits, super::super::Limits::default());
    assert_eq!(config.origin.host, OriginHost::Pass);
}

#[test]
fn the_environment_wins_over_the_file() {
    let env = [
        ("HEXPOP__RAFT__HEARTBEAT", "50ms"),
        ("HEXPOP__NODE__POP", "1234"),
        ("HEXPOP__NODE__LABELS", r#"["eu", "de"]"#),
        ("HEXPOP__MESH__BOOTSTRAP", "[1, 2]"),
        ("HEXPOP__MESH__MAX_INFLIGHT__QUERY", "7"),
        ("HEXPOP__ORIGIN__HOST", "www.example.com"),
        ("HEXPOP__ORIGIN__BREAKER__OPEN_FOR", "3s"),
        ("HEXPOP__DATA__AUTH__TOKENS", "['t']"),
        ("HEXPOP__CHAOS__ENABLED", "true"),
        ("HEXPOP__ADMIN__TOKENS", r#"[{"role": "viewer", "file": "v"}]"#),
        ("HEXPOP__TERRITORIES", r#"[{territory = "IT:lombardia", labels = ["eu"]}]"#),
        ("HEXPOP_ADMIN", "http://127.0.0.1:9081"),
        ("PATH", "/bin"),
    ];
    let text = format!("{LEAST}[raft]\nheartbeat = \"60ms\"\n");
    let loaded = load(&text, &env).unwrap();
    let config = &loaded.config;
    assert_eq!(config.raft.heartbeat, Duration::from_millis(50));
    assert_eq!(config.node.pop.as_str(), "1234", "text is taken as it stands");
    assert!(config.node.labels.contains("eu") && config.node.labels.contains("de"));
    assert_eq!(config.mesh.bootstrap, [NodeId(1), NodeId(2)]);
    assert_eq!(config.mesh.max_inflight.query, 7);
    assert_eq!(config.origin.host, OriginHost::Fixed("www.example.com".into()));
    assert_eq!(config.origin.breaker.open_for, Duration::from_secs(3));
    assert_eq!(config.data.auth.tokens, [PathBuf::from("/conf/t")]);
    assert!(config.chaos.enabled);
    assert_eq!(config.admin.tokens[0].role, Role::Viewer);
    assert_eq!(config.territories[0].territory.to_string(), "IT:lombardia");
    assert_eq!(config.territories[0].replicas, 3, "as in placement");
    let heartbeat = loaded.settings.iter().find(|s| s.key() == "raft.heartbeat").unwrap();
    assert_eq!(heartbeat.source(), &Source::Env("HEXPOP__RAFT__HEARTBEAT".into()));
}

#[test]
fn a_disk_for_the_cache_is_none_or_large_enough() {
    let bytes = |text: &str| load_more(&format!("[cache.disk]\nbytes = \"{text}\"\n"));
    assert_eq!(bytes("0B").unwrap().config.cache.disk.bytes, ByteSize::new(0));
    assert_eq!(bytes("16MiB").unwrap().config.cache.disk.bytes, ByteSize::mib(16));
    let error = bytes("15MiB").unwrap_err().to_string();
    let expected = "15MiB is too little: 0 for none, or at least 16MiB";
    assert!(error.contains(expected), "{error}");
    let least = load(LEAST, &[]).unwrap().config;
    assert_eq!((least.cache.disk.bytes, least.listen.http1_interim), (ByteSize::new(0), true));
}

#[test]
fn a_variable_that_sets_nothing_is_an_error() {
    for (name, value, expected) in [
        (
            "HEXPOP__RAFT__HARTBEAT",
            "1s",
            "raft.hartbeat: there is no such key\n  help: did you mean HEXPOP__RAFT__HEARTBEAT?",
        ),
        (
            "HEXPOP__RAFT_HEARTBEAT",
            "1s",
            "raft_heartbeat: there is no such key\n  help: did you mean HEXPOP__RAFT__HEARTBEAT?",
        ),
        (
            "HEXPOP__COLOUR",
            "red",
            "colour: there is no such key\n  help: `hexpop config schema` lists all keys",
        ),
        (
            "HEXPOP__CORS__ORIGINS",
            "*",
            "cors.origins: section `cors` has no effect in this version\n  help: remove it",
        ),
        (
            "HEXPOP__NODE__LABELS",
            "eu,de",
            "node.labels: the value is neither TOML nor JSON\n  help: a list is written [\"a\", \"b\"], a \
             number 5",
        ),
        ("HEXPOP__NODE__LABELS", "[1]", "node.labels: expected a text, found the number 1"),
        ("HEXPOP__CACHE__BYTES", "5", "cache.bytes: `5` has no unit; write a size such as 64MiB"),
        (
            "HEXPOP__CACHE__OBJECT_MAX",
            "1GiB",
            "cache.object_max: cache.object_max (1GiB) must be at most cache.bytes (256MiB)",
        ),
    ] {
        let errors = load(LEAST, &[(name, value)]).expect_err(name);
        assert_eq!(errors.to_string(), format!("environment {name}: {expected}"));
    }
}

#[test]
fn flags_win_over_everything() {
    let env = [("HEXPOP__LISTEN__HTTP".to_owned(), "127.0.0.1:1".to_owned())];
    let flags = [("listen.http".to_owned(), "127.0.0.1:2".to_owned())];
    let path = Path::new("/conf/node.toml");
    let loaded = Config::from_text(LEAST, path, env.clone(), flags).unwrap();
    assert_eq!(loaded.config.listen.http.port(), 2);
    let flags = [("listen.htp".to_owned(), "127.0.0.1:2".to_owned())];
    let errors = Config::from_text(LEAST, path, env, flags).unwrap_err();
    assert_eq!(
        errors.to_string(),
        "command line: listen.htp: there is no such key\n  help: did you mean listen.http?"
    );
}

#[test]
fn files_are_read_from_disk_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("node.toml");
    let errors = Config::load(&path, []).unwrap_err();
    assert!(errors.to_string().contains("cannot be opened"), "{errors}");
    std::fs::write(&path, LEAST).unwrap();
    let loaded = Config::load(&path, []).unwrap();
    assert_eq!(loaded.config.node.data_dir, dir.path().join("data"));
    std::fs::write(&path, " ".repeat((1 << 20) + 1)).unwrap();
    let errors = Config::load(&path, []).unwrap_err();
    assert!(errors.to_string().contains("larger than 1MiB"), "{errors}");
    std::fs::write(&path, b"\xff\xfe").unwrap();
    assert!(Config::load(&path, []).unwrap_err().to_string().contains("UTF-8"));
}

#[test]
fn what_changed_is_told_by_what_it_takes() {
    let old = load(LEAST, &[]).unwrap();
    let changes = |text: &str| old.changes_to(&load_more(text).unwrap());
    let keys = |live: &[&str], restart: &[&str]| Changes {
        live: live.iter().map(ToString::to_string).collect(),
        restart: restart.iter().map(ToString::to_string).collect(),
    };
    assert_eq!(changes("# another comment\n"), Changes::default());
    assert_eq!(changes("[telemetry]\nlog = \"debug\"\n"), keys(&["telemetry.log"], &[]));
    let both = "[telemetry]\nlog = \"debug\"\n[cache]\nbytes = \"1GiB\"\n";
    assert_eq!(changes(both), keys(&["telemetry.log"], &["cache.bytes"]));
    let territory = "[[territories]]\nterritory = \"IT:a\"\n";
    assert_eq!(changes(territory), keys(&[], &["territories"]));
}

#[test]
fn a_reload_takes_what_it_can_and_goes_on_naming_the_rest() {
    // Every key that reloads, with another value than the default.
    let live = [
        ("tls.certificates", r#"[{cert = "c", key = "k"}]"#),
        ("admin.tokens", r#"[{role = "viewer", file = "v"}]"#),
        ("admin.allowed_hosts", r#"["a"]"#),
        ("admin.loopback_role", "chaos"),
        ("data.drop_fields", r#"["views"]"#),
        ("data.forbidden_filters", r#"["query"]"#),
        ("data.price_ranges", "[7]"),
        ("data.auth.tokens", r#"["t"]"#),
        ("cache.stale_max", "7s"),
        ("limits.body_idle_timeout", "7s"),
        ("limits.target_bytes", "7KiB"),
        ("limits.body_bytes", "7MiB"),
        ("limits.ingest_bytes", "7MiB"),
        ("limits.ingest_line_bytes", "7KiB"),
        ("cache.answers.listing", "7s"),
        ("cache.answers.search", "7s"),
        ("cache.answers.facets", "7s"),
        ("cache.answers.clusters", "7s"),
        ("limits.requests_in_flight", "7"),
        ("limits.session_bytes", "7KiB"),
        ("limits.sessions_per_user", "7"),
        ("telemetry.log", "debug"),
        ("chaos.enabled", "true"),
        ("chaos.max_ttl", "7s"),
    ];
    let names: Vec<String> = live
        .iter()
        .map(|(key, _value)| format!("HEXPOP__{}", key.to_uppercase().replace('.', "__")))
        .collect();
    let env: Vec<(&str, &str)> =
        names.iter().zip(&live).map(|(name, (_key, value))| (name.as_str(), *value)).collect();
    let mut running = load(LEAST, &[]).unwrap();
    let new = load(LEAST, &env).unwrap();
    let marked = new.settings.iter().filter(|s| s.reloads()).map(|s| s.key());
    let mut marked: Vec<String> = marked.collect();
    let mut listed: Vec<String> = live.iter().map(|(key, _value)| key.to_string()).collect();
    marked.sort();
    listed.sort();
    assert_eq!(marked, listed, "add the key here, and to `Config::take_live`");
    running.take_live(&new);
    assert_eq!(running.config, new.config);
    assert_eq!(running.changes_to(&new), Changes::default());
    assert_eq!(running.to_json(), new.to_json());

    let more = format!("{LEAST}[cache]\nbytes = \"1GiB\"\nstale_max = \"1s\"\n");
    let new = load(&more, &[]).unwrap();
    for _again in 0..2 {
        running.take_live(&new);
        assert_eq!(running.config.cache.stale_max, Duration::from_secs(1));
        assert_eq!(running.config.cache.bytes, ByteSize::mib(256), "needs a restart");
        assert_eq!(running.changes_to(&new).restart, ["cache.bytes"]);
    }
}

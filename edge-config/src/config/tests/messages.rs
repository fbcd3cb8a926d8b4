//! Wrong files and what is said about them.

use super::{super::ProblemKind, LEAST, LEAST_LINES, load, load_more};

/// The messages about [`LEAST`] with `more` below it; lines count from the first of `more`.
fn messages(more: &str) -> Vec<String> {
    let errors = load_more(more).expect_err(more);
    let message = |problem: &super::super::Problem| {
        let place = match &problem.source {
            super::super::Source::File { line, column } => {
                format!("{}:{column}", line.wrapping_sub(LEAST_LINES))
            }
            other => other.to_string(),
        };
        let help = problem.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
        format!("{place} {}: {}{help}", problem.key, problem.message)
    };
    errors.problems().iter().map(message).collect()
}

/// Each what stands below [`LEAST`], and the one message about it.
const CASES: &[(&str, &str)] = &[
    (
        "[raft]\nheartbeat = 250",
        "2:13 raft.heartbeat: the number 250 has no unit; write a duration such as \"250ms\"",
    ),
    (
        "[raft]\nheartbeat = \"250\"",
        "2:13 raft.heartbeat: `250` has no unit; write a duration such as 250ms",
    ),
    (
        "[raft]\nheartbeat = \"250sec\"",
        "2:13 raft.heartbeat: `sec` is not a unit here; it is one of d, h, m, s, ms, us, ns",
    ),
    ("[raft]\nheartbeat = \"1ms\"", "2:13 raft.heartbeat: \"1ms\" is too low: at least \"10ms\""),
    (
        "[raft]\nheartbeat = true",
        "2:13 raft.heartbeat: expected a duration such as \"250ms\", found true",
    ),
    (
        "[raft]\nhartbeat = \"1s\"",
        "2:1 raft.hartbeat: there is no such key; did you mean `raft.heartbeat`?",
    ),
    (
        "[raft]\nobject_max = \"1MiB\"",
        "2:1 raft.object_max: there is no such key; did you mean `cache.object_max`?",
    ),
    ("[chaos]\ncolour = 1", "2:1 chaos.colour: there is no such key; known here: enabled, max_ttl"),
    ("[gosip]\nsuspicion = \"4s\"", "1:2 gosip: there is no such section; did you mean `gossip`?"),
    ("[cors]\nx = 1", "1:2 cors: section `cors` has no effect in this version; remove it"),
    (
        "[cache]\nbytes = \"64MB\"",
        "2:9 cache.bytes: `MB` is not a unit here; it is one of TiB, GiB, MiB, KiB, B",
    ),
    (
        "[cache]\nbytes = \"4MiB\"",
        "2:9 cache.bytes: cache.object_max (8MiB) must be at most cache.bytes (4MiB)",
    ),
    (
        "[placement]\nrings = [[\"mil\", \"zrh\"], [\"mad\", \"zrh\"]]",
        "2:9 placement.rings: PoP \"zrh\" is named twice",
    ),
    (
        "[placement]\nrings = [[\"zrh\"], [\"mad\"]]",
        "2:9 placement.rings: this node's PoP mil is in none of placement.rings",
    ),
    (
        "[limits]\nheader_fields = -1",
        "2:17 limits.header_fields: expected a number that is not negative, found the number -1",
    ),
    (
        "[limits]\nheader_fields = 5000000000",
        "2:17 limits.header_fields: expected a smaller number, found the number 5000000000",
    ),
    (
        "[limits]\nheader_fields = 2.5",
        "2:17 limits.header_fields: expected a whole number, found the fraction 2.5",
    ),
    ("[limits]\nheader_fields = 5000", "2:17 limits.header_fields: 5000 is too high: at most 4096"),
    (
        "[placement]\nreplicas = 4",
        "2:12 placement.replicas: 4 is even, and survives no more failures than 3",
    ),
    (
        "[telemetry]\nformat = \"xml\"",
        "2:10 telemetry.format: expected one of \"text\", \"json\", found the text \"xml\"",
    ),
    (
        "[telemetry]\nlog = \"inf\"",
        "2:7 telemetry.log: \"inf\" is neither a level (off, error, warn, info, debug, trace) nor \
             target=level",
    ),
    ("[admin]\ntokens = 3", "2:10 admin.tokens: expected a list of tables, found the number 3"),
    (
        "[admin]\ntokens = [{ role = \"admin\", file = \"a\" }]",
        "2:20 admin.tokens[0].role: expected one of \"viewer\", \"operator\", \"chaos\", found the \
             text \"admin\"",
    ),
    (
        "[admin]\ntokens = [\n  { role = \"viewer\" },\n]",
        "3:3 admin.tokens[0].file: is missing: The file that holds the token.",
    ),
    (
        "[admin]\ntokens = [{ role = \"viewer\", file = \"a\", fil = 1 }]",
        "2:42 admin.tokens[0].fil: there is no such key; did you mean `admin.tokens[0].file`?",
    ),
    (
        "[admin]\nloopback_role = \"chaos\"",
        "2:17 admin.loopback_role: admin.loopback_role = \"chaos\" needs chaos.enabled = true",
    ),
    (
        "[admin]\nallowed_hosts = [\"a\",\n \"http://b\"]",
        "3:2 admin.allowed_hosts: \"http://b\" is not a host name (without scheme, port and path)",
    ),
    (
        "[data]\nforbidden_filters = [\"neighborhood\"]",
        "2:22 data.forbidden_filters: there is no filter \"neighborhood\"; did you mean \
             \"neighborhoods\"?",
    ),
    (
        "[data]\ndrop_fields = [\"id\"]",
        "2:16 data.drop_fields: the edge works with `id`, so it cannot be dropped",
    ),
    (
        "[data]\nprice_ranges = [2, 1]",
        "2:16 data.price_ranges: expected at least one bound, rising, the first above 0",
    ),
    (
        "[data]\nlanguages = [\"it\",\n \"en_GB\"]",
        "3:2 data.languages: `en_GB` is not the tag of a language such as it or de-AT",
    ),
    (
        "[data]\nlanguages = [\"it\"]\ndefault_language = \"en\"",
        "3:20 data.default_language: data.default_language (en) must be one of data.languages",
    ),
    (
        "[origin]\nurl = \"ftp://a\"",
        "2:7 origin.url: expected a URL such as \"http://10.0.0.5:3000\": it begins with http:// or \
             https://",
    ),
    (
        "[[territories]]\nterritory = \"IT\"",
        "2:13 territories[0].territory: `IT` is not a territory such as IT:lombardia",
    ),
    (
        "[[territories]]\nterritory = \"IT:a\"\n[[territories]]\nterritory = \"IT:a\"",
        "4:13 territories[1].territory: IT:a is named twice",
    ),
    (
        "[[territories]]\nterritory = \"IT:a\"\nlabels = [\"EU\"]",
        "3:11 territories[0].labels: \"EU\" is not a label (lower-case letters, digits and single \
             dashes, at most 48)",
    ),
    (
        "[raft]\nelection_min = \"200ms\"",
        "2:16 raft.election_min: raft.election_min (200ms) must be more than 3 × raft.heartbeat \
             (75ms)",
    ),
    (
        "[raft]\nelection_min = \"2s\"\nelection_max = \"2s\"",
        "3:16 raft.election_max: raft.election_max (2s) must be more than raft.election_min (2s)",
    ),
    (
        "[gossip]\nsuspicion = \"1s\"",
        "2:13 gossip.suspicion: gossip.suspicion (1s) must be more than gossip.probe_period (1s)",
    ),
];

#[test]
fn one_wrong_value_is_placed_and_explained() {
    for (more, expected) in CASES {
        assert_eq!(messages(more), [*expected], "{more}");
    }
}

#[test]
fn what_is_required_is_asked_for_in_its_section() {
    let errors = load("[mesh]\ncluster = \"a\"\n\n[node]\nid = 0\n", &[]).unwrap_err();
    let text = errors.to_string();
    for line in [
        "/conf/node.toml: listen.http: is missing: The address of the data port in clear: HTTP for clients.",
        "/conf/node.toml:1:2: mesh.listen: is missing: The UDP address that the mesh listens on.",
        "/conf/node.toml:1:2: mesh.key: is missing: The private key of this node (PEM).",
        "/conf/node.toml:4:2: node.pop: is missing: The point of presence this node stands in.",
        "/conf/node.toml:5:6: node.id: expected a node number from 1, found the number 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n---\n{text}");
    }
    assert_eq!(errors.problems().len(), 8, "{text}");
}

#[test]
fn everything_wrong_comes_at_once_in_the_order_of_the_file() {
    let more =
        "[raft]\nheartbeat = 1\nfoo = 1\n[cache]\nbytes = []\n[cors]\n[chaos]\nenabled = \"yes\"\n";
    let found = messages(more);
    let places: Vec<_> = found.iter().filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(places, ["2:13", "3:1", "5:9", "6:2", "8:11"], "{found:#?}");
}

#[test]
fn rules_between_keys_do_not_judge_a_value_that_is_wrong_itself() {
    // The default that stands in for the wrong value would break the rule.
    assert_eq!(messages("[raft]\nheartbeat = \"x\"\nelection_min = \"60ms\"").len(), 1);
}

#[test]
fn rules_hold_while_something_required_is_missing() {
    let errors = load("[raft]\nelection_min = \"60ms\"\n", &[]).unwrap_err();
    let conflict = |problem: &&super::super::Problem| problem.kind == ProblemKind::Conflict;
    assert_eq!(errors.problems().iter().filter(conflict).count(), 1, "{errors}");
}

#[test]
fn addresses_have_to_be_reachable_and_distinct() {
    for (from, to, expected) in [
        (
            "listen = \"127.0.0.1:7080\"",
            "listen = \"0.0.0.0:7080\"",
            "7:10: mesh.listen: other nodes cannot reach 0.0.0.0:7080; set mesh.advertise to the address \
             they use",
        ),
        (
            "http = \"127.0.0.1:8080\"",
            "http = \"0.0.0.0:9080\"",
            "13:8: listen.http: listen.http (0.0.0.0:9080) and listen.admin (127.0.0.1:9080) need ports \
             of their own",
        ),
        (
            "bootstrap = [1, 2, 3]",
            "seeds = [\"0.0.0.0:1\"]",
            "8:9: mesh.seeds: 0.0.0.0:1 is not an address that can be reached",
        ),
        (
            "bootstrap = [1, 2, 3]",
            "bootstrap = [1, 2, 2]",
            "8:13: mesh.bootstrap: a node is named twice",
        ),
        (
            "bootstrap = [1, 2, 3]",
            "",
            "5:2: mesh.seeds: node 1 can neither join nor found a cluster: name other nodes in \
             mesh.seeds, or this one in mesh.bootstrap",
        ),
        (
            "http = ",
            "https = \"127.0.0.1:8443\"\nhttp = ",
            "13:9: listen.https: listen.https needs a certificate to show: name one in \
             tls.certificates, or make one with `hexpop certs server`",
        ),
        (
            "http = ",
            "https = \"127.0.0.1:7080\"\nhttp = ",
            "13:9: listen.https: listen.https needs a certificate to show: name one in \
             tls.certificates, or make one with `hexpop certs server`\n\
             /conf/node.toml:13:9: listen.https: HTTP/3 (127.0.0.1:7080) and mesh.listen \
             (127.0.0.1:7080) need UDP ports of their own; listen.http3 = false switches HTTP/3 off",
        ),
    ] {
        let errors = load(&LEAST.replace(from, to), &[]).expect_err(to);
        assert_eq!(errors.to_string(), format!("/conf/node.toml:{expected}"));
    }
}

#[test]
fn what_is_no_toml_is_placed() {
    let errors = load("[node]\nid = \n\nid = 2\npop == 3\n", &[]).unwrap_err();
    assert!(errors.problems().iter().all(|problem| problem.kind == ProblemKind::Syntax));
    assert!(errors.to_string().starts_with("/conf/node.toml:2:"), "{errors}");
    let twice = load(&format!("{LEAST}[node]\n"), &[]).unwrap_err();
    assert!(twice.to_string().starts_with("/conf/node.toml:14:"), "{twice}");
}

#[test]
fn a_section_that_is_no_table_is_said_so() {
    let found = messages("[data]\nauth = 3");
    assert_eq!(found, ["2:8 data.auth: expected a table, found the number 3"]);
    let errors = load("raft = 3\n", &[]).unwrap_err();
    assert!(errors.to_string().contains("1:8: raft: expected a table, found the number 3"));
}

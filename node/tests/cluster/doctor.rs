//! `hexpop doctor` on a healthy mesh, and on configurations with something wrong.

use std::{fs, process::Command};

use serde_json::Value;

use crate::mesh::Mesh;

/// Its exit code, and its report where there is one.
fn doctor(words: &[&str]) -> (Option<i32>, Option<Value>) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hexpop"));
    let output = command.arg("doctor").args(words).args(["-o", "json"]).output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).ok())
}

/// The checks of a report with this outcome: their topic and what they say.
fn checks(report: &Value, result: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for category in report["categories"].as_array().unwrap() {
        let topic = category["categoryName"].as_str().unwrap();
        for check in category["checks"].as_array().unwrap() {
            if check["result"] == result {
                let text = format!("{} {}", check["description"], check["error"]);
                found.push((topic.to_owned(), text));
            }
        }
    }
    found
}

#[test]
fn of_a_running_node_it_finds_nothing_wrong_and_tells_the_bound() {
    let mesh = Mesh::shared();
    for node in &mesh.nodes {
        let (code, report) = doctor(&["--admin", &node.admin, "--wait", "60s"]);
        let report = report.unwrap();
        assert_eq!(code, Some(0), "{report}");
        assert_eq!(report["success"], true);
        let well = checks(&report, "success");
        let says = |topic: &str, text: &str| {
            let found = well.iter().any(|(of, check)| of == topic && check.contains(text));
            assert!(found, "{topic}: {text}: {report}");
        };
        says("mesh", "3 of 3 members answer");
        says("mesh", "failover bound: 3 × election_max (330ms) + 2 × RTT");
        says("time", "clock offset to 2 peers at most");
        says("certs", "89 more days");
        says("config", "that of the file");
    }
}

#[test]
fn before_a_start_it_names_what_is_in_the_way() {
    let mesh = Mesh::shared();
    let node = mesh.node(1);
    let config = node.config.display().to_string();
    // The node runs: its ports are taken, and everything else is well.
    let (code, report) = doctor(&["--pre", "--config", &config, "--only", "net,certs,mesh,origin"]);
    let report = report.unwrap();
    assert_eq!(code, Some(3), "{report}");
    let wrong = checks(&report, "error");
    // In clear, over TLS by TCP and by UDP, for operators, of the mesh.
    assert_eq!(wrong.len(), 5, "{report}");
    assert!(wrong.iter().all(|(topic, _text)| topic == "net"), "{report}");
    let (code, _report) = doctor(&["--pre", "--config", &config, "--only", "certs,mesh,disk"]);
    assert_eq!(code, Some(0));

    let changed = |name: &str, from: &str, to: &str| {
        let text = fs::read_to_string(&node.config).unwrap();
        assert!(text.contains(from), "{text}");
        let path = mesh.dir.join(name);
        fs::write(&path, text.replace(from, to)).unwrap();
        path.display().to_string()
    };
    let other = changed("other-cert.toml", "node-1.pem", "node-2.pem");
    let (code, report) = doctor(&["--pre", "--config", &other, "--only", "certs"]);
    let wrong = checks(report.as_ref().unwrap(), "error");
    assert_eq!(code, Some(3));
    assert!(wrong[0].1.contains("is the certificate of node 2, this is node 1"), "{wrong:?}");

    let typo = changed("typo.toml", "bootstrap", "bootstrapp");
    let (code, report) = doctor(&["--pre", "--config", &typo]);
    let wrong = checks(report.as_ref().unwrap(), "error");
    assert_eq!(code, Some(3));
    assert!(wrong[0].1.contains("there is no such key"), "{wrong:?}");
}

#[test]
fn what_cannot_be_found_out_is_no_failed_check() {
    assert_eq!(doctor(&["--pre", "--config", "/nowhere/node.toml"]), (Some(1), None));
    assert_eq!(doctor(&["--admin", "http://127.0.0.1:1"]), (Some(1), None));
    assert_eq!(doctor(&["--only", "everything"]), (Some(2), None));
    assert_eq!(doctor(&["--config", "node.toml"]), (Some(2), None));
}

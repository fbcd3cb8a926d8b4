//! Rules about the code itself: who may import whom, which crate owns which engine, what the core
//! crates must not name, and how long a file may be.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The floors; an arrow only ever points down.
const FLOORS: [(&str, u8); 8] = [
    ("hexpop-edge-config", 0),
    ("hexpop-shard", 1),
    ("hexpop-gossip", 1),
    ("hexpop-raft", 2),
    ("hexpop-router", 2),
    ("hexpop-chaos", 3),
    ("hexpop-bench", 3),
    ("hexpop-node", 4),
];

/// Engines and the crates that may name them.
const OWNERS: [(&str, &[&str]); 9] = [
    ("bincode", &["hexpop-edge-config"]),
    ("h3o", &["hexpop-shard"]),
    ("foca", &["hexpop-gossip"]),
    ("openraft", &["hexpop-raft"]),
    ("sled", &["hexpop-raft"]),
    ("moka", &["hexpop-router", "hexpop-raft"]),
    ("quinn", &["hexpop-node"]),
    ("rustls", &["hexpop-node"]),
    ("hyper", &["hexpop-node"]),
];

/// Lines of a source file at most, tests included; past some 500 it is asked whether it is two.
const FILE_LINES_MAX: usize = 700;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The direct dependencies of each crate, without those for tests and builds.
fn dependencies() -> BTreeMap<String, Vec<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    packages
        .iter()
        .map(|package| {
            let names = package["dependencies"]
                .as_array()
                .unwrap()
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| dependency["name"].as_str().unwrap().to_owned())
                .collect();
            (package["name"].as_str().unwrap().to_owned(), names)
        })
        .collect()
}

#[test]
fn crates_import_only_from_lower_floors() {
    let floors: BTreeMap<&str, u8> = FLOORS.into_iter().collect();
    let dependencies = dependencies();
    assert_eq!(dependencies.len(), FLOORS.len(), "{:?}", dependencies.keys());
    for (name, needed) in &dependencies {
        for other in needed.iter().filter(|other| other.starts_with("hexpop-")) {
            assert!(
                floors[other.as_str()] < floors[name.as_str()],
                "{name} must not import {other}: it is not on a lower floor"
            );
        }
    }
}

#[test]
fn engines_are_named_by_their_owners_only() {
    for (name, needed) in &dependencies() {
        for (engine, owners) in OWNERS {
            if needed.iter().any(|other| other == engine) {
                assert!(
                    owners.contains(&name.as_str()),
                    "{name} must not name {engine}: {owners:?} do"
                );
            }
        }
    }
}

/// All Rust sources below a folder of the repository.
fn sources(folder: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![root().join(folder)];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    assert!(!found.is_empty());
    found
}

#[test]
fn the_cores_spawn_and_wait_through_their_runtime_parameter() {
    let banned = ["tokio::spawn", "tokio::time", "tokio::task", "spawn_blocking", "thread::sleep"];
    for folder in ["shard/src", "gossip/src", "raft/src", "router/src"] {
        for path in sources(folder) {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
            for line in code {
                for word in banned {
                    assert!(!line.contains(word), "{}: {word}: {line}", path.display());
                }
            }
        }
    }
}

#[test]
fn files_hold_one_idea() {
    for (crate_name, _floor) in FLOORS {
        for path in sources(&format!("{}/src", crate_name.trim_start_matches("hexpop-"))) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= FILE_LINES_MAX, "{} has {lines} lines", path.display());
        }
    }
}

#[test]
fn the_top_level_is_what_it_was_fixed_to_be() {
    let allowed = [
        "Cargo.toml",
        "Cargo.lock",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "deny.toml",
        "clippy.toml",
        "rustfmt.toml",
        "node",
        "raft",
        "gossip",
        "shard",
        "router",
        "edge-config",
        "chaos",
        "bench",
        "target",
    ];
    for entry in fs::read_dir(root()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(name.starts_with('.') || allowed.contains(&name.as_str()), "{name}");
    }
}

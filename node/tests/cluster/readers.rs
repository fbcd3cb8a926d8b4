//! A PoP that reads much gets learners of what it reads, and loses them when it does not; voters stay in
//! their ring meanwhile.

use std::{
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::{
    mesh::{Data, Mesh, Node, PATIENCE, turn},
    wait::until,
};

/// Three PoPs that are near each other, and one that is not.
const POPS: &str = "mil,mad,ber,nyc";

/// As in production, but for the times and numbers.
const ENV: &[(&str, &str)] = &[
    ("HEXPOP__PLACEMENT__RINGS", r#"[["mil", "mad", "ber"], ["nyc"]]"#),
    ("HEXPOP__PLACEMENT__LEARNER_READS_PER_SECOND", "8"),
    ("HEXPOP__PLACEMENT__LEARNER_AFTER", "2s"),
    ("HEXPOP__PLACEMENT__LEARNER_KEEP", "5s"),
];

/// The nodes with a replica of a shard, as `asked` sees it, by role.
fn replicas(mesh: &Mesh, asked: u64, shard: u64, role: &str) -> Vec<u64> {
    let shards = mesh.shards(asked);
    let shard = shards.iter().find(|row| row["id"] == json!(shard)).unwrap();
    let replicas = shard["replicas"].as_array().unwrap().iter();
    let mut nodes: Vec<u64> = replicas
        .filter(|replica| replica["role"] == role)
        .map(|replica| replica["node"].as_u64().unwrap())
        .collect();
    nodes.sort_unstable();
    nodes
}

/// Searches a territory; which node answered for `shard`.
fn answered_by(node: &Node, territory: &str, shard: u64) -> Result<u64, String> {
    let search = json!({"listingType": "sale", "territories": [territory]});
    let headers = [
        ("content-type", "application/json"),
        ("hexpop-consistency", "eventual"),
        ("hexpop-debug", "1"),
    ];
    let answer = node.send_or("POST", "/api/v1/search", &headers, &search.to_string())?;
    let timing = answer.expect(200).header("server-timing").to_owned();
    let (_, after) =
        timing.split_once(&format!("desc=\"{shard}@")).ok_or_else(|| timing.clone())?;
    let (node, _) = after.split_once('"').ok_or_else(|| timing.clone())?;
    node.parse().map_err(|_error| timing.clone())
}

fn why(node: &Node, shard: u64) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hexpop"));
    command.args(["shards", "why", &shard.to_string(), "--admin", &node.admin]);
    String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned()
}

#[test]
fn a_pop_that_reads_much_gets_a_learner_for_as_long_as_it_does() {
    let _turn = turn();
    let mesh = Mesh::start_in("readers", 4, Data::Synthetic(300), Some(POPS), ENV);
    let far = mesh.node(4).clone();
    let shards = mesh.shards(1);
    // Without need no voter is outside of the ring, however even that would be.
    for shard in &shards {
        let id = shard["id"].as_u64().unwrap();
        assert_eq!(replicas(&mesh, 1, id, "voter"), [1, 2, 3], "{shard}");
        let learners: &[u64] = if shard["space"] == "directory" { &[4] } else { &[] };
        assert_eq!(replicas(&mesh, 1, id, "learner"), learners, "{shard}");
    }
    let is_of_territory = |row: &&Value| {
        row["space"] == "listings"
            && row["range"]["text"]
                .as_str()
                .is_some_and(|text| text.len() > 3 && !text.contains(' '))
            && row["keys"].as_u64() > Some(0)
    };
    let row = shards.iter().find(is_of_territory).unwrap();
    let (hot, territory) = (row["id"].as_u64().unwrap(), row["range"]["text"].as_str().unwrap());
    let other = shards.iter().filter(is_of_territory).find(|row| row["id"] != json!(hot));
    let other = other.map(|row| row["id"].as_u64().unwrap());
    assert_ne!(answered_by(&far, territory, hot), Ok(4));

    let asks_on = AtomicBool::new(true);
    thread::scope(|scope| {
        // Threads that go on asking, as fast as they are answered.
        for _ in 0..2 {
            scope.spawn(|| {
                while asks_on.load(Ordering::Relaxed) {
                    answered_by(&far, territory, hot).unwrap();
                }
            });
        }
        let stop = Stop(&asks_on);
        until("the PoP has a learner", PATIENCE, || {
            let learners = replicas(&mesh, 1, hot, "learner");
            if learners == [4] { Ok(()) } else { Err(learners) }
        });
        until("the learner answers", PATIENCE, || match answered_by(&far, territory, hot) {
            Ok(4) => Ok(()),
            other => Err(other),
        });
        // It goes on answering, but for a moment in which others are asked as well: its own answers count.
        let own = (0..50).filter(|_| answered_by(&far, territory, hot) == Ok(4)).count();
        assert!(own > 40, "{own} of 50");
        until("it is said why", PATIENCE, || {
            let why = why(mesh.node(2), hot);
            if why.contains("which reads the shard") { Ok(()) } else { Err(why) }
        });
        assert_eq!(replicas(&mesh, 1, hot, "voter"), [1, 2, 3]);
        if let Some(other) = other {
            assert!(replicas(&mesh, 1, other, "learner").is_empty(), "nobody reads it");
        }
        drop(stop);
    });
    until("the learner is gone", PATIENCE, || {
        let learners = replicas(&mesh, 1, hot, "learner");
        if learners.is_empty() { Ok(()) } else { Err(learners) }
    });
    until("others answer again", PATIENCE, || match answered_by(&far, territory, hot) {
        Ok(node) if node != 4 => Ok(()),
        other => Err(other),
    });
}

/// Ends the asking however the test ends, or it would never.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

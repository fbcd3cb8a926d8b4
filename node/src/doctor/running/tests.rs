//! Facts as a healthy node gives them, and each with one thing wrong.

use serde_json::json;

use super::*;
use crate::doctor::Outcome::{Error, Success, Warning};

fn node(id: u32) -> NodeRow {
    serde_json::from_value(json!({
        "id": id, "pop": "mil", "labels": [], "state": "up", "incarnation": 1, "rtt": 1.2,
        "version": "0.1.0", "raftId": "9", "mesh": "10.0.0.1:7080", "lastSeenMs": 12_000,
        "meta": false, "uptimeS": 5, "clockOffsetMs": 3.0, "clockUncertaintyMs": 1.0,
    }))
    .unwrap()
}

fn shard(id: u64) -> ShardRow {
    serde_json::from_value(json!({
        "id": id, "space": "listings", "range": {"text": "IT:a", "start": "", "end": null, "prefixes": []},
        "epoch": "1.1", "replicas": [], "leader": 1, "hibernating": false, "state": "ok",
    }))
    .unwrap()
}

fn facts() -> Facts {
    Facts {
        admin: "http://127.0.0.1:9080".into(),
        took: Duration::from_millis(1),
        now_unix_s: 1_700_000_000,
        ready: ReadyReport {
            ready: true,
            checks: [("log".to_owned(), None), ("draining".to_owned(), None)].into(),
            warnings: BTreeMap::new(),
        },
        status: serde_json::from_value(json!({
            "schema": "hexpop.status/1", "state": "ok", "summary": "", "node": 1, "pop": "mil",
            "cluster": "demo", "version": "0.1.0", "uptimeS": 5,
            "mesh": {"nodes": 3, "up": 3, "pops": 1},
            "shards": {"mapVersion": 1, "total": 2, "withLeader": 2, "underReplicated": 0, "metaLeader": 1},
            "listings": {"total": 0, "active": 0},
            "origin": {"url": "http://o", "state": "up", "breaker": "closed"},
            "cache": {"entries": 0, "bytes": 0, "bytesMax": 0}, "faults": 0, "nodes": [],
            "certificateExpires": "2024-03-01T00:00:00Z",
            "config": {"lastReloadSuccessful": true, "restartPending": []},
        }))
        .unwrap(),
        nodes: NodesReport {
            schema: String::new(),
            seen_from: 1,
            nodes: vec![node(1), node(2), node(3)],
        },
        shards: ShardsReport {
            schema: String::new(),
            version: 1,
            shards: vec![shard(1), shard(2)],
            groups: Vec::new(),
        },
        breakers: BreakersReport { schema: String::new(), breakers: Vec::new() },
        config: json!({"raft": {"election_min": "1s", "election_max": "1500ms"}}),
    }
}

/// The one check that is not well, after `change`.
fn odd(change: impl FnOnce(&mut Facts)) -> Check {
    let mut facts = facts();
    change(&mut facts);
    let mut found: Vec<Check> = checks(&facts)
        .into_iter()
        .map(|(_topic, check)| check)
        .filter(|check| check.result != Success)
        .collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn of_a_healthy_node_all_is_well_and_the_bound_is_told() {
    let checks = checks(&facts());
    assert!(checks.iter().all(|(_topic, check)| check.result == Success), "{checks:?}");
    let bound = "failover bound: 3 × election_max (1500ms) + 2 × RTT (1.2 ms) = 4.50 s";
    assert!(checks.iter().any(|(_topic, check)| check.description == bound), "{checks:?}");
}

#[test]
fn a_member_that_does_not_answer_is_named() {
    let check = odd(|facts| {
        let gone = &mut facts.nodes.nodes[2];
        gone.state = "unreachable".into();
        gone.uptime_s = None;
        gone.clock_offset_ms = None;
    });
    assert_eq!((check.result, &*check.description), (Error, "2 of 3 members answer"));
    let evidence = "node 3 at 10.0.0.1:7080 is unreachable, last heard of 12 s ago";
    assert_eq!(check.error.as_deref(), Some(evidence));
    // Who left is no member any more.
    let mut left = facts();
    left.nodes.nodes[2].state = "left".into();
    assert!(checks(&left).iter().all(|(_topic, check)| check.result == Success));
}

#[test]
fn shards_are_judged_by_leaders_and_voters() {
    let check = odd(|facts| facts.shards.shards[1].raft.leader = None);
    assert_eq!((check.result, &*check.description), (Error, "1 of 2 shards have a leader"));
    assert_eq!(check.error.as_deref(), Some("without a leader: shard 2"));
    let check = odd(|facts| facts.shards.shards[0].raft.state = "under-replicated".into());
    assert_eq!((check.result, &*check.description), (Error, "1 shard under-replicated"));
    let check = odd(|facts| facts.shards.shards.clear());
    assert_eq!(check.description, "no shards");
    let check = odd(|facts| facts.status.shards.meta_leader = None);
    assert_eq!(check.result, Warning);
    let many: Vec<u64> = (1..=20).collect();
    assert_eq!(named(&many), "1, 2, 3, 4, 5, 6, 7, 8 and 12 more");
}

#[test]
fn clocks_are_judged_beyond_what_the_way_accounts_for() {
    let off = |offset: Option<f64>, uncertainty: f64| {
        move |facts: &mut Facts| {
            facts.nodes.nodes[1].clock_offset_ms = offset;
            facts.nodes.nodes[1].clock_uncertainty_ms = Some(uncertainty);
        }
    };
    assert_eq!(odd(off(Some(-300.0), 1.0)).result, Warning);
    assert_eq!(odd(off(Some(600.0), 2.0)).description, "clock is 600 ms off node 2's");
    assert_eq!(odd(off(Some(600.0), 2.0)).result, Error);
    assert_eq!(odd(off(None, 0.0)).description, "clock offset to node 2: unknown");
    // 600 ms over a way of 2 s says nothing.
    let mut slow = facts();
    off(Some(600.0), 1_000.0)(&mut slow);
    assert!(checks(&slow).iter().all(|(_topic, check)| check.result == Success));
}

#[test]
fn what_disturbs_without_breaking_is_a_warning() {
    let check = odd(|facts| facts.status.faults = 2);
    assert_eq!(
        (check.result, &*check.description),
        (Warning, "fault rules active on this node: 2")
    );
    let check = odd(|facts| facts.nodes.nodes[0].version = Some("0.2.0".into()));
    assert_eq!(check.description, "2 versions: 0.1.0 on 2, 3; 0.2.0 on 1");
    let check = odd(|facts| facts.nodes.nodes[1].rtt = Some(150.0));
    assert_eq!(check.description, "raft.election_min (1s) is below 10 × RTT (150.0 ms)");
    // The bound is that of the ring, and the timeouts are those of the groups that are in none as well.
    let mut far = facts();
    far.nodes.nodes[1].rtt = Some(150.0);
    far.nodes.nodes[1].pop = Some("nyc".parse().unwrap());
    far.config["placement"] = json!({"rings": [["mil"], ["nyc"]]});
    let said: Vec<String> =
        checks(&far).into_iter().map(|(_topic, check)| check.description).collect();
    assert!(said.iter().any(|it| it.contains("2 × RTT (1.2 ms)")), "{said:?}");
    assert!(said.iter().any(|it| it.contains("below 10 × RTT (150.0 ms)")), "{said:?}");
    let check = odd(|facts| facts.status.certificate_expires = None);
    assert!(check.description.contains("unknown"), "{check:?}");
    let check = odd(|facts| facts.config = json!({}));
    assert!(check.description.contains("unknown"), "{check:?}");
}

#[test]
fn the_file_and_what_is_in_force_are_compared() {
    let state = |taken, keys: &[&str]| {
        Some(ConfigState {
            last_reload_successful: taken,
            restart_pending: keys.iter().map(ToString::to_string).collect(),
        })
    };
    let check = odd(|facts| facts.status.config = state(true, &["cache.bytes"]));
    assert_eq!(
        (check.result, &*check.description),
        (Warning, "1 key to be taken at a restart: cache.bytes")
    );
    assert_eq!(odd(|facts| facts.status.config = state(false, &[])).result, Error);
    assert_eq!(odd(|facts| facts.status.config = None).result, Warning);
}

#[test]
fn an_origin_of_which_nothing_is_followed_is_told_of() {
    let with = |feed: bool, territories: Value| {
        move |facts: &mut Facts| {
            let origin = json!({"url": "http://o", "feed": feed});
            let merged = facts.config.as_object_mut().unwrap();
            merged.extend([("origin".into(), origin), ("territories".into(), territories.clone())]);
        }
    };
    let check = odd(with(true, json!([])));
    assert_eq!(
        (check.result, &*check.description),
        (Warning, "no territory of the origin is followed")
    );
    let described = |change: &dyn Fn(&mut Facts)| {
        let mut facts = facts();
        change(&mut facts);
        let found = checks(&facts).into_iter().map(|(_topic, check)| check.description);
        found.filter(|text| text.contains("followed")).collect::<Vec<_>>()
    };
    let one = json!([{"territory": "IT:lazio"}]);
    assert_eq!(
        described(&with(true, one.clone())),
        [
            "1 territory of the origin followed: its listings are in searches, others as far as they were pushed"
        ]
    );
    assert!(described(&with(false, one)).is_empty());
}

#[test]
fn what_is_broken_is_an_error() {
    let check = odd(|facts| facts.status.origin.state = "down".into());
    assert_eq!(check.description, "origin http://o is down");
    let check = odd(|facts| {
        facts.status.certificate_expires = Some("2023-01-01T00:00:00Z".into());
    });
    assert_eq!((check.result, &*check.description), (Error, "the node's certificate has expired"));
    let check = odd(|facts| {
        facts.ready.ready = false;
        facts.ready.checks.insert("draining".into(), Some("it is being taken out".into()));
    });
    assert_eq!(check.error.as_deref(), Some("draining: it is being taken out"));
}

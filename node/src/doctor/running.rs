//! Judging a running node by what its admin port answers. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use hexpop_edge_config::ConfigDuration;
use serde_json::Value;

use super::{Check, Topic, counted, expiry_check, millis, rings::Rings};
use crate::admin_api::{
    BreakersReport, ConfigState, NodeRow, NodesReport, ReadyReport, ShardRow, ShardsReport,
    StatusReport,
};

/// Clocks further apart than this are close to where leaders hand over.
const CLOCK_WARN_MS: f64 = 250.0;
/// A leader whose clock is off by more than this hands over.
const CLOCK_MAX_MS: f64 = 500.0;
/// Shards and replicas that are named in one check; the rest is counted.
const NAMED_MAX: usize = 8;

/// What the admin port of a node answered.
#[derive(Debug, Clone)]
pub struct Facts {
    /// Where it was asked.
    pub admin: String,
    /// How long it took to say whether it is ready.
    pub took: Duration,
    /// Now, in seconds since 1970.
    pub now_unix_s: i64,
    /// Whether it is ready.
    pub ready: ReadyReport,
    /// Its state.
    pub status: StatusReport,
    /// The members as it sees them.
    pub nodes: NodesReport,
    /// The shards as it sees them.
    pub shards: ShardsReport,
    /// Its breakers.
    pub breakers: BreakersReport,
    /// Its effective configuration.
    pub config: Value,
}

/// What there is to say about `facts`.
#[must_use]
pub fn checks(facts: &Facts) -> Vec<(Topic, Check)> {
    let status = &facts.status;
    let nodes: Vec<&NodeRow> =
        facts.nodes.nodes.iter().filter(|node| node.state != "left").collect();
    let answered = format!("node {} ({}) answers at {}", status.node, status.pop, facts.admin);
    let mut checks = vec![
        (Topic::Config, config_check(status.config.as_ref())),
        (Topic::Net, Check::ok(format!("{answered} ({})", millis(facts.took)))),
        (Topic::Disk, log_check(&facts.ready)),
        (Topic::Time, clock_check(&nodes, status.node)),
        (Topic::Certs, certificate_check(status.certificate_expires.as_deref(), facts.now_unix_s)),
        (Topic::Mesh, ready_check(&facts.ready)),
        (Topic::Mesh, members_check(&nodes)),
    ];
    let mesh = [
        leaders_check(&facts.shards.shards, status.shards.meta_leader),
        replicas_check(&facts.shards.shards),
        breakers_check(&facts.breakers),
        faults_check(status.faults),
        versions_check(&nodes),
    ];
    checks.extend(mesh.into_iter().map(|check| (Topic::Mesh, check)));
    let rings = Rings::of(&facts.config, &status.pop);
    let near: Vec<&NodeRow> = nodes
        .iter()
        .copied()
        .filter(|node| node.pop.as_ref().is_none_or(|pop| rings.is_near(pop)))
        .collect();
    checks.extend(rings.check(&nodes).map(|check| (Topic::Mesh, check)));
    let timing = failover_checks(&facts.config, &near, &nodes);
    checks.extend(timing.into_iter().map(|check| (Topic::Mesh, check)));
    checks.push((Topic::Origin, origin_check(facts)));
    checks.extend(followed_check(&facts.config).map(|check| (Topic::Origin, check)));
    checks
}

/// The first of `names`, and how many more there are.
fn named<T: ToString>(names: &[T]) -> String {
    let shown: Vec<String> = names.iter().take(NAMED_MAX).map(ToString::to_string).collect();
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn config_check(config: Option<&ConfigState>) -> Check {
    match config {
        None => Check::warning("configuration: unknown, the node does not tell"),
        Some(config) if !config.last_reload_successful => Check::error(
            "the configuration file was changed and is not valid",
            "the configuration before it stays in force",
        )
        .hint("`hexpop config check` names what is wrong; the node would not start with it"),
        Some(config) if config.restart_pending.is_empty() => {
            Check::ok("the configuration in force is that of the file")
        }
        Some(config) => {
            let keys = &config.restart_pending;
            Check::warning(format!(
                "{} to be taken at a restart: {}",
                counted(keys.len(), "key"),
                named(keys)
            ))
            .hint("restart the node to take them")
        }
    }
}

fn log_check(ready: &ReadyReport) -> Check {
    match ready.checks.get("log") {
        Some(None) => Check::ok("the write-ahead log takes writes"),
        Some(Some(why)) => Check::error("the write-ahead log takes no more writes", why)
            .hint("the node comes back only through recovery: check the disk and restart it"),
        None => Check::warning("write-ahead log: unknown, the node does not tell"),
    }
}

fn ready_check(ready: &ReadyReport) -> Check {
    let failed: Vec<String> = ready
        .checks
        .iter()
        .filter_map(|(name, why)| Some(format!("{name}: {}", why.as_ref()?)))
        .collect();
    let warned: Vec<String> =
        ready.warnings.iter().map(|(name, why)| format!("{name}: {why}")).collect();
    if failed.is_empty() && ready.ready && !warned.is_empty() {
        Check::warning(format!("the node is ready, but not all of it works: {}", warned.join("; ")))
            .hint("its log says since when")
    } else if failed.is_empty() && ready.ready {
        Check::ok("the node is ready")
    } else {
        Check::error("the node is not ready", failed.join("\n"))
            .hint("its log says what it waits for")
    }
}

fn members_check(nodes: &[&NodeRow]) -> Check {
    // Who does not answer cannot be told from who is cut off.
    let gone: Vec<String> = nodes
        .iter()
        .filter(|node| node.uptime_s.is_none())
        .map(|node| {
            let seen = node.last_seen_ms.map_or_else(
                || "never heard of".to_owned(),
                |ms| format!("last heard of {} s ago", ms / 1_000),
            );
            format!("node {} at {} is {}, {seen}", node.id, node.mesh, node.state)
        })
        .collect();
    let (all, there) = (nodes.len(), nodes.len() - gone.len());
    if gone.is_empty() {
        return Check::ok(format!("{there} of {all} members answer"));
    }
    Check::error(format!("{there} of {all} members answer"), gone.join("\n"))
        .hint("start them, or open UDP to their mesh address")
}

fn leaders_check(shards: &[ShardRow], meta_leader: Option<u32>) -> Check {
    if shards.is_empty() {
        return Check::error("no shards", "this node has not learned the shard map yet")
            .hint("are placement.expect_nodes nodes up, the founders among them?");
    }
    let led = shards.iter().filter(|shard| shard.raft.leader.is_some()).count();
    let found = format!("{led} of {} shards have a leader", shards.len());
    let without: Vec<u64> =
        shards.iter().filter(|shard| shard.raft.leader.is_none()).map(|shard| shard.id).collect();
    match (without.as_slice(), meta_leader) {
        ([], Some(_)) => Check::ok(found),
        ([], None) => Check::warning(format!("{found}, and the meta group none that is known"))
            .hint("everything serves meanwhile; placement stands still"),
        _ => Check::error(found, format!("without a leader: shard {}", named(&without)))
            .hint("`hexpop shards show ID` lists its replicas: a majority of voters must be up"),
    }
}

fn replicas_check(shards: &[ShardRow]) -> Check {
    let under: Vec<u64> = shards
        .iter()
        .filter(|shard| shard.raft.state == "under-replicated")
        .map(|shard| shard.id)
        .collect();
    let faults: Vec<String> = shards
        .iter()
        .flat_map(|shard| shard.raft.replicas.iter().map(move |replica| (shard.id, replica)))
        .filter_map(|(shard, replica)| {
            let why = replica.error.as_ref()?;
            Some(format!("shard {shard} on node {}: {why}", replica.node))
        })
        .take(NAMED_MAX)
        .collect();
    if under.is_empty() && faults.is_empty() {
        return Check::ok("no shard is under-replicated");
    }
    let mut lines = Vec::new();
    if !under.is_empty() {
        lines.push(format!("under-replicated: shard {}", named(&under)));
    }
    lines.extend(faults);
    Check::error(format!("{} under-replicated", counted(under.len(), "shard")), lines.join("\n"))
        .hint("one more failure may take their quorum: bring the missing nodes back")
}

fn breakers_check(breakers: &BreakersReport) -> Check {
    let open: Vec<String> = breakers
        .breakers
        .iter()
        .filter(|breaker| breaker.state != "closed")
        .map(|breaker| format!("{} ({}) is {}", breaker.target, breaker.class, breaker.state))
        .collect();
    if open.is_empty() {
        Check::ok("no breaker is open")
    } else {
        Check::warning(format!("{} not closed: {}", counted(open.len(), "breaker"), named(&open)))
            .hint("`hexpop breakers` says since when")
    }
}

fn faults_check(active: u64) -> Check {
    match active {
        0 => Check::ok("no fault rule is active on this node"),
        _ => Check::warning(format!("fault rules active on this node: {active}"))
            .hint("`hexpop faults list` shows them, `hexpop faults clear` ends them"),
    }
}

fn versions_check(nodes: &[&NodeRow]) -> Check {
    let mut versions: BTreeMap<&str, Vec<u32>> = BTreeMap::new();
    for node in nodes {
        if let Some(version) = &node.version {
            versions.entry(version).or_default().push(node.id);
        }
    }
    let list: Vec<String> =
        versions.iter().map(|(version, on)| format!("{version} on {}", named(on))).collect();
    match versions.len() {
        0 => Check::warning("versions: unknown"),
        1 => Check::ok(format!("one version: {}", versions.keys().copied().collect::<String>())),
        _ => Check::warning(format!("{} versions: {}", versions.len(), list.join("; ")))
            .hint("fine during an upgrade; finish it"),
    }
}

/// How long a shard may be without a leader, by the distances within the ring, and whether the timeouts suit
/// those to all nodes: the meta group and that of purges need not keep to rings.
fn failover_checks(config: &Value, near: &[&NodeRow], nodes: &[&NodeRow]) -> Vec<Check> {
    let key = |pointer: &str| -> Option<Duration> {
        let text = config.pointer(pointer)?.as_str()?;
        text.parse::<ConfigDuration>().ok().map(Duration::from)
    };
    let Some(election_max) = key("/raft/election_max") else {
        return vec![Check::warning(
            "failover bound: unknown, the node does not tell its timeouts",
        )];
    };
    let elections = election_max.saturating_mul(3);
    let text = ConfigDuration(election_max);
    let bound = match slowest_ms(near) {
        Some(rtt) => {
            let sum = elections.as_secs_f64() + 2.0 * rtt / 1_000.0;
            format!("3 × election_max ({text}) + 2 × RTT ({rtt:.1} ms) = {sum:.2} s")
        }
        None => format!("3 × election_max ({text}) + 2 RTT, which is unknown"),
    };
    let mut checks = vec![Check::ok(format!("failover bound: {bound}"))];
    if let (Some(least), Some(rtt)) = (key("/raft/election_min"), slowest_ms(nodes))
        && least.as_secs_f64() * 1_000.0 < 10.0 * rtt
    {
        let least = ConfigDuration(least);
        checks.push(
            Check::warning(format!("raft.election_min ({least}) is below 10 × RTT ({rtt:.1} ms)"))
                .hint("elections may begin without a fault: raise it on all nodes"),
        );
    }
    checks
}

/// The longest round trip of those that are known, in milliseconds.
fn slowest_ms(nodes: &[&NodeRow]) -> Option<f64> {
    nodes.iter().filter_map(|node| node.rtt).reduce(f64::max)
}

fn clock_check(nodes: &[&NodeRow], own: u32) -> Check {
    let peers: Vec<&&NodeRow> =
        nodes.iter().filter(|node| node.id != own && node.uptime_s.is_some()).collect();
    if peers.is_empty() {
        return Check::ok("clock offset: there is no peer to compare with");
    }
    let unknown: Vec<u32> =
        peers.iter().filter(|node| node.clock_offset_ms.is_none()).map(|node| node.id).collect();
    // What the way to the peer and back may account for is no offset.
    let known = peers.iter().filter_map(|node| {
        let sure = node.clock_offset_ms?.abs() - node.clock_uncertainty_ms.unwrap_or_default();
        Some((node.id, sure.max(0.0), node.clock_offset_ms?.abs()))
    });
    let worst = known.max_by(|a, b| a.1.total_cmp(&b.1).then(a.2.total_cmp(&b.2)));
    let help = "synchronise the clocks (chrony, systemd-timesyncd)";
    match (worst, unknown.as_slice()) {
        (Some((node, sure, off)), _) if sure > CLOCK_MAX_MS => Check::error(
            format!("clock is {off:.0} ms off node {node}'s"),
            format!("a leader that is more than {CLOCK_MAX_MS:.0} ms off hands over"),
        )
        .hint(help),
        (Some((node, sure, off)), _) if sure > CLOCK_WARN_MS => {
            Check::warning(format!("clock is {off:.0} ms off node {node}'s")).hint(help)
        }
        (Some((_node, _sure, off)), []) => Check::ok(format!(
            "clock offset to {} at most {off:.1} ms",
            counted(peers.len(), "peer")
        )),
        (_, unknown) => Check::warning(format!("clock offset to node {}: unknown", named(unknown)))
            .hint("it did not tell its time; is it of an older version?"),
    }
}

fn certificate_check(expires: Option<&str>, now_unix_s: i64) -> Check {
    let parsed = expires.and_then(|text| text.parse::<jiff::Timestamp>().ok());
    let help = "`hexpop certs issue` makes another; restart the node with it";
    match parsed {
        Some(at) => expiry_check("the node's certificate", at.as_second(), now_unix_s, help),
        None => Check::warning("end of the node's certificate: unknown, the node does not tell"),
    }
}

fn origin_check(facts: &Facts) -> Check {
    let origin = &facts.status.origin;
    let url = origin.url.as_deref().unwrap_or("-");
    let classes: BTreeSet<String> = facts
        .breakers
        .breakers
        .iter()
        .filter(|breaker| breaker.target == "origin" && breaker.state != "closed")
        .map(|breaker| format!("breaker of {} requests is {}", breaker.class, breaker.state))
        .collect();
    match origin.state.as_str() {
        "none" => Check::ok("origin.url is not set: nothing is proxied"),
        "up" => Check::ok(format!("origin {url} is up, breaker {}", origin.breaker)),
        "unknown" => Check::warning(format!("origin {url}: unknown")),
        other => Check::error(
            format!("origin {url} is {other}"),
            classes.into_iter().collect::<Vec<_>>().join("\n"),
        )
        .hint("what the mesh holds is answered meanwhile; check the platform and the way to it"),
    }
}

/// What of the origin is in searches: what its territories are followed for. The answer to a search cannot tell, since
/// nobody asks the origin what else it has.
fn followed_check(config: &Value) -> Option<Check> {
    let follows = config.pointer("/origin/feed").and_then(Value::as_bool)?;
    let has_origin = config.pointer("/origin/url").is_some_and(|url| !url.is_null());
    if !follows || !has_origin {
        return None;
    }
    let territories = config.pointer("/territories").and_then(Value::as_array);
    let hint = "a search knows nothing of others but what was pushed to /admin/v1/ingest: name them under \
                [[territories]]";
    Some(match territories.map_or(0, Vec::len) {
        0 => Check::warning("no territory of the origin is followed").hint(hint),
        count => Check::ok(format!(
            "{} of the origin followed: {} are in searches, others as far as they were pushed",
            if count == 1 { "1 territory".to_owned() } else { format!("{count} territories") },
            if count == 1 { "its listings" } else { "their listings" },
        )),
    })
}

#[cfg(test)]
mod tests;

//! The tables of the admin port, made of what was gathered. Pure.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{Epoch, NodeId, ShardId};
use hexpop_raft::{ReplicaState, ReplicaStatus};
use hexpop_shard::{KeyRange, Replica, ReplicaRole, ShardDescriptor, ShardKey, ShardMap};

use super::{Clocks, MemberView, Reports};
use crate::admin_api::{
    CacheSummary, ConfigState, GroupRow, ListingCounts, MeshSummary, NodeRow, NodesReport,
    OriginHealth, RaftRow, RangeRow, ReplicaRow, ShardRow, ShardSummary, ShardsReport,
    StatusReport,
};

/// `GET /admin/v1/nodes`.
#[must_use]
pub fn nodes_report(
    own: NodeId,
    members: &[MemberView],
    reports: &Reports,
    clocks: &Clocks,
) -> NodesReport {
    let row = |member: &MemberView| {
        let clock = clocks.get(&member.node);
        NodeRow {
            clock_offset_ms: clock.map(|clock| clock.offset_ms),
            clock_uncertainty_ms: clock.map(|clock| clock.uncertainty_ms),
            ..node_row(member, reports.get(&member.node))
        }
    };
    NodesReport {
        schema: "hexpop.nodes/1".to_owned(),
        seen_from: own.0,
        nodes: members.iter().map(row).collect(),
    }
}

fn node_row(member: &MemberView, report: Option<&crate::control::NodeReport>) -> NodeRow {
    let count = |wanted: &dyn Fn(&ReplicaStatus) -> bool| {
        report.map(|report| report.replicas.iter().filter(|one| wanted(one)).count() as u64)
    };
    let leads = |one: &ReplicaStatus| one.state == ReplicaState::Leader;
    NodeRow {
        id: member.node.0,
        pop: member.pop.clone(),
        labels: member.labels.clone(),
        state: member.state.to_owned(),
        incarnation: member.incarnation,
        rtt: member.rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0),
        version: member.version.clone(),
        raft_id: member.raft.to_string(),
        http: member.http.clone(),
        admin: member.admin.clone(),
        mesh: member.mesh.clone(),
        last_seen_ms: member.last_seen.and_then(|since| u64::try_from(since.as_millis()).ok()),
        replicas: count(&|one| one.shard.is_of_shard()),
        leaders: count(&leads),
        meta: report.is_some_and(|report| {
            report.replicas.iter().any(|one| one.shard == ShardId::META && leads(one))
        }),
        uptime_s: report.map(|report| report.uptime_s),
        clock_offset_ms: None,
        clock_uncertainty_ms: None,
    }
}

/// `GET /admin/v1/shards`. `own` is the node that answers: staleness is its own replica's.
#[must_use]
pub fn shards_report(
    own: NodeId,
    map: &ShardMap,
    members: &[MemberView],
    reports: &Reports,
) -> ShardsReport {
    let mut replicas: BTreeMap<ShardId, Vec<(NodeId, &ReplicaStatus)>> = BTreeMap::new();
    for (node, report) in reports {
        for replica in &report.replicas {
            replicas.entry(replica.shard).or_default().push((*node, replica));
        }
    }
    let up: BTreeSet<NodeId> =
        members.iter().filter(|member| member.is_up()).map(|member| member.node).collect();
    let known = |id| replicas.get(&id).map_or(&[][..], Vec::as_slice);
    let shards = map.shards().map(|shard| shard_row(own, shard, known(shard.id), &up)).collect();
    let groups = [(ShardId::META, "meta"), (ShardId::PURGES, "purges")]
        .map(|(id, name)| group_row(name, known(id), &up))
        .into();
    let (schema, version) = ("hexpop.shards/1".to_owned(), map.version());
    ShardsReport { schema, version, shards, groups }
}

/// A group that is in no map: its leader says who its replicas are, else whoever knows most.
fn group_row(name: &str, known: &[(NodeId, &ReplicaStatus)], up: &BTreeSet<NodeId>) -> GroupRow {
    let listed = best_of(known).map_or(&[][..], |(_node, status)| status.replicas.as_slice());
    GroupRow { name: name.to_owned(), raft: raft_row(Epoch::FIRST, listed, known, up) }
}

/// The consensus of a group with these replicas, of which at least this epoch is known.
fn raft_row(
    epoch: Epoch,
    listed: &[Replica],
    known: &[(NodeId, &ReplicaStatus)],
    up: &BTreeSet<NodeId>,
) -> RaftRow {
    let leader = leader_of(known);
    let best = best_of(known);
    let rows = replica_rows(listed, known, leader, up);
    RaftRow {
        epoch: best.map_or(epoch, |(_, status)| status.epoch.max(epoch)).to_string(),
        state: state_of(leader.is_some(), &rows).to_owned(),
        replicas: rows,
        leader: leader.map(|(node, _)| node.0),
        term: best.map(|(_, status)| status.term),
        applied: best.map(|(_, status)| status.applied.index),
        commit: best.map(|(_, status)| status.commit_index),
    }
}

/// Whoever knows most of a group: its leader, else the most advanced. One that is only starting knows of no
/// replica, not even of itself.
fn best_of<'k, 's>(
    known: &'k [(NodeId, &'s ReplicaStatus)],
) -> Option<&'k (NodeId, &'s ReplicaStatus)> {
    let knows = |status: &ReplicaStatus| (!status.replicas.is_empty(), status.applied);
    leader_of(known).or_else(|| known.iter().max_by_key(|(_node, status)| knows(status)))
}

/// Of two that believe to lead, the one with the newer term does.
fn leader_of<'k, 's>(
    known: &'k [(NodeId, &'s ReplicaStatus)],
) -> Option<&'k (NodeId, &'s ReplicaStatus)> {
    known
        .iter()
        .filter(|(_node, status)| status.state == ReplicaState::Leader)
        .max_by_key(|(_node, status)| status.term)
}

fn state_of(is_led: bool, replicas: &[ReplicaRow]) -> &'static str {
    let is_lost = |row: &ReplicaRow| {
        row.role == "voter" && matches!(row.state.as_str(), "unreachable" | "halted")
    };
    if !is_led {
        "unavailable"
    } else if replicas.iter().any(is_lost) {
        "under-replicated"
    } else {
        "ok"
    }
}

fn replica_rows(
    listed: &[Replica],
    known: &[(NodeId, &ReplicaStatus)],
    leader: Option<&(NodeId, &ReplicaStatus)>,
    up: &BTreeSet<NodeId>,
) -> Vec<ReplicaRow> {
    let row = |replica: &Replica| {
        let status = known.iter().find(|(node, _)| *node == replica.node).map(|(_, one)| *one);
        let reachable = status.is_some() && up.contains(&replica.node);
        ReplicaRow {
            node: replica.node.0,
            role: role_name(replica.role).to_owned(),
            raft_id: replica.raft.to_string(),
            state: match status {
                Some(status) if reachable => status.state.as_str().to_owned(),
                _ => "unreachable".to_owned(),
            },
            applied: status.map(|status| status.applied.index),
            lag: match (status, leader) {
                (Some(status), Some((_, leader))) => {
                    Some(leader.commit_index.saturating_sub(status.applied.index))
                }
                _ => None,
            },
            error: status.and_then(|status| status.fault.clone()),
        }
    };
    listed.iter().map(row).collect()
}

fn shard_row(
    own: NodeId,
    shard: &ShardDescriptor,
    known: &[(NodeId, &ReplicaStatus)],
    up: &BTreeSet<NodeId>,
) -> ShardRow {
    let best = best_of(known);
    // The log of a shard is the truth of its replicas; the map may lag behind it.
    let listed = match leader_of(known) {
        Some((_node, status)) if !status.replicas.is_empty() => &status.replicas,
        _ => &shard.replicas,
    };
    let own_status = known.iter().find(|(node, _)| *node == own).map(|(_, status)| *status);
    ShardRow {
        id: shard.id.0,
        space: shard.range.space_of().as_str().to_owned(),
        range: range_row(&shard.range),
        raft: raft_row(shard.epoch, listed, known, up),
        staleness: own_status.and_then(|status| status.staleness_ms),
        keys: best.map(|(_, status)| status.keys),
        bytes: best.map(|(_, status)| status.bytes),
        complete: best.map(|(_, status)| status.complete),
        hibernating: best.is_some_and(|(_, status)| status.parked),
    }
}

const fn role_name(role: ReplicaRole) -> &'static str {
    match role {
        ReplicaRole::Voter => "voter",
        ReplicaRole::Learner => "learner",
    }
}

/// A range, for people and for programs.
#[must_use]
pub fn range_row(range: &KeyRange) -> RangeRow {
    RangeRow {
        text: range_text(range),
        start: range.start.to_string(),
        end: range.end.as_ref().map(ToString::to_string),
        prefixes: Vec::new(),
    }
}

/// `IT:lombardia` for a whole territory; for what lies between territories, its neighbours.
fn range_text(range: &KeyRange) -> String {
    if let Some(territory) = range.single_territory() {
        return territory.to_string();
    }
    let after = range.start.territory().map(|territory| format!("after {territory}"));
    let before = range
        .end
        .as_ref()
        .and_then(ShardKey::territory)
        .map(|territory| format!("before {territory}"));
    match (after, before) {
        (None, None) => "all".to_owned(),
        (Some(after), None) => after,
        (None, Some(before)) => before,
        (Some(after), Some(before)) => format!("{after}, {before}"),
    }
}

/// What a status needs besides members, map and reports.
#[derive(Debug, Clone)]
pub struct Own {
    /// The node that answers.
    pub node: NodeId,
    /// Its PoP.
    pub pop: String,
    /// The cluster.
    pub cluster: String,
    /// Seconds since its start.
    pub uptime_s: u64,
    /// The origin as it sees it.
    pub origin: OriginHealth,
    /// Its HTTP cache.
    pub cache: CacheSummary,
    /// Active fault rules.
    pub faults: u64,
    /// Until when its certificate is valid.
    pub certificate_expires: Option<String>,
    /// Whether its configuration is that of its file.
    pub config: ConfigState,
}

/// `GET /admin/v1/status`.
#[must_use]
pub fn status_report(
    own: Own,
    map: &ShardMap,
    members: &[MemberView],
    reports: &Reports,
) -> StatusReport {
    let shards = shards_report(own.node, map, members, reports).shards;
    let count = |wanted: &dyn Fn(&ShardRow) -> bool| {
        shards.iter().filter(|shard| wanted(shard)).count() as u64
    };
    let present: Vec<&MemberView> =
        members.iter().filter(|member| member.state != "left").collect();
    let up: Vec<&&MemberView> =
        present.iter().filter(|member| reports.contains_key(&member.node)).collect();
    let pops: BTreeSet<&str> = up.iter().filter_map(|member| member.pop.as_deref()).collect();
    let summary = ShardSummary {
        map_version: map.version(),
        total: shards.len() as u64,
        with_leader: count(&|shard| shard.raft.leader.is_some()),
        under_replicated: count(&|shard| shard.raft.state == "under-replicated"),
        meta_leader: reports
            .iter()
            .find(|(_node, report)| {
                report
                    .replicas
                    .iter()
                    .any(|one| one.shard == ShardId::META && one.state == ReplicaState::Leader)
            })
            .map(|(node, _report)| node.0),
    };
    let (state, words) = judge(&summary, &present, up.len());
    StatusReport {
        schema: "hexpop.status/1".to_owned(),
        state: state.to_owned(),
        summary: words,
        node: own.node.0,
        pop: own.pop,
        cluster: own.cluster,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_s: own.uptime_s,
        mesh: MeshSummary {
            nodes: present.len() as u64,
            up: up.len() as u64,
            pops: pops.len() as u64,
        },
        shards: summary,
        listings: listing_counts(reports),
        origin: own.origin,
        cache: own.cache,
        faults: own.faults,
        certificate_expires: own.certificate_expires,
        config: Some(own.config),
        nodes: members.iter().map(|member| node_row(member, reports.get(&member.node))).collect(),
    }
}

fn judge(shards: &ShardSummary, present: &[&MemberView], up: usize) -> (&'static str, String) {
    if shards.total == 0 {
        return ("unknown", "this node has not learned the shard map yet".to_owned());
    }
    let leaderless = shards.total - shards.with_leader;
    let missing = present.len() - up;
    if leaderless > 0 {
        let what = format!("{leaderless} of {} shards have no leader", shards.total);
        return ("unavailable", what);
    }
    if missing > 0 {
        let what =
            format!("{missing} of {} nodes unreachable; every shard has a leader", present.len());
        return ("degraded", what);
    }
    if shards.under_replicated > 0 {
        let what = format!("{} shards are under-replicated", shards.under_replicated);
        return ("degraded", what);
    }
    ("ok", "every node is up and every shard has a leader".to_owned())
}

/// Each shard counted once, by the replica that has applied most.
fn listing_counts(reports: &Reports) -> ListingCounts {
    let mut best: BTreeMap<ShardId, (u64, u64, u64)> = BTreeMap::new();
    for report in reports.values() {
        for replica in &report.replicas {
            let entry = best.entry(replica.shard).or_default();
            if replica.applied.index >= entry.0 {
                *entry = (replica.applied.index, replica.listings_total, replica.listings_active);
            }
        }
    }
    best.values().fold(ListingCounts::default(), |sum, (_applied, total, active)| ListingCounts {
        total: sum.total + total,
        active: sum.active + active,
    })
}

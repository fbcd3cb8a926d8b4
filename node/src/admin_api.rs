//! The JSON shapes of the admin port, as the server writes and the command line reads them.
//!
//! Numbers above 2^53 (Raft ids, H3 indexes) are strings. Fields are only ever added; `schema` names
//! the shape and its major version.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

/// `GET /admin/v1/nodes`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodesReport {
    /// `hexpop.nodes/1`.
    pub schema: String,
    /// The node that answers.
    pub seen_from: u32,
    /// Every member it knows, the dead too, by id.
    pub nodes: Vec<NodeRow>,
}

/// One member as another one sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeRow {
    /// Its number.
    pub id: u32,
    /// Its PoP; absent until it told.
    pub pop: Option<String>,
    /// Its residency labels.
    pub labels: Vec<String>,
    /// `joining`, `up`, `draining`, `leaving`, `suspect`, `unreachable` or `left`.
    pub state: String,
    /// Grows with every start.
    pub incarnation: u64,
    /// Round trip to it, milliseconds; absent for the node itself and for the unreachable.
    pub rtt: Option<f64>,
    /// Its build.
    pub version: Option<String>,
    /// Its data directory's Raft id.
    pub raft_id: String,
    /// Its data port.
    pub http: Option<String>,
    /// Its admin port.
    pub admin: Option<String>,
    /// Its mesh address.
    pub mesh: String,
    /// Milliseconds since something was heard of it; absent for the node itself.
    pub last_seen_ms: Option<u64>,
    /// Shard groups it holds a replica of; absent when it did not answer.
    pub replicas: Option<u64>,
    /// Groups it leads, the meta group included.
    pub leaders: Option<u64>,
    /// Whether it leads the meta group.
    pub meta: bool,
    /// Seconds since its start.
    pub uptime_s: Option<u64>,
    /// Its clock less that of the node that answers, milliseconds; only in `GET /admin/v1/nodes`, and
    /// absent for the node itself and where it is not known.
    #[serde(default)]
    pub clock_offset_ms: Option<f64>,
    /// How much of the offset the way there and back may account for.
    #[serde(default)]
    pub clock_uncertainty_ms: Option<f64>,
}

/// `GET /admin/v1/shards`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ShardsReport {
    /// `hexpop.shards/1`.
    pub schema: String,
    /// The shard map's version.
    pub version: u64,
    /// Every shard, by id.
    pub shards: Vec<ShardRow>,
    /// The groups that are no shards: `meta` and `purges`.
    #[serde(default)]
    pub groups: Vec<GroupRow>,
}

/// A group that is in no shard map: that of the map itself, or of purges.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GroupRow {
    /// `meta` or `purges`.
    pub name: String,
    /// Its consensus.
    #[serde(flatten)]
    pub raft: RaftRow,
}

/// The consensus of a shard or of another group. What only a replica knows comes from the leader if it
/// answered, else from the most advanced replica that did; it is null if none did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RaftRow {
    /// `version.conf`: how often its range and its members have changed.
    pub epoch: String,
    /// Its replicas.
    pub replicas: Vec<ReplicaRow>,
    /// The node that leads it, if known.
    pub leader: Option<u32>,
    /// The leader's term.
    pub term: Option<u64>,
    /// The last applied log index.
    pub applied: Option<u64>,
    /// The last committed log index.
    pub commit: Option<u64>,
    /// `ok`, `under-replicated` or `unavailable`.
    pub state: String,
}

/// One shard. What only a replica knows (`keys`, `bytes`, …) comes from the leader if it answered,
/// else from the most advanced replica that did; it is null if none did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardRow {
    /// The shard.
    pub id: u64,
    /// `listings`, `directory` or `sessions`.
    pub space: String,
    /// Its keys.
    pub range: RangeRow,
    /// Its consensus.
    #[serde(flatten)]
    pub raft: RaftRow,
    /// How far the asked node's own replica may be behind, milliseconds; 0 at the leader.
    pub staleness: Option<u64>,
    /// Records.
    pub keys: Option<u64>,
    /// Memory of the state, bytes, documents not counted.
    pub bytes: Option<u64>,
    /// Whether its bulk load has finished.
    pub complete: Option<bool>,
    /// Whether the group is parked.
    pub hibernating: bool,
}

/// A key range, for people and for programs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RangeRow {
    /// `IT:lombardia`, or the bounds.
    pub text: String,
    /// The first key.
    pub start: String,
    /// The first key behind it; null = the end of the space.
    pub end: Option<String>,
    /// The H3 prefixes that make it up, where it is a part of a territory.
    pub prefixes: Vec<String>,
}

/// One replica of a shard.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReplicaRow {
    /// The node.
    pub node: u32,
    /// `voter` or `learner`.
    pub role: String,
    /// The data directory.
    pub raft_id: String,
    /// `leader`, `follower`, `candidate`, `learner` or `unreachable`.
    pub state: String,
    /// Its applied index, if it answered.
    pub applied: Option<u64>,
    /// Entries behind the leader, if both answered.
    pub lag: Option<u64>,
    /// What is wrong with it, in words.
    pub error: Option<String>,
}

/// `GET /admin/v1/status`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    /// `hexpop.status/1`.
    pub schema: String,
    /// `ok`, `degraded`, `unavailable` or `unknown`.
    pub state: String,
    /// The state in words.
    pub summary: String,
    /// The node that answers.
    pub node: u32,
    /// Its PoP.
    pub pop: String,
    /// The cluster's name.
    pub cluster: String,
    /// The build.
    pub version: String,
    /// Seconds since its start.
    pub uptime_s: u64,
    /// Counts over all members.
    pub mesh: MeshSummary,
    /// Counts over all shards.
    pub shards: ShardSummary,
    /// Listings held, over all listings shards.
    pub listings: ListingCounts,
    /// The origin as this node sees it.
    pub origin: OriginHealth,
    /// The HTTP cache of this node.
    pub cache: CacheSummary,
    /// Fault rules active on this node.
    pub faults: u64,
    /// Until when the certificate that it runs with is valid; absent if not known.
    #[serde(default)]
    pub certificate_expires: Option<String>,
    /// Whether its configuration is that of its file; absent if not known.
    #[serde(default)]
    pub config: Option<ConfigState>,
    /// Members, as in `GET /admin/v1/nodes`.
    pub nodes: Vec<NodeRow>,
}

/// `GET /admin/v1/operations`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperationsReport {
    /// `hexpop.operations/1`.
    pub schema: String,
    /// Those that run and those that ended lately, oldest first.
    pub operations: Vec<OperationRow>,
}

/// `GET /admin/v1/operations/{id}`: a change of a shard that takes its time.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OperationRow {
    /// Its number.
    pub id: u64,
    /// `split`, `move` and so on.
    pub kind: String,
    /// The shard it is about.
    pub shard: u64,
    /// The shard that it makes, for a split.
    pub child: Option<u64>,
    /// What it does, in words.
    pub summary: String,
    /// `running`, `committing` (it can be cancelled no more), `reverting` (what it began is being undone), `done`,
    /// `failed` or `cancelled`.
    pub state: String,
    /// Why it failed.
    pub error: Option<String>,
    /// What it has behind it or waits for, the last of `steps`.
    pub step: Option<String>,
    /// What it has behind it, oldest first.
    pub steps: Vec<OperationStepRow>,
    /// When it began, RFC 3339.
    pub started_at: String,
    /// When it ended, RFC 3339.
    pub finished_at: Option<String>,
}

/// One thing that an operation has behind it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct OperationStepRow {
    /// What.
    pub name: String,
    /// When, RFC 3339.
    pub at: String,
}

/// `GET /admin/v1/shards/{id}/why`: why a shard is where it is.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WhyReport {
    /// `hexpop.why/1`.
    pub schema: String,
    /// The shard.
    pub shard: u64,
    /// `listings`, `directory` or `sessions`.
    pub space: String,
    /// Its keys.
    pub range: RangeRow,
    /// Labels that a node needs to hold a replica.
    pub labels: Vec<String>,
    /// How many voters are asked for.
    pub replicas: u32,
    /// Whether every PoP is to hold a replica.
    pub in_every_pop: bool,
    /// Every node, by its number.
    pub candidates: Vec<CandidateRow>,
    /// What is under way or planned, in words.
    pub next: Option<String>,
    /// Why nothing is planned, if nothing is.
    pub none_because: Option<String>,
    /// What is not as it should be.
    pub findings: Vec<String>,
    /// The operation that runs on it.
    pub operation: Option<u64>,
    /// Whether the leader of the meta group was asked: another node knows of no plans of others.
    pub authoritative: bool,
}

/// A node as a place for a replica.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CandidateRow {
    /// The node.
    pub node: u32,
    /// Its PoP; null when nobody knows the node.
    pub pop: Option<String>,
    /// `voter`, `learner`, `possible`, `unavailable` or `forbidden`.
    pub verdict: String,
    /// Why, in words.
    pub why: String,
}

/// `GET /admin/v1/shards/residency`: where what has to stay somewhere is, from what nodes hold.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResidencyReport {
    /// `hexpop.residency/1`.
    pub schema: String,
    /// `ok`, `violated`, or `incomplete`: a node did not answer, and none that did violates anything.
    pub state: String,
    /// How many nodes were asked.
    pub asked: u64,
    /// How many answered.
    pub answered: u64,
    /// Those that did not.
    pub unanswered: Vec<u32>,
    /// Every territory that needs labels.
    pub territories: Vec<ResidencyRow>,
    /// The directory, which is exempt: it holds no listing data.
    pub directory: DirectoryRow,
    /// What nothing tells the keys of.
    pub unknown: Vec<ViolationRow>,
}

/// A territory that needs labels.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ResidencyRow {
    /// The territory.
    pub territory: String,
    /// The labels that a node needs.
    pub labels: Vec<String>,
    /// The shards that hold, or held, keys of it.
    pub shards: BTreeSet<u64>,
    /// Who has something of them.
    pub held: Vec<HeldRow>,
    /// What is where it must not be.
    pub violations: Vec<ViolationRow>,
}

/// How much a node has of a territory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldRow {
    /// The node.
    pub node: u32,
    /// Of how many shards.
    pub shards: u64,
}

/// Something where it must not be.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ViolationRow {
    /// The node.
    pub node: u32,
    /// The shard.
    pub shard: u64,
    /// `memory`, `log`, `snapshot`, `documents`, `staged`, `log-files`.
    pub places: Vec<String>,
    /// Why it must not be there.
    pub why: String,
}

/// Where the directory is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DirectoryRow {
    /// The nodes that hold some of it.
    pub nodes: Vec<u32>,
    /// Its shards.
    pub shards: BTreeSet<u64>,
}

/// How the configuration in force and the file stand to each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigState {
    /// Whether the last reading of the file was taken.
    pub last_reload_successful: bool,
    /// Keys that differ in the file and need a restart.
    pub restart_pending: Vec<String>,
}

/// Counts over the members.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct MeshSummary {
    /// Members known and not left.
    pub nodes: u64,
    /// Of those, up.
    pub up: u64,
    /// Points of presence with a member up.
    pub pops: u64,
}

/// Counts over the shards.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShardSummary {
    /// The shard map's version.
    pub map_version: u64,
    /// All shards.
    pub total: u64,
    /// Shards whose leader is known and up.
    pub with_leader: u64,
    /// Shards with a voter that is not up.
    pub under_replicated: u64,
    /// The node that leads the meta group.
    pub meta_leader: Option<u32>,
}

/// How many listings the mesh holds.
#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub struct ListingCounts {
    /// All statuses.
    pub total: u64,
    /// Those that searches find.
    pub active: u64,
}

/// The origin as one node sees it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OriginHealth {
    /// Its address; null without one.
    pub url: Option<String>,
    /// `up`, `down`, `unknown` or `none`.
    pub state: String,
    /// `closed`, `open` or `half-open`.
    pub breaker: String,
}

/// The HTTP cache of one node.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheSummary {
    /// URIs with stored responses.
    pub entries: u64,
    /// Bytes they take.
    pub bytes: u64,
    /// Bytes they may take.
    pub bytes_max: u64,
    /// The same on disk; absent where it is not used for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<CacheDiskSummary>,
}

/// The HTTP cache of one node on its disk.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CacheDiskSummary {
    /// Stored responses.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
    /// Bytes they may take.
    pub bytes_max: u64,
    /// Why the disk is not used any more; absent = it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub off: Option<String>,
}

/// `GET /admin/v1/breakers`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BreakersReport {
    /// `hexpop.breakers/1`.
    pub schema: String,
    /// Every breaker of the node.
    pub breakers: Vec<BreakerRow>,
}

/// One circuit breaker.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BreakerRow {
    /// `origin` or `node N`.
    pub target: String,
    /// The class of traffic.
    pub class: String,
    /// `closed`, `open` or `half-open`.
    pub state: String,
    /// Failures in a row.
    pub failures: u64,
    /// Milliseconds in this state.
    pub since_ms: u64,
    /// How often it opened.
    pub opened: u64,
}

/// `GET /readyz?verbose` as JSON.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ReadyReport {
    /// Whether all checks passed.
    pub ready: bool,
    /// Each check by name: null = passed, else why not.
    pub checks: BTreeMap<String, Option<String>>,
    /// What does not work and does not keep the node from serving, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub warnings: BTreeMap<String, String>,
}

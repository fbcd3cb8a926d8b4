//! A whole mesh in one thread, on virtual time, from one seed.
//!
//! ```text
//!   clients ──▶ Router ──┐             one process per node: what runs in production
//!                        ├─▶ HostShards ─▶ Host ─▶ Wal ─▶ MemDisk
//!   gossip ◀─▶ Net ◀─────┘             links, disks, clocks, origin: simulated
//!   plan ──▶ World ──▶ faults          invariants look on, the history is checked at the end
//! ```
//!
//! The write-ahead log, consensus, state machines, snapshots, gossip and router are the real ones, on
//! the simulated [`SimRuntime`]. Simulated are the links, the disks, the wall clocks and the origin;
//! documents are kept in memory instead of in sled. Everything follows from the seed: the same seed
//! gives the same trace hash, on any machine and under any load.
//!
//! **Where libraries leak chance**, and why it does not matter: tokio's watch channel wakes its waiters
//! in a random order, and the executor orders ready tasks by the seed alone; moka and prometheus hash
//! with random keys, and nothing is iterated over that reaches a message. openraft draws from
//! `AsyncRuntime::thread_rng`, which is seeded.
//!
//! **What is not simulated**: the QUIC transport and the HTTP servers, the HTTP cache and change feeds,
//! the rates of monotonic clocks, and latency of the snapshots' disk. Shards are merged only in worlds that
//! are [made so](Settings::merges), and a territory stays on some of the nodes in worlds that are
//! [made so](Settings::residency). Links are cut while groups are parked, as a rule, only in worlds with
//! [lulls](Settings::lulls). No shard of sessions loses a replica whose disk lives on, since placement takes
//! none away.
//!
//! **Erasures** are carried on as in production. At the end, without faults, each must come to an end, and
//! no disk may hold a value that was acknowledged before an erasure of its user was asked for, nor a key
//! that was for such values only: in no file, nor in anything that a crash could bring back.
//!
//! **What shows that it finds bugs**: each [`Bug`] is planted by a switch, and found by the invariant
//! that should find it; `hexpop chaos sim --bugs --seeds 1..500` prints by which seed and which
//! invariant; with `--merges`, `--residency` or `--lulls` for the bugs of those worlds. A change of behaviour
//! anywhere changes the stories of all seeds; the seeds that tests have recorded are renewed with that command.
//! [`FAULTS`] and [`RARE`] are in the coverage also when they did not happen.

mod campaign;
mod clients;
mod coverage;
mod erasures;
mod executor;
mod health;
mod invariant;
mod lulls;
mod net;
mod node;
mod operate;
mod plan;
mod random;
mod residency;
mod runtime;
mod seal;
mod shrink;
mod strike;
mod trace;
mod world;

use std::{collections::BTreeMap, time::Duration};

pub use campaign::{Campaign, campaign};
pub use clients::Kind;
pub use coverage::{FAULTS, LULLS, MERGES, RARE, RESIDENCY};
pub use hexpop_edge_config::planted::Bug;
pub use invariant::Violation;
pub use lulls::draw_lulls;
pub use plan::{Cut, Fault, FaultKind, Led, draw, draw_merges, draw_residency};
pub use random::Random;
pub use runtime::{
    SimElapsed, SimInstant, SimJoinError, SimJoinHandle, SimRuntime, SimSleep, SimTimeout,
};
pub use shrink::shrink;
pub use world::NO_PANIC;

use self::{executor::BEGIN, world::World};

/// What a world is like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// What everything follows from.
    pub seed: u64,
    /// Nodes.
    pub nodes: u32,
    /// Clients.
    pub clients: u64,
    /// How many operations of each kind there are at least.
    pub operations_per_kind: u64,
    /// How long faults begin; longer if clients need longer.
    pub faults_for: Duration,
    /// Whether the lines of the trace are kept.
    pub is_traced: bool,
    /// A bug planted on purpose.
    pub bug: Option<Bug>,
    /// Whether shards are merged too. All else that goes wrong is the same with and without.
    pub merges: bool,
    /// Whether a territory has to stay on some of the nodes, and what is on the others is looked at all the time.
    pub residency: bool,
    /// Whether clients are silent again and again for long enough for groups to be parked, and ask little after that.
    /// What goes wrong is [drawn for that](draw_lulls), and nothing else but what the kinds above bring about.
    pub lulls: bool,
}

impl Settings {
    /// The defaults: five nodes, 200 operations of each kind.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self {
            seed,
            nodes: 5,
            clients: 24,
            operations_per_kind: 200,
            faults_for: Duration::from_secs(30),
            is_traced: false,
            bug: None,
            merges: false,
            residency: false,
            lulls: false,
        }
    }
}

/// How a world went.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Its seed.
    pub seed: u64,
    /// What went wrong that must not; the first one first.
    pub violations: Vec<Violation>,
    /// A hash of everything that happened.
    pub trace_hash: u64,
    /// How often what happened.
    pub coverage: BTreeMap<&'static str, u64>,
    /// The lines of the trace, if they were kept.
    pub lines: Vec<String>,
    /// Virtual time.
    pub simulated: Duration,
    /// How often a task ran.
    pub polls: u64,
}

/// The faults that follow from a seed, and what operators do meanwhile.
#[must_use]
pub fn schedule(settings: &Settings) -> Vec<Fault> {
    let drawn = if settings.lulls { draw_lulls } else { draw };
    let mut faults = drawn(settings.seed, settings.nodes, settings.faults_for);
    if settings.merges {
        faults.extend(draw_merges(settings.seed, settings.faults_for));
    }
    if settings.residency {
        faults.extend(draw_residency(settings.seed, settings.nodes, settings.faults_for));
    }
    faults.sort_by_key(|fault| fault.at_ms);
    faults
}

/// Runs the world of a seed with the faults that follow from it.
#[must_use]
pub fn run(settings: &Settings) -> Outcome {
    run_with(settings, &schedule(settings))
}

/// Runs the world of a seed with these faults.
#[must_use]
pub fn run_with(settings: &Settings, faults: &[Fault]) -> Outcome {
    let mut world = World::new(settings.clone());
    world.run(faults);
    Outcome {
        seed: settings.seed,
        violations: world.checks.violations(),
        trace_hash: world.trace.hash(),
        coverage: world.trace.coverage(),
        lines: world.trace.lines(),
        simulated: Duration::from_nanos(world.now().saturating_sub(BEGIN)),
        polls: world.executor.polls(),
    }
}

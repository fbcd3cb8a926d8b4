//! A world: nodes, links, clients and faults, from its seed to its end.

use std::{
    collections::BTreeMap,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use hexpop_edge_config::{
    NodeId, RaftId,
    planted::{self, Bug},
};
use hexpop_raft::{MemDisk, ReplicaState, Split, wal::Health};
use openraft_rt::AsyncRuntime;
use parking_lot::Mutex;

use super::{
    Settings,
    clients::{self, Clients, Door},
    executor::{BEGIN, Entered, Executor, Home, Nanos, Stop},
    health,
    invariant::Checks,
    net::Net,
    node::{self, Machine, MachineParts, Process, SimOrigin, Surroundings},
    plan::{Fault, FaultKind},
    random::{Random, mix},
    runtime::SimRuntime,
    trace::Trace,
};

pub(super) const MS: Nanos = 1_000_000;

/// How often the world is looked at.
const LOOK: Nanos = 25 * MS;

/// How long the mesh may take to be founded, and to recover from everything.
const FOUNDED_WITHIN: Nanos = 60_000 * MS;
pub(super) const RECOVERED_WITHIN: Nanos = 60_000 * MS;

/// How long erasures may take to be over everywhere, disks included, once nothing goes wrong any more.
const ERASED_WITHIN: Nanos = 180_000 * MS;

/// The longest that clients may take to ask enough.
const FAULTS_AT_MOST: Nanos = 240_000 * MS;

/// What is violated when a library finds itself where it never should be.
pub const NO_PANIC: &str = "nothing panics";

/// A process that started, or did not.
type Booted = Arc<Mutex<Vec<(NodeId, Home, Result<Process, String>)>>>;

/// A node and its process, if one runs.
pub(super) struct Slot {
    pub(super) machine: Machine,
    pub(super) process: Option<Process>,
    /// The home of the process that runs or starts.
    pub(super) home: Option<Home>,
    /// When to start it again.
    pub(super) start_at: Option<Nanos>,
    /// How its disk is to be found by the next start.
    pub(super) power_cut: bool,
    /// The next start is on empty disks.
    pub(super) wipe: bool,
    /// A disk of it was lost.
    pub(super) was_wiped: bool,
    /// Since when a replica of it is halted.
    halted_since: Option<Nanos>,
}

/// A world.
pub(super) struct World {
    pub(super) settings: Settings,
    pub(super) executor: Rc<Executor>,
    pub(super) trace: Arc<Trace>,
    pub(super) checks: Arc<Checks>,
    pub(super) clients: Arc<Clients>,
    pub(super) slots: BTreeMap<NodeId, Slot>,
    pub(super) around: Arc<Surroundings>,
    booted: Booted,
    pub(super) random: Random,
    next_home: Home,
    /// What ends when.
    pub(super) ending: Vec<(Nanos, FaultKind)>,
    /// What waits until the mesh can take it.
    pub(super) deferred: Vec<Fault>,
    /// How many erasures are not known to be over.
    pub(super) open_erasures: Arc<AtomicUsize>,
    _entered: Entered,
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        let seed = settings.seed;
        planted::plant(settings.bug);
        let (executor, entered) = Executor::enter(seed);
        let trace = Arc::new(Trace::new(settings.is_traced));
        let checks = Arc::new(Checks::new(Arc::clone(&trace), clients::listings()));
        let clients = Clients::new(
            settings.operations_per_kind,
            settings.lulls,
            Arc::clone(&checks),
            Arc::clone(&trace),
        );
        let around = Arc::new(Surroundings {
            net: Net::new(seed, Arc::clone(&trace)),
            trace: Arc::clone(&trace),
            checks: Arc::clone(&checks),
            origin: Arc::new(SimOrigin::default()),
            nodes: settings.nodes,
            epoch: origin_of_time(),
            seed,
            residency: settings.residency,
        });
        let slots = (1..=settings.nodes).map(NodeId).map(|node| {
            let slot = Slot {
                machine: Machine::new(),
                process: None,
                home: None,
                start_at: Some(BEGIN),
                power_cut: false,
                wipe: false,
                was_wiped: false,
                halted_since: None,
            };
            (node, slot)
        });
        Self {
            slots: slots.collect(),
            executor,
            trace,
            checks,
            clients,
            around,
            booted: Arc::default(),
            random: Random::fork(seed, 4),
            next_home: 1,
            ending: Vec::new(),
            deferred: Vec::new(),
            open_erasures: Arc::default(),
            settings,
            _entered: entered,
        }
    }

    pub(super) fn now(&self) -> Nanos {
        self.executor.now()
    }

    /// Runs the whole story.
    pub(super) fn run(&mut self, faults: &[Fault]) {
        if !self.until(FOUNDED_WITHIN, Self::is_whole) {
            self.miss("the mesh is founded in time");
            return;
        }
        self.begin_searches();
        for number in 0..self.settings.clients {
            let random = Random::fork(self.settings.seed, 100 + number);
            let clients = Arc::clone(&self.clients);
            drop(SimRuntime::spawn(clients::run(number, clients, random)));
        }
        self.suffer(faults);
        if self.checks.is_violated() {
            return;
        }
        self.heal();
        if !self.until(RECOVERED_WITHIN, Self::is_recovered) {
            self.miss("the mesh recovers in time after the last fault");
            return;
        }
        self.clients.is_over.store(true, Ordering::Relaxed);
        // The longest that a request may still take.
        let quiet = self.now() + 21_000 * MS;
        self.go_on(quiet);
        if !self.until(RECOVERED_WITHIN, Self::is_level) {
            self.miss("all replicas reach the same position in the end");
        }
        self.follow_receipts();
        if self.until(ERASED_WITHIN, Self::is_erased) {
            self.search_disks();
        } else {
            self.miss("every erasure is over in time after the last fault");
        }
        self.search_abroad();
        self.last_look();
        self.collect();
    }

    /// Whether something was violated.
    fn is_over(&self) -> bool {
        self.checks.is_violated()
    }

    /// The time in which faults begin.
    fn suffer(&mut self, faults: &[Fault]) {
        let begin = self.now();
        let mut next = faults.iter().peekable();
        while !self.is_over() {
            let at = self.now() - begin;
            while let Some(fault) = next.next_if(|fault| fault.at_ms * MS <= at) {
                self.strike(fault);
            }
            for fault in std::mem::take(&mut self.deferred) {
                self.strike(&fault);
            }
            let time = at >= nanos(self.settings.faults_for);
            if (time && self.clients.is_satisfied()) || at >= FAULTS_AT_MOST {
                break;
            }
            self.go_on(self.now() + LOOK);
        }
    }

    /// Runs until something holds; false when it does not in time.
    fn until(&mut self, within: Nanos, holds: impl Fn(&Self) -> bool) -> bool {
        let until = self.now() + within;
        while !holds(self) {
            if self.now() >= until || self.is_over() {
                return self.is_over();
            }
            self.go_on(self.now() + LOOK);
        }
        true
    }

    fn miss(&self, what: &'static str) {
        let states = self.describe();
        self.checks.report(what, states);
    }

    /// Runs the world until `until`, a look at a time.
    fn go_on(&mut self, until: Nanos) {
        while self.now() < until && !self.is_over() {
            self.start_due();
            let to = until.min(self.now() + LOOK);
            match self.executor.run(to) {
                Stop::Time => self.look(),
                Stop::Doomed(home) => self.die(home),
                Stop::Stuck => self.checks.report("time goes on", self.describe()),
            }
            self.take_booted();
            self.end_faults();
        }
    }

    /// The process of `home` died by itself, at a change of its disk.
    fn die(&mut self, home: Home) {
        let node =
            self.slots.iter().find(|(_, slot)| slot.home == Some(home)).map(|(node, _)| *node);
        match node {
            Some(node) => {
                self.trace.note(self.now(), "power-cut-at-write", &[u64::from(node.0)], || {
                    format!("node {node}")
                });
                let after = self.random.between(200, 4_000) * MS;
                self.stop(node, true, after);
            }
            None => self.executor.kill(home),
        }
    }

    /// Ends a process; it starts again `after` so long.
    pub(super) fn stop(&mut self, node: NodeId, power_cut: bool, after: Nanos) {
        let at = self.now() + after;
        let Some(slot) = self.slots.get_mut(&node) else { return };
        slot.power_cut |= power_cut;
        slot.start_at = Some(slot.start_at.unwrap_or(0).max(at));
        let process = slot.process.take();
        let home = slot.home.take();
        if let Some(process) = &process {
            health::collect_metrics(process, &self.trace);
        }
        self.clients.doors.lock().remove(&node);
        self.around.net.disconnect(node);
        if let Some(home) = home {
            self.executor.kill(home);
            self.executor.within(home, || drop(process));
            self.trace.count("process-ends", 1);
        }
    }

    fn start_due(&mut self) {
        let now = self.now();
        let due: Vec<NodeId> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.home.is_none() && slot.start_at.is_some_and(|at| at <= now))
            .map(|(node, _)| *node)
            .collect();
        for node in due {
            self.boot(node);
        }
    }

    fn boot(&mut self, node: NodeId) {
        let home = self.next_home;
        self.next_home += 1;
        let Some(slot) = self.slots.get_mut(&node) else { return };
        let mut random = Split::new(self.random.next_u64());
        let (power_cut, wipe) =
            (std::mem::take(&mut slot.power_cut), std::mem::take(&mut slot.wipe));
        let machine = &mut slot.machine;
        machine.collect(&self.trace);
        let capacity_left = 0;
        if wipe {
            slot.was_wiped = true;
            (machine.log, machine.snapshots) = (MemDisk::new(), MemDisk::new());
        } else if power_cut {
            machine.log = machine.log.after_power_cut(&mut random);
            machine.snapshots = machine.snapshots.after_power_cut(&mut random);
        } else {
            machine.log = machine.log.after_kill();
            machine.snapshots = machine.snapshots.after_kill();
        }
        machine.log.set_capacity(capacity_left);
        machine.starts += 1;
        let fresh = RaftId(mix(self.settings.seed ^ u64::from(node.0) ^ (machine.starts << 32)));
        let wanted_raft = match machine.raft {
            Some(old) if planted::has(Bug::WipedKeepsId) => old,
            _ => fresh,
        };
        let parts = MachineParts {
            node,
            log: Arc::clone(&machine.log),
            snapshots: Arc::clone(&machine.snapshots),
            skew_ms: Arc::clone(&machine.skew_ms),
            flush_ms: Arc::clone(&machine.flush_ms),
            start: machine.starts,
            wanted_raft,
        };
        slot.home = Some(home);
        slot.start_at = None;
        slot.halted_since = None;
        let (booted, around) = (Arc::clone(&self.booted), Arc::clone(&self.around));
        self.executor.within(home, || {
            drop(SimRuntime::spawn(async move {
                let started = node::start(parts, around).await;
                booted.lock().push((node, home, started));
            }));
        });
    }

    fn take_booted(&mut self) {
        let booted = std::mem::take(&mut *self.booted.lock());
        for (node, home, started) in booted {
            let now = self.now();
            let Some(slot) = self.slots.get_mut(&node).filter(|slot| slot.home == Some(home))
            else {
                continue;
            };
            match started {
                Ok(process) => {
                    self.trace.note(now, "start", &[u64::from(node.0), process.raft.0], || {
                        format!("node {node} as {}", process.raft)
                    });
                    slot.machine.raft = Some(process.raft);
                    let grace = (now - BEGIN + nanos(node::vote_grace())) / MS;
                    for replica in process.host.replicas() {
                        // What the log says, and not the replica, which may be starting still.
                        let term = process.log.vote(replica.shard).map_or(0, |vote| vote.term);
                        // The start took a moment, and the grace began with it.
                        let restarted = self.checks.state.lock().votes.restarted(
                            process.raft,
                            replica.shard,
                            term,
                            grace.saturating_sub(200),
                        );
                        self.checks.take("votes are remembered over restarts", restarted);
                    }
                    let door = Door { home, router: Arc::clone(&process.router) };
                    self.clients.doors.lock().insert(node, door);
                    slot.process = Some(process);
                }
                Err(why) => {
                    self.trace.note(now, "start-failed", &[u64::from(node.0)], || {
                        format!("node {node}: {why}")
                    });
                    let checked = self.checks.state.lock().recovery.failed(&why, true);
                    self.checks.take("a node starts again from its disk", checked);
                    self.stop(node, false, 1_000 * MS);
                }
            }
        }
    }

    /// Looks at everything that runs.
    fn look(&mut self) {
        for (home, what) in self.executor.take_panics() {
            self.checks.report(NO_PANIC, format!("home {home}: {what}"));
        }
        let now = self.now();
        let mut restart = Vec::new();
        for (node, slot) in &mut self.slots {
            let Some(process) = &slot.process else { continue };
            if self.executor.is_paused(process.home) {
                continue;
            }
            let mut halted = matches!(process.host.wal_health(), Health::Failed(_));
            for replica in process.host.replicas() {
                halted |= replica.state == ReplicaState::Halted;
                if replica.state != ReplicaState::Leader {
                    continue;
                }
                let led = self.checks.state.lock().leaders.leads(
                    process.raft,
                    replica.shard,
                    replica.term,
                );
                match led {
                    Ok(true) => self.trace.note(
                        now,
                        "election",
                        &[u64::from(node.0), replica.shard.0, replica.term],
                        || {
                            format!(
                                "node {node} leads group {} in term {}",
                                replica.shard, replica.term
                            )
                        },
                    ),
                    Ok(false) => {}
                    Err(detail) => self.checks.report("one leader a term", detail),
                }
            }
            let map = process.host.shard_map();
            let seen = self.checks.state.lock().maps.seen(format_args!("node {node}"), &map);
            match seen {
                Ok(true) => self.trace.count("shard-map-versions", 1),
                Ok(false) => {}
                Err(detail) => self.checks.report("shard map", detail),
            }
            // Whoever looks after the node starts it again when a disk has failed it.
            slot.halted_since = halted.then(|| slot.halted_since.unwrap_or(now));
            if slot.halted_since.is_some_and(|since| now - since > 1_500 * MS) {
                restart.push(*node);
            }
        }
        self.look_at_holdings();
        for node in restart {
            self.trace.note(now, "restart-halted", &[u64::from(node.0)], || format!("node {node}"));
            self.stop(node, false, 500 * MS);
        }
    }
}

fn nanos(duration: std::time::Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

#[expect(clippy::disallowed_methods, reason = "only differences to it are ever looked at")]
fn origin_of_time() -> Instant {
    Instant::now()
}

impl Drop for World {
    fn drop(&mut self) {
        // Tasks hold processes, processes hold tasks: they go one after the other.
        self.executor.clear();
        for slot in self.slots.values_mut() {
            let process = slot.process.take();
            self.executor.within(slot.home.unwrap_or(0), || drop(process));
        }
        for node in (1..=self.settings.nodes).map(NodeId) {
            self.around.net.disconnect(node);
        }
        self.executor.clear();
        planted::plant(None);
    }
}

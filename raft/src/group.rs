//! One running replica of a group: its Raft instance, its state, and what is under way.

mod closed;
mod hold;
mod readers;
mod sleep;
mod writers;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::StreamExt;
use hexpop_edge_config::{GroupId, NodeId, RaftId, codec};
use hexpop_shard::{Command, LogPosition, Reply};
use openraft::{
    AsyncRuntime, Instant as _, Raft, ServerState,
    alias::WatchReceiverOf,
    async_runtime::watch::WatchReceiver,
    errors::{ClientWriteError, Fatal, RaftError},
    metrics::RaftMetrics,
    raft::{AppendEntriesRequest, AppendEntriesResponse},
};
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use crate::{
    api::Proposed,
    error::{ControlError, ProposeError},
    host::Birth,
    machine::{Machine, Replica},
    metrics::Metrics,
    observe::Observed,
    read::ReadLease,
    rpc::Refused,
    snapshot::Receiving,
    types::{Proposal, TypeConfig},
};

use closed::Closed;
use hold::Hold;
use readers::Told;
pub(crate) use sleep::ParkedOf;
use writers::Counted;

/// How many appends of a group may wait for its Raft instance.
const APPENDS_WAITING: usize = 1024;

/// How many appends of a group are handed to its Raft instance before the first is answered.
const APPENDS_UNDER_WAY: usize = 64;

pub(crate) type RaftOf<R> = Raft<TypeConfig<R>, Machine>;
pub(crate) type MetricsOf<R> = RaftMetrics<TypeConfig<R>>;

type AppendAnswer<R> = Result<AppendEntriesResponse<TypeConfig<R>>, Refused>;

/// One append on its way to the Raft instance.
pub(crate) struct AppendJob<R: AsyncRuntime> {
    rpc: AppendEntriesRequest<TypeConfig<R>>,
    answer: oneshot::Sender<AppendAnswer<R>>,
}

/// A running replica.
pub(crate) struct Group<R: AsyncRuntime> {
    pub(crate) id: GroupId,
    pub(crate) raft: RaftOf<R>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) birth: Birth,
    metrics: WatchReceiverOf<TypeConfig<R>, MetricsOf<R>>,
    appends: mpsc::Sender<AppendJob<R>>,
    permits: Arc<Semaphore>,
    /// Until then no vote is given; `None` for a replica that never gave one.
    grace_until: Option<R::Instant>,
    closed: Mutex<Option<Closed<R::Instant>>>,
    started: R::Instant,
    /// Whether the replica has been as new as its leader was at some time since the start.
    has_caught_up: AtomicBool,
    pub(crate) receiving: Receiving,
    /// When this replica saw the present leader first.
    leader_since: Mutex<R::Instant>,
    leader_seen: AtomicU64,
    /// When the last append or heartbeat came, or the last vote was given.
    heard_leader: Mutex<R::Instant>,
    /// Whether a change of the group is being carried out.
    pub(crate) busy: AtomicBool,
    /// Placement leaves the group alone, since an operation changes it.
    held: Mutex<Hold<R::Instant>>,
    /// openraft's view changed. Beside its `watch`, which wakes those who wait in an order of chance.
    pub(crate) changed: Notify,
    /// What is parked on this node, this group among it perhaps.
    parked: ParkedOf<R>,
    /// Whether this group is parked here.
    asleep: AtomicBool,
    /// Whether openraft's timer runs.
    ticks: AtomicBool,
    /// What is under way that the group must be awake for.
    uses: AtomicUsize,
    /// Whether there was something to do lately.
    active: AtomicBool,
    /// When it was woken last; at first, when it started.
    woken: Mutex<R::Instant>,
    /// The last term in which this replica led, and since when.
    began_to_lead: Mutex<(u64, R::Instant)>,
    wakes: IntCounter,
    pub(crate) observed: Observed,
    counted: Counted<R::Instant>,
    told: Told<R::Instant>,
    /// Reads that were answered from here.
    pub(crate) reads: AtomicU64,
    proposals_max: usize,
    /// For how long voters vote for nobody else after they heard the leader.
    pub(crate) lease: Duration,
    /// The leader's, for reads.
    pub(crate) read_lease: ReadLease,
}

/// What a group is made with.
pub(crate) struct Start<R: AsyncRuntime> {
    pub(crate) id: GroupId,
    pub(crate) raft: RaftOf<R>,
    pub(crate) replica: Arc<Replica>,
    pub(crate) birth: Birth,
    /// How many proposals may be under way.
    pub(crate) proposals_max: usize,
    /// For how long no vote is given; `None` for a replica that never gave one.
    pub(crate) grace: Option<Duration>,
    /// What is parked on the node.
    pub(crate) parked: ParkedOf<R>,
    /// Counts the times that a parked group woke.
    pub(crate) wakes: IntCounter,
    pub(crate) observed: Observed,
    /// The voters' lease.
    pub(crate) lease: Duration,
    /// The leader's, for reads.
    pub(crate) read_lease: ReadLease,
}

impl<R: AsyncRuntime> std::fmt::Debug for Group<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Group").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<R: AsyncRuntime> Group<R> {
    /// Wraps a Raft instance that was just started, and starts what belongs to it.
    pub(crate) fn new(start: Start<R>) -> Arc<Self> {
        let Start {
            id,
            raft,
            replica,
            birth,
            proposals_max,
            grace,
            parked,
            wakes,
            observed,
            lease,
            read_lease,
        } = start;
        let (appends, queue) = mpsc::channel(APPENDS_WAITING);
        let metrics = raft.metrics();
        let now = R::Instant::now();
        let group = Arc::new(Self {
            id,
            metrics,
            replica,
            birth,
            appends,
            permits: Arc::new(Semaphore::new(proposals_max)),
            grace_until: grace.map(|grace| now + grace),
            closed: Mutex::new(None),
            started: now,
            has_caught_up: AtomicBool::new(false),
            receiving: Receiving::default(),
            leader_since: Mutex::new(now),
            leader_seen: AtomicU64::new(0),
            heard_leader: Mutex::new(now),
            busy: AtomicBool::new(false),
            held: Mutex::new(Hold { term: 0, set: now, until: now }),
            changed: Notify::new(),
            parked,
            asleep: AtomicBool::new(false),
            ticks: AtomicBool::new(false),
            uses: AtomicUsize::new(0),
            active: AtomicBool::new(false),
            woken: Mutex::new(now),
            began_to_lead: Mutex::new((0, now)),
            wakes,
            observed,
            counted: Counted::new(now),
            told: Told::new(now),
            reads: AtomicU64::new(0),
            proposals_max,
            lease,
            read_lease,
            raft: raft.clone(),
        });
        drop(R::spawn(feed_appends::<R>(raft, queue)));
        group
    }

    /// Openraft's view of the group, as last reported.
    pub(crate) fn raft_metrics(&self) -> MetricsOf<R> {
        self.metrics.borrow_watched().clone()
    }

    /// Looks at openraft's view without copying it.
    pub(crate) fn with_metrics<T>(&self, look: impl FnOnce(&MetricsOf<R>) -> T) -> T {
        look(&self.metrics.borrow_watched())
    }

    /// A receiver of openraft's view.
    pub(crate) fn watch_metrics(&self) -> WatchReceiverOf<TypeConfig<R>, MetricsOf<R>> {
        self.metrics.clone()
    }

    /// Who leads, as far as known here.
    pub(crate) fn leader(&self) -> Option<(RaftId, NodeId)> {
        self.with_metrics(|metrics| {
            let leader = metrics.current_leader?;
            let node = metrics.membership_config.membership().get_node(&leader)?.id();
            Some((RaftId(leader), node))
        })
    }

    /// The node of [`leader`](Self::leader).
    pub(crate) fn leader_node(&self) -> Option<NodeId> {
        self.leader().map(|(_, node)| node)
    }

    /// Whether this replica believes to lead.
    pub(crate) fn leads(&self) -> bool {
        self.with_metrics(|metrics| metrics.state == ServerState::Leader)
    }

    /// Why the replica halted, if it did.
    pub(crate) fn fault(&self) -> Option<String> {
        self.replica.fault().or_else(|| {
            self.with_metrics(|metrics| metrics.running_state.as_ref().err().map(Fatal::to_string))
        })
    }

    /// Notes who leads; answers whether that changed to another leader.
    pub(crate) fn note_leader(&self) -> bool {
        let now = self.with_metrics(|metrics| metrics.current_leader.unwrap_or(0));
        let before = self.leader_seen.swap(now, Ordering::Relaxed);
        if before == now {
            return false;
        }
        *self.leader_since.lock() = R::Instant::now();
        now != 0
    }

    /// Has placement leave the group alone for a while ([`Hold`]).
    pub(crate) fn hold(&self, time: Duration) {
        let set = R::Instant::now();
        *self.held.lock() = Hold { term: self.term(), set, until: set + time };
    }

    /// Whether an operation changes the group.
    pub(crate) fn is_held(&self) -> bool {
        self.held.lock().holds(self.term(), R::Instant::now())
    }

    fn term(&self) -> u64 {
        self.with_metrics(|metrics| metrics.current_term)
    }

    /// Whether this replica, as a leader, has applied an entry of its term, and with it everything that
    /// was committed before.
    pub(crate) fn has_applied_own_term(&self) -> bool {
        let term = self.with_metrics(|metrics| metrics.current_term);
        self.replica.applied().term == term
    }

    /// How long the present leader has been seen.
    pub(crate) fn leader_age(&self) -> Duration {
        self.leader_since.lock().elapsed()
    }

    /// When a leader, or who got this replica's vote, was heard last; no earlier than the start.
    pub(crate) fn heard_leader(&self) -> R::Instant {
        *self.heard_leader.lock()
    }

    /// A leader was heard, or a candidate got this replica's vote.
    pub(crate) fn note_heard(&self) {
        *self.heard_leader.lock() = R::Instant::now();
    }

    /// Whether votes must not be given yet.
    pub(crate) fn in_grace(&self) -> bool {
        self.grace_until.is_some_and(|until| R::Instant::now() < until)
            || self.replica.state().epoch().conf < self.birth.votes_from_conf
    }

    /// Queues an append, in the order of calls; the answer comes through the receiver.
    pub(crate) fn append(
        &self,
        rpc: AppendEntriesRequest<TypeConfig<R>>,
    ) -> Result<oneshot::Receiver<AppendAnswer<R>>, Refused> {
        self.note_heard();
        let (answer, receiver) = oneshot::channel();
        match self.appends.try_send(AppendJob { rpc, answer }) {
            Ok(()) => Ok(receiver),
            Err(mpsc::error::TrySendError::Full(_)) => Err(Refused::Busy),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(Refused::Halted),
        }
    }

    /// Proposes a command and waits until it is applied here.
    pub(crate) async fn propose(
        &self,
        command: &Command,
        bytes_max: usize,
        deadline: Duration,
        metrics: &Arc<Metrics>,
    ) -> Result<Proposed, ProposeError> {
        if let Some(fault) = self.fault() {
            return Err(ProposeError::Unavailable(fault));
        }
        if !self.leads() {
            return Err(ProposeError::NotLeader { leader: self.leader_node() });
        }
        // What would be refused at apply takes no place in the log.
        let refusal = {
            let state = self.replica.state();
            state.check(command).err().map(|refusal| (state.applied(), state.epoch(), refusal))
        };
        if let Some((position, epoch, refusal)) = refusal {
            return Ok(Proposed { position, epoch, reply: Reply::Refused(refusal) });
        }
        let bytes =
            codec::encode(command).map_err(|error| ProposeError::Invalid(error.to_string()))?;
        if bytes.len() > bytes_max {
            return Err(ProposeError::Invalid(format!(
                "{} bytes, at most {bytes_max}",
                bytes.len()
            )));
        }
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            return Err(ProposeError::Overloaded);
        };
        let (answer, receiver) = oneshot::channel();
        let raft = self.raft.clone();
        let started = R::Instant::now();
        // The permit is held until openraft is done with the proposal, also when the caller gave
        // up: it bounds what is under way, not who waits.
        drop(R::spawn(async move {
            let written = raft.client_write(Proposal(Bytes::from(bytes))).await;
            drop(permit);
            drop(answer.send(written));
        }));
        let written = match R::timeout(deadline, receiver).await {
            Ok(Ok(written)) => written,
            Ok(Err(_)) => return Err(ProposeError::Unknown("the replica stopped".to_owned())),
            Err(_) => return Err(ProposeError::Unknown("not applied in time".to_owned())),
        };
        let written = written.map_err(|error| self.propose_error(error))?;
        metrics.commit_seconds.observe(started.elapsed().as_secs_f64());
        let reply: Reply = codec::decode(&written.data.0)
            .map_err(|error| ProposeError::Unknown(format!("the reply: {error}")))?;
        let id = written.log_id;
        Ok(Proposed {
            position: LogPosition { term: id.leader_id.term, index: id.index },
            epoch: self.replica.state().epoch(),
            reply,
        })
    }

    fn propose_error(
        &self,
        error: RaftError<TypeConfig<R>, ClientWriteError<TypeConfig<R>>>,
    ) -> ProposeError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                ProposeError::NotLeader { leader: forward.leader_node.map(|node| node.id()) }
            }
            RaftError::APIError(error @ ClientWriteError::LogEntryDiscarded(_)) => {
                ProposeError::Unknown(error.to_string())
            }
            RaftError::APIError(error) => ProposeError::Invalid(error.to_string()),
            // The entry may have been sent to others before the instance stopped.
            RaftError::Fatal(error) => ProposeError::Unknown(error.to_string()),
        }
    }

    /// Hands the leadership to the voter on `to`, and waits until it leads.
    pub(crate) async fn transfer(
        &self,
        to: NodeId,
        deadline: Duration,
    ) -> Result<(), ControlError> {
        let target = self.with_metrics(|metrics| {
            if metrics.state != ServerState::Leader {
                return Err(ControlError::NotLeader { leader: None });
            }
            let membership = metrics.membership_config.membership();
            membership
                .voter_ids()
                .find(|id| membership.get_node(id).is_some_and(|node| node.id() == to))
                .ok_or(ControlError::NoVoter(to))
        });
        let target = match target {
            Err(ControlError::NotLeader { .. }) => {
                return Err(ControlError::NotLeader { leader: self.leader_node() });
            }
            target => target?,
        };
        let _use = self.begin_use();
        self.wake_for(deadline).await;
        let unavailable =
            |error: Fatal<TypeConfig<R>>| ControlError::Unavailable(error.to_string());
        self.raft.trigger().transfer_leader(target).await.map_err(unavailable)?;
        let mut seen = self.watch_metrics();
        let until = R::Instant::now() + deadline;
        loop {
            if seen.borrow_watched().current_leader == Some(target) {
                return Ok(());
            }
            match R::timeout_at(until, seen.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(ControlError::Unavailable("stopped".to_owned())),
                Err(_) => return Err(ControlError::Timeout),
            }
        }
    }

    /// Stops the Raft instance.
    pub(crate) async fn stop(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(group = %self.id, %error, "the Raft instance did not stop cleanly");
        }
    }
}

/// Hands appends to the Raft instance in the order in which they arrived; several are under way at
/// a time, so that one flush of the log serves many.
///
/// Not `Raft::stream_append`: it ends at the first conflict, and the appends behind it, which may
/// be of another stream of the leader (heartbeats have their own), would lose their answers.
async fn feed_appends<R: AsyncRuntime>(raft: RaftOf<R>, queue: mpsc::Receiver<AppendJob<R>>) {
    let jobs = futures::stream::unfold(queue, |mut queue| async move {
        queue.recv().await.map(|job| (job, queue))
    });
    let mut answers = std::pin::pin!(
        jobs.map(|job| {
            let raft = raft.clone();
            async move {
                let answer = raft.append_entries(job.rpc).await;
                drop(job.answer.send(answer.map_err(|error| {
                    tracing::debug!(%error, "an append met a stopped replica");
                    Refused::Halted
                })));
            }
        })
        .buffered(APPENDS_UNDER_WAY)
    );
    while answers.next().await.is_some() {}
}

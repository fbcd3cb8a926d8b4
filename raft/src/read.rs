//! Reading from a replica, at the level of freshness that is asked for.
//!
//! - `eventual`: what the replica has; sessions not before it has caught up with its leader once since
//!   its start, since what it has then may be older than the erasure of a user. A learner that has not,
//!   which may have nothing yet, refuses at once, for `bounded` too.
//! - `bounded`: the replica proves its age. A leader publishes *closed* positions: what it had
//!   committed when a quorum last confirmed that it leads. A follower asks for them and reckons the
//!   age from when it *sent* its question, on its own clock, so that no delay on the way makes an
//!   answer look fresher than it is.
//! - `strong`: read index. The leader confirms with a quorum, after the read arrived, that it still
//!   leads; a follower asks the leader for that index and waits until it has applied it. Where
//!   [`Options::lease_reads`](crate::Options::lease_reads) is set, an answer of a quorum that is younger
//!   than the read lease will do.

use std::{sync::Arc, time::Duration};

use futures::future::{Either, select};
use hexpop_edge_config::{
    Epoch, GroupId, NodeId, RaftId,
    planted::{self, Bug},
};
use hexpop_shard::{LogPosition, ReadAnswer, ReadOp, Refusal};
use openraft::{
    AsyncRuntime, Instant as _, LinearizerOption, ServerState,
    errors::{LinearizableReadError, RaftError},
};
use prometheus::IntCounter;

use crate::{
    api::{ReadLevel, ReadResult},
    error::ReadError,
    group::Group,
    host::Inner,
    port::Lane,
    rpc::{Refused, Request, Response, millis_up},
    types::{LogId, TypeConfig},
    wire::WireError,
};

/// A read that is being made fresh enough.
pub(crate) struct Read<'a, R: AsyncRuntime> {
    pub(crate) inner: &'a Arc<Inner<R>>,
    pub(crate) group: &'a Arc<Group<R>>,
    pub(crate) until: R::Instant,
}

impl<R: AsyncRuntime> Read<'_, R> {
    fn remaining(&self) -> Duration {
        self.until.saturating_duration_since(R::Instant::now())
    }

    fn unmet(&self) -> ReadError {
        ReadError::StalenessUnmet { leader: self.group.leader_node() }
    }

    /// Asks another replica. `None`: its node fell silent meanwhile, and nobody waits for it any longer.
    async fn ask(
        &self,
        (raft, node): (RaftId, NodeId),
        request: Request<R>,
    ) -> Option<Result<Response<R>, WireError>> {
        let wire = &self.inner.wire;
        let answer = wire.call(node, Some(raft), Lane::Raft, request, self.remaining());
        match select(answer, self.inner.lost(node)).await {
            Either::Left((answer, _lost)) => Some(answer),
            Either::Right(((), _answer)) => None,
        }
    }

    /// Waits until the entry of `index` is applied here.
    async fn reach(&self, index: u64) -> Result<(), ReadError> {
        if self.group.replica.applied().index >= index {
            return Ok(());
        }
        R::timeout_at(self.until, self.group.replica.reached(index))
            .await
            .map_err(|_elapsed| self.unmet())
    }

    /// Makes the replica fresh enough for `level` and `min`, and reads.
    pub(crate) async fn run(
        &self,
        level: ReadLevel,
        min: Option<LogPosition>,
        op: &ReadOp,
    ) -> Result<ReadResult, ReadError> {
        if let Some(fault) = self.group.fault() {
            return Err(ReadError::Unavailable(fault));
        }
        // Whoever asked goes on to another: filling it may take long.
        if level != ReadLevel::Strong && self.group.is_filling() {
            return Err(self.unmet());
        }
        if let Some(min) = min {
            self.reach(min.index).await?;
        }
        if level != ReadLevel::Strong && self.group.birth.holds_sessions() {
            self.catch_up().await?;
        }
        match level {
            ReadLevel::Eventual => Ok(self.answer(op, None)),
            ReadLevel::Strong => {
                let index = self.read_index().await?;
                self.reach(index).await?;
                Ok(self.unless_sealed(self.answer(op, Some(Duration::ZERO))))
            }
            ReadLevel::Bounded { max_staleness_ms } => {
                let bounded = self.bounded(Duration::from_millis(max_staleness_ms), op).await;
                // Of a sealed shard no age can be proved.
                match bounded {
                    Err(_) if self.group.replica.is_sealed() => {
                        Ok(self.unless_sealed(self.answer(&ReadOp::Counts, None)))
                    }
                    bounded => bounded,
                }
            }
        }
    }

    /// Waits until the replica is as new as its leader was at some time since the start.
    async fn catch_up(&self) -> Result<(), ReadError> {
        if self.group.has_caught_up() {
            return Ok(());
        }
        let index = self.pull_closed().await?;
        self.reach(index).await?;
        if self.group.has_caught_up() { Ok(()) } else { Err(self.unmet()) }
    }

    async fn bounded(&self, max: Duration, op: &ReadOp) -> Result<ReadResult, ReadError> {
        let applied = self.group.replica.applied().index;
        if self.group.staleness(applied).is_none_or(|age| age > max) {
            let index = self.pull_closed().await?;
            self.reach(index).await?;
        }
        // Measured again: waiting made it older.
        let result = self.answer(op, None);
        match result.staleness_ms {
            Some(age) if age <= millis_up(max) => {
                if let Some((observer, _)) = &self.group.observed.0
                    && self.group.sleeps()
                {
                    observer.read_asleep();
                }
                Ok(result)
            }
            _ => Err(self.unmet()),
        }
    }

    /// What was read, unless the shard is sealed: another one may take writes for its keys already.
    fn unless_sealed(&self, result: ReadResult) -> ReadResult {
        if !self.group.replica.is_sealed() {
            return result;
        }
        let refusal = Refusal::Sealed { shard: self.group.id };
        ReadResult { answer: ReadAnswer::Refused(refusal), ..result }
    }

    /// How far behind the leader the replica may be that has applied the entry of `index`. What is known of
    /// the keys of a sealed shard says nothing of what was written since where they are now.
    fn staleness(&self, index: u64) -> Option<Duration> {
        if self.group.replica.is_sealed() { None } else { self.group.staleness(index) }
    }

    /// Reads; state and position are of the same moment.
    fn answer(&self, op: &ReadOp, staleness: Option<Duration>) -> ReadResult {
        let documents = self.group.replica.documents();
        if let Some(view) = self.group.replica.listings()
            && let Some(answer) = view.read(op, documents)
        {
            let staleness = staleness.or_else(|| self.staleness(view.applied().index));
            return ReadResult {
                answer,
                position: view.applied(),
                epoch: view.epoch(),
                staleness_ms: staleness.map(millis_up),
                leader: self.group.leads(),
            };
        }
        let state = self.group.replica.state();
        let staleness = staleness.or_else(|| self.staleness(state.applied().index));
        ReadResult {
            answer: state.read(op, documents),
            position: state.applied(),
            epoch: state.epoch(),
            staleness_ms: staleness.map(millis_up),
            leader: self.group.leads(),
        }
    }

    /// The index that a linearizable read must have applied.
    async fn read_index(&self) -> Result<u64, ReadError> {
        if self.group.leads() {
            return match read_index_as_leader(
                self.group,
                Some(&self.group.read_lease),
                self.remaining(),
            )
            .await
            {
                Ok(id) => Ok(id.index),
                Err(Refused::NotLeader { leader }) => Err(ReadError::NotLeader { leader }),
                Err(refused) => Err(ReadError::Unavailable(refused.to_string())),
            };
        }
        let Some(leader) = self.group.leader() else {
            return Err(ReadError::NotLeader { leader: None });
        };
        let wait_ms = millis_up(self.remaining());
        let request = Request::<R>::ReadIndex { group: self.group.id, wait_ms };
        match self.ask(leader, request).await {
            Some(Ok(Response::ReadIndex(id))) => Ok(id.index),
            Some(Ok(_)) => Err(ReadError::Unavailable("an answer of another kind".to_owned())),
            Some(Err(WireError::Refused(Refused::NotLeader { leader }))) => {
                Err(ReadError::NotLeader { leader })
            }
            Some(Err(error)) => Err(ReadError::Unavailable(error.to_string())),
            None => Err(ReadError::NotLeader { leader: None }),
        }
    }

    /// Asks the leader for its closed position, and answers the index to be applied.
    async fn pull_closed(&self) -> Result<u64, ReadError> {
        if self.group.leads() {
            // Its last confirmation is too old: a read index makes a new one.
            return self.read_index().await;
        }
        let Some(leader) = self.group.leader() else {
            return Err(self.unmet());
        };
        let asked = R::Instant::now();
        let request = Request::<R>::Closed { groups: vec![self.group.id] };
        let Some(Ok(Response::Closed(positions))) = self.ask(leader, request).await else {
            return Err(self.unmet());
        };
        let closed = positions
            .into_iter()
            .find(|closed| closed.group == self.group.id)
            .ok_or_else(|| self.unmet())?;
        let age = Duration::from_millis(closed.age_ms);
        self.group.note_closed(closed.committed.index, asked, age);
        Ok(closed.committed.index)
    }
}

/// For how long a leader may read after a quorum answered it.
#[derive(Debug, Clone)]
pub(crate) struct ReadLease {
    /// Zero: it asks each time.
    pub(crate) time: Duration,
    /// Reads for which nobody was asked.
    pub(crate) reads: IntCounter,
}

/// Confirms that this replica leads, and answers the read index: with a quorum that is asked now, unless
/// a quorum answered within `lease`, if one is given.
pub(crate) async fn read_index_as_leader<R: AsyncRuntime>(
    group: &Group<R>,
    lease: Option<&ReadLease>,
    wait: Duration,
) -> Result<LogId, Refused> {
    if planted::has(Bug::StrongWithoutQuorum)
        && let Some(committed) = group.with_metrics(|metrics| metrics.cluster_committed)
    {
        return Ok(committed);
    }
    if planted::has(Bug::LeaseTooLong)
        && let Some(committed) = group.with_metrics(|metrics| {
            let acked = metrics.last_quorum_acked.as_ref()?;
            let leads = metrics.state == ServerState::Leader && acked.elapsed() < group.lease * 3;
            leads.then_some(metrics.cluster_committed).flatten()
        })
    {
        return Ok(committed);
    }
    let _use = group.begin_use();
    group.wake();
    let lease = lease.filter(|lease| !lease.time.is_zero());
    if let Some(lease) = lease {
        let is_valid = group.with_metrics(|metrics| {
            metrics.last_quorum_acked.as_ref().is_some_and(|acked| acked.elapsed() < lease.time)
        });
        if is_valid {
            lease.reads.inc();
            if let Some((observer, _)) = &group.observed.0 {
                observer.read_by_lease();
            }
        }
    }
    let lease = lease.map_or(Duration::ZERO, |lease| lease.time);
    let option = LinearizerOption::new(Some(lease), true).with_wait_timeout(wait);
    let reading = group.raft.get_read_linearizer(option);
    match R::timeout(wait, reading).await {
        Ok(Ok(linearizer)) => Ok(*linearizer.read_log_id().log_id()),
        Ok(Err(error)) => Err(refused(error)),
        Err(_) => Err(Refused::Failed("no quorum confirmed the leader in time".to_owned())),
    }
}

fn refused<R: AsyncRuntime>(
    error: RaftError<TypeConfig<R>, LinearizableReadError<TypeConfig<R>>>,
) -> Refused {
    match error {
        RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => {
            Refused::NotLeader { leader: forward.leader_node.map(|node| node.id()) }
        }
        RaftError::APIError(error) => Refused::Failed(error.to_string()),
        RaftError::Fatal(_) => Refused::Halted,
    }
}

/// Whether a caller that believed `epoch` of a group may be answered by a replica that has
/// `current`. The meta group has no range, and takes every epoch.
pub(crate) fn epoch_matches(group: GroupId, epoch: Epoch, current: Epoch) -> bool {
    group == GroupId::META || epoch.version == current.version
}

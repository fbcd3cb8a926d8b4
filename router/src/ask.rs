//! One request to one shard: which replica gets it, and what happens when that does not answer.

use std::{collections::BTreeMap, marker::PhantomData, pin::pin, sync::Arc, time::Duration};

use futures::{
    StreamExt,
    future::{BoxFuture, Either, select},
    stream::FuturesUnordered,
};
use hexpop_edge_config::{NodeId, RequestId, ShardId};
use hexpop_shard::{
    LogPosition, Op, ReadAnswer, ReadOp, Refusal, Reply, ShardDescriptor, ShardKey, ShardMap,
};
use openraft_rt::AsyncRuntime;
use parking_lot::Mutex;
use rand::Rng;

use crate::{
    breakers::{Breakers, Class, Target},
    consistency::{Level, ReadPoint},
    deadline::Deadline,
    error::{Problem, RouteError, WriteOutcome},
    metrics::Metrics,
    options::RouterOptions,
    origin::Uptime,
    port::{LocalShard, PeerClient, PeerError, Peers},
    retry::Retry,
    route::{Candidate, for_leader, for_read, newer_of},
    wire::{AnswerBody, ShardAnswer, ShardError, ShardOp, ShardRequest},
};

/// What a request is about: how its shard is found again when the map has changed.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// The shard that holds this key.
    Key(ShardKey),
    /// This shard, as long as its range is this.
    Shard(ShardDescriptor),
}

impl Place {
    fn find(&self, map: &ShardMap) -> Result<ShardDescriptor, RouteError> {
        match self {
            Self::Key(key) => map.locate(key).cloned().ok_or_else(|| RouteError::no_shard(map)),
            // The map may be newer or older than where the descriptor is from.
            Self::Shard(asked) => match map.get(asked.id) {
                Some(known) if known.epoch > asked.epoch && known.range == asked.range => {
                    Ok(known.clone())
                }
                Some(_) | None => Ok(asked.clone()),
            },
        }
    }

    fn holds(&self, descriptor: &ShardDescriptor) -> bool {
        match self {
            Self::Key(key) => descriptor.range.contains(key),
            Self::Shard(asked) => descriptor.id == asked.id && descriptor.range == asked.range,
        }
    }
}

/// How a read is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadTerms {
    pub(crate) level: Level,
    pub(crate) min_position: Option<LogPosition>,
}

impl ReadTerms {
    pub(crate) const fn at(level: Level) -> Self {
        Self { level, min_position: None }
    }
}

/// What all parts of one client's request share.
#[derive(Debug)]
pub(crate) struct Call<R: AsyncRuntime> {
    pub(crate) deadline: Deadline<R>,
    /// The W3C trace context.
    pub(crate) traceparent: Option<Arc<str>>,
    /// For one attempt at a leader; `None` = as the options say.
    attempt_timeout: Option<Duration>,
}

impl<R: AsyncRuntime> Call<R> {
    pub(crate) const fn new(deadline: Deadline<R>, traceparent: Option<Arc<str>>) -> Self {
        Self { deadline, traceparent, attempt_timeout: None }
    }

    /// The same with more or less time for one attempt.
    pub(crate) const fn with_attempt_timeout(mut self, time: Duration) -> Self {
        self.attempt_timeout = Some(time);
        self
    }

    /// A call of the node itself.
    pub(crate) fn own(time: Duration) -> Self {
        Self::new(Deadline::after(time), None)
    }
}

impl<R: AsyncRuntime> Clone for Call<R> {
    fn clone(&self) -> Self {
        let (deadline, traceparent) = (self.deadline, self.traceparent.clone());
        Self { deadline, traceparent, attempt_timeout: self.attempt_timeout }
    }
}

/// An answer, and who gave it.
#[derive(Debug, Clone)]
pub(crate) struct Answered<T> {
    pub(crate) body: T,
    pub(crate) by: NodeId,
    pub(crate) level: Level,
    pub(crate) point: ReadPoint,
}

impl<T> Answered<T> {
    /// The same with the part of the body that was asked for; an answer of another kind is the
    /// shard's mistake.
    pub(crate) fn expect_body<U>(
        self,
        pick: impl FnOnce(T) -> Option<U>,
    ) -> Result<Answered<U>, RouteError> {
        let Self { body, by, level, point } = self;
        let body = pick(body).ok_or_else(|| {
            let detail = format!("shard {} gave an answer out of place", point.shard);
            RouteError::new(Problem::ShardUnavailable, detail)
        })?;
        Ok(Answered { body, by, level, point })
    }
}

/// Asks shards.
pub(crate) struct Asker<R: AsyncRuntime> {
    options: RouterOptions,
    local: Arc<dyn LocalShard>,
    peer: Arc<dyn PeerClient>,
    peers: Arc<dyn Peers>,
    breakers: Arc<Breakers>,
    uptime: Uptime<R>,
    metrics: Metrics,
    /// Whom a `NotLeader` or a successful write named last.
    leaders: Mutex<BTreeMap<ShardId, NodeId>>,
    runtime: PhantomData<fn() -> R>,
}

/// One failed attempt.
#[derive(Debug)]
enum Attempt {
    /// The breaker refused it.
    Refused,
    Peer(PeerError),
    Shard(ShardError),
    /// No answer in the time of the attempt.
    TimedOut,
}

impl Attempt {
    /// Whether it is certain that a write was not applied.
    const fn is_not_applied(&self) -> bool {
        match self {
            Self::Refused => true,
            Self::Peer(error) => error.is_not_executed(),
            Self::Shard(error) => error.is_not_applied(),
            Self::TimedOut => false,
        }
    }

    const fn label(&self) -> &'static str {
        match self {
            Self::Refused => "breaker_open",
            Self::Peer(_) => "unreachable",
            Self::TimedOut => "timeout",
            Self::Shard(error) => match error {
                ShardError::StaleEpoch { .. } => "stale_epoch",
                ShardError::NotLeader { .. } => "not_leader",
                ShardError::NotHere => "not_here",
                ShardError::StalenessUnmet => "staleness_unmet",
                ShardError::Overloaded { .. } => "overloaded",
                ShardError::Unavailable { .. } => "unavailable",
                ShardError::Unknown { .. } => "unknown",
                ShardError::Invalid { .. } => "invalid",
            },
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Refused => "its breaker is open".to_owned(),
            Self::Peer(error) => error.to_string(),
            Self::Shard(error) => error.to_string(),
            Self::TimedOut => "it did not answer in time".to_owned(),
        }
    }
}

impl<R: AsyncRuntime> Asker<R> {
    #[expect(clippy::too_many_arguments, reason = "called once, with the router's own parts")]
    pub(crate) fn new(
        options: RouterOptions,
        local: Arc<dyn LocalShard>,
        peer: Arc<dyn PeerClient>,
        peers: Arc<dyn Peers>,
        breakers: Arc<Breakers>,
        uptime: Uptime<R>,
        metrics: Metrics,
    ) -> Self {
        let leaders = Mutex::default();
        let runtime = PhantomData;
        Self { options, local, peer, peers, breakers, uptime, metrics, leaders, runtime }
    }

    /// The newest shard map of this node.
    pub(crate) fn map(&self) -> Arc<ShardMap> {
        self.local.map()
    }

    /// Whether this node leads a shard, as far as it knows.
    pub(crate) fn leads(&self, shard: ShardId) -> bool {
        self.local.replica(shard).is_some_and(|replica| replica.is_leader)
    }

    /// Reads from a shard.
    pub(crate) async fn read(
        &self,
        place: &Place,
        terms: ReadTerms,
        op: ReadOp,
        call: &Call<R>,
    ) -> Result<Answered<ReadAnswer>, RouteError> {
        let mut shard = place.find(&self.map())?;
        let mut relocated = false;
        loop {
            let result = if terms.level == Level::Strong {
                let op = ShardOp::Read(op.clone());
                self.at_leader(&shard, terms, op, call).await
            } else {
                self.at_any(&shard, terms, &op, call).await
            };
            match result.and_then(|(answer, by)| read_answer(&shard, answer, by)) {
                Ok(answered) => return Ok(answered),
                Err(Failure::Stale(newer)) if !relocated => {
                    relocated = true;
                    shard = self.relocate(place, &shard, &newer)?;
                }
                Err(failure) => return Err(failure.to_error(&shard, false)),
            }
        }
    }

    /// Proposes a command; the answer is that of the state machine, durable at a quorum.
    ///
    /// `request` makes repeats harmless; without it the command itself must be.
    pub(crate) async fn write(
        &self,
        place: &Place,
        request: Option<RequestId>,
        op: Op,
        call: &Call<R>,
    ) -> Result<Answered<Reply>, RouteError> {
        let mut shard = place.find(&self.map())?;
        let mut relocated = false;
        loop {
            let write = ShardOp::Write { request, op: op.clone() };
            let terms = ReadTerms::at(Level::Strong);
            let newer = match self.at_leader(&shard, terms, write, call).await {
                Ok((answer, by)) => match written(&shard, answer, by) {
                    Err(Failure::Stale(newer)) => newer,
                    other => return other.map_err(|failure| failure.to_error(&shard, true)),
                },
                Err(Failure::Stale(newer)) => newer,
                Err(failure) => return Err(failure.to_error(&shard, true)),
            };
            if relocated {
                return Err(Failure::Stale(newer).to_error(&shard, true));
            }
            relocated = true;
            shard = self
                .relocate(place, &shard, &newer)
                .map_err(|error| error.with_outcome(WriteOutcome::NotApplied))?;
        }
    }

    /// The descriptor to go on with when the one that was used is out of date.
    fn relocate(
        &self,
        place: &Place,
        asked: &ShardDescriptor,
        newer: &[ShardDescriptor],
    ) -> Result<ShardDescriptor, RouteError> {
        if let Some(found) = newer_of(asked, newer, |descriptor| place.holds(descriptor)) {
            return Ok(found.clone());
        }
        let known = place.find(&self.map())?;
        if known.id != asked.id || known.epoch > asked.epoch {
            return Ok(known);
        }
        let detail = format!("shard {} changes its range or replicas", asked.id);
        Err(RouteError::new(Problem::ShardUnavailable, detail))
    }

    /// Asks replicas, one more whenever the last one fails or is slow; the first answer counts.
    async fn at_any(
        &self,
        shard: &ShardDescriptor,
        terms: ReadTerms,
        op: &ReadOp,
        call: &Call<R>,
    ) -> Result<(ShardAnswer, NodeId), Failure> {
        let mut order = for_read(self.candidates(shard, Class::Read)).into_iter();
        let mut running = FuturesUnordered::new();
        let (mut last, mut asked) = (None, 0_u32);
        let mut ask_next = true;
        loop {
            if std::mem::take(&mut ask_next)
                && let Some(node) = order.next()
            {
                let op = ShardOp::Read(op.clone());
                let attempt =
                    self.attempt(node, shard, terms, op, call, call.deadline, Class::Read);
                let number = asked;
                asked += 1;
                running.push(async move { (node, number, attempt.await) });
            }
            if running.is_empty() {
                break;
            }
            let next = if order.len() > 0 {
                let hedge = pin!(R::sleep(self.options.hedge_after));
                match select(running.next(), hedge).await {
                    Either::Left((next, _hedge)) => next,
                    Either::Right(((), _next)) => {
                        ask_next = true;
                        continue;
                    }
                }
            } else {
                running.next().await
            };
            match next {
                Some((node, number, Ok(answer))) => {
                    if !running.is_empty() {
                        self.metrics.hedged(number > 0);
                    }
                    return Ok((answer, node));
                }
                Some((_node, _number, Err(Attempt::Shard(ShardError::StaleEpoch { newer })))) => {
                    return Err(Failure::Stale(newer));
                }
                Some((_node, _number, Err(attempt))) => {
                    // What is certain about the shard outweighs what is about one connection.
                    let keeps = matches!(last, Some(Attempt::Shard(_)))
                        && !matches!(attempt, Attempt::Shard(_));
                    if !keeps {
                        last = Some(attempt);
                    }
                    ask_next = true;
                }
                None => ask_next = true,
            }
            if call.deadline.has_passed() {
                break;
            }
        }
        if needs_leader(last.as_ref()) && !call.deadline.has_passed() {
            return self.at_leader(shard, terms, ShardOp::Read(op.clone()), call).await;
        }
        Err(Failure::of(last, false))
    }

    /// Asks whoever leads, and follows hints until the deadline or the bound on attempts.
    async fn at_leader(
        &self,
        shard: &ShardDescriptor,
        terms: ReadTerms,
        op: ShardOp,
        call: &Call<R>,
    ) -> Result<(ShardAnswer, NodeId), Failure> {
        let is_write = matches!(op, ShardOp::Write { .. });
        let class = if is_write { Class::Write } else { Class::Read };
        let mut retry = Retry::new(self.options.retry);
        let (mut last, mut unknown) = (None, false);
        let mut order = self.leader_order(shard, class).into_iter();
        let mut hint: Option<NodeId> = None;
        while retry.attempt() && !call.deadline.has_passed() {
            let next = hint.take().or_else(|| order.next());
            let Some(node) = next else {
                // Everybody was asked: an election may be under way.
                if !call.deadline.sleep(retry.pause(random::<R>())).await {
                    break;
                }
                order = self.leader_order(shard, class).into_iter();
                continue;
            };
            let within = call
                .deadline
                .at_most(call.attempt_timeout.unwrap_or(self.options.write_attempt_timeout));
            let attempt =
                match self.attempt(node, shard, terms, op.clone(), call, within, class).await {
                    Ok(answer) => {
                        self.leaders.lock().insert(shard.id, node);
                        return Ok((answer, node));
                    }
                    Err(attempt) => attempt,
                };
            unknown |= is_write && !attempt.is_not_applied();
            match attempt {
                Attempt::Shard(ShardError::StaleEpoch { newer }) if !unknown => {
                    return Err(Failure::Stale(newer));
                }
                Attempt::Shard(ShardError::NotLeader { leader }) => {
                    self.note_leader(shard.id, leader);
                    let other = leader.filter(|leader| *leader != node);
                    if let Some(leader) = other
                        && shard.replica_on(leader).is_some()
                    {
                        // Two that each believe the other to lead are not asked in a tight loop.
                        let pause = retry.pause(random::<R>());
                        if hint_was_followed(last.as_ref()) && !call.deadline.sleep(pause).await {
                            break;
                        }
                        hint = Some(leader);
                    }
                    last = Some(Attempt::Shard(ShardError::NotLeader { leader }));
                }
                Attempt::Shard(
                    error @ (ShardError::Overloaded { .. } | ShardError::Invalid { .. }),
                ) => return Err(Failure::of(Some(Attempt::Shard(error)), unknown)),
                other => {
                    self.forget_leader(shard.id, node);
                    last = Some(other);
                }
            }
        }
        Err(Failure::of(last, unknown))
    }

    /// One attempt at one node, within its breaker.
    #[expect(clippy::too_many_arguments, reason = "all of it goes into one message")]
    fn attempt(
        &self,
        node: NodeId,
        shard: &ShardDescriptor,
        terms: ReadTerms,
        op: ShardOp,
        call: &Call<R>,
        deadline: Deadline<R>,
        class: Class,
    ) -> BoxFuture<'static, Result<ShardAnswer, Attempt>> {
        let request = ShardRequest {
            shard: shard.id,
            epoch: shard.epoch,
            level: terms.level,
            min_position: terms.min_position,
            deadline_ms: deadline.left_ms(),
            traceparent: call.traceparent.as_deref().map(ToOwned::to_owned),
            op,
        };
        let is_local = node == self.options.node;
        let (metrics, is_write) = (self.metrics.clone(), class == Class::Write);
        if is_local {
            let call = self.local.execute(request);
            return Box::pin(async move {
                let result = match deadline.bound(call).await {
                    Ok(result) => result.map_err(Attempt::Shard),
                    Err(_elapsed) => Err(Attempt::TimedOut),
                };
                let label = result.as_ref().map_or_else(Attempt::label, |_answer| "ok");
                metrics.shard_request(is_write, true, label);
                result
            });
        }
        let (breakers, uptime) = (Arc::clone(&self.breakers), self.uptime);
        let peer = Arc::clone(&self.peer);
        Box::pin(async move {
            let result = match breakers.admit(Target::Node(node), class, uptime.now()) {
                None => Err(Attempt::Refused),
                Some(admitted) => {
                    let result = match deadline.bound(peer.call(node, request)).await {
                        Ok(Ok(result)) => result.map_err(Attempt::Shard),
                        Ok(Err(error)) => Err(Attempt::Peer(error)),
                        Err(_elapsed) => Err(Attempt::TimedOut),
                    };
                    // A node that answers is well, whatever it says about the shard.
                    let healthy = matches!(result, Ok(_) | Err(Attempt::Shard(_)));
                    admitted.report(healthy, uptime.now());
                    result
                }
            };
            let label = result.as_ref().map_or_else(Attempt::label, |_answer| "ok");
            metrics.shard_request(is_write, false, label);
            result
        })
    }

    fn candidates(&self, shard: &ShardDescriptor, class: Class) -> Vec<Candidate> {
        let members = self.peers.members();
        let now = self.uptime.now();
        let own = self.options.node;
        shard
            .replicas
            .iter()
            .filter_map(|replica| {
                let node = replica.node;
                let local = node == own;
                // A replica that waits for its first snapshot has nothing to answer with.
                if local && !self.local.replica(shard.id).is_some_and(|replica| replica.ready) {
                    return None;
                }
                let member = members.iter().find(|member| member.node == node);
                Some(Candidate {
                    node,
                    local,
                    same_pop: member.is_some_and(|member| member.pop == self.options.pop),
                    alive: local || member.is_none_or(|member| member.alive),
                    admitted: local || self.breakers.would_admit(Target::Node(node), class, now),
                    rtt: self.peer.rtt(node),
                    voter: shard.voters().any(|voter| voter.node == node),
                })
            })
            .collect()
    }

    fn leader_order(&self, shard: &ShardDescriptor, class: Class) -> Vec<NodeId> {
        let local = self.local.replica(shard.id);
        let own =
            local.as_ref().filter(|replica| replica.is_leader).map(|_leader| self.options.node);
        let believed = local.and_then(|replica| replica.leader);
        let noted = self.leaders.lock().get(&shard.id).copied();
        let hints: Vec<NodeId> = [own, noted, believed].into_iter().flatten().collect();
        let well: Vec<NodeId> = self
            .candidates(shard, class)
            .into_iter()
            .filter(|candidate| candidate.alive && candidate.admitted)
            .map(|candidate| candidate.node)
            .collect();
        for_leader(&hints, shard, |node| well.contains(&node))
    }

    fn note_leader(&self, shard: ShardId, leader: Option<NodeId>) {
        let mut leaders = self.leaders.lock();
        match leader {
            Some(leader) => leaders.insert(shard, leader),
            None => leaders.remove(&shard),
        };
    }

    fn forget_leader(&self, shard: ShardId, node: NodeId) {
        let mut leaders = self.leaders.lock();
        if leaders.get(&shard) == Some(&node) {
            leaders.remove(&shard);
        }
    }

    /// Forgets what concerns shards that are no longer in the map, and nodes that are no longer
    /// members.
    pub(crate) fn prune(&self) {
        let map = self.map();
        self.leaders.lock().retain(|shard, _leader| map.get(*shard).is_some());
        let members = self.peers.members();
        if !members.is_empty() {
            self.breakers.retain(|node| members.iter().any(|member| member.node == node));
        }
    }
}

/// Uniform over all of `u32`. Not held across an await: the generator belongs to its thread.
pub(crate) fn random<R: AsyncRuntime>() -> u32 {
    R::thread_rng().next_u32()
}

const fn hint_was_followed(last: Option<&Attempt>) -> bool {
    matches!(last, Some(Attempt::Shard(ShardError::NotLeader { leader: Some(_) })))
}

const fn needs_leader(last: Option<&Attempt>) -> bool {
    matches!(last, Some(Attempt::Shard(ShardError::StalenessUnmet | ShardError::NotLeader { .. })))
}

/// Why a shard did not answer.
#[derive(Debug)]
enum Failure {
    /// The descriptor is out of date; nothing was done.
    Stale(Vec<ShardDescriptor>),
    /// The state machine refused the command; nothing changed.
    Refused(Refusal),
    /// Nobody answered.
    Nobody {
        /// What the last one said.
        last: Option<Attempt>,
        /// Whether a write may have been applied.
        unknown: bool,
    },
    /// The answer is of another kind than the question.
    Mismatch,
}

impl Failure {
    const fn of(last: Option<Attempt>, unknown: bool) -> Self {
        Self::Nobody { last, unknown }
    }

    fn to_error(&self, shard: &ShardDescriptor, is_write: bool) -> RouteError {
        let id = shard.id;
        let unavailable = |detail: String| RouteError::new(Problem::ShardUnavailable, detail);
        let (error, unknown) = match self {
            Self::Stale(_) => (unavailable(format!("shard {id} is changing its range")), false),
            Self::Refused(refusal) => (refused(refusal), false),
            Self::Mismatch => {
                (unavailable(format!("shard {id} gave an answer out of place")), true)
            }
            Self::Nobody { last, unknown } => (nobody(id, last.as_ref()), *unknown),
        };
        match (is_write, unknown) {
            (false, _) => error,
            (true, false) => error.with_outcome(WriteOutcome::NotApplied),
            (true, true) => error.with_outcome(WriteOutcome::Unknown),
        }
    }
}

pub(crate) fn refused(refusal: &Refusal) -> RouteError {
    let problem = match refusal {
        Refusal::Limit(_) => Problem::Overloaded,
        Refusal::TooLarge { .. } => Problem::TooLarge,
        Refusal::UserQuota { .. } => Problem::TooManyRequests,
        Refusal::Invalid(_) => Problem::InvalidRequest,
        Refusal::StaleEpoch { .. } | Refusal::WrongKey { .. } | Refusal::WrongKind => {
            Problem::ShardUnavailable
        }
    };
    RouteError::new(problem, refusal.to_string())
}

fn nobody(shard: ShardId, last: Option<&Attempt>) -> RouteError {
    match last {
        Some(Attempt::Shard(ShardError::Overloaded { retry_after_ms })) => {
            let after = Duration::from_millis(u64::from(*retry_after_ms));
            RouteError::new(
                Problem::Overloaded,
                format!("the leader of shard {shard} is overloaded"),
            )
            .with_retry_after(after)
        }
        Some(Attempt::Shard(ShardError::StalenessUnmet)) => RouteError::new(
            Problem::StalenessUnmet,
            format!("no replica of shard {shard} can prove the bound on staleness"),
        ),
        Some(last) => RouteError::new(
            Problem::ShardUnavailable,
            format!("no replica of shard {shard} answered; the last one: {}", last.detail()),
        ),
        None => RouteError::new(
            Problem::ShardUnavailable,
            format!("no replica of shard {shard} can be asked"),
        ),
    }
}

fn point(shard: &ShardDescriptor, answer: &ShardAnswer) -> ReadPoint {
    ReadPoint {
        shard: shard.id,
        epoch: answer.epoch,
        position: answer.position,
        staleness_ms: answer.staleness_ms,
    }
}

fn read_answer(
    shard: &ShardDescriptor,
    answer: ShardAnswer,
    by: NodeId,
) -> Result<Answered<ReadAnswer>, Failure> {
    let point = point(shard, &answer);
    match answer.body {
        AnswerBody::Read(ReadAnswer::Refused(
            Refusal::StaleEpoch { .. } | Refusal::WrongKey { .. },
        )) => Err(Failure::Stale(Vec::new())),
        AnswerBody::Read(ReadAnswer::Refused(refusal)) => Err(Failure::Refused(refusal)),
        AnswerBody::Read(body) => Ok(Answered { body, by, level: answer.level_given, point }),
        AnswerBody::Written(_) => Err(Failure::Mismatch),
    }
}

fn written(
    shard: &ShardDescriptor,
    answer: ShardAnswer,
    by: NodeId,
) -> Result<Answered<Reply>, Failure> {
    let point = point(shard, &answer);
    match answer.body {
        AnswerBody::Written(Reply::Refused(
            Refusal::StaleEpoch { .. } | Refusal::WrongKey { .. },
        )) => Err(Failure::Stale(Vec::new())),
        AnswerBody::Written(Reply::Refused(refusal)) => Err(Failure::Refused(refusal)),
        AnswerBody::Written(body) => Ok(Answered { body, by, level: answer.level_given, point }),
        AnswerBody::Read(_) => Err(Failure::Mismatch),
    }
}

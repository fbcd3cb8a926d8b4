//! One request to one shard: which replica gets it, and what happens when that does not answer.

mod failure;
mod order;
mod terms;

use std::{collections::BTreeMap, marker::PhantomData, pin::pin, sync::Arc};

use futures::{
    StreamExt,
    future::{BoxFuture, Either, select},
    stream::FuturesUnordered,
};
use hexpop_edge_config::{
    NodeId, RequestId, ShardId,
    planted::{self, Bug},
};
use hexpop_shard::{Op, ReadAnswer, ReadOp, Reply, ShardDescriptor, ShardMap};
use openraft_rt::AsyncRuntime;
use parking_lot::Mutex;
use rand::Rng;

pub(crate) use self::{
    failure::refused,
    terms::{Answered, Call, Place, ReadTerms},
};
use self::{
    failure::{Attempt, Failure, Led, hint_was_followed, needs_leader, read_answer, written},
    order::Order,
};
use crate::{
    breakers::{Breakers, Class, Target},
    consistency::Level,
    deadline::Deadline,
    error::{Problem, RouteError, WriteOutcome},
    metrics::Metrics,
    options::RouterOptions,
    origin::Uptime,
    port::{LocalShard, PeerClient, Peers},
    retry::Retry,
    route::{Candidate, for_leader, for_read, newer_of},
    wire::{ShardAnswer, ShardError, ShardOp, ShardRequest},
};

/// How often one request follows a shard to where its keys went.
const RELOCATIONS_MAX: u32 = 4;

/// Why a part of a question has no answer.
#[derive(Debug)]
pub(crate) enum Missed {
    /// The shard's range has changed; this is what it says is newer.
    Moved(Vec<ShardDescriptor>),
    /// The shard is about to be absorbed by its neighbour: soon that one answers, or this one again.
    Sealed(RouteError),
    /// Anything else.
    Error(RouteError),
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

impl<R: AsyncRuntime> Asker<R> {
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
        let (mut relocations, mut retry) = (0, Retry::new(self.options.retry));
        let asked = (shard.id, shard.epoch.version);
        loop {
            // A position is of one log, and one version: whatever holds the key by a later one has it all.
            let min_position =
                terms.min_position.filter(|_| asked == (shard.id, shard.epoch.version));
            let terms = ReadTerms { min_position, ..terms };
            match self.read_at(&shard, terms, &op, call).await {
                Ok(answered) => return Ok(answered),
                Err(failure) if failure.is_sealed() && self.waits(&mut retry, call).await => {
                    shard = place.find(&self.map())?;
                }
                Err(Failure::Stale { newer, .. }) if relocations < RELOCATIONS_MAX => {
                    relocations += 1;
                    shard = self.relocate(place, &shard, &newer)?;
                }
                Err(failure) => return Err(failure.to_error(&shard, false)),
            }
        }
    }

    /// Reads from a shard as it is believed to be. Where its range has changed, whoever asks has to ask
    /// what holds its keys now, all of it.
    pub(crate) async fn read_part(
        &self,
        shard: &ShardDescriptor,
        terms: ReadTerms,
        op: &ReadOp,
        call: &Call<R>,
    ) -> Result<Answered<ReadAnswer>, Missed> {
        self.read_at(shard, terms, op, call).await.map_err(|failure| match failure {
            Failure::Stale { newer, .. } => Missed::Moved(newer),
            failure if failure.is_sealed() => Missed::Sealed(failure.to_error(shard, false)),
            failure => Missed::Error(failure.to_error(shard, false)),
        })
    }

    async fn read_at(
        &self,
        shard: &ShardDescriptor,
        terms: ReadTerms,
        op: &ReadOp,
        call: &Call<R>,
    ) -> Result<Answered<ReadAnswer>, Failure> {
        let result = if terms.level == Level::Strong {
            self.at_leader(shard, terms, ShardOp::Read(op.clone()), call).await.map(Led::answer)
        } else {
            self.at_any(shard, terms, op, call).await
        };
        result.and_then(|(answer, by)| read_answer(shard, answer, by))
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
        let (mut relocations, mut was_unknown) = (0, false);
        let mut retry = Retry::new(self.options.retry);
        loop {
            let write = ShardOp::Write { request, op: op.clone() };
            let terms = ReadTerms::at(Level::Strong);
            let answer = self.at_leader(&shard, terms, write, call).await;
            let failure = match answer.and_then(|led| written(&shard, led)) {
                Ok(answered) => return Ok(answered),
                Err(failure) => failure,
            };
            // What an attempt before a change of range may have done stays unknown.
            let outcome = |error: RouteError, unknown: bool| {
                if unknown { error.with_outcome(WriteOutcome::Unknown) } else { error }
            };
            // Whatever an attempt before did is recognised wherever the key is by then.
            if failure.is_sealed() && self.waits(&mut retry, call).await {
                was_unknown |= failure.is_unknown();
                shard = place.find(&self.map())?;
                continue;
            }
            let Failure::Stale { newer, unknown } = failure else {
                return Err(outcome(failure.to_error(&shard, true), was_unknown));
            };
            was_unknown |= unknown;
            if relocations >= RELOCATIONS_MAX {
                let failure = Failure::Stale { newer, unknown: was_unknown };
                return Err(failure.to_error(&shard, true));
            }
            relocations += 1;
            shard = self.relocate(place, &shard, &newer).map_err(|error| {
                outcome(error.with_outcome(WriteOutcome::NotApplied), was_unknown)
            })?;
        }
    }

    /// Waits a moment for a shard that is sealed; `false` when that is over.
    pub(crate) async fn waits(&self, retry: &mut Retry, call: &Call<R>) -> bool {
        retry.attempt() && call.deadline.sleep(retry.pause(random::<R>())).await
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
        self.local.note_read(shard.id);
        let mut order = self.read_order(shard);
        let mut running = FuturesUnordered::new();
        // The nodes that were asked, in that order, unless they failed.
        let mut waiting: Vec<NodeId> = Vec::new();
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
                waiting.push(node);
                running.push(async move { (node, number, attempt.await) });
            }
            if running.is_empty() {
                break;
            }
            let next = if order.has_more() {
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
                    // Those who were asked before and still owe an answer: one that always does,
                    // because it is dead, say, is not asked first for ever.
                    for slow in waiting.into_iter().take_while(|slow| *slow != node) {
                        self.outrun(slow, Class::Read);
                    }
                    return Ok((answer, node));
                }
                Some((_node, _number, Err(Attempt::Shard(ShardError::StaleEpoch { newer })))) => {
                    return Err(Failure::Stale { newer, unknown: false });
                }
                Some((node, _number, Err(attempt))) => {
                    waiting.retain(|waiting| *waiting != node);
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
            let led = self.at_leader(shard, terms, ShardOp::Read(op.clone()), call).await?;
            return Ok(led.answer());
        }
        Err(Failure::of(last, false))
    }

    /// Asks whoever leads, and follows hints until the deadline or the bound on attempts.
    async fn at_leader(
        &self,
        shard: &ShardDescriptor,
        terms: ReadTerms,
        mut op: ShardOp,
        call: &Call<R>,
    ) -> Result<Led, Failure> {
        let is_write = matches!(op, ShardOp::Write { .. });
        let class = if is_write { Class::Write } else { Class::StrongRead };
        let mut retry = Retry::new(self.options.retry);
        let (mut last, mut unknown) = (None, false);
        let mut order = self.leader_first(shard, class);
        let mut hint: Option<NodeId> = None;
        while retry.attempt() && !call.deadline.has_passed() {
            let next = hint.take().or_else(|| order.next());
            let Some(node) = next else {
                // Everybody was asked: an election may be under way.
                if !call.deadline.sleep(retry.pause(random::<R>())).await {
                    break;
                }
                order = self.leader_first(shard, class);
                continue;
            };
            let within = call
                .deadline
                .at_most(call.attempt_timeout.unwrap_or(self.options.write_attempt_timeout));
            let attempt = self.attempt(node, shard, terms, op.clone(), call, within, class);
            let attempt = match attempt.await {
                Ok(answer) => {
                    self.leaders.lock().insert(shard.id, node);
                    return Ok(Led { answer, by: node, unknown });
                }
                Err(attempt) => attempt,
            };
            unknown |= is_write && !attempt.is_not_applied();
            if unknown
                && planted::has(Bug::DuplicateProposal)
                && let ShardOp::Write { request, .. } = &mut op
            {
                *request = None;
            }
            match attempt {
                Attempt::Shard(ShardError::StaleEpoch { newer }) => {
                    return Err(Failure::Stale { newer, unknown });
                }
                Attempt::Shard(ShardError::NotLeader { leader }) => {
                    self.note_leader(shard.id, leader);
                    let heard = |leader: &NodeId| *leader != node && self.local.hears(*leader);
                    let other = leader.filter(heard);
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
                    // Its neighbour has absorbed it, and nobody has it any more.
                    if matches!(other, Attempt::Shard(ShardError::NotHere))
                        && is_retired(&self.map(), shard.id)
                    {
                        return Err(Failure::Stale { newer: Vec::new(), unknown });
                    }
                    last = Some(other);
                }
            }
        }
        Err(Failure::of(last, unknown))
    }

    /// One attempt at one node, within its breaker. It ends when the node falls silent: one that is
    /// dead costs no more than it takes to notice, not the whole time of an attempt.
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
        let (peer, lost) = (Arc::clone(&self.peer), self.local.lost(node));
        Box::pin(async move {
            let result = match breakers.admit(Target::Node(node), class, uptime.now()) {
                None => Err(Attempt::Refused),
                Some(admitted) => {
                    let answered = pin!(deadline.bound(peer.call(node, request)));
                    let result = match select(answered, lost).await {
                        Either::Left((Ok(Ok(result)), _lost)) => result.map_err(Attempt::Shard),
                        Either::Left((Ok(Err(error)), _lost)) => Err(Attempt::Peer(error)),
                        Either::Left((Err(_elapsed), _lost)) => Err(Attempt::TimedOut),
                        Either::Right(((), _answered)) => Err(Attempt::Lost),
                    };
                    match &result {
                        // It is passed over for its silence, and asked again once it is heard.
                        Err(Attempt::Lost) => drop(admitted),
                        // A node that answers is well, whatever it says about the shard.
                        Ok(_) | Err(Attempt::Shard(_)) => admitted.report(true, uptime.now()),
                        Err(_) => admitted.report(false, uptime.now()),
                    }
                    result
                }
            };
            let label = result.as_ref().map_or_else(Attempt::label, |_answer| "ok");
            metrics.shard_request(is_write, false, label);
            result
        })
    }

    /// Tells its breaker that others answered before a node did.
    fn outrun(&self, node: NodeId, class: Class) {
        if node != self.options.node {
            self.breakers.outrun(Target::Node(node), class, self.uptime.now());
        }
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
                    alive: local
                        || member.is_none_or(|member| member.alive) && self.local.hears(node),
                    admitted: local || self.breakers.would_admit(Target::Node(node), class, now),
                    rtt: self.peer.rtt(node),
                    voter: shard.voters().any(|voter| voter.node == node),
                })
            })
            .collect()
    }

    /// Whom to read from: this node's replica, and the others only once it was not enough.
    fn read_order<'a>(
        &'a self,
        shard: &'a ShardDescriptor,
    ) -> Order<impl FnOnce() -> Vec<NodeId> + 'a> {
        let own = self.options.node;
        let is_ready = || self.local.replica(shard.id).is_some_and(|replica| replica.ready);
        let first = (shard.replica_on(own).is_some() && is_ready()).then_some(own);
        let has_others = shard.replicas.iter().any(|replica| Some(replica.node) != first);
        Order::new(first, has_others, move || for_read(self.candidates(shard, Class::Read)))
    }

    /// [`leader_order`](Self::leader_order), which is worked out only once this node has failed as the
    /// leader.
    fn leader_first<'a>(
        &'a self,
        shard: &'a ShardDescriptor,
        class: Class,
    ) -> Order<impl FnOnce() -> Vec<NodeId> + 'a> {
        let own = self.options.node;
        let votes = shard.voters().any(|voter| voter.node == own);
        let first = (votes && self.leads(shard.id)).then_some(own);
        let has_others = shard.voters().any(|voter| Some(voter.node) != first);
        Order::new(first, has_others, move || self.leader_order(shard, class))
    }

    fn leader_order(&self, shard: &ShardDescriptor, class: Class) -> Vec<NodeId> {
        let local = self.local.replica(shard.id);
        let own =
            local.as_ref().filter(|replica| replica.is_leader).map(|_leader| self.options.node);
        let believed = local.and_then(|replica| replica.leader);
        let noted = self.leaders.lock().get(&shard.id).copied();
        // A leader that is not heard any more is asked last: others say who leads by now.
        let hints: Vec<NodeId> = [own, noted, believed]
            .into_iter()
            .flatten()
            .filter(|hint| Some(*hint) == own || self.local.hears(*hint))
            .collect();
        let well: Vec<NodeId> = self
            .candidates(shard, class)
            .into_iter()
            .filter(|candidate| candidate.alive && candidate.admitted)
            .map(|candidate| candidate.node)
            .collect();
        let mut order = for_leader(&hints, shard, |node| well.contains(&node));
        // One that fell silent would be waited for in vain for a whole attempt, while the others elect;
        // once it is heard again it is asked again.
        let is_heard = |node: &NodeId| Some(*node) == own || self.local.hears(*node);
        if order.iter().any(is_heard) {
            order.retain(is_heard);
        }
        order
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

/// Whether a shard was, and is no more.
pub(crate) fn is_retired(map: &ShardMap, shard: ShardId) -> bool {
    map.get(shard).is_none() && map.was_used(shard)
}

/// Uniform over all of `u32`. Not held across an await: the generator belongs to its thread.
pub(crate) fn random<R: AsyncRuntime>() -> u32 {
    R::thread_rng().next_u32()
}

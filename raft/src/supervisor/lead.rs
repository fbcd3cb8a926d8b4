//! What a leader owes its group: a membership that the map knows, the replicas that placement wants,
//! a place near its writers, and the time.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use hexpop_edge_config::{Epoch, NodeId, RaftId, ShardId};
use hexpop_shard::{
    Learners, Member, MetaOp, Op, ReadersOf, Replica, ReplicaRole, ShardDescriptor, Space,
    StepKind, SystemGroup, World, Writers, plan_led, plan_system_group,
};
use openraft::{AsyncRuntime, ChangeMembers, Instant as _};

use super::{abandoned, decide, hello, leave, merge, meta::propose_meta, place, runs_on};
use crate::{
    api::ReplicaState,
    error::ControlError,
    group::Group,
    host::{Inner, replicas_of},
    read::read_index_as_leader,
    types::{ReplicaNode, raft_node_id},
};

/// How often leaders look.
const PAUSE: Duration = Duration::from_secs(1);

/// How soon they look again when there is news: where hundreds of groups elect leaders, that comes all
/// the time, and each look is at every shard.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// How long a change of a membership may take before it is looked at anew.
const CHANGE: Duration = Duration::from_secs(20);

/// How long before a leadership that nobody took is offered again.
const HAND_OVER_AGAIN: Duration = Duration::from_millis(200);

/// How long a tick or a report may take.
const COMMIT: Duration = Duration::from_secs(5);

/// How long a quorum may take to say that it follows.
const QUORUM: Duration = Duration::from_secs(2);

/// Who wants a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hand {
    /// The plan, which is patient with leaders that just changed.
    Placement,
    /// An operation.
    Operator,
}

pub(super) async fn step<R: AsyncRuntime>(inner: Arc<Inner<R>>) -> Duration {
    look(&inner);
    R::sleep(PAUSE_MIN).await;
    PAUSE - PAUSE_MIN
}

fn look<R: AsyncRuntime>(inner: &Arc<Inner<R>>) {
    gauges(inner);
    place::note_away(inner);
    let members = inner.membership.members();
    let limits = &inner.options.reader_limits;
    let (led, others): (Vec<_>, Vec<_>) =
        inner.running().into_iter().partition(|group| group.leads());
    // Whoever leads them next knows for how long somebody reads them.
    for group in others.iter().filter(|group| limits.are_any() && group.id.is_of_shard()) {
        drop(group.readers(&members, limits));
    }
    let learners = learners(inner, &led, &members);
    if led.is_empty() {
        return;
    }
    let (map, leaders, losses) = (inner.map(), place::leaders(inner), place::losses(inner));
    let policy = &inner.options.policy;
    let (map, members, leaders) = (&map, &members, &leaders);
    let follow_after = inner.options.follow_writers_after;
    let writers: BTreeMap<ShardId, Writers> = led
        .iter()
        .filter_map(|group| {
            Some((group.id, group.writers(members, inner.options.node, follow_after)?))
        })
        .collect();
    let shards = led.iter().filter(|group| group.id.is_of_shard());
    let shards = shards.map(|group| (group.id, group.readers(members, limits))).collect();
    let readers = &place::readers_of(limits, shards, learners);
    let rings = &inner.options.rings;
    let world = World { map, members, policy, leaders, losses: &losses, rings, readers };
    let planned = plan_led(&world, &writers);
    let led_here =
        planned.steps.into_iter().filter(|step| readers.shards.contains_key(&step.shard));
    let filling = led.iter().map(|group| filling(inner, group, members, readers)).sum();
    let due = decide::ration(led_here, filling, inner.options.moves_per_node);
    // Each for the shard as the map had it: together with what changes until then it might leave too few.
    let mut steps: BTreeMap<ShardId, (Epoch, StepKind)> = due
        .filter_map(|step| Some((step.shard, (map.get(step.shard)?.epoch, step.kind))))
        .collect();
    for group in led {
        if group.busy.swap(true, Ordering::AcqRel) {
            continue;
        }
        let step = steps.remove(&group.id);
        let inner = Arc::clone(inner);
        drop(R::spawn(async move {
            tend(&inner, &group, step).await;
            group.busy.store(false, Ordering::Release);
        }));
    }
}

/// Looks how the learners of the shards that are led here come along. One whose node is down is not slow.
fn learners<R: AsyncRuntime>(
    inner: &Inner<R>,
    led: &[Arc<Group<R>>],
    members: &[Member],
) -> Learners {
    let (map, now_ms) = (inner.map(), since_start_ms(inner));
    let mut late = inner.late_learners.lock();
    let mut seen = Learners::default();
    for group in led.iter().filter(|group| group.id.is_of_shard()) {
        let replicas = map.get(group.id).map_or(&[][..], |shard| &shard.replicas);
        let learners = || replicas.iter().filter(|it| it.role == ReplicaRole::Learner);
        let behind = learners().filter(|it| !is_caught_up(group, it.raft));
        seen.behind.extend(behind.map(|it| (group.id, it.raft)));
        let is_up = |raft| members.iter().any(|member| member.alive && member.raft == raft);
        let far = learners()
            .filter(|it| is_up(it.raft) && lacks_more(group, it.raft, decide::FAR_BEHIND_ENTRIES));
        // Most have none, and are not looked into.
        let bytes = learners().next().map_or(0, |_some| group.replica.state().stats().bytes);
        let avoid = late.look(group.id, bytes, far, now_ms);
        seen.late.extend(avoid.into_iter().map(|node| (group.id, node)));
    }
    late.forget_old(now_ms);
    late.seen.clone_from(&seen);
    seen
}

fn since_start_ms<R: AsyncRuntime>(inner: &Inner<R>) -> u64 {
    u64::try_from(inner.began.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// How many learners of a group are being filled for its readers. One whose node is down fills nothing.
fn filling<R: AsyncRuntime>(
    inner: &Inner<R>,
    group: &Group<R>,
    members: &[Member],
    readers: &ReadersOf,
) -> usize {
    let hot = readers.shards.get(&group.id).map_or(&[][..], |readers| &readers.hot);
    if hot.is_empty() {
        return 0;
    }
    let is_for_readers = |learner: &Replica| {
        let member = members.iter().find(|it| it.alive && it.raft == learner.raft);
        member.is_some_and(|member| hot.iter().any(|(pop, _)| *pop == member.pop))
    };
    let replicas = inner.descriptor(group).replicas;
    let learners = replicas.iter().filter(|it| it.role == ReplicaRole::Learner);
    learners.filter(|it| is_for_readers(it) && !is_caught_up(group, it.raft)).count()
}

/// One look at one group.
async fn tend<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    group: &Arc<Group<R>>,
    step: Option<(Epoch, StepKind)>,
) {
    tick(inner, group).await;
    let descriptor = inner.descriptor(group);
    let Some(replicas) = settled_replicas(group, &descriptor.replicas) else {
        leave_joint(group).await;
        return;
    };
    // A split that is committed and not applied yet must not be overtaken by a change of members:
    // those who leave might never apply it.
    if !group.has_applied_own_term() {
        return;
    }
    let step = if !group.id.is_of_shard() {
        system_step(inner, group, &replicas)
    } else if inner.is_retired(group.id) {
        return;
    } else {
        // The log says which epoch it is; the map has it as soon as it was reported.
        if !is_reported(inner, group) {
            report(inner, group, &descriptor, replicas).await;
            return;
        }
        // Nobody joins or leaves it while it is merged.
        if merge::is_merging(group) {
            abandoned::undo(inner, group).await;
            return;
        }
        if group.is_held() {
            return;
        }
        match missing_learner(inner, &descriptor, &replicas).await {
            Some(missing) => Some(missing),
            None => step
                .filter(|(epoch, _)| *epoch == group.replica.state().epoch())
                .map(|(_, step)| step),
        }
    };
    if let Some(step) = step {
        carry_out(inner, group, step, Hand::Placement).await;
    }
}

/// Whether the map has a group as its log has it here. Until it has both halves of a shard that divided,
/// no replica of it is added or removed: each that was there at the split is needed for the other half.
pub(super) fn is_reported<R: AsyncRuntime>(inner: &Inner<R>, group: &Group<R>) -> bool {
    group.has_applied_own_term() && inner.descriptor(group).epoch == group.replica.state().epoch()
}

/// A learner that the first map gives to the shard: a group is initialised with voters only.
async fn missing_learner<R: AsyncRuntime>(
    inner: &Inner<R>,
    wanted: &ShardDescriptor,
    replicas: &[Replica],
) -> Option<StepKind> {
    let members = inner.membership.members();
    let missing = wanted.replicas.iter().find(|wanted| {
        replicas.iter().all(|replica| replica.node != wanted.node)
            && members.iter().any(|member| member.alive && member.node == wanted.node)
    })?;
    // On whichever data directory the node has by now.
    let raft = hello(inner, missing.node).await?.raft;
    Some(StepKind::AddLearner { node: missing.node, raft })
}

/// The next change of the meta group, or of that of purges, both of which are led here.
fn system_step<R: AsyncRuntime>(
    inner: &Inner<R>,
    group: &Group<R>,
    replicas: &[Replica],
) -> Option<StepKind> {
    let members = inner.membership.members();
    let behind = || {
        let learners = replicas.iter().filter(|replica| replica.role == ReplicaRole::Learner);
        learners.filter(|learner| !is_caught_up(group, learner.raft))
    };
    let avoid = inner.late_learners.lock().look(group.id, 0, behind(), since_start_ms(inner));
    let behind = behind().map(|learner| learner.raft).collect();
    let (id, leader) = (group.id, inner.options.node);
    let seen = SystemGroup { id, replicas, leader, behind: &behind, avoid: &avoid };
    let (losses, rings) = (place::losses(inner), &inner.options.rings);
    let planned = plan_system_group(&seen, &members, &losses, rings);
    let step = planned.steps.into_iter().next()?;
    tracing::debug!(group = %id, kind = step.kind.as_str(), reason = step.reason, "planned");
    Some(step.kind)
}

/// Moves the group's time on when something is due.
async fn tick<R: AsyncRuntime>(inner: &Inner<R>, group: &Group<R>) {
    let (due, epoch) = {
        let state = group.replica.state();
        (state.next_due_ms(), state.epoch())
    };
    if due.is_some_and(|due| due <= inner.clock.wall_ms())
        && let Err(error) = inner.propose(group.id, epoch, None, Op::Tick, COMMIT).await
    {
        tracing::debug!(group = %group.id, %error, "time did not move on");
    }
}

/// The group's replicas, unless a change of them is under way.
pub(super) fn settled_replicas<R: AsyncRuntime>(
    group: &Group<R>,
    known: &[Replica],
) -> Option<Vec<Replica>> {
    group.with_metrics(|metrics| {
        let committed = metrics.committed_membership_config.as_ref();
        let settled = committed.log_id() == metrics.membership_config.log_id()
            && committed.membership().get_joint_config().len() == 1;
        settled.then(|| replicas_of(committed.membership(), known))
    })
}

/// A change of membership that its leader did not finish is finished by the next one.
async fn leave_joint<R: AsyncRuntime>(group: &Group<R>) {
    let target = group.with_metrics(|metrics| {
        let membership = metrics.membership_config.membership();
        let joint = membership.get_joint_config();
        (joint.len() > 1).then(|| joint.last().cloned()).flatten()
    });
    if let Some(voters) = target {
        change(group, ChangeMembers::ReplaceAllVoters(voters)).await;
    }
}

/// Tells the meta group what the shard is now, together with what split off it since the map was told
/// last: not before each of those has a leader whom a quorum of its replicas follows, so that what the map
/// shows is safe.
pub(super) async fn report<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    group: &Group<R>,
    known: &ShardDescriptor,
    replicas: Vec<Replica>,
) {
    let (epoch, range, absorbed, children) = {
        let state = group.replica.state();
        let children: Vec<ShardDescriptor> = state
            .children()
            .iter()
            .map(|child| child.descriptor.clone())
            .filter(|child| child.epoch.version > known.epoch.version)
            .collect();
        let absorbed = state.absorbed().map(|absorbed| absorbed.right);
        (state.epoch(), state.range().cloned(), absorbed, children)
    };
    let Some(range) = range else { return };
    for child in &children {
        if !has_quorum(inner, child).await {
            tracing::debug!(shard = %group.id, child = %child.id, "no quorum of it answers yet");
            return;
        }
    }
    let own = ShardDescriptor { id: known.id, range, epoch, replicas };
    let shard = own.id;
    let op = match absorbed.filter(|absorbed| inner.map().get(*absorbed).is_some()) {
        // It retires in the step that widens this one.
        Some(absorbed) => MetaOp::ReportMerged { shard: own, absorbed },
        None => MetaOp::Report { descriptors: std::iter::once(own).chain(children).collect() },
    };
    match propose_meta(inner, op, COMMIT).await {
        // Also when it was not newer: the map here is old then.
        Ok(_) => inner.wake_map.notify_one(),
        Err(error) => tracing::debug!(%shard, %error, "the shard was not reported"),
    }
}

/// Whether a leader of a shard that just came into being says that a quorum follows it.
async fn has_quorum<R: AsyncRuntime>(inner: &Arc<Inner<R>>, shard: &ShardDescriptor) -> bool {
    if let Some(group) = inner.group(shard.id)
        && group.leads()
    {
        return read_index_as_leader(&group, None, QUORUM).await.is_ok();
    }
    leave::standing(inner, shard).await.is_some()
}

/// Carries out one step of placement; a repeat changes nothing.
pub(super) async fn carry_out<R: AsyncRuntime>(
    inner: &Inner<R>,
    group: &Arc<Group<R>>,
    step: StepKind,
    hand: Hand,
) {
    let shard = group.id;
    tracing::debug!(%shard, ?step, "a step of placement");
    match step {
        StepKind::AddLearner { node, raft } => {
            // Gossip may still tell of an earlier life of the node.
            if runs_on(inner, node, raft).await {
                add_learner(group, node, raft).await;
            }
        }
        StepKind::Promote { node, raft } => {
            if is_caught_up(group, raft) && runs_on(inner, node, raft).await {
                let voter = BTreeSet::from([raft_node_id(raft)]);
                change(group, ChangeMembers::AddVoterIds(voter)).await;
            }
        }
        StepKind::PromoteBoth { new: [(one, first), (other, second)] } => {
            if is_caught_up(group, first)
                && is_caught_up(group, second)
                && runs_on(inner, one, first).await
                && runs_on(inner, other, second).await
            {
                let voters = BTreeSet::from([first, second].map(raft_node_id));
                change(group, ChangeMembers::AddVoterIds(voters)).await;
            }
        }
        StepKind::Replace { node, old, new } => {
            if is_caught_up(group, new) && runs_on(inner, node, new).await {
                let mut voters = voters(group);
                voters.remove(&raft_node_id(old));
                voters.insert(raft_node_id(new));
                change(group, ChangeMembers::ReplaceAllVoters(voters)).await;
            }
        }
        // Not itself: whoever leads next does it, without an election in between.
        StepKind::RemoveVoter { raft, .. } if raft == inner.raft => {
            hand_over(inner, group, R::Instant::now() + CHANGE).await;
        }
        StepKind::RemoveVoter { raft, .. } => {
            let gone = BTreeSet::from([raft_node_id(raft)]);
            change(group, ChangeMembers::RemoveVoters(gone)).await;
        }
        StepKind::RemoveLearner { raft, .. } => {
            let gone = BTreeSet::from([raft_node_id(raft)]);
            change(group, ChangeMembers::RemoveNodes(gone)).await;
        }
        StepKind::TransferLeader { to, .. } if is_node_caught_up(group, to) => {
            // A node that is being emptied waits for nobody.
            let is_due = hand == Hand::Operator
                || group.leader_age() >= inner.options.leader_age_min
                    && (is_draining(inner) || inner.may_balance());
            if is_due && let Err(error) = group.transfer(to, inner.options.election_max * 2).await {
                tracing::info!(%shard, %to, %error, "the leadership was not handed over");
            }
        }
        StepKind::TransferLeader { .. } => {}
    }
}

/// Whether this node is being emptied.
fn is_draining<R: AsyncRuntime>(inner: &Inner<R>) -> bool {
    let members = inner.membership.members();
    members.iter().any(|member| member.node == inner.options.node && member.draining)
}

fn voters<R: AsyncRuntime>(group: &Group<R>) -> BTreeSet<u64> {
    group.with_metrics(|metrics| metrics.membership_config.membership().voter_ids().collect())
}

fn is_caught_up<R: AsyncRuntime>(group: &Group<R>, raft: RaftId) -> bool {
    !lacks_more(group, raft, decide::CAUGHT_UP_ENTRIES)
}

/// Whether a replica lacks more than so many entries of the log.
fn lacks_more<R: AsyncRuntime>(group: &Group<R>, raft: RaftId, entries: u64) -> bool {
    group.with_metrics(|metrics| {
        let matching = metrics.replication.as_ref().and_then(|all| *all.get(&raft.0)?);
        decide::lacks_more(metrics.last_log_index, matching.map(|id| id.index), entries)
    })
}

fn is_node_caught_up<R: AsyncRuntime>(group: &Group<R>, node: NodeId) -> bool {
    let raft = group.with_metrics(|metrics| {
        let membership = metrics.membership_config.membership();
        let on_node = |id: &u64| membership.get_node(id).is_some_and(|found| found.id() == node);
        membership.voter_ids().find(on_node)
    });
    raft.is_some_and(|raft| is_caught_up(group, RaftId(raft)))
}

async fn add_learner<R: AsyncRuntime>(group: &Group<R>, node: NodeId, raft: RaftId) {
    // Its caller holds it `busy`, so that it stays awake.
    group.wake_for(COMMIT).await;
    let adding = group.raft.add_learner(raft_node_id(raft), ReplicaNode::from(node), false);
    match R::timeout(CHANGE, adding).await {
        Ok(Ok(_)) => tracing::info!(group = %group.id, %node, %raft, "a learner is added"),
        Ok(Err(error)) => {
            tracing::info!(group = %group.id, %node, %raft, %error, "no learner added");
        }
        Err(_) => tracing::info!(group = %group.id, %node, %raft, "a learner takes its time"),
    }
}

async fn change<R: AsyncRuntime>(group: &Group<R>, change: ChangeMembers<u64, ReplicaNode>) {
    let what = format!("{change:?}");
    group.wake_for(COMMIT).await;
    match R::timeout(CHANGE, group.raft.change_membership(change, false)).await {
        Ok(Ok(_)) => tracing::info!(group = %group.id, %what, "the membership is changed"),
        Ok(Err(error)) => {
            tracing::info!(group = %group.id, %what, %error, "the membership is not changed");
        }
        Err(_) => tracing::info!(group = %group.id, %what, "the change takes its time"),
    }
}

/// Hands every leadership here to a live voter elsewhere; answers how many are left. One that nobody
/// takes at once, because its followers still catch up, say, is offered again until the deadline.
pub(crate) async fn hand_over_leaders<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    deadline: Duration,
) -> usize {
    let until = R::Instant::now() + deadline;
    loop {
        let led: Vec<_> = inner.running().into_iter().filter(|group| group.leads()).collect();
        if led.is_empty() || R::Instant::now() >= until {
            return led.len();
        }
        let handing = led.iter().map(|group| hand_over(inner, group, until));
        drop(R::timeout_at(until, futures::future::join_all(handing)).await);
        R::sleep(HAND_OVER_AGAIN.min(until.saturating_duration_since(R::Instant::now()))).await;
    }
}

/// Offers the leadership of one group to its other voters, one after the other.
pub(super) async fn hand_over<R: AsyncRuntime>(
    inner: &Inner<R>,
    group: &Arc<Group<R>>,
    until: R::Instant,
) {
    let members = inner.membership.members();
    let descriptor = inner.descriptor(group);
    let replicas = settled_replicas(group, &descriptor.replicas).unwrap_or_default();
    let targets = replicas.iter().filter(|replica| {
        replica.role == ReplicaRole::Voter
            && replica.node != inner.options.node
            && members.iter().any(|member| member.alive && member.raft == replica.raft)
            && is_caught_up(group, replica.raft)
    });
    for target in targets {
        let left = until.saturating_duration_since(R::Instant::now());
        match group.transfer(target.node, left.min(inner.options.election_max * 2)).await {
            Ok(()) | Err(ControlError::NotLeader { .. }) => return,
            Err(error) => {
                tracing::info!(group = %group.id, to = %target.node, %error, "not taken");
            }
        }
    }
}

/// Sets what is counted by looking.
fn gauges<R: AsyncRuntime>(inner: &Inner<R>) {
    let statuses = inner.states();
    for state in ReplicaState::ALL {
        let count = statuses.iter().filter(|(found, _)| *found == state).count();
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        inner.metrics.shards.with_label_values(&[state.as_str()]).set(count);
    }
    let leaderless = statuses.iter().filter(|(_, led)| !led).count();
    inner.metrics.shards_without_leader.set(i64::try_from(leaderless).unwrap_or(i64::MAX));
    let sessions: u64 = inner
        .running()
        .iter()
        .filter(|group| group.leads())
        .map(|group| {
            let state = group.replica.state();
            let holds = state.range().is_some_and(|range| range.space_of() == Space::Sessions);
            if holds { state.stats().keys } else { 0 }
        })
        .sum();
    inner.metrics.sessions_active.set(i64::try_from(sessions).unwrap_or(i64::MAX));
    let members = inner.membership.members();
    let alive = members.iter().filter(|member| member.alive).map(|member| member.raft);
    let alive: BTreeSet<RaftId> = alive.collect();
    let live = |replica: &&Replica| alive.contains(&replica.raft);
    let map = inner.map();
    let short = map.shards().filter(|shard| {
        let wanted = usize::try_from(inner.options.policy.of(&shard.range).replicas);
        shard.voters().filter(live).count() < wanted.unwrap_or(usize::MAX)
    });
    let short = i64::try_from(short.count()).unwrap_or(i64::MAX);
    inner.metrics.shards_under_replicated.set(short);
}

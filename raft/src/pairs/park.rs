//! Parking groups that have nothing to do, and waking them.
//!
//! A leader parks a group when nothing happened in it for a while and every replica that can be reached
//! has applied all of it: it stops its own timer, and asks the others for the promise that
//! [`Parked`](super::Parked) describes. Whoever does not promise wakes the group. From then on:
//!
//! - a proposal, a read index, a transfer or a change of members wakes the group at its leader, whose
//!   appends wake the followers;
//! - beats carry digests of what is parked; where two nodes disagree, the leader repeats all of it;
//! - a follower that hears its leader's node no longer, or in another life, takes the group over;
//! - a leader that hears a follower no longer does without it where the others are a quorum, and wakes
//!   what is not held any more. Is the follower heard again, also after a restart, it is asked for its
//!   promises, and what it lacks entries of is woken.
//!
//! (`TiKV` hibernates regions, and `CockroachDB` quiesces ranges, for the same reason.)

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hexpop_edge_config::{
    GroupId, NodeId, RaftId,
    planted::{self, Bug},
};
use openraft::{AsyncRuntime, Instant as _, ServerState};

use super::parked::Led;
use crate::{
    group::{Group, MetricsOf},
    host::Inner,
    port::Lane,
    rpc::{ParkOffer, Request, Response},
    wal::Health,
};

/// How many groups are woken at a time where too many are awake.
const WOKEN_CROWDED: usize = 4;

/// The most groups of one request; the rest is parked at a later beat.
const OFFERED_MAX: usize = 4096;

/// What the groups that are led here have been seen to do.
#[derive(Debug)]
pub(super) struct Idle<I>(BTreeMap<GroupId, Seen<I>>);

/// The end of a group's log, and of what is committed of it.
type Ends = (Option<u64>, Option<u64>);

/// What a group did while it was led here.
#[derive(Debug)]
struct Seen<I> {
    /// The term in which it was seen.
    term: u64,
    /// Where its log ended, and since when.
    ends: Ends,
    since: I,
    /// Whether it had something to do in this term.
    is_used: bool,
}

impl<I: openraft::Instant> Idle<I> {
    pub(super) const fn new() -> Self {
        Self(BTreeMap::new())
    }

    /// Looks at a group that is awake and led in `term`; answers since when it has had nothing to do, if
    /// that is long enough: for `after`, or at all when there has been nothing since its leader was
    /// elected. Where many are led anew at once, as after a node's death, that is what keeps the number
    /// of those that are awake small.
    fn look(
        &mut self,
        group: GroupId,
        (term, ends): (u64, Ends),
        is_active: bool,
        now: I,
        after: Duration,
    ) -> Option<I> {
        let seen = self.0.entry(group);
        let seen = seen.or_insert(Seen { term: 0, ends: (None, None), since: now, is_used: false });
        if seen.term != term {
            *seen = Seen { term, ends, since: now, is_used: is_active };
            return None;
        }
        seen.is_used |= is_active;
        if is_active || seen.ends != ends {
            (seen.since, seen.ends) = (now, ends);
            return None;
        }
        let is_long_enough = !seen.is_used || now.saturating_duration_since(seen.since) >= after;
        is_long_enough.then_some(seen.since)
    }

    /// A group is parked; when it is woken, it is looked at anew.
    fn parked(&mut self, group: GroupId) {
        if let Some(seen) = self.0.get_mut(&group) {
            seen.ends = (None, None);
        }
    }
}

/// Parks what this node leads and has had nothing to do.
pub(super) fn park_idle<R: AsyncRuntime>(inner: &Arc<Inner<R>>, idle: &mut Idle<R::Instant>) {
    let running = inner.running();
    idle.0.retain(|id, _| running.binary_search_by_key(id, |group| group.id).is_ok());
    let sent = R::Instant::now();
    // Where more are awake than a node can look after, none is kept awake for what may come.
    let is_crowded = inner.room_awake() == 0;
    let after = if is_crowded { Duration::ZERO } else { inner.options.park_after };
    let mut offers: BTreeMap<(RaftId, NodeId), Vec<ParkOffer>> = BTreeMap::new();
    for group in running.iter().filter(|group| !group.sleeps() && group.leads()).take(OFFERED_MAX) {
        let seen = group.with_metrics(|metrics| {
            let committed = metrics.cluster_committed.map(|id| id.index);
            (metrics.current_term, (metrics.last_log_index, committed))
        });
        let idle_since = idle.look(group.id, seen, group.take_active(), sent, after);
        let Some(idle_since) = idle_since else { continue };
        let Some((led, nodes)) = parkable(inner, group, idle_since) else { continue };
        // A leader that a quorum did not answer within its voters' lease may be one no more, and not know.
        let age = group.quorum_age().unwrap_or_default();
        if age >= inner.options.election_min {
            continue;
        }
        idle.parked(group.id);
        group.park(led.clone(), sent - age);
        // Whoever proposed meanwhile either saw that, or is seen here.
        if parkable(inner, group, idle_since).is_none_or(|(again, _)| again != led) {
            group.wake();
            continue;
        }
        let offer = ParkOffer { group: group.id, term: led.term, index: led.index };
        for peer in nodes {
            offers.entry(peer).or_default().push(offer);
        }
    }
    for ((raft, node), offers) in offers {
        ask(inner, raft, node, false, offers);
    }
}

/// What a group would be parked with, and where its replicas are that would sleep, if nothing speaks
/// against it. All of it was committed at `idle_since`.
fn parkable<R: AsyncRuntime>(
    inner: &Inner<R>,
    group: &Group<R>,
    idle_since: R::Instant,
) -> Option<(Led, Vec<(RaftId, NodeId)>)> {
    if group.is_in_use() || group.fault().is_some() {
        return None;
    }
    let (others, voters): (Vec<(RaftId, NodeId)>, _) = group.with_metrics(|metrics| {
        let membership = metrics.membership_config.membership();
        let nodes = membership.nodes().map(|(raft, node)| (RaftId(*raft), node.id()));
        let others = nodes.filter(|(raft, _)| *raft != inner.raft).collect();
        (others, membership.voter_ids().map(RaftId).collect())
    });
    let asleep: Vec<(RaftId, NodeId)> = {
        let pairs = inner.pairs.lock();
        // A live peer that cannot promise, because it is of an earlier version, keeps its groups awake.
        if others.iter().any(|(raft, _)| !pairs.is_lost(*raft) && !pairs.can_promise(*raft)) {
            return None;
        }
        others.iter().filter(|(raft, _)| pairs.can_promise(*raft)).copied().collect()
    };
    let led = Led {
        term: 0,
        index: 0,
        asleep: asleep.iter().map(|(raft, _)| *raft).collect(),
        others: others.iter().map(|(raft, _)| *raft).collect(),
        voters,
    };
    let (term, index) =
        group.with_metrics(|metrics| settled(metrics, inner.raft, &led, idle_since))?;
    (group.replica.applied().index == index).then_some((Led { term, index, ..led }, asleep))
}

/// The term and the end of the log of a leader whose group has nothing left to do: everything is
/// committed, whoever shall sleep has all of it and was told so, they are a quorum, and no change is
/// under way.
fn settled<R: AsyncRuntime>(
    metrics: &MetricsOf<R>,
    own: RaftId,
    led: &Led,
    idle_since: R::Instant,
) -> Option<(u64, u64)> {
    let (last, committed) = (metrics.last_log_index?, metrics.cluster_committed?);
    let term = metrics.current_term;
    let effective = &metrics.membership_config;
    let membership = effective.membership();
    let is_settled = metrics.state == ServerState::Leader
        && committed.index == last
        && committed.leader_id.term == term
        && metrics.committed_membership_config.log_id() == effective.log_id()
        && membership.get_joint_config().len() == 1;
    let matching = |raft: &RaftId| {
        let replication = metrics.replication.as_ref()?;
        Some(replication.get(&raft.0)?.as_ref()?.index)
    };
    let is_held = led.voters.contains(&own) && led.is_held();
    // What it answered was sent since, and with it how much is committed.
    let was_told = |raft: &RaftId| {
        let answered = metrics.heartbeat.as_ref().and_then(|all| all.get(&raft.0)?.as_deref());
        answered.is_some_and(|sent| *sent >= idle_since)
    };
    let have_all = led.asleep.iter().all(|raft| matching(raft) == Some(last) && was_told(raft));
    (is_settled && is_held && have_all).then_some((term, last))
}

/// Asks a peer for promises; wakes the groups that it refuses one for. `all`: whatever else it
/// promised, it need not keep.
fn ask<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    raft: RaftId,
    node: NodeId,
    all: bool,
    offers: Vec<ParkOffer>,
) {
    // Soon enough for a heartbeat to reach the others before it is their turn to stand for election.
    let deadline = inner.options.election_min;
    let request = Request::<R>::Park { start: inner.start, all, groups: offers.clone() };
    let answer = inner.wire.call(node, Some(raft), Lane::Raft, request, deadline);
    let inner = Arc::clone(inner);
    drop(R::spawn(async move {
        // Without an answer, its next one to a beat tells what it promised.
        let Ok(Response::Park { refused }) = answer.await else { return };
        let is_same = |offer: &&ParkOffer| {
            inner.parked.lock().led(offer.group).is_some_and(|led| {
                led.term == offer.term && led.index == offer.index && led.asleep.contains(&raft)
            })
        };
        let refused = offers.iter().filter(|offer| refused.contains(&offer.group));
        wake_some(&inner, refused.filter(is_same).map(|offer| offer.group));
    }));
}

/// A leader asks for promises: answers the groups for which there are none.
pub(crate) fn promise<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    from: RaftId,
    start: u64,
    all: bool,
    offers: &[ParkOffer],
) -> Vec<GroupId> {
    super::heard(inner, from, Some(start));
    if all {
        let until = R::Instant::now() + inner.options.election_max;
        let mut parked = inner.parked.lock();
        for (group, _) in parked.sleeping_under(from) {
            if !offers.iter().any(|offer| offer.group == group) {
                parked.expect_heartbeat(group, until);
            }
        }
    }
    let (offers, beyond) = offers.split_at(offers.len().min(OFFERED_MAX));
    let mut refused: Vec<GroupId> = beyond.iter().map(|offer| offer.group).collect();
    for offer in offers {
        let group = inner.group(offer.group).filter(|group| follows(group, from, *offer));
        let Some(group) = group else {
            refused.push(offer.group);
            continue;
        };
        group.sleep_under(from, start, *offer);
    }
    refused
}

/// Whether a replica follows `from` in the term of an offer, and has all that there is and knows it to be
/// committed.
fn follows<R: AsyncRuntime>(group: &Group<R>, from: RaftId, offer: ParkOffer) -> bool {
    group.fault().is_none()
        && group.with_metrics(|metrics| {
            metrics.state != ServerState::Leader
                && metrics.current_term == offer.term
                && metrics.current_leader == Some(from.0)
                && metrics.last_log_index == Some(offer.index)
                && metrics.local_committed.is_some_and(|committed| committed.index == offer.index)
        })
}

/// Whether this node keeps the promises that the digest of a leader's beat is about.
///
/// Each is looked at: a replica may have voted while its promise was on the way.
pub(super) fn keeps_promises<R: AsyncRuntime>(
    inner: &Inner<R>,
    leader: RaftId,
    start: u64,
    digest: u64,
) -> bool {
    if planted::has(Bug::VoteWhileParked) {
        return true;
    }
    let promised = {
        let parked = inner.parked.lock();
        if !parked.agrees(leader, start, digest) {
            return false;
        }
        parked.sleeping_under(leader)
    };
    let mut keeps = true;
    for (id, term) in promised {
        let group = inner.group(id);
        let kept = group.as_ref().is_some_and(|group| {
            group.fault().is_none() && group.with_metrics(|metrics| metrics.current_term == term)
        });
        if !kept {
            keeps = false;
            match group {
                Some(group) => group.rouse(),
                None => drop(inner.parked.lock().rouse(id)),
            }
        }
    }
    keeps
}

/// Asks a peer that disagrees for all promises anew.
pub(super) fn mend<R: AsyncRuntime>(inner: &Arc<Inner<R>>, raft: RaftId, node: NodeId) {
    let led = inner.parked.lock().led_with(raft);
    let offers =
        led.into_iter().map(|(group, led)| ParkOffer { group, term: led.term, index: led.index });
    ask(inner, raft, node, true, offers.collect());
}

/// Wakes what is parked under this node and not led by it any more, or by a replica that cannot.
pub(super) fn check_led<R: AsyncRuntime>(inner: &Inner<R>) {
    let all = inner.parked.lock().all_led();
    let has_log = !matches!(inner.wal.health(), Health::Failed(_));
    for (id, term) in all {
        let Some(group) = inner.group(id) else {
            inner.parked.lock().wake_led(id);
            continue;
        };
        let leads = has_log
            && group.fault().is_none()
            && group.with_metrics(|metrics| {
                metrics.state == ServerState::Leader && metrics.current_term == term
            });
        if !leads {
            group.rouse();
        }
    }
}

/// Looks after what is parked: wakes groups that are not held any more because peers are lost, no more
/// at a time than a node can look after, and those whose leader woke them and said no more. Peers that
/// are heard are asked for the promises that are missing.
///
/// That a confirmation is late wakes nothing: it shows most often that a node is busy, and if everything
/// woke then, it would stay so. Waiting costs nothing but how new followers know their answers to be:
/// whoever stands for election, votes or writes wakes the group itself, and who keeps other promises than
/// it is asked for says so.
pub(super) fn look<R: AsyncRuntime>(inner: &Arc<Inner<R>>, now: R::Instant) {
    check_led(inner);
    let live = inner.pairs.lock().live();
    let (woken, roused, returned) = {
        let mut parked = inner.parked.lock();
        let mut woken: BTreeSet<GroupId> = BTreeSet::new();
        for peer in parked.sleepers() {
            if live.iter().all(|(raft, _)| *raft != peer) {
                woken.extend(parked.do_without(peer));
            }
        }
        let roused = parked.overdue(now);
        let returned = live.into_iter().map(|(raft, node)| (raft, node, parked.led_without(raft)));
        let returned: Vec<_> = returned.filter(|(.., offers)| !offers.is_empty()).collect();
        (woken, roused, returned)
    };
    inner.observed.woken_by_loss(woken.len());
    wake_some(inner, woken.into_iter());
    for group in roused.into_iter().filter_map(|id| inner.group(id)) {
        group.rouse();
    }
    for (raft, node, offers) in returned {
        take_back(inner, raft, node, offers);
    }
}

/// A peer is heard again that groups were parked without. Where nothing happened meanwhile it promises
/// like the others, and sleeps on; the other groups are woken to bring it up to date, no more at a time
/// than a node can look after.
fn take_back<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    raft: RaftId,
    node: NodeId,
    mut offers: Vec<ParkOffer>,
) {
    if !inner.pairs.lock().can_promise(raft) {
        wake_some(inner, offers.into_iter().map(|offer| offer.group));
        return;
    }
    offers.truncate(OFFERED_MAX);
    let sent = R::Instant::now();
    let deadline = inner.options.election_min;
    let request = Request::<R>::Park { start: inner.start, all: false, groups: offers.clone() };
    let answer = inner.wire.call(node, Some(raft), Lane::Raft, request, deadline);
    let inner = Arc::clone(inner);
    drop(R::spawn(async move {
        // Without an answer: at the next beat.
        let Ok(Response::Park { refused }) = answer.await else { return };
        {
            let mut parked = inner.parked.lock();
            for offer in offers.iter().filter(|offer| !refused.contains(&offer.group)) {
                parked.admit(*offer, raft, sent);
            }
        }
        wake_some(&inner, refused.into_iter());
    }));
}

/// Wakes groups that are parked under this node, as many as may be awake at a time.
fn wake_some<R: AsyncRuntime>(inner: &Inner<R>, groups: impl Iterator<Item = GroupId>) {
    // A few also where there is no room: what is awake may be so for good.
    let room = inner.room_awake().max(WOKEN_CROWDED);
    for group in groups.take(room).filter_map(|id| inner.group(id)) {
        group.wake();
    }
}

/// Sets what is counted by looking.
pub(super) fn gauges<R: AsyncRuntime>(inner: &Inner<R>) {
    let (led, under) = inner.parked.lock().counts();
    for (role, count) in [("leader", led), ("follower", under)] {
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        inner.metrics.pairs.parked.with_label_values(&[role]).set(count);
    }
}

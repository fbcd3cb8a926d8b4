//! Who takes over the groups that a dead node led.
//!
//! A follower alone would notice a dead leader as soon, but stand for election only after the lease
//! *and* a random wait; here the voters of a group take turns from the moment on that its leader's lease
//! ends, in an order that all of them come to by themselves. A node's death costs its groups the lease
//! and one election; groups that were parked under it, not even the lease.
//!
//! **It decides nothing**: a turn is a pre-vote that anybody who still hears the leader refuses. If a
//! pair is lost without a fault, nothing happens. If none of the turns succeeds, the followers' own
//! timers are still there.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use hexpop_edge_config::{GroupId, RaftId};
use openraft::{AsyncRuntime, Instant as _};

use super::table::{self, Gone};
use crate::{group::Group, host::Inner};

/// How many turns a voter takes to get a group a leader; behind them are the followers' own timers.
const TURNS: u32 = 6;

/// A peer is gone: the groups that it led need other leaders, the others are not bothered.
pub(super) fn begin<R: AsyncRuntime>(inner: &Arc<Inner<R>>, gone: Gone) {
    // They keep their timers off until their turn, so that a thousand do not campaign at once.
    let forsaken = inner.parked.lock().forsake(gone.raft);
    let inner = Arc::clone(inner);
    drop(R::spawn(async move {
        R::select2(inner.closed(), take_over(&inner, gone, forsaken)).await;
    }));
}

/// A voter's next turn to get a group a leader.
struct Turn<R: AsyncRuntime> {
    at: R::Instant,
    group: Arc<Group<R>>,
    left: u32,
    /// From one turn of this voter to its next.
    round: Duration,
}

async fn take_over<R: AsyncRuntime>(inner: &Inner<R>, gone: Gone, forsaken: Vec<GroupId>) {
    let mut turns = Vec::new();
    for group in inner.running() {
        let is_led = group.leader().is_some_and(|(raft, _)| raft == gone.raft);
        match is_led.then(|| first_turn(inner, &group, gone.raft)).flatten() {
            Some(turn) => turns.push(turn),
            None if is_led || forsaken.contains(&group.id) => group.rouse(),
            None => {}
        }
    }
    turns.sort_by_key(|turn| turn.at);
    let mut turns = VecDeque::from(turns);
    while let Some(turn) = turns.pop_front() {
        R::sleep_until(turn.at).await;
        let is_led = turn.group.leader().is_some_and(|(raft, _)| raft != gone.raft);
        if is_led {
            continue;
        }
        let is_back = !inner.pairs.lock().is_gone(gone);
        turn.group.rouse();
        if is_back || turn.group.fault().is_some() {
            continue;
        }
        inner.metrics.pairs.takeovers.inc();
        if turn.group.raft.trigger().elect(true).await.is_ok() && turn.left > 1 {
            let next = Turn { at: turn.at + turn.round, left: turn.left - 1, ..turn };
            let behind = turns.partition_point(|other| other.at <= next.at);
            turns.insert(behind, next);
        }
    }
}

/// This voter's first turn, unless it may not vote.
fn first_turn<R: AsyncRuntime>(
    inner: &Inner<R>,
    group: &Arc<Group<R>>,
    dead: RaftId,
) -> Option<Turn<R>> {
    if group.in_grace() {
        return None;
    }
    let voters: BTreeSet<RaftId> = group.with_metrics(|metrics| {
        metrics.membership_config.membership().voter_ids().map(RaftId).collect()
    });
    let able: Vec<RaftId> = {
        let pairs = inner.pairs.lock();
        let able = |raft: &RaftId| *raft != dead && !pairs.is_lost(*raft);
        voters.into_iter().filter(able).collect()
    };
    let (place, of) = table::rank(inner.raft, group.id, &able)?;
    // A beat is long enough for an election where the timers fit the way between the voters.
    let wave = inner.options.heartbeat;
    let lease = group.heard_leader() + inner.options.election_max;
    let from = lease.max(R::Instant::now());
    // The others heard the leader at about the same time, not at the same.
    let at = from + wave / 8 + wave * place;
    Some(Turn { at, group: Arc::clone(group), left: TURNS, round: wave * of.max(2) })
}

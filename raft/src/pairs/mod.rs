//! Pair liveness: whether another node lives, found out once for all groups that two nodes share, and
//! who takes over the groups that a dead one led.
//!
//! Every node sends a beat to every node that it shares a group with; what comes from there, a beat or
//! the answer to one, says that it lives (the idea is `CockroachDB`'s store liveness). A peer that was
//! silent for three beats is lost. A follower alone would notice a dead leader as soon, but stand for
//! election only after the lease *and* a random wait; here the voters of a group take turns from the
//! moment on that its leader's lease ends, in an order that all of them come to by themselves. A node's
//! death costs its groups the lease and one election.
//!
//! **It decides nothing**: a turn is a pre-vote that anybody who still hears the leader refuses. If a
//! pair is lost without a fault, nothing happens. If none of the turns succeeds, the followers' own
//! timers are still there.

mod table;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use hexpop_edge_config::{NodeId, RaftId};
use openraft::{AsyncRuntime, Instant as _, async_runtime::Select2};

pub(crate) use table::Pairs;

use crate::{
    group::Group,
    host::Inner,
    port::Lane,
    rpc::{Request, Response},
};

/// Beats between two looks at who is a peer.
const PEERS_EVERY: u32 = 8;

/// Silent beats after which a peer is lost.
const LOST_AFTER: u32 = 3;

/// How many turns a voter takes to get a group a leader; behind them are the followers' own timers.
const TURNS: u32 = 6;

/// Starts the beats; they end when the host closes.
pub(crate) fn spawn<R: AsyncRuntime>(inner: &Arc<Inner<R>>) {
    let inner = Arc::clone(inner);
    drop(R::spawn(async move {
        let pause = inner.options.heartbeat;
        let mut beats = 0_u32;
        loop {
            if beats.is_multiple_of(PEERS_EVERY) {
                let peers = peers(&inner);
                inner.pairs.lock().keep(&peers, R::Instant::now());
            }
            beats = beats.wrapping_add(1);
            beat(&inner);
            let lost = inner.pairs.lock().lose(R::Instant::now(), pause * LOST_AFTER);
            for dead in lost {
                lose(&inner, dead);
            }
            let waited = R::select2(inner.closed(), R::sleep(pause)).await;
            if matches!(waited, Select2::First(())) {
                return;
            }
        }
    }));
}

/// The nodes that share a group with this one.
fn peers<R: AsyncRuntime>(inner: &Inner<R>) -> BTreeMap<RaftId, NodeId> {
    let mut peers = BTreeMap::new();
    for group in inner.running() {
        group.with_metrics(|metrics| {
            let members = metrics.membership_config.membership().nodes();
            peers.extend(members.map(|(raft, node)| (RaftId(*raft), node.id())));
        });
    }
    peers.remove(&inner.raft);
    peers
}

fn beat<R: AsyncRuntime>(inner: &Arc<Inner<R>>) {
    let deadline = inner.options.election_min;
    let peers = inner.pairs.lock().peers();
    for (raft, node) in peers {
        let answer = inner.wire.call(node, Some(raft), Lane::Raft, Request::<R>::Beat, deadline);
        let inner = Arc::clone(inner);
        drop(R::spawn(async move {
            if matches!(answer.await, Ok(Response::Beat)) {
                inner.pairs.lock().heard(raft, R::Instant::now());
            }
        }));
    }
}

fn lose<R: AsyncRuntime>(inner: &Arc<Inner<R>>, dead: RaftId) {
    inner.metrics.pairs_lost.inc();
    tracing::info!(%dead, "a node is not heard any more");
    let inner = Arc::clone(inner);
    drop(R::spawn(async move {
        R::select2(inner.closed(), take_over(&inner, dead)).await;
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

/// Gets the groups that a lost peer led other leaders.
async fn take_over<R: AsyncRuntime>(inner: &Inner<R>, dead: RaftId) {
    let mut turns: Vec<Turn<R>> =
        inner.running().into_iter().filter_map(|group| first_turn(inner, &group, dead)).collect();
    turns.sort_by_key(|turn| turn.at);
    let mut turns = VecDeque::from(turns);
    while let Some(turn) = turns.pop_front() {
        R::sleep_until(turn.at).await;
        if !inner.pairs.lock().is_lost(dead) {
            return;
        }
        let led = turn.group.leader().is_some_and(|(raft, _)| raft != dead);
        if led || turn.group.fault().is_some() {
            continue;
        }
        inner.metrics.takeovers.inc();
        if turn.group.raft.trigger().elect(true).await.is_ok() && turn.left > 1 {
            let next = Turn { at: turn.at + turn.round, left: turn.left - 1, ..turn };
            let behind = turns.partition_point(|other| other.at <= next.at);
            turns.insert(behind, next);
        }
    }
}

/// This voter's first turn, unless somebody else leads the group, or it may not vote.
fn first_turn<R: AsyncRuntime>(
    inner: &Inner<R>,
    group: &Arc<Group<R>>,
    dead: RaftId,
) -> Option<Turn<R>> {
    if group.leader().is_none_or(|(raft, _)| raft != dead) || group.in_grace() {
        return None;
    }
    let voters: BTreeSet<RaftId> = group.with_metrics(|metrics| {
        metrics.membership_config.membership().voter_ids().map(RaftId).collect()
    });
    let able: Vec<RaftId> = {
        let pairs = inner.pairs.lock();
        voters.into_iter().filter(|raft| !pairs.is_lost(*raft)).collect()
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

//! Pairs of nodes: whether another node lives, found out once for all groups that two nodes share, and
//! what is parked between them.
//!
//! Every node sends a beat to every node that it shares a group with, and to those that it sends requests
//! to; what comes from there, a beat or the answer to one, says that it lives (the idea is `CockroachDB`'s store liveness). A peer that was
//! silent for three beats is lost: then others stand for election where it led ([`stand`]). Beats also
//! hold together the groups that have nothing to do ([`park`]).

pub(crate) mod park;
mod parked;
mod stand;
mod table;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use hexpop_edge_config::{NodeId, RaftId};
use openraft::{AsyncRuntime, Instant as _, async_runtime::Select2};

pub(crate) use {
    parked::{Led, Parked},
    table::Pairs,
};

use crate::{
    host::Inner,
    port::Lane,
    rpc::{Refused, Request, Response, millis_up},
    wire::WireError,
};

/// Beats between two looks at who is a peer.
const PEERS_EVERY: u32 = 8;

/// For how long after a request to a node it is listened to.
const ASKED_FOR: Duration = Duration::from_secs(30);

/// Silent beats after which a peer is lost.
const LOST_AFTER: u32 = 3;

/// Starts the beats and the elections; they end when the host closes.
pub(crate) fn spawn<R: AsyncRuntime>(inner: &Arc<Inner<R>>) {
    stand::spawn(inner);
    let inner = Arc::clone(inner);
    drop(R::spawn(async move {
        let pause = inner.options.heartbeat;
        let mut idle = park::Idle::new();
        let mut beats = 0_u32;
        loop {
            if beats.is_multiple_of(PEERS_EVERY) {
                let now = R::Instant::now();
                let asked = inner.pairs.lock().asked(now, ASKED_FOR);
                let peers = peers(&inner, &asked);
                inner.pairs.lock().keep(&peers, now);
                park::gauges(&inner);
            }
            beats = beats.wrapping_add(1);
            beat(&inner);
            look(&inner, pause * LOST_AFTER);
            park::park_idle(&inner, &mut idle);
            let waited = R::select2(inner.closed(), R::sleep(pause)).await;
            if matches!(waited, Select2::First(())) {
                return;
            }
        }
    }));
}

/// The nodes that share a group with this one, and the members that are asked.
fn peers<R: AsyncRuntime>(inner: &Inner<R>, asked: &BTreeSet<NodeId>) -> BTreeMap<RaftId, NodeId> {
    let mut peers = BTreeMap::new();
    let members = inner.membership.members();
    let asked = members.iter().filter(|member| asked.contains(&member.node));
    peers.extend(asked.map(|member| (member.raft, member.node)));
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
        let sent = R::Instant::now();
        let digest = inner.parked.lock().beat(raft, sent);
        let request = Request::<R>::PairBeat { start: inner.start, digest };
        let answer = inner.wire.call(node, Some(raft), Lane::Raft, request, deadline);
        let inner = Arc::clone(inner);
        drop(R::spawn(async move {
            match answer.await {
                Ok(Response::PairBeat { start, agrees, digest: theirs, closed_age_ms }) => {
                    heard(&inner, raft, Some(start));
                    let mut parked = inner.parked.lock();
                    let is_to_mend = parked.confirm(raft, sent, digest, agrees);
                    if let Some(age) = closed_age_ms
                        && parked.agrees(raft, start, theirs)
                    {
                        parked.note_closed(raft, sent, Duration::from_millis(age));
                    }
                    drop(parked);
                    if is_to_mend {
                        park::mend(&inner, raft, node);
                    }
                }
                // Its node has another data directory by now: this one is as dead as can be.
                Err(WireError::Refused(Refused::WrongReplica { .. })) => {}
                // A node of the previous version, say: it lives.
                Err(WireError::Refused(_)) => heard(&inner, raft, None),
                _ => {}
            }
        }));
    }
}

/// Answers a beat.
pub(crate) fn answer_beat<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    from: RaftId,
    start: u64,
    digest: u64,
) -> Response<R> {
    heard(inner, from, Some(start));
    let agrees = park::keeps_promises(inner, from, start, digest);
    park::check_led(inner);
    let parked = inner.parked.lock();
    Response::PairBeat {
        start: inner.start,
        agrees,
        digest: parked.digest_for(from),
        closed_age_ms: parked.closed_age(R::Instant::now()).map(millis_up),
    }
}

/// A peer said something; `start` tells its lives apart.
pub(crate) fn heard<R: AsyncRuntime>(inner: &Arc<Inner<R>>, raft: RaftId, start: Option<u64>) {
    let restarted = inner.pairs.lock().heard(raft, start, R::Instant::now());
    if restarted {
        tracing::info!(dead = %raft, "a node started again");
        forsake(inner, raft);
    }
}

/// A peer is gone: what sleeps under it is woken, to elect another leader.
fn forsake<R: AsyncRuntime>(inner: &Inner<R>, raft: RaftId) {
    let forsaken = inner.parked.lock().forsake(raft);
    inner.observed.woken_by_loss(forsaken.len());
    for group in forsaken.into_iter().filter_map(|id| inner.group(id)) {
        group.rouse();
    }
    inner.wake_standing.notify_one();
}

/// Looks after peers that are not heard any more, or again.
fn look<R: AsyncRuntime>(inner: &Arc<Inner<R>>, after: Duration) {
    let now = R::Instant::now();
    let lost = inner.pairs.lock().lose(now, after);
    for raft in lost {
        inner.metrics.pairs.lost.inc();
        inner.losses.notify_waiters();
        tracing::info!(dead = %raft, "a node is not heard any more");
        forsake(inner, raft);
    }
    park::look(inner, now);
}

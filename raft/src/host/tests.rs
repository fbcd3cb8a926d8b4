//! One host by itself: which frames it refuses, and what halts one of its replicas.

use std::{collections::BTreeMap, time::Duration};

use hexpop_edge_config::{ClusterId, GroupId, Territory};
use hexpop_shard::SessionLimits;
use hexpop_shard::{
    Member, PlacementPolicy, Policy, PutSession, ReadAnswer, Sealed, SessionId, SessionOp,
    ShardDescriptor, WrappedKey,
};
use openraft::raft::VoteRequest;
use openraft_rt_tokio::TokioRuntime;

use super::*;
use crate::{
    api::ReplicaState,
    disk::FsDisk,
    port::{Lane, TransportError},
    rpc::{Frame, Refused, Request, Response},
    snapshot::{ChunkMeta, Manifest, SnapshotId},
    types::{Proposal, StoredMembership, Vote, log_id},
    wal::{self, Wal, WriterThread},
};

type R = TokioRuntime;

const CLUSTER: ClusterId = ClusterId(7);
const NODE: NodeId = NodeId(1);
const OTHER: RaftId = RaftId(99);

#[derive(Debug)]
struct Alone(Member);

impl PeerTransport for Alone {
    fn call(
        &self,
        _to: NodeId,
        _lane: Lane,
        _frame: Bytes,
        _deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, TransportError>> {
        Box::pin(future::ready(Err(TransportError::Unreachable("alone".to_owned()))))
    }
}

impl Membership for Alone {
    fn members(&self) -> Arc<[Member]> {
        [self.0.clone()].into()
    }
}

impl WallClock for Alone {
    fn wall_ms(&self) -> u64 {
        1_700_000_000_000
    }
}

/// A node; without a bootstrap list it waits for others.
async fn open(dir: &std::path::Path, bootstrap: Vec<NodeId>) -> (Host<R>, WriterThread) {
    let raft = RaftId(11);
    let log = Arc::new(FsDisk::open(dir.join("wal")).unwrap());
    let (wal, _) = Wal::open(log, raft, wal::Options::default()).unwrap();
    let writer = WriterThread::spawn(wal).unwrap();
    let policy = PlacementPolicy {
        default: Policy { labels: std::collections::BTreeSet::new(), replicas: 1 },
        territories: BTreeMap::new(),
    };
    let alone = Arc::new(Alone(Member {
        node: NODE,
        raft,
        pop: "mil".parse().unwrap(),
        labels: std::collections::BTreeSet::new(),
        alive: true,
        draining: false,
    }));
    let mut options = Options::new(CLUSTER, NODE, bootstrap, policy);
    options.heartbeat = Duration::from_millis(50);
    // A replica that is alone does not wait for these; they say how long nobody gets its vote.
    options.election_min = Duration::from_millis(2_500);
    options.election_max = Duration::from_millis(3_000);
    let parts = Parts {
        options,
        wal: writer.handle(),
        snapshots: Arc::new(FsDisk::open(dir.join("snapshots")).unwrap()),
        documents: Documents::in_memory(1 << 20),
        transport: Arc::clone(&alone) as Arc<dyn PeerTransport>,
        membership: Arc::clone(&alone) as Arc<dyn Membership>,
        clock: alone,
        metrics: Metrics::register(&prometheus::Registry::new()).unwrap(),
        observer: None,
    };
    (Host::open(parts).await.unwrap(), writer)
}

fn vote(group: GroupId) -> Request<R> {
    let vote = Vote::new(5, OTHER.0);
    Request::Vote { group, rpc: VoteRequest::new(vote, None) }
}

async fn ask(
    host: &Host<R>,
    cluster: ClusterId,
    to: Option<RaftId>,
    request: Request<R>,
) -> Refused {
    let frame = Frame { cluster, from: OTHER, to, request };
    let answer = host.handle(NodeId(2), frame.encode().unwrap()).await;
    match Response::<R>::decode(&answer).unwrap() {
        Response::Refused(refused) => refused,
        _ => panic!("not refused"),
    }
}

/// Waits until something about the replicas of the host holds.
async fn until(host: &Host<R>, holds: impl Fn(&Host<R>) -> bool + Sync) {
    let waiting = async {
        while !holds(host) {
            R::sleep(Duration::from_millis(10)).await;
        }
    };
    R::timeout(Duration::from_secs(60), waiting).await.unwrap();
}

fn put(token: &str) -> (SessionId, Op) {
    let territory: Territory = "IT:lazio".parse().unwrap();
    let id = SessionId::new(&territory, token).unwrap();
    let put = PutSession {
        id: id.clone(),
        user: "u".into(),
        ttl_ms: 60_000,
        sliding: false,
        sealed: Sealed { key_id: 1, bytes: vec![1] },
        key: Some(WrappedKey { id: 1, by: "k".into(), bytes: vec![5] }),
        condition: None,
        limits: SessionLimits::default(),
    };
    (id, Op::Session(SessionOp::Put(put)))
}

#[tokio::test]
async fn frames_that_are_not_for_this_replica_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _wal) = open(dir.path(), Vec::new()).await;
    let here = host.raft_id();
    let group = ShardId(3);
    let refused = ask(&host, ClusterId(8), Some(here), vote(group)).await;
    assert_eq!(refused, Refused::WrongCluster { here: CLUSTER });
    let refused = ask(&host, CLUSTER, Some(RaftId(12)), vote(group)).await;
    assert_eq!(refused, Refused::WrongReplica { here });
    // A vote must say for which data directory it is asked.
    let refused = ask(&host, CLUSTER, None, vote(group)).await;
    assert_eq!(refused, Refused::WrongReplica { here });
    assert_eq!(ask(&host, CLUSTER, Some(here), vote(group)).await, Refused::NotYet);
    let answer = host.handle(NodeId(2), Bytes::from_static(b"\x01nonsense")).await;
    assert!(matches!(
        Response::<R>::decode(&answer).unwrap(),
        Response::Refused(Refused::Unintelligible(_))
    ));
}

#[tokio::test]
async fn nobody_gets_a_vote_right_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (host, wal) = open(dir.path(), vec![NODE]).await;
        until(&host, |host| !host.shard_map().is_empty()).await;
        host.shutdown().await;
        drop((host, wal));
    }
    let (host, _wal) = open_again(dir.path()).await;
    let here = Some(host.raft_id());
    assert_eq!(ask(&host, CLUSTER, here, vote(ShardId::META)).await, Refused::Grace);
    until(&host, |host| {
        host.replica(ShardId::META).is_some_and(|meta| meta.state == ReplicaState::Leader)
    })
    .await;
}

/// Starts the host of a directory again whose last host was shut down.
async fn open_again(dir: &std::path::Path) -> (Host<R>, WriterThread) {
    for _ in 0..6_000 {
        // The loops of the first host let go of the directory when they next run.
        if let Ok(disk) = FsDisk::open(dir.join("snapshots")) {
            drop(disk);
            return open(dir, vec![NODE]).await;
        }
        R::sleep(Duration::from_millis(10)).await;
    }
    panic!("the directory is held on to");
}

fn leads_all(host: &Host<R>) -> bool {
    let map = host.shard_map();
    let leads = |id| host.replica(id).is_some_and(|it| it.state == ReplicaState::Leader);
    !map.is_empty() && map.shards().all(|shard| leads(shard.id))
}

#[tokio::test]
async fn no_session_is_read_after_a_restart_before_a_leader_has_confirmed_how_new_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (id, op) = put("one");
    let deadline = Duration::from_secs(10);
    let (host, wal) = open(dir.path(), vec![NODE]).await;
    until(&host, leads_all).await;
    let sessions = host.shard_map().locate(&id.key()).unwrap().clone();
    host.propose(sessions.id, sessions.epoch, None, op, deadline).await.unwrap();
    host.shutdown().await;
    drop((host, wal));
    let (host, _wal) = open_again(dir.path()).await;
    let read = || {
        let (host, op) = (host.clone(), ReadOp::Session { id: id.clone() });
        let (shard, epoch) = (sessions.id, sessions.epoch);
        async move { host.read(shard, epoch, ReadLevel::Eventual, None, deadline, &op).await }
    };
    // It runs, and nobody leads it yet: for all it knows the session was erased meanwhile.
    until(&host, |host| host.replica(sessions.id).is_some_and(|it| it.last_index > 0)).await;
    assert!(matches!(read().await, Err(ReadError::StalenessUnmet { .. })));
    until(&host, leads_all).await;
    let group = host.inner.group(sessions.id).unwrap();
    until(&host, |_| group.closed_as_leader().is_some()).await;
    let found = read().await.unwrap();
    assert!(matches!(found.answer, ReadAnswer::Session(Some(_))));
}

#[tokio::test]
async fn of_a_disk_nobody_speaks_but_its_replica() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _wal) = open(dir.path(), vec![NODE]).await;
    until(&host, leads_all).await;
    let (id, _) = put("one");
    let sessions = host.shard_map().locate(&id.key()).unwrap().clone();
    let here = host.raft_id();
    let tell = |node: NodeId, from: RaftId, raft: RaftId| {
        let request = Request::<R>::Compacted { group: sessions.id, raft, upto: 9 };
        let frame = Frame { cluster: CLUSTER, from, to: None, request };
        let answer = host.handle(node, frame.encode().unwrap());
        async move { Response::<R>::decode(&answer.await).unwrap() }
    };
    let is_refused = |answer| matches!(answer, Response::<R>::Refused(Refused::Failed(_)));
    // Another one speaks of the replica, in its own name and in the replica's; and of itself, which is
    // none.
    assert!(is_refused(tell(NodeId(2), OTHER, here).await));
    assert!(is_refused(tell(NodeId(2), here, here).await));
    assert!(is_refused(tell(NodeId(2), OTHER, OTHER).await));
    let own = tell(NODE, here, here).await;
    assert!(matches!(own, Response::Compacted { noted: true }));
}

#[tokio::test]
async fn what_is_kept_of_a_group_is_for_its_replicas() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _wal) = open(dir.path(), vec![NODE]).await;
    until(&host, leads_all).await;
    let (id, _) = put("one");
    let left = host.shard_map().locate(&id.key()).unwrap().id;
    let here = host.raft_id();
    let ask = |node: NodeId, from: RaftId, request| {
        let frame = Frame { cluster: CLUSTER, from, to: None, request };
        let answer = host.handle(node, frame.encode().unwrap());
        async move { Response::<R>::decode(&answer.await).unwrap() }
    };
    let group = host.inner.group(left).unwrap();
    until(&host, |_| group.has_applied_own_term()).await;
    group.raft.trigger().snapshot().await.unwrap();
    until(&host, |host| host.inner.snapshots.current(left).is_some()).await;
    let id = host.inner.snapshots.current(left).unwrap().manifest().id;
    // What is staged for it, written as a replica of the right shard does.
    let staged = crate::staging::Staged {
        operation: hexpop_shard::OperationId(7),
        right: ShardId(998),
        left,
        seal: hexpop_shard::SealMark {
            at: LogPosition { term: id.term, index: id.index },
            hash: 5,
        },
    };
    let documents = Documents::in_memory(1 << 10).group(staged.right);
    let at = (log_id(id.term, id.index), StoredMembership::default());
    host.inner.staging.write(&staged, &group.replica.state(), at, &documents).unwrap();
    let staged_group = crate::staging::staged_group(staged.operation);
    let staged_id = host.inner.staging.files(&staged).unwrap().manifest().id;

    for (group, id) in [(left, id), (staged_group, staged_id)] {
        let whole = || Request::<R>::KeptSnapshot { group, index: 0 };
        let chunk = || Request::<R>::KeptChunk { group, id, number: 0 };
        // A stranger; one who says that it is the replica; the replica.
        for (node, from) in [(NodeId(2), OTHER), (NodeId(2), here)] {
            for request in [whole(), chunk()] {
                let answer = ask(node, from, request).await;
                assert!(matches!(answer, Response::Refused(Refused::NotYet)), "{group} to {from}");
            }
        }
        let answer = ask(NODE, here, whole()).await;
        assert!(matches!(answer, Response::KeptSnapshot(Some(_))), "{group}");
        assert!(matches!(ask(NODE, here, chunk()).await, Response::KeptChunk(_)), "{group}");
    }
    // Nor does a node keep what is for a shard of which it has no replica.
    let foreign = crate::staging::Staged { left: ShardId(997), ..staged };
    let operation = hexpop_shard::OperationId(8);
    let request =
        Request::<R>::Stage { staged: crate::staging::Staged { operation, ..foreign }, wait_ms: 0 };
    assert!(matches!(ask(NodeId(2), OTHER, request).await, Response::Staged(false)));
    assert!(host.inner.staging.take_wanted(&std::collections::BTreeSet::new(), 4).is_empty());
}

#[tokio::test]
async fn who_is_a_member_is_told_by_a_leader_only() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _wal) = open(dir.path(), vec![NODE]).await;
    until(&host, leads_all).await;
    let shard = host.shard_map().shards().next().unwrap().id;
    let ask = |from: RaftId, group| {
        let frame =
            Frame { cluster: CLUSTER, from, to: None, request: Request::<R>::Standing { group } };
        let answer = host.handle(NodeId(2), frame.encode().unwrap());
        async move { Response::<R>::decode(&answer.await).unwrap() }
    };
    let is = |answer, expected| matches!(answer, Response::<R>::Standing(found) if found.is_member == expected && found.conf == 1);
    assert!(is(ask(host.raft_id(), shard).await, true));
    assert!(is(ask(OTHER, shard).await, false));
    let none = ask(OTHER, ShardId(999)).await;
    assert!(matches!(none, Response::Refused(Refused::NotYet)));
}

#[tokio::test]
async fn a_replica_that_left_a_shard_of_sessions_is_told_of_until_it_says_that_it_has_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _wal) = open(dir.path(), vec![NODE]).await;
    until(&host, leads_all).await;
    let (id, _) = put("one");
    let sessions = host.shard_map().locate(&id.key()).unwrap().clone();
    let group = host.inner.group(sessions.id).unwrap();
    let left = || {
        let state = group.replica.state();
        let left = state.as_sessions().unwrap().left_replicas();
        left.map(|left| (left.raft, left.node)).collect::<Vec<_>>()
    };
    let other = crate::types::ReplicaNode::from(NodeId(2));
    // Members are changed one change at a time, and the first are one, too.
    until(&host, |_| group.has_applied_own_term()).await;
    group.raft.add_learner(OTHER.0, other, false).await.unwrap();
    assert_eq!(left(), []);
    let gone = std::collections::BTreeSet::from([OTHER.0]);
    let change = openraft::ChangeMembers::RemoveNodes(gone);
    group.raft.change_membership(change, false).await.unwrap();
    until(&host, |_| left() == [(OTHER, NodeId(2))]).await;
    let left_at =
        group.replica.state().as_sessions().unwrap().left_replicas().next().unwrap().left_at;
    let op = Op::Session(SessionOp::Destroyed { raft: OTHER, left_at });
    let epoch = group.replica.state().epoch();
    host.propose(sessions.id, epoch, None, op, Duration::from_secs(10)).await.unwrap();
    assert_eq!(left(), []);
}

#[tokio::test]
async fn a_replica_that_was_here_before_does_not_begin_anew_by_a_map_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _wal) = open(dir.path(), vec![NODE]).await;
    until(&host, leads_all).await;
    let shard = host.shard_map().shards().next().unwrap().clone();
    let never_here = ShardDescriptor { id: ShardId(999), ..shard.clone() };
    let birth = supervisor::birth(&host.inner, never_here).await.unwrap();
    assert_eq!(birth.votes_from_conf, 0);
    assert!(host.inner.stop_to_leave(shard.id).await.is_some());
    host.inner.destroy(shard.id).await;
    // The map lists it still; no leader says that it is a member again.
    assert!(supervisor::birth(&host.inner, shard.clone()).await.is_none());
    assert!(host.inner.is_gone(shard.id) && host.inner.wal.vote(shard.id).is_some());
}

#[tokio::test]
async fn a_replica_that_comes_back_votes_only_with_the_entry_that_made_it_a_member_again() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _wal) = open(dir.path(), vec![NODE]).await;
    until(&host, leads_all).await;
    let shard = host.shard_map().shards().next().unwrap().clone();
    let here = Some(host.raft_id());
    for (id, votes_from_conf) in [(ShardId(998), 1), (ShardId(999), 2)] {
        let shard = ShardDescriptor { id, ..shard.clone() };
        host.inner.start(id, Birth { shard: Some(shard), votes_from_conf }).await;
        let frame = Frame { cluster: CLUSTER, from: OTHER, to: here, request: vote(id) };
        let answer = host.handle(NodeId(2), frame.encode().unwrap()).await;
        let is_refused =
            matches!(Response::<R>::decode(&answer).unwrap(), Response::Refused(Refused::Grace));
        // Both have an empty log, in which nobody was added yet: the members of the first epoch vote.
        assert_eq!(is_refused, votes_from_conf > 1, "{votes_from_conf}");
    }
}

#[tokio::test]
async fn nothing_is_held_of_a_group_that_is_not_here_once_the_files_of_the_log_are_rid_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _wal) = open(dir.path(), vec![NODE]).await;
    until(&host, leads_all).await;
    let ask = |group| {
        let request = Request::<R>::Holds { group };
        let frame = Frame { cluster: CLUSTER, from: OTHER, to: Some(host.raft_id()), request };
        let answer = host.handle(NodeId(2), frame.encode().unwrap());
        async move { matches!(Response::<R>::decode(&answer.await).unwrap(), Response::Holds(true)) }
    };
    let here = host.shard_map().shards().next().unwrap().id;
    assert!(ask(ShardId(999)).await, "its log may be in the files yet");
    let waiting = async {
        while ask(ShardId(999)).await {
            R::sleep(Duration::from_millis(10)).await;
        }
    };
    R::timeout(Duration::from_secs(60), waiting).await.unwrap();
    assert!(ask(here).await);
}

#[tokio::test]
async fn a_command_that_does_not_decode_halts_one_replica_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _wal) = open(dir.path(), vec![NODE]).await;
    until(&host, leads_all).await;
    let map = host.shard_map();
    let (id, op) = put("one");
    let sessions = map.locate(&id.key()).unwrap().clone();
    let damaged = map.shards().find(|shard| shard.id != sessions.id).unwrap().id;
    let group = host.inner.group(damaged).unwrap();
    let junk = Proposal(Bytes::from_static(b"\x09junk"));
    assert!(group.raft.client_write(junk).await.is_err());
    until(&host, |host| {
        host.replica(damaged).is_some_and(|status| status.state == ReplicaState::Halted)
    })
    .await;
    let fault = host.replica(damaged).unwrap().fault.unwrap();
    assert!(fault.contains("the command of entry"), "{fault}");
    let deadline = Duration::from_secs(10);
    let proposed = host.propose(sessions.id, sessions.epoch, None, op, deadline).await.unwrap();
    assert!(matches!(proposed.reply, Reply::Session(_)));
    let refused =
        host.propose(damaged, sessions.epoch, None, Op::Tick, deadline).await.unwrap_err();
    assert!(matches!(refused, ProposeError::Unavailable(_)));
}

#[tokio::test]
async fn of_a_snapshot_that_a_replica_is_past_nothing_reaches_its_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (host, _wal) = open(dir.path(), vec![NODE]).await;
    until(&host, |host| host.replica(ShardId::META).is_some_and(|meta| meta.applied.index > 1))
        .await;
    let group = host.inner.group(ShardId::META).unwrap();
    let map = host.shard_map().version();
    let id = SnapshotId { term: 1, index: 1, writer: 5, nonce: 0 };
    let manifest = Manifest {
        group: group.id,
        id,
        last: Some(log_id(1, 1)),
        membership: StoredMembership::default(),
        chunks: vec![ChunkMeta { len: 3, crc: 0 }],
    };
    // Of a leader of a later term.
    let vote = Vote::new_committed(99, OTHER.0);
    let ask = |request: Request<R>| {
        let frame = Frame { cluster: CLUSTER, from: OTHER, to: Some(host.raft_id()), request };
        let host = host.clone();
        async move {
            let answer = host.handle(NodeId(2), frame.encode().unwrap()).await;
            Response::<R>::decode(&answer).unwrap()
        }
    };
    let begun = ask(Request::SnapshotBegin { group: group.id, vote, manifest }).await;
    assert!(matches!(begun, Response::SnapshotMissing(missing) if missing.is_empty()));
    let begun = group.receiving.take(id).await;
    assert!(matches!(begun, crate::snapshot::Taken::Nothing));
    // The sender goes on to the end, and its vote counts, but nothing is replaced.
    let finished = ask(Request::SnapshotFinish { group: group.id, vote, id }).await;
    assert!(matches!(finished, Response::SnapshotInstalled(seen) if seen == vote));
    assert!(group.replica.applied().index > 1);
    assert!(group.replica.fault().is_none());
    assert!(host.shard_map().version() >= map);
}

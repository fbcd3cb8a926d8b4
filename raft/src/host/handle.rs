//! Frames of other nodes: checked, and handed to their group.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use hexpop_edge_config::{
    GroupId, NodeId, RaftId,
    planted::{self, Bug},
};
use hexpop_shard::{DocRef, LogPosition};
use openraft::{AsyncRuntime, raft::AppendEntriesRequest};

use super::{
    Birth, Inner,
    receive::{begin, chunk, finish},
};
use crate::{
    error::ProposeError,
    group::Group,
    pairs,
    read::read_index_as_leader,
    rpc::{
        ClosedPosition, Frame, Hello, PulledMap, Refused, Request, Response, Standing, millis_up,
    },
    staging::{is_staged, staged_group},
    supervisor,
    types::{TypeConfig, Vote},
};

/// The longest that handling a frame may take. Callers have deadlines of their own; this bounds
/// what is kept for those that are gone.
const HANDLING_MAX: Duration = Duration::from_secs(180);

/// The longest that a read index may be waited for.
const READ_INDEX_MAX: Duration = Duration::from_secs(10);

/// How long each of the two steps may take in which a leader finds out who its group's members are.
const STANDING_MAX: Duration = Duration::from_secs(2);

/// The longest that something staged may be waited for.
const STAGE_MAX: Duration = Duration::from_secs(10);

/// The most groups that one `Closed` asks for.
const CLOSED_MAX: usize = 4096;

/// The most bytes of documents in one answer.
const DOCUMENT_BYTES_MAX: usize = 4 << 20;

type Answer<R> = BoxFuture<'static, Response<R>>;

/// Handles a frame: what must keep its order is queued when this returns.
pub(super) fn handle<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    from: NodeId,
    frame: &Bytes,
) -> BoxFuture<'static, Bytes> {
    let answer = dispatch(inner, from, frame).unwrap_or_else(|refused| {
        inner.metrics.refused_frames.with_label_values(&[reason(&refused)]).inc();
        tracing::debug!(%from, %refused, "a frame is refused");
        ready(Response::Refused(refused))
    });
    Box::pin(async move {
        match R::timeout(HANDLING_MAX, answer).await {
            Ok(answer) => answer.encode(),
            Err(_) => Response::<R>::Refused(Refused::Busy).encode(),
        }
    })
}

fn ready<R: AsyncRuntime>(response: Response<R>) -> Answer<R> {
    Box::pin(futures::future::ready(response))
}

const fn reason(refused: &Refused) -> &'static str {
    match refused {
        Refused::Unintelligible(_) => "unintelligible",
        Refused::WrongCluster { .. } => "wrong_cluster",
        Refused::WrongReplica { .. } => "wrong_replica",
        Refused::NotYet => "not_yet",
        Refused::Halted => "halted",
        Refused::Grace => "grace",
        Refused::Busy => "busy",
        Refused::NotLeader { .. } => "not_leader",
        Refused::Failed(_) => "failed",
        Refused::Parked => "parked",
    }
}

fn dispatch<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    node: NodeId,
    frame: &Bytes,
) -> Result<Answer<R>, Refused> {
    let frame =
        Frame::<R>::decode(frame).map_err(|error| Refused::Unintelligible(error.to_string()))?;
    if frame.cluster != inner.options.cluster {
        return Err(Refused::WrongCluster { here: inner.options.cluster });
    }
    if frame.to.is_some_and(|to| to != inner.raft) {
        return Err(Refused::WrongReplica { here: inner.raft });
    }
    if inner.is_closing() {
        return Err(Refused::Halted);
    }
    if frame.to.is_none() && frame.request.is_raft() {
        return Err(Refused::WrongReplica { here: inner.raft });
    }
    if frame.request.is_raft() {
        consensus(inner, Sender { node, raft: frame.from }, frame.request)
    } else {
        question(inner, Sender { node, raft: frame.from }, frame.request)
    }
}

/// Who sent a frame: the node at the other end, and the data directory that it says to have.
#[derive(Debug, Clone, Copy)]
struct Sender {
    node: NodeId,
    raft: RaftId,
}

/// What is part of the consensus of a group.
fn consensus<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    sender: Sender,
    request: Request<R>,
) -> Result<Answer<R>, Refused> {
    let from = sender.raft;
    match request {
        Request::Append { group, rpc } => append(inner, from, group, rpc),
        Request::Vote { group, rpc } => {
            check_sender(from, &rpc.vote)?;
            let group = may_vote(inner, group, rpc.leadership_transfer)?;
            if rpc.leadership_transfer {
                group.rouse();
            }
            let observed = inner.observed.clone();
            Ok(Box::pin(async move {
                let (term, candidate) =
                    (rpc.vote.leader_id.term, RaftId(rpc.vote.leader_id.voted_for));
                let answer = group.raft.vote(rpc).await;
                if answer.as_ref().is_ok_and(|answer| answer.vote_granted) {
                    group.note_heard();
                }
                if let (Some((observer, raft)), Ok(answer)) = (&observed.0, &answer) {
                    observer.voted(*raft, group.id, term, candidate, answer.vote_granted);
                }
                vote_answer(answer)
            }))
        }
        Request::PreVote { group, rpc } => {
            check_sender(from, &rpc.vote)?;
            let group = may_vote(inner, group, false)?;
            Ok(Box::pin(async move { vote_answer(group.raft.pre_vote(rpc).await) }))
        }
        Request::Transfer { group, rpc } => {
            check_sender(from, rpc.from_leader())?;
            let group = may_vote(inner, group, true)?;
            group.rouse();
            Ok(Box::pin(async move {
                match group.raft.handle_transfer_leader(rpc).await {
                    Ok(answer) => Response::Transfer(answer),
                    Err(_) => Response::Refused(Refused::Halted),
                }
            }))
        }
        Request::SnapshotBegin { group, vote, manifest } => {
            check_sender(from, &vote)?;
            let group = find(inner, group, true)?;
            let inner = Arc::clone(inner);
            Ok(Box::pin(async move { or_refused(begin(&inner, &group, manifest).await) }))
        }
        Request::SnapshotChunk { group, id, number, bytes } => {
            let group = find(inner, group, false)?;
            Ok(Box::pin(async move { or_refused(chunk(&group, id, number, &bytes).await) }))
        }
        Request::SnapshotFinish { group, vote, id } => {
            check_sender(from, &vote)?;
            let group = find(inner, group, false)?;
            Ok(Box::pin(async move { or_refused(finish(group, vote, id).await) }))
        }
        question => self::question(inner, sender, question),
    }
}

fn append<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    from: RaftId,
    group: GroupId,
    rpc: AppendEntriesRequest<TypeConfig<R>>,
) -> Result<Answer<R>, Refused> {
    // A leader may only speak for itself: its vote carries its data directory.
    check_sender(from, &rpc.vote)?;
    let last = rpc.entries.last().map(|entry| entry.log_id).or(rpc.prev_log_id);
    let replica = find(inner, group, true)?;
    replica.rouse();
    let receiver = replica.append(rpc)?;
    let observed = inner.observed.clone();
    Ok(Box::pin(async move {
        match receiver.await {
            Ok(Ok(answer)) => {
                if let (Some((observer, raft)), Some(last)) = (&observed.0, last)
                    && answer.is_success()
                {
                    let term = last.leader_id.term;
                    let position = LogPosition { term, index: last.index };
                    observer.acknowledged(*raft, group, position);
                }
                Response::Append(answer)
            }
            Ok(Err(refused)) => Response::Refused(refused),
            Err(_) => Response::Refused(Refused::Halted),
        }
    }))
}

/// What may be asked of any node.
fn question<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    sender: Sender,
    request: Request<R>,
) -> Result<Answer<R>, Refused> {
    match request {
        Request::ReadIndex { group, wait_ms } => {
            let group = find(inner, group, false)?;
            let wait = Duration::from_millis(wait_ms).min(READ_INDEX_MAX);
            Ok(Box::pin(async move {
                match read_index_as_leader(&group, Some(&group.read_lease), wait).await {
                    Ok(id) => Response::ReadIndex(id),
                    Err(refused) => Response::Refused(refused),
                }
            }))
        }
        Request::Closed { groups } => Ok(ready(closed(inner, &groups))),
        Request::FetchDocuments { group, wanted } => {
            let group = find(inner, group, false)?;
            Ok(ready(Response::Documents(documents(&group, &wanted))))
        }
        Request::Beat => {
            pairs::heard(inner, sender.raft, None);
            Ok(ready(Response::Beat))
        }
        Request::PairBeat { start, digest } => {
            Ok(ready(pairs::answer_beat(inner, sender.raft, start, digest)))
        }
        Request::Park { start, all, groups } => {
            let refused = pairs::park::promise(inner, sender.raft, start, all, &groups);
            Ok(ready(Response::Park { refused }))
        }
        Request::Hello => Ok(ready(Response::Hello(hello(inner)))),
        Request::ReadThere { reads } => {
            supervisor::note_reads(inner, sender.node, reads);
            Ok(ready(Response::Noted))
        }
        Request::Loads => Ok(ready(Response::Loads(supervisor::own_loads(inner)))),
        Request::PullMap { known } => Ok(ready(Response::Map(pulled_map(inner, known)))),
        Request::Compacted { group, raft, upto } => {
            check_word(&*find(inner, group, false)?, sender, raft)?;
            let inner = Arc::clone(inner);
            Ok(Box::pin(async move {
                let noted = supervisor::note_compacted(&inner, group, raft, upto).await;
                Response::Compacted { noted }
            }))
        }
        Request::Standing { group } => {
            let group = find(inner, group, false)?;
            Ok(Box::pin(async move { or_refused(standing(&group, sender.raft).await) }))
        }
        Request::Holds { group } => Ok(ready(Response::Holds(supervisor::holds(inner, group)))),
        Request::Errand { group, errand } => {
            let inner = Arc::clone(inner);
            Ok(Box::pin(async move {
                let answer = supervisor::run_errand(&inner, group, errand).await;
                or_refused(answer.map(Response::Errand))
            }))
        }
        Request::Stage { .. } | Request::KeptSnapshot { .. } | Request::KeptChunk { .. } => {
            Ok(kept(Arc::clone(inner), sender, request))
        }
        Request::ProposeMeta { .. } | Request::ProposePurge { .. } | Request::PullPurges { .. } => {
            Ok(without_range(Arc::clone(inner), request))
        }
        Request::Append { .. }
        | Request::Vote { .. }
        | Request::PreVote { .. }
        | Request::Transfer { .. }
        | Request::SnapshotBegin { .. }
        | Request::SnapshotChunk { .. }
        | Request::SnapshotFinish { .. } => {
            Err(Refused::Failed("a request of the consensus".to_owned()))
        }
    }
}

/// What is asked of the snapshots that are kept here.
fn kept<R: AsyncRuntime>(inner: Arc<Inner<R>>, sender: Sender, request: Request<R>) -> Answer<R> {
    Box::pin(async move {
        if let Request::KeptSnapshot { group, .. } | Request::KeptChunk { group, .. } = &request
            && !may_hold(&inner, *group, sender)
        {
            // A map that says otherwise may be on its way to here.
            return Response::Refused(Refused::NotYet);
        }
        match request {
            Request::Stage { staged, wait_ms } => {
                let wait = Duration::from_millis(wait_ms).min(STAGE_MAX);
                Response::Staged(supervisor::have_staged(&inner, staged, wait).await)
            }
            Request::KeptSnapshot { group, index } => {
                Response::KeptSnapshot(supervisor::kept_snapshot(&inner, group, index).await)
            }
            Request::KeptChunk { group, id, number } => {
                let kept = inner.snapshots.current(group);
                match kept.filter(|files| files.manifest().id == id) {
                    Some(files) => match files.read_chunk(number) {
                        Ok(bytes) => Response::KeptChunk(bytes.into()),
                        Err(error) => Response::Refused(Refused::Failed(error.to_string())),
                    },
                    // A newer one has taken its place.
                    None => Response::Refused(Refused::NotYet),
                }
            }
            _ => Response::Refused(Refused::Failed("a request of another kind".to_owned())),
        }
    })
}

/// Whether the sender is a replica of a group, as its log has it here.
fn is_replica<R: AsyncRuntime>(group: &Group<R>, sender: Sender) -> bool {
    group.with_metrics(|metrics| {
        let node = metrics.membership_config.membership().get_node(&sender.raft.0);
        node.is_some_and(|node| node.id() == sender.node)
    })
}

/// Whether the sender is a replica of a group, by the group's log or the map, so that it may have what is kept of
/// it. What is staged is for the replicas of the shard that is to absorb it.
fn may_hold<R: AsyncRuntime>(inner: &Inner<R>, kept: GroupId, sender: Sender) -> bool {
    let group = if is_staged(kept) {
        let mut staged = inner.staging.all().into_iter();
        staged.find(|it| staged_group(it.operation) == kept).map(|it| it.left)
    } else {
        Some(kept)
    };
    let Some(group) = group else { return false };
    inner.group(group).is_some_and(|group| is_replica(&group, sender))
        || inner.map().get(group).is_some_and(|shard| {
            let mut replicas = shard.replicas.iter();
            replicas.any(|it| it.raft == sender.raft && it.node == sender.node)
        })
}

/// What is asked of the meta group and of that of purges.
fn without_range<R: AsyncRuntime>(inner: Arc<Inner<R>>, request: Request<R>) -> Answer<R> {
    Box::pin(async move {
        match request {
            Request::ProposeMeta { op } => {
                proposed(supervisor::propose_meta_here(&inner, op).await.map(Response::Meta))
            }
            Request::ProposePurge { op } => {
                proposed(supervisor::propose_purge_here(&inner, op).await.map(Response::Purge))
            }
            Request::PullPurges { position, wait_ms } => {
                let wait = Duration::from_millis(wait_ms);
                match supervisor::pull_purges_here(&inner, position, wait).await {
                    Ok(tail) => Response::Purges(tail),
                    Err(error) => Response::Refused(Refused::Failed(error.to_string())),
                }
            }
            _ => Response::Refused(Refused::Failed("a request of another kind".to_owned())),
        }
    })
}

fn proposed<R: AsyncRuntime>(outcome: Result<Response<R>, ProposeError>) -> Response<R> {
    match outcome {
        Ok(outcome) => outcome,
        Err(ProposeError::NotLeader { leader }) => Response::Refused(Refused::NotLeader { leader }),
        Err(ProposeError::NotHere) => Response::Refused(Refused::NotYet),
        Err(ProposeError::Overloaded) => Response::Refused(Refused::Busy),
        Err(error) => Response::Refused(Refused::Failed(error.to_string())),
    }
}

/// A replica that runs here. That of the meta group, or of purges, is created by the first append that is
/// addressed to this data directory: its leader added it, and no map says so. Where there was one before,
/// its leader is asked first: the append may be from before that one left.
fn find<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    group: GroupId,
    addressed: bool,
) -> Result<Arc<Group<R>>, Refused> {
    if let Some(group) = inner.group(group) {
        return if group.fault().is_some() { Err(Refused::Halted) } else { Ok(group) };
    }
    if inner.has_failed(group) {
        return Err(Refused::Halted);
    }
    if !group.is_of_shard() {
        if addressed && !inner.has_slot(group) {
            if inner.was_here(group) {
                inner.invited.lock().insert(group);
                inner.wake_replicas.notify_one();
            } else {
                let inner = Arc::clone(inner);
                drop(R::spawn(async move { inner.start(group, Birth::default()).await }));
            }
        }
    } else {
        // The map that gives this replica to the node is on its way, or must be fetched.
        inner.wake_map.notify_one();
    }
    Err(Refused::NotYet)
}

/// A replica that may vote: it exists, it started long enough ago (before that it may have promised a
/// leader of its earlier life not to), and the group is not parked. `transfer`: the leader itself wants
/// the election.
fn may_vote<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    group: GroupId,
    transfer: bool,
) -> Result<Arc<Group<R>>, Refused> {
    let group = find(inner, group, false)?;
    if group.in_grace() && !planted::has(Bug::VoteAfterRestart) {
        Err(Refused::Grace)
    } else if !transfer && group.is_promised() && !planted::has(Bug::VoteWhileParked) {
        if let Some((observer, _)) = &inner.observed.0 {
            observer.refused_for_promise();
        }
        Err(Refused::Parked)
    } else {
        Ok(group)
    }
}

/// Whoever asks for votes or sends entries does so under its own data directory's id.
fn check_sender(from: RaftId, vote: &Vote) -> Result<(), Refused> {
    if vote.leader_id.voted_for == from.0 {
        Ok(())
    } else {
        Err(Refused::Failed("the vote is not the sender's own".to_owned()))
    }
}

/// Of its disk a replica speaks for itself, from the node that the group's members have it on.
fn check_word<R: AsyncRuntime>(
    group: &Group<R>,
    sender: Sender,
    raft: RaftId,
) -> Result<(), Refused> {
    if is_replica(group, sender) && raft == sender.raft {
        Ok(())
    } else {
        Err(Refused::Failed("a replica's disk is its own to speak of".to_owned()))
    }
}

/// What a data directory is to a group that is led here: by what is applied after a quorum has confirmed
/// the leader, so that it was so after the question came.
async fn standing<R: AsyncRuntime>(group: &Group<R>, of: RaftId) -> Result<Response<R>, Refused> {
    let read = read_index_as_leader(group, None, STANDING_MAX).await?;
    if R::timeout(STANDING_MAX, group.replica.reached(read.index)).await.is_err() {
        return Err(Refused::Busy);
    }
    let conf = group.replica.state().epoch().conf;
    let members = group.replica.settled_members().ok_or(Refused::Busy)?;
    // One that is just being added may have acknowledged entries already.
    let is_added = group
        .with_metrics(|metrics| metrics.membership_config.membership().get_node(&of.0).is_some());
    Ok(Response::Standing(Standing { is_member: is_added || members.contains_key(&of), conf }))
}

fn vote_answer<R: AsyncRuntime, E>(
    answer: Result<openraft::raft::VoteResponse<TypeConfig<R>>, E>,
) -> Response<R> {
    answer.map_or(Response::Refused(Refused::Halted), Response::Vote)
}

fn or_refused<R: AsyncRuntime>(answer: Result<Response<R>, Refused>) -> Response<R> {
    answer.unwrap_or_else(Response::Refused)
}

fn closed<R: AsyncRuntime>(inner: &Inner<R>, groups: &[GroupId]) -> Response<R> {
    let positions = groups.iter().take(CLOSED_MAX).filter_map(|id| {
        let (committed, age) = inner.group(*id)?.closed_as_leader()?;
        Some(ClosedPosition { group: *id, committed, age_ms: millis_up(age) })
    });
    Response::Closed(positions.collect())
}

fn hello<R: AsyncRuntime>(inner: &Inner<R>) -> Hello {
    Hello {
        raft: inner.raft,
        bootstrap: inner.options.bootstrap.clone(),
        meta: inner.has_meta(),
        map_version: inner.map().version(),
        leads: inner.running().iter().filter(|group| group.leads()).map(|group| group.id).collect(),
    }
}

fn pulled_map<R: AsyncRuntime>(inner: &Inner<R>, known: u64) -> PulledMap {
    let map = inner.map();
    PulledMap {
        map: (map.version() > known).then(|| map.as_ref().clone()),
        secret: inner.secret(),
        seats: inner.all_seats(),
    }
}

/// The documents that are here, as far as they fit into a frame.
fn documents<R: AsyncRuntime>(group: &Group<R>, wanted: &[DocRef]) -> Vec<Option<Bytes>> {
    let mut bytes = 0;
    let known = wanted.iter().take(supervisor::FETCHED_AT_ONCE);
    known
        .map_while(|at| {
            let document = group.replica.documents().get(at);
            bytes += document.as_ref().map_or(0, |document| document.len());
            (bytes <= DOCUMENT_BYTES_MAX)
                .then(|| document.map(|document| Bytes::copy_from_slice(&document)))
        })
        .collect()
}

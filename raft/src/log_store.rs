//! openraft's view of the write-ahead log: one store per group.
//!
//! An entry is stored as one byte for its kind and the command's own bytes, or the membership
//! through the codec.

use std::{
    fmt,
    future::Future,
    io,
    marker::PhantomData,
    ops::{Bound, RangeBounds, RangeInclusive},
};

use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use hexpop_edge_config::codec;
use openraft::{
    AsyncRuntime, EntryPayload, LogState, OptionalSend, RaftLogReader,
    errors::LeaderChanged,
    storage::{IOFlushed, LeaderBoundedStreamError, RaftLogStorage},
    vote::RaftLeaderId,
};
use serde::{Deserialize, Serialize};

use crate::{
    types::{
        Entry, LeaderId, LogId, Membership, Payload, Proposal, ReplicaNode, TypeConfig, Vote,
        log_id,
    },
    wal::{Completion, GroupLog, LogEntry, LogPosition, LogVote},
};

/// How much payload one read of a stream or of replication gathers, in bytes.
const READ_BYTES_MAX: usize = 1 << 20;

/// What an entry's payload is. Final on disk.
mod tag {
    /// Nothing: what a new leader appends first.
    pub(super) const BLANK: u8 = 0;
    /// An encoded command.
    pub(super) const COMMAND: u8 = 1;
    /// A [`super::MembershipRecord`], through the codec.
    pub(super) const MEMBERSHIP: u8 = 2;
}

/// A membership on disk, apart from openraft's own type, whose layout is not ours to keep.
#[derive(Debug, Serialize, Deserialize)]
struct MembershipRecord {
    /// One set of voters, or two while a change is under way.
    configs: Vec<Vec<u64>>,
    /// Voters and learners: Raft id and node.
    nodes: Vec<(u64, u32)>,
}

/// The log of one group, for openraft running on `R`. A clone is another view of the same log.
pub struct LogStore<R> {
    log: GroupLog,
    runtime: PhantomData<fn() -> R>,
}

impl<R: AsyncRuntime> LogStore<R> {
    /// The store over `log`.
    #[must_use]
    pub const fn new(log: GroupLog) -> Self {
        Self { log, runtime: PhantomData }
    }

    /// The log it is over.
    #[must_use]
    pub const fn log(&self) -> &GroupLog {
        &self.log
    }

    /// Gives up when the disk takes longer than `Options::stall_timeout`.
    async fn in_time<T>(
        &self,
        what: &str,
        future: impl Future<Output = Result<T, crate::wal::WalError>> + Send,
    ) -> io::Result<T> {
        match R::timeout(self.log.wal().options().stall_timeout, future).await {
            Ok(result) => result.map_err(io::Error::from),
            Err(_elapsed) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("group {}: {what}: the disk does not answer", self.log.id()),
            )),
        }
    }

    fn read(&self, from: u64, to: u64, bytes_max: usize) -> io::Result<Vec<Entry>> {
        self.log.read(from..to, bytes_max)?.into_iter().map(from_stored).collect()
    }
}

impl<R: AsyncRuntime> RaftLogReader<TypeConfig<R>> for LogStore<R> {
    async fn leader_bounded_stream<RB>(
        &mut self,
        leader: LeaderId,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, LeaderBoundedStreamError<TypeConfig<R>>>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend,
    {
        let expected = LogVote { term: leader.term, node: leader.voted_for, committed: true };
        let store = self.clone();
        let chunks = stream::try_unfold(Some(bounds(&range)), move |left| {
            let store = store.clone();
            async move {
                let Some((from, to)) = left else { return Ok(None) };
                // The vote is looked at under the same lock as the entries, so that none is returned
                // that a later leader has replaced.
                let read =
                    store.log.read_if(from..to, READ_BYTES_MAX, |vote| vote == Some(expected));
                let Some(entries) = read.map_err(io::Error::from)? else {
                    let vote = store.log.view().map_err(io::Error::from)?.vote;
                    return Err(LeaderChanged::new(leader, vote.map(to_vote)).into());
                };
                let left = entries.last().map(|last| (last.index + 1, to));
                let left = left.filter(|(from, to)| from < to);
                Ok(Some((stream::iter(entries.into_iter().map(|e| Ok(from_stored(e)?))), left)))
            }
        });
        chunks_to_entries(chunks)
    }

    async fn entries_stream<RB>(
        &mut self,
        range: RB,
    ) -> impl Stream<Item = Result<Entry, io::Error>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend,
    {
        let store = self.clone();
        let chunks = stream::try_unfold(Some(bounds(&range)), move |left| {
            let store = store.clone();
            async move {
                let Some((from, to)) = left else { return Ok::<_, io::Error>(None) };
                let entries = store.read(from, to, READ_BYTES_MAX)?;
                let left = entries.last().map(|last| (last.log_id.index + 1, to));
                let left = left.filter(|(from, to)| from < to);
                Ok(Some((stream::iter(entries.into_iter().map(Ok)), left)))
            }
        });
        chunks_to_entries(chunks)
    }

    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + fmt::Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let (from, to) = bounds(&range);
        self.read(from, to, usize::MAX)
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.log.view()?.vote.map(to_vote))
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, io::Error> {
        self.read(start, end, READ_BYTES_MAX)
    }

    async fn get_key_log_ids(
        &mut self,
        range: RangeInclusive<LogId>,
    ) -> Result<Vec<LogId>, io::Error> {
        let ends = self.log.term_ends(to_position(*range.start()), to_position(*range.end()))?;
        Ok(ends.into_iter().map(from_position).collect())
    }
}

impl<R: AsyncRuntime> RaftLogStorage<TypeConfig<R>> for LogStore<R> {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig<R>>, io::Error> {
        let view = self.log.view()?;
        Ok(LogState {
            last_purged_log_id: view.purged.map(from_position),
            last_log_id: view.last.map(from_position),
        })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        let vote = LogVote {
            term: vote.leader_id.term,
            node: vote.leader_id.voted_for,
            committed: vote.committed,
        };
        self.in_time("saving a vote", self.log.save_vote(vote)).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        Ok(self.log.save_committed(committed.map(to_position))?)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        let view = self.log.view()?;
        // Never past what is here, whatever order things reached the disk in.
        Ok(view.committed.min(view.last).map(from_position))
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: IOFlushed<TypeConfig<R>>,
    ) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().map(to_stored).collect::<io::Result<Vec<_>>>()?;
        let done =
            Completion::new(move |result| callback.io_completed(result.map_err(io::Error::from)));
        self.in_time("appending", self.log.append(entries, done)).await
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> Result<(), io::Error> {
        let from = last_log_id.map_or(0, |last| last.index.saturating_add(1));
        self.in_time("truncating", self.log.truncate(from)).await
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), io::Error> {
        self.in_time("purging", self.log.purge(to_position(log_id))).await
    }
}

impl<R> Clone for LogStore<R> {
    fn clone(&self) -> Self {
        Self { log: self.log.clone(), runtime: PhantomData }
    }
}

impl<R> fmt::Debug for LogStore<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore").field("group", &self.log.id()).finish_non_exhaustive()
    }
}

fn chunks_to_entries<T, E, S, C>(chunks: C) -> impl Stream<Item = Result<T, E>> + Send + Unpin
where
    T: Send,
    E: Send,
    S: Stream<Item = Result<T, E>> + Send,
    C: Stream<Item = Result<S, E>> + Send,
{
    let entries = chunks.flat_map(|chunk| match chunk {
        Ok(entries) => entries.left_stream(),
        Err(error) => stream::iter([Err(error)]).right_stream(),
    });
    Box::pin(entries)
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let from = match range.start_bound() {
        Bound::Included(&from) => from,
        Bound::Excluded(&before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let to = match range.end_bound() {
        Bound::Included(&last) => last.saturating_add(1),
        Bound::Excluded(&to) => to,
        Bound::Unbounded => u64::MAX,
    };
    (from, to)
}

fn to_stored(entry: Entry) -> io::Result<LogEntry> {
    let LogPosition { term, index } = to_position(entry.log_id);
    let (tag, payload) = match entry.payload {
        EntryPayload::Blank => (tag::BLANK, Bytes::new()),
        EntryPayload::Normal(Proposal(command)) => (tag::COMMAND, command),
        EntryPayload::Membership(membership) => {
            let nodes = membership.nodes().map(|(id, node)| (*id, node.node)).collect();
            let configs = membership.get_joint_config().iter();
            let configs = configs.map(|config| config.iter().copied().collect()).collect();
            let record = codec::encode(&MembershipRecord { configs, nodes });
            (tag::MEMBERSHIP, record.map_err(io::Error::other)?.into())
        }
    };
    Ok(LogEntry { index, term, tag, payload })
}

fn from_stored(entry: LogEntry) -> io::Result<Entry> {
    let LogEntry { index, term, tag, payload } = entry;
    let wrong = |what: String| {
        io::Error::new(io::ErrorKind::InvalidData, format!("log entry {index}: {what}"))
    };
    let payload: Payload = match tag {
        tag::BLANK => EntryPayload::Blank,
        tag::COMMAND => EntryPayload::Normal(Proposal(payload)),
        tag::MEMBERSHIP => {
            let record: MembershipRecord =
                codec::decode(&payload).map_err(|error| wrong(error.to_string()))?;
            let configs = record.configs.into_iter().map(|ids| ids.into_iter().collect());
            let nodes = record.nodes.into_iter().map(|(id, node)| (id, ReplicaNode { node }));
            let nodes: std::collections::BTreeMap<_, _> = nodes.collect();
            let membership = Membership::new(configs.collect(), nodes);
            EntryPayload::Membership(membership.map_err(|error| wrong(error.to_string()))?)
        }
        unknown => return Err(wrong(format!("payload kind {unknown} is not known here"))),
    };
    Ok(Entry { log_id: log_id(term, index), payload })
}

fn to_vote(vote: LogVote) -> Vote {
    Vote { leader_id: LeaderId::new(vote.term, vote.node), committed: vote.committed }
}

fn to_position(id: LogId) -> LogPosition {
    LogPosition { term: id.leader_id.term, index: id.index }
}

fn from_position(position: LogPosition) -> LogId {
    log_id(position.term, position.index)
}

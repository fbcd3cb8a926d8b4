//! The records of the log and their layout. Final on disk: kinds and flags are only ever added.
//!
//! The layout is fixed and not left to the codec, because a frame has to be checked before anything
//! in it is believed. All numbers are little endian, frames begin at multiples of 8.
//!
//! ```text
//!  0  u32  length of the body
//!  4  u32  CRC-32 of (log id, segment number, offset) and of all of the frame but this field
//!  8  u8   version, 1
//!  9  u8   kind
//! 10  u16  flags of the kind
//! 12  u32  up to where the segment was durable when this was written
//! 16  u64  group
//! 24  …    body, then zeros up to a multiple of 8
//! ```

use bytes::Buf;

use super::{LogPosition, LogVote};

/// The bytes in front of a body.
pub(super) const HEAD_BYTES: usize = 24;
/// The version of the frames written here.
pub(super) const VERSION: u8 = 1;
/// The highest kind known here.
pub(super) const KIND_MAX: u8 = 9;
/// What an entry's body has in front of the payload.
pub(super) const ENTRY_HEAD_BYTES: usize = 17;
/// The most a group may carry about itself.
pub(super) const ABOUT_BYTES_MAX: usize = 64 << 10;

/// Entry: nothing of the group's log is before it, and that is no gap.
const FLAG_STARTS: u16 = 1;
/// Group, Destroyed: which of the positions follow.
const FLAG_VOTE: u16 = 1;
const FLAG_PURGED: u16 = 2;
const FLAG_COMMITTED: u16 = 4;

/// What a record says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Record<'a> {
    /// Kind 1: an entry that continues the log. Kind 8: a copy of one whose segment is to go; what
    /// follows it in the log stays.
    Entry { term: u64, index: u64, tag: u8, payload: &'a [u8], starts: bool, moved: bool },
    /// Kind 2.
    Vote(LogVote),
    /// Kind 3: entries from this index on are gone.
    Truncate { from: u64 },
    /// Kind 4: entries up to here are gone.
    Purge(LogPosition),
    /// Kind 5.
    Committed(Option<LogPosition>),
    /// Kind 6: the group is here, with all of its state but the entries.
    Group(GroupRecord<'a>),
    /// Kind 7: the group and its entries are gone; the vote is remembered in case it comes back.
    Destroyed { vote: Option<LogVote> },
    /// Kind 9: the segment ends here, and the log goes on in the next.
    Seal,
}

/// The body of [`Record::Group`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupRecord<'a> {
    pub(super) vote: Option<LogVote>,
    pub(super) purged: Option<LogPosition>,
    pub(super) committed: Option<LogPosition>,
    pub(super) about: &'a [u8],
}

impl<'a> Record<'a> {
    pub(super) const fn kind(&self) -> u8 {
        match self {
            Self::Entry { moved: false, .. } => 1,
            Self::Vote(_) => 2,
            Self::Truncate { .. } => 3,
            Self::Purge(_) => 4,
            Self::Committed(_) => 5,
            Self::Group(_) => 6,
            Self::Destroyed { .. } => 7,
            Self::Entry { moved: true, .. } => 8,
            Self::Seal => KIND_MAX,
        }
    }

    pub(super) fn flags(&self) -> u16 {
        let flag = |set: bool, bit: u16| if set { bit } else { 0 };
        match self {
            Self::Entry { starts, .. } => flag(*starts, FLAG_STARTS),
            Self::Group(group) => {
                flag(group.vote.is_some(), FLAG_VOTE)
                    | flag(group.purged.is_some(), FLAG_PURGED)
                    | flag(group.committed.is_some(), FLAG_COMMITTED)
            }
            Self::Destroyed { vote } => flag(vote.is_some(), FLAG_VOTE),
            Self::Committed(position) => flag(position.is_some(), FLAG_COMMITTED),
            Self::Vote(_) | Self::Truncate { .. } | Self::Purge(_) | Self::Seal => 0,
        }
    }

    pub(super) fn body(&self, out: &mut Vec<u8>) {
        match self {
            Self::Entry { term, index, tag, payload, .. } => {
                put_u64(out, *term);
                put_u64(out, *index);
                out.push(*tag);
                out.extend_from_slice(payload);
            }
            Self::Vote(vote) => put_vote(out, Some(*vote)),
            Self::Truncate { from } => put_u64(out, *from),
            Self::Purge(upto) => put_position(out, Some(*upto)),
            Self::Committed(position) => put_position(out, *position),
            Self::Group(group) => {
                put_vote(out, group.vote);
                put_position(out, group.purged);
                put_position(out, group.committed);
                out.extend_from_slice(group.about);
            }
            Self::Destroyed { vote } => put_vote(out, *vote),
            Self::Seal => {}
        }
    }

    /// `None` when the body is not one of that kind.
    pub(super) fn parse(kind: u8, flags: u16, body: &'a [u8]) -> Option<Self> {
        let has = |bit: u16| flags & bit != 0;
        let mut rest = body;
        let record = match kind {
            1 | 8 => {
                let term = rest.try_get_u64_le().ok()?;
                let index = rest.try_get_u64_le().ok()?;
                let tag = rest.try_get_u8().ok()?;
                let payload = std::mem::take(&mut rest);
                Self::Entry {
                    term,
                    index,
                    tag,
                    payload,
                    starts: has(FLAG_STARTS),
                    moved: kind == 8,
                }
            }
            2 => Self::Vote(take_vote(&mut rest, true)??),
            3 => Self::Truncate { from: rest.try_get_u64_le().ok()? },
            4 => Self::Purge(take_position(&mut rest, true)??),
            5 => Self::Committed(take_position(&mut rest, has(FLAG_COMMITTED))?),
            6 => Self::Group(GroupRecord {
                vote: take_vote(&mut rest, has(FLAG_VOTE))?,
                purged: take_position(&mut rest, has(FLAG_PURGED))?,
                committed: take_position(&mut rest, has(FLAG_COMMITTED))?,
                about: std::mem::take(&mut rest),
            }),
            7 => Self::Destroyed { vote: take_vote(&mut rest, has(FLAG_VOTE))? },
            KIND_MAX => Self::Seal,
            _ => return None,
        };
        rest.is_empty().then_some(record)
    }
}

fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

fn put_position(out: &mut Vec<u8>, position: Option<LogPosition>) {
    if let Some(position) = position {
        put_u64(out, position.term);
        put_u64(out, position.index);
    }
}

fn put_vote(out: &mut Vec<u8>, vote: Option<LogVote>) {
    if let Some(vote) = vote {
        put_u64(out, vote.term);
        put_u64(out, vote.node);
        out.push(u8::from(vote.committed));
    }
}

/// The outer option is whether the body is long enough, the inner whether the field is there.
fn take_position(rest: &mut &[u8], present: bool) -> Option<Option<LogPosition>> {
    if !present {
        return Some(None);
    }
    let term = rest.try_get_u64_le().ok()?;
    let index = rest.try_get_u64_le().ok()?;
    Some(Some(LogPosition { term, index }))
}

fn take_vote(rest: &mut &[u8], present: bool) -> Option<Option<LogVote>> {
    if !present {
        return Some(None);
    }
    let term = rest.try_get_u64_le().ok()?;
    let node = rest.try_get_u64_le().ok()?;
    let committed = match rest.try_get_u8().ok()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    Some(Some(LogVote { term, node, committed }))
}

//! Segment files: names, header, frames.

use hexpop_edge_config::planted::{self, Bug};

use super::record::{HEAD_BYTES, Record, VERSION};

/// The bytes in front of the first frame.
pub(super) const SEGMENT_HEAD_BYTES: u32 = 64;
/// Kept free at the end of a segment, for the record that seals it.
pub(super) const SEAL_BYTES: u32 = 24;

const MAGIC: [u8; 8] = *b"hexpopWL";
const ALIGN: usize = 8;

/// Which segment of which log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentId {
    /// The Raft id of the data directory.
    pub(super) log: u64,
    /// Counts up from 1, without gaps.
    pub(super) seq: u64,
}

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) seq: u64,
    pub(super) offset: u32,
    /// The whole frame.
    pub(super) bytes: u32,
}

/// What a segment's header says about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// It is a header of this version.
    Valid(SegmentId),
    /// It is one of a version not known here.
    Version(u8),
    /// It is none, or damaged.
    Damaged,
}

pub(super) fn file_name(seq: u64) -> String {
    format!("wal-{seq:016x}.seg")
}

/// The name of a segment until it is complete.
pub(super) fn unfinished_name(seq: u64) -> String {
    format!("wal-{seq:016x}.tmp")
}

pub(super) fn parse_name(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("wal-")?.strip_suffix(".seg")?;
    u64::from_str_radix(digits, 16).ok().filter(|&seq| file_name(seq) == name)
}

pub(super) fn is_unfinished(name: &str) -> bool {
    name.starts_with("wal-") && name.ends_with(".tmp")
}

/// ```text
///  0  magic, 8 bytes     8  u8 version, then 7 zeros     16  u64 log id     24  u64 segment number
/// 32  u32 CRC-32 of what is before it                    36  zeros
/// ```
pub(super) fn head(id: SegmentId) -> Vec<u8> {
    let mut out = Vec::with_capacity(SEGMENT_HEAD_BYTES as usize);
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&u64::from(VERSION).to_le_bytes());
    out.extend_from_slice(&id.log.to_le_bytes());
    out.extend_from_slice(&id.seq.to_le_bytes());
    let crc = crc32fast::hash(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out.resize(SEGMENT_HEAD_BYTES as usize, 0);
    out
}

pub(super) fn parse_head(bytes: &[u8]) -> Head {
    let (Some(body), Some(crc)) = (bytes.get(..32), read_u32(bytes, 32)) else {
        return Head::Damaged;
    };
    if crc32fast::hash(body) != crc || !body.starts_with(&MAGIC) {
        return Head::Damaged;
    }
    match (read_u64(body, 8), read_u64(body, 16), read_u64(body, 24)) {
        (Some(1), Some(log), Some(seq)) => Head::Valid(SegmentId { log, seq }),
        (Some(version), ..) => Head::Version(version.to_le_bytes()[0]),
        _ => Head::Damaged,
    }
}

/// A frame whose checksum holds.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub(super) bytes: u32,
    pub(super) version: u8,
    pub(super) kind: u8,
    pub(super) flags: u16,
    pub(super) durable: u32,
    pub(super) group: u64,
    pub(super) body: &'a [u8],
}

/// The size of a frame with a body of `body` bytes.
pub(super) const fn frame_bytes(body: usize) -> usize {
    (HEAD_BYTES + body).next_multiple_of(ALIGN)
}

/// Appends the frame of `record`, which is to stand at `offset` of segment `id`.
pub(super) fn put_frame(
    out: &mut Vec<u8>,
    id: SegmentId,
    offset: u32,
    durable: u32,
    group: u64,
    record: &Record<'_>,
) {
    let start = out.len();
    out.extend_from_slice(&[0; 8]);
    out.push(VERSION);
    out.push(record.kind());
    out.extend_from_slice(&record.flags().to_le_bytes());
    out.extend_from_slice(&durable.to_le_bytes());
    out.extend_from_slice(&group.to_le_bytes());
    record.body(out);
    let body = u32::try_from(out.len() - start - HEAD_BYTES).unwrap_or(u32::MAX).to_le_bytes();
    let crc = checksum(id, offset, body, out.get(start + 8..).unwrap_or_default()).to_le_bytes();
    let [a, b, c, d] = body;
    let [e, f, g, h] = crc;
    if let Some(front) = out.get_mut(start..start + 8) {
        front.copy_from_slice(&[a, b, c, d, e, f, g, h]);
    }
    out.resize(start + (out.len() - start).next_multiple_of(ALIGN), 0);
}

/// The frame at `offset` of a segment that begins with `segment`, if there is a sound one.
pub(super) fn frame_at(id: SegmentId, segment: &[u8], offset: u32) -> Option<Frame<'_>> {
    frame(id, offset, segment.get(offset as usize..)?)
}

/// The frame at the start of `bytes`, which stand at `offset` of segment `id`.
pub(super) fn frame(id: SegmentId, offset: u32, bytes: &[u8]) -> Option<Frame<'_>> {
    let body_bytes = read_u32(bytes, 0)?;
    let crc = read_u32(bytes, 4)?;
    if body_bytes == 0 && crc == 0 {
        return None;
    }
    let end = HEAD_BYTES.checked_add(body_bytes as usize)?;
    if checksum(id, offset, body_bytes.to_le_bytes(), bytes.get(8..end)?) != crc
        && !planted::has(Bug::AcceptTornTail)
    {
        return None;
    }
    let [version, kind, flags0, flags1] = bytes.get(8..12)?.try_into().ok()?;
    Some(Frame {
        bytes: u32::try_from(end.next_multiple_of(ALIGN)).ok()?,
        version,
        kind,
        flags: u16::from_le_bytes([flags0, flags1]),
        durable: read_u32(bytes, 12)?,
        group: read_u64(bytes, 16)?,
        body: bytes.get(HEAD_BYTES..end)?,
    })
}

fn checksum(id: SegmentId, offset: u32, body_bytes: [u8; 4], rest: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.log.to_le_bytes());
    hasher.update(&id.seq.to_le_bytes());
    hasher.update(&offset.to_le_bytes());
    hasher.update(&body_bytes);
    hasher.update(rest);
    hasher.finalize()
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn read_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wal::{LogPosition, LogVote, record::GroupRecord};

    const ID: SegmentId = SegmentId { log: 7, seq: 3 };

    fn records() -> Vec<Record<'static>> {
        let vote = Some(LogVote { term: 4, node: 9, committed: true });
        let position = LogPosition { term: 2, index: 8 };
        let entry = |payload: &'static [u8], moved: bool| Record::Entry {
            term: 1,
            index: 5,
            tag: 1,
            payload,
            starts: !moved,
            moved,
        };
        vec![
            entry(b"payload", false),
            entry(b"", true),
            Record::Vote(LogVote { term: 1, node: 2, committed: false }),
            Record::Truncate { from: 6 },
            Record::Purge(position),
            Record::Committed(Some(position)),
            Record::Committed(None),
            Record::Group(GroupRecord { vote, purged: None, committed: None, about: b"x" }),
            Record::Group(GroupRecord {
                vote: None,
                purged: Some(position),
                committed: Some(position),
                about: b"",
            }),
            Record::Destroyed { vote },
            Record::Destroyed { vote: None },
            Record::Seal,
        ]
    }

    #[test]
    fn records_round_trip() {
        for record in records() {
            let mut out = Vec::new();
            put_frame(&mut out, ID, 64, 40, 11, &record);
            assert_eq!(out.len() % 8, 0);
            let frame = frame(ID, 64, &out).unwrap();
            assert_eq!((frame.bytes as usize, frame.group, frame.durable), (out.len(), 11, 40));
            assert_eq!(Record::parse(frame.kind, frame.flags, frame.body), Some(record));
        }
    }

    #[test]
    fn a_frame_holds_only_where_it_was_written() {
        let mut out = Vec::new();
        put_frame(&mut out, ID, 64, 64, 11, &Record::Truncate { from: 6 });
        assert!(frame(ID, 72, &out).is_none());
        assert!(frame(SegmentId { seq: 4, ..ID }, 64, &out).is_none());
        assert!(frame(SegmentId { log: 8, ..ID }, 64, &out).is_none());
        let used = HEAD_BYTES + 8;
        for byte in 0..used {
            for bit in 0..8 {
                let mut damaged = out.clone();
                damaged[byte] ^= 1 << bit;
                assert!(frame(ID, 64, &damaged).is_none(), "byte {byte} bit {bit}");
            }
        }
    }

    #[test]
    fn names_and_heads_round_trip() {
        assert_eq!(parse_name(&file_name(0x1f)), Some(0x1f));
        for name in ["wal-1f.seg", "wal-000000000000001F.seg", "identity", "wal-.seg"] {
            assert_eq!(parse_name(name), None, "{name}");
        }
        let bytes = head(ID);
        assert_eq!(bytes.len(), SEGMENT_HEAD_BYTES as usize);
        assert_eq!(parse_head(&bytes), Head::Valid(ID));
        let mut damaged = bytes;
        damaged[17] ^= 1;
        assert_eq!(parse_head(&damaged), Head::Damaged);
    }
}

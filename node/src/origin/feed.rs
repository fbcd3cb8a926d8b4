//! The change feed: what happened, in order, as far back as the ring reaches.

use std::{collections::VecDeque, fmt, sync::Arc};

use bytes::{BufMut as _, Bytes, BytesMut};
use hexpop_edge_config::Territory;
use serde_json::json;

use super::record::Record;

/// A position in the feed: everything up to and including change `sequence` of the feed that began
/// at `start` has been seen. Opaque to clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// Tells one life of this process from another: after a restart the changes of the former life
    /// are gone, and the same numbers mean other changes.
    start: u64,
    sequence: u64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}-{}", self.start, self.sequence)
    }
}

/// Why no changes can be given for a cursor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CursorError {
    /// It is no cursor.
    Malformed,
    /// Changes behind it are gone.
    Expired,
}

/// What happened to a listing.
#[derive(Debug, Clone)]
pub(super) enum Event {
    /// It was created or replaced.
    Put(Arc<Record>),
    /// It was deleted; its tombstone has this version.
    Delete { id: Arc<str>, version: u64 },
}

/// One change.
#[derive(Debug, Clone)]
pub(super) struct Change {
    sequence: u64,
    event: Event,
    /// The territories concerned: of the listing before and after.
    territories: Vec<Territory>,
}

/// The most recent changes.
#[derive(Debug)]
pub(super) struct Feed {
    start: u64,
    head: u64,
    ring: VecDeque<Change>,
    changes_max: usize,
}

/// A part of the feed.
#[derive(Debug)]
pub(super) struct Batch {
    /// Lines for the client; empty when no change concerned it.
    pub(super) lines: Bytes,
    /// The position behind the last change looked at.
    pub(super) cursor: Cursor,
    /// Whether the feed goes on behind `cursor`.
    pub(super) more: bool,
}

impl Feed {
    /// An empty feed that remembers at most `changes_max` changes. `start` must differ from that of
    /// every earlier feed of this origin.
    pub(super) fn new(start: u64, changes_max: usize) -> Self {
        Self { start, head: 0, ring: VecDeque::new(), changes_max }
    }

    /// The position behind the newest change.
    pub(super) const fn head(&self) -> Cursor {
        Cursor { start: self.start, sequence: self.head }
    }

    /// Adds a change; forgets the oldest one when the ring is full.
    pub(super) fn push(&mut self, event: Event, territories: Vec<Territory>) {
        self.head += 1;
        if self.ring.len() >= self.changes_max {
            self.ring.pop_front();
        }
        self.ring.push_back(Change { sequence: self.head, event, territories });
    }

    /// Reads a cursor that this feed gave.
    ///
    /// # Errors
    /// When it is no cursor, or what follows it is gone.
    pub(super) fn parse(&self, text: &str) -> Result<Cursor, CursorError> {
        let (start, sequence) = text.split_once('-').ok_or(CursorError::Malformed)?;
        let start = u64::from_str_radix(start, 16).map_err(|_invalid| CursorError::Malformed)?;
        let sequence = sequence.parse().map_err(|_invalid| CursorError::Malformed)?;
        let cursor = Cursor { start, sequence };
        self.check(cursor).map(|()| cursor)
    }

    fn check(&self, cursor: Cursor) -> Result<(), CursorError> {
        let oldest = self.ring.front().map_or(self.head, |change| change.sequence - 1);
        let known =
            cursor.start == self.start && cursor.sequence >= oldest && cursor.sequence <= self.head;
        if known { Ok(()) } else { Err(CursorError::Expired) }
    }

    /// The changes behind `cursor` that concern `territory` (`None` = any), looking at no more than
    /// `changes_max` of them.
    ///
    /// # Errors
    /// When changes behind the cursor are gone.
    pub(super) fn after(
        &self,
        cursor: Cursor,
        territory: Option<&Territory>,
        changes_max: usize,
    ) -> Result<Batch, CursorError> {
        self.check(cursor)?;
        let skip = self.ring.partition_point(|change| change.sequence <= cursor.sequence);
        let mut lines = BytesMut::new();
        let mut last = cursor;
        for change in self.ring.iter().skip(skip).take(changes_max) {
            last.sequence = change.sequence;
            if territory.is_none_or(|territory| change.territories.contains(territory)) {
                change.write(last, &mut lines);
            }
        }
        Ok(Batch { lines: lines.freeze(), cursor: last, more: last.sequence < self.head })
    }

    /// How many changes are remembered.
    pub(super) fn len(&self) -> usize {
        self.ring.len()
    }
}

impl Change {
    fn write(&self, cursor: Cursor, lines: &mut BytesMut) {
        match &self.event {
            Event::Put(record) => {
                lines.put_slice(format!("{{\"cursor\":\"{cursor}\",\"listing\":").as_bytes());
                lines.put_slice(record.body());
                lines.put_slice(b"}\n");
            }
            Event::Delete { id, version } => {
                let line =
                    json!({"cursor": cursor.to_string(), "delete": &**id, "version": version});
                lines.put_slice(line.to_string().as_bytes());
                lines.put_u8(b'\n');
            }
        }
    }
}

/// The line that says "nothing new, and I am here".
pub(super) fn heartbeat(cursor: Cursor) -> Bytes {
    Bytes::from(format!("{{\"cursor\":\"{cursor}\",\"heartbeat\":true}}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn territory(text: &str) -> Territory {
        text.parse().unwrap()
    }

    fn feed(changes: u64, changes_max: usize) -> Feed {
        let mut feed = Feed::new(0xab, changes_max);
        for n in 1..=changes {
            let place = if n % 2 == 0 { "IT:lazio" } else { "IT:lombardia" };
            let id = format!("l{n}").into();
            feed.push(Event::Delete { id, version: n }, vec![territory(place)]);
        }
        feed
    }

    fn text(batch: &Batch) -> &str {
        std::str::from_utf8(&batch.lines).unwrap()
    }

    #[test]
    fn changes_come_once_in_order_with_their_cursors() {
        let feed = feed(3, 10);
        let first = feed.after(feed.parse("ab-0").unwrap(), None, 2).unwrap();
        assert_eq!(
            text(&first),
            "{\"cursor\":\"ab-1\",\"delete\":\"l1\",\"version\":1}\n\
             {\"cursor\":\"ab-2\",\"delete\":\"l2\",\"version\":2}\n"
        );
        assert!(first.more);
        let second = feed.after(first.cursor, None, 2).unwrap();
        assert!(text(&second).contains("l3") && !second.more);
        assert_eq!(second.cursor, feed.head());
        assert!(feed.after(feed.head(), None, 2).unwrap().lines.is_empty());
    }

    #[test]
    fn a_territory_sees_its_own_changes_and_moves_past_the_others() {
        let feed = feed(4, 10);
        let lazio = territory("IT:lazio");
        let batch = feed.after(feed.parse("ab-0").unwrap(), Some(&lazio), 10).unwrap();
        assert!(text(&batch).contains("l2") && text(&batch).contains("l4"));
        assert!(!text(&batch).contains("l1"));
        assert_eq!(batch.cursor, feed.head());
    }

    #[test]
    fn cursors_of_the_past_of_the_future_and_of_another_life_are_refused() {
        let feed = feed(10, 4);
        assert!(feed.parse("ab-6").is_ok());
        for expired in ["ab-5", "ab-11", "ac-7"] {
            assert_eq!(feed.parse(expired), Err(CursorError::Expired), "{expired}");
        }
        for malformed in ["", "7", "ab-", "-7", "ab-x", "zz-7"] {
            assert_eq!(feed.parse(malformed), Err(CursorError::Malformed), "{malformed}");
        }
    }
}

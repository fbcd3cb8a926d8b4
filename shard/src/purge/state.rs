//! What the purge group holds: the latest purges.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{PurgeEntry, PurgeId, PurgeOp, PurgeOutcome, PurgeTail, PurgeTarget, bytes_of};
use crate::refusal::Refusal;

/// Purges that are kept; a node that missed more than these forgets everything.
pub const PURGES_MAX: usize = 65_536;

/// Bytes of purges that are kept, about.
const KEPT_BYTES_MAX: usize = 8 << 20;

/// Targets of one purge at most.
pub const PURGE_TARGETS_MAX: usize = 1000;

/// Bytes of one purge at most, about.
pub const PURGE_BYTES_MAX: usize = 256 << 10;

/// The state of the purge group. `Default` is that before the first purge.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PurgeState {
    head: PurgeId,
    /// The latest, oldest first; their numbers follow one another, and the last one's is `head`.
    kept: VecDeque<PurgeEntry>,
    kept_bytes: usize,
}

/// One unit of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum PurgeItem {
    /// The last purge there is.
    Head(PurgeId),
    /// One that is kept.
    Entry(PurgeEntry),
}

impl PurgeOp {
    /// Checks what does not depend on the state; see [`SessionOp::check`](crate::SessionOp::check).
    ///
    /// # Errors
    /// The [`Refusal`] that applying it would answer.
    pub fn check(&self) -> Result<(), Refusal> {
        let Self::Append { targets, .. } = self;
        if targets.is_empty() || targets.len() > PURGE_TARGETS_MAX {
            let count = targets.len();
            let detail = format!("a purge names 1 to {PURGE_TARGETS_MAX} targets, not {count}");
            return Err(Refusal::Invalid(detail));
        }
        let bytes = bytes_of(targets);
        if bytes > PURGE_BYTES_MAX {
            let detail = format!(
                "a purge takes at most {PURGE_BYTES_MAX} bytes, not {bytes}: name fewer targets, \
                 or a prefix or tag of theirs"
            );
            return Err(Refusal::Invalid(detail));
        }
        Ok(())
    }
}

impl PurgeState {
    /// Applies `op` when the group's time is `now_ms`.
    ///
    /// # Errors
    /// [`Refusal`] when a limit would be exceeded; nothing changed then.
    pub fn apply(&mut self, op: &PurgeOp, now_ms: u64) -> Result<PurgeOutcome, Refusal> {
        op.check()?;
        let PurgeOp::Append { targets, soft } = op;
        Ok(PurgeOutcome::Appended(self.append(targets, *soft, now_ms)))
    }

    fn append(&mut self, targets: &[PurgeTarget], soft: bool, now_ms: u64) -> PurgeEntry {
        let id = self.head.next();
        let entry = PurgeEntry { id, targets: targets.to_vec(), soft, at_ms: now_ms };
        self.keep(entry.clone());
        while self.kept.len() > PURGES_MAX || self.kept_bytes > KEPT_BYTES_MAX {
            let Some(oldest) = self.kept.pop_front() else { break };
            self.kept_bytes = self.kept_bytes.saturating_sub(oldest.bytes());
        }
        entry
    }

    fn keep(&mut self, entry: PurgeEntry) {
        self.head = self.head.max(entry.id);
        self.kept_bytes = self.kept_bytes.saturating_add(entry.bytes());
        self.kept.push_back(entry);
    }

    /// The last purge there is.
    #[must_use]
    pub const fn head(&self) -> PurgeId {
        self.head
    }

    /// The position from which on nothing is missing.
    #[must_use]
    pub fn floor(&self) -> PurgeId {
        let oldest = self.kept.front().map(|entry| PurgeId(entry.id.0.saturating_sub(1)));
        oldest.unwrap_or(self.head)
    }

    /// What there is behind a position, `None` = one that is not known; at least one purge if there are
    /// any, and no more than about `bytes_max` of them.
    #[must_use]
    pub fn after(&self, position: Option<PurgeId>, bytes_max: usize) -> PurgeTail {
        let (floor, head) = (self.floor(), self.head);
        let Some(position) = position.filter(|at| (floor..=head).contains(at)) else {
            return PurgeTail::Lost { head };
        };
        let known = usize::try_from(position.0.saturating_sub(floor.0)).unwrap_or(usize::MAX);
        let mut bytes = 0_usize;
        let fits = |entry: &&PurgeEntry| {
            let first = bytes == 0;
            bytes = bytes.saturating_add(entry.bytes());
            first || bytes <= bytes_max
        };
        let entries = self.kept.iter().skip(known).take_while(fits).cloned().collect();
        PurgeTail::Next { entries, head }
    }

    /// Purges that are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.kept.is_empty()
    }

    /// Bytes they take, about.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.kept_bytes
    }

    /// Everything, in an order that depends on the content alone.
    pub(crate) fn items(&self) -> impl Iterator<Item = PurgeItem> {
        let entries = self.kept.iter().cloned().map(PurgeItem::Entry);
        std::iter::once(PurgeItem::Head(self.head)).chain(entries)
    }

    /// Takes one item of a snapshot.
    pub(crate) fn restore(&mut self, item: PurgeItem) {
        match item {
            PurgeItem::Head(head) => self.head = head,
            PurgeItem::Entry(entry) => self.keep(entry),
        }
    }
}

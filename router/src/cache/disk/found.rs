//! What is found of a request. Pure.

use std::sync::Arc;

use super::{catalog::Entry, segment::Segment};
use crate::cache::{key::CacheKey, stored::Stored};

/// A stored response that was found.
#[derive(Debug)]
pub(crate) enum Found {
    /// It is still to be written.
    Pending(Arc<Stored>),
    /// It is to be read.
    Written(Box<Written>),
}

/// Where one is that was written.
#[derive(Debug)]
pub(crate) struct Written {
    pub(super) key: CacheKey,
    pub(super) entry: Entry,
    pub(super) segment: Arc<Segment>,
}

impl Found {
    /// The later one of what a request selects; of the same age the one that is still to be written: it is in memory.
    pub(super) fn latest(pending: Option<Arc<Stored>>, written: Option<Written>) -> Option<Self> {
        match (pending, written) {
            (Some(pending), Some(written)) => {
                let of_written = (written.entry.date_ms, written.entry.arrived);
                let is_later = (pending.date_ms, pending.arrived) >= of_written;
                let (pending, written) = (Self::Pending(pending), Self::Written(Box::new(written)));
                Some(if is_later { pending } else { written })
            }
            (Some(pending), None) => Some(Self::Pending(pending)),
            (None, written) => written.map(|written| Self::Written(Box::new(written))),
        }
    }

    pub(crate) fn is_variant_of(&self, stored: &Stored) -> bool {
        match self {
            Self::Pending(pending) => pending.is_variant_of(stored),
            Self::Written(written) => written.entry.is_variant_of(stored),
        }
    }
}

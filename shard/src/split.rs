//! Dividing a shard in two, by a command in its own log.
//!
//! The shard keeps what lies below a key and its id; what lies at the key and behind becomes the *child*,
//! a shard with an id that the meta group gave and nobody had before. Every replica that applies the
//! command comes to the same two states.
//!
//! **Invariants**
//! - The two ranges tile the range before: no key is in both, none in neither. Both epochs have the
//!   version after that of the shard before, so that whoever believed the whole is told of both halves.
//! - A command that was proposed for the whole and comes behind the split in the log is refused, whichever
//!   half its keys are in: it was checked against a range that is no more.
//! - Every record, tombstone and memory of a create is in the half of its key. What has no key is in both:
//!   replies to requests whose record is not known from them, by which a repeat is recognised wherever it
//!   goes; the erasures that were carried out, so that none is carried out again in either half; and data
//!   keys that values of both halves are under, each in both, so that it is noise when both have let go.
//! - Whoever had something in the child's half is named in the shard that stays: its log and snapshots hold
//!   it until they are past an erasure. The child's disks begin with the state at the split, and so behind
//!   every erasure before it.
//! - The child's log goes on from the position of the split. A position, and with it the version of a
//!   document, is never given to two writes of one record.
//! - The shard remembers its latest children as they were born ([`Child`]), in snapshots too: by them it
//!   tells askers where the keys went, and whoever never applies the split learns that there is a child.
//! - While the members change from some to others a split is refused, alike by all: the child begins with
//!   the members of the entry, and they must be one set.

use hexpop_edge_config::{Country, ShardId};
use serde::{Deserialize, Serialize};

use crate::{
    LogPosition,
    cell::{Cell, LISTING_RESOLUTION},
    key::{KeyRange, POINT_END, ShardKey, Space},
    map::ShardDescriptor,
    refusal::Refusal,
};

/// How many children a shard remembers. It does not divide again before the map has the last one, so that
/// this bounds a memory and is no limit.
pub(crate) const CHILDREN_MAX: usize = 64;

/// Divides a shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Split {
    /// The first key of the child.
    pub at: ShardKey,
    /// The child's id, which the meta group allocated for this.
    pub child: ShardId,
}

/// What came of a split.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Child {
    /// The child as it was born: its replicas are those of the shard at the split.
    pub descriptor: ShardDescriptor,
    /// The entry that divided the shard. The child's log begins behind it.
    pub position: LogPosition,
}

impl Split {
    /// Checks it against the range of the shard.
    ///
    /// # Errors
    /// [`Refusal::Invalid`]: this split can never be done, whatever happens to the shard's members.
    pub fn check(&self, shard: ShardId, range: &KeyRange) -> Result<(), Refusal> {
        let Self { at, child } = self;
        let invalid = |detail: String| Err(Refusal::Invalid(detail));
        if *child == shard || !child.is_of_shard() {
            return invalid(format!("{child} is no id for a new shard"));
        }
        if !range.contains(at) || *at == range.start {
            return invalid(format!("{at} does not divide shard {shard}, which is {range}"));
        }
        if !is_bound(at) {
            return invalid(format!("{at} is no bound of shards"));
        }
        Ok(())
    }
}

/// Whether shards may meet at a key: at the bounds of territories, at H3 prefixes (the first cell of a
/// prefix is one of the finest resolution), at any hash.
fn is_bound(key: &ShardKey) -> bool {
    match key.space {
        Space::Directory => {
            key.country == Country::NONE && key.region.is_none() && key.point < POINT_END
        }
        Space::Sessions => key.region.is_some() && key.point <= POINT_END,
        Space::Listings => {
            let is_cell =
                || Cell::from_raw(key.point).is_some_and(|c| c.resolution() == LISTING_RESOLUTION);
            key.region.is_some() && (key.point == 0 || key.point == POINT_END || is_cell())
        }
    }
}

/// The two ranges of a shard that is divided at a key within it.
pub(crate) fn halves(range: &KeyRange, at: &ShardKey) -> (KeyRange, KeyRange) {
    let left = KeyRange { start: range.start.clone(), end: Some(at.clone()) };
    let right = KeyRange { start: at.clone(), end: range.end.clone() };
    (left, right)
}

//! The keys that session values are sealed under, as a shard keeps them: wrapped.

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::Sealed;
use crate::refusal::Refusal;

/// The most bytes of a wrapped key.
const WRAPPED_BYTES_MAX: usize = 256;

/// The most bytes of the name of the key that wraps it.
const NAME_BYTES_MAX: usize = 64;

/// A data key of one user, encrypted under a key that the shard's nodes hold and no shard does.
///
/// Whoever has neither can do nothing with it; whoever destroys it makes every value under it noise.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WrappedKey {
    /// Names the data key within its shard: random, used once.
    pub id: u64,
    /// The name of the key that opens it.
    pub by: String,
    /// Salt, nonce, ciphertext and tag, as whoever wraps it lays them out.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

impl fmt::Debug for WrappedKey {
    /// Names only: not even a wrapped key has a place in a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappedKey").field("id", &self.id).field("by", &self.by).finish()
    }
}

impl WrappedKey {
    /// Checks what does not depend on the state.
    pub(super) fn check(&self) -> Result<(), Refusal> {
        let too_large = |what: &str, found: usize, max: usize| {
            Err(Refusal::TooLarge { what: what.into(), found: found as u64, max: max as u64 })
        };
        if self.bytes.len() > WRAPPED_BYTES_MAX {
            return too_large("a wrapped key", self.bytes.len(), WRAPPED_BYTES_MAX);
        }
        if self.by.len() > NAME_BYTES_MAX {
            return too_large("the name of a key", self.by.len(), NAME_BYTES_MAX);
        }
        Ok(())
    }
}

/// One row of the key table, as it stands in a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct UserKey {
    /// Whose it is.
    pub(crate) user: String,
    /// The key.
    pub(crate) key: WrappedKey,
}

impl UserKey {
    /// What it counts against the limit of the shard, in bytes.
    fn weight(&self) -> u64 {
        const OVERHEAD: usize = 160;
        (OVERHEAD + self.user.len() + self.key.by.len() + self.key.bytes.len()) as u64
    }
}

/// The wrapped keys of a shard.
///
/// A user may have several: each node that writes for a user it knows no key of brings one along,
/// which costs no question before the write. A key is here exactly as long as a value is sealed
/// under it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct KeyTable {
    keys: BTreeMap<u64, Row>,
    bytes: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Row {
    entry: UserKey,
    /// How many values are sealed under it.
    uses: u64,
}

impl KeyTable {
    /// Whether a value of `user` may come that is sealed so: its key is here, or comes along and is
    /// new.
    pub(super) fn takes(&self, user: &str, sealed: &Sealed, along: Option<&WrappedKey>) -> bool {
        match self.keys.get(&sealed.key_id) {
            Some(row) => {
                row.entry.user == user && along.is_none_or(|along| *along == row.entry.key)
            }
            None => along.is_some_and(|along| along.id == sealed.key_id),
        }
    }

    /// Puts a key there that no value uses yet.
    pub(super) fn add(&mut self, entry: UserKey) {
        self.bytes = self.bytes.saturating_add(entry.weight());
        let replaced = self.keys.insert(entry.key.id, Row { entry, uses: 0 });
        if let Some(replaced) = replaced {
            self.bytes = self.bytes.saturating_sub(replaced.entry.weight());
        }
    }

    /// Whether there is a key of this number.
    pub(super) fn has(&self, id: u64) -> bool {
        self.keys.contains_key(&id)
    }

    /// A key by its number.
    pub(super) fn get(&self, id: u64) -> Option<&WrappedKey> {
        self.keys.get(&id).map(|row| &row.entry.key)
    }

    /// A row by the number of its key.
    pub(super) fn entry(&self, id: u64) -> Option<&UserKey> {
        self.keys.get(&id).map(|row| &row.entry)
    }

    /// Counts a value under a key.
    pub(super) fn hold(&mut self, id: u64) {
        if let Some(row) = self.keys.get_mut(&id) {
            row.uses = row.uses.saturating_add(1);
        }
    }

    /// Takes a value away from a key, which goes with the last.
    pub(super) fn release(&mut self, id: u64) {
        let Some(row) = self.keys.get_mut(&id) else { return };
        row.uses = row.uses.saturating_sub(1);
        if row.uses == 0
            && let Some(gone) = self.keys.remove(&id)
        {
            self.bytes = self.bytes.saturating_sub(gone.entry.weight());
        }
    }

    /// What it weighs, in bytes.
    pub(super) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// All rows, in the order of their numbers.
    pub(super) fn rows(&self) -> impl Iterator<Item = &UserKey> {
        self.keys.values().map(|row| &row.entry)
    }
}

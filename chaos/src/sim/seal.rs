//! Sealing in a world: values in clear, so that disks can be searched for them, under keys of their users
//! that come and go as a node's do.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use hexpop_edge_config::ShardId;
use hexpop_router::{SealAt, SealError, SealedValue, Sealer};
use hexpop_shard::{Sealed, WrappedKey};
use parking_lot::Mutex;

use super::{invariant::Checks, random::mix};

/// What the bytes of every key begin with, so that a search finds them.
pub(super) const KEY_MARK: &[u8; 8] = b"sim-key:";

/// Seals for one process.
pub(super) struct SimSealer {
    /// Different in every life of every node.
    seed: u64,
    made: AtomicU64,
    known: Mutex<BTreeMap<(ShardId, String), WrappedKey>>,
    checks: Arc<Checks>,
}

impl SimSealer {
    pub(super) fn new(seed: u64, checks: Arc<Checks>) -> Self {
        Self { seed, made: AtomicU64::new(0), known: Mutex::default(), checks }
    }
}

/// The bytes of a key, wrapped or not.
pub(super) fn key_bytes(id: u64) -> Vec<u8> {
    [KEY_MARK.as_slice(), &id.to_be_bytes()].concat()
}

impl Sealer for SimSealer {
    fn seal(&self, at: &SealAt<'_>, clear: &[u8]) -> Result<SealedValue, SealError> {
        let known = self.known.lock().get(&(at.shard, at.user.to_owned())).map(|key| key.id);
        let new = known.is_none().then(|| {
            let id = mix(self.seed ^ self.made.fetch_add(1, Ordering::Relaxed));
            WrappedKey { id, by: "sim".to_owned(), bytes: key_bytes(id) }
        });
        let key_id = new.as_ref().map_or(known, |key| Some(key.id)).unwrap_or_default();
        if !at.user.is_empty() {
            self.checks.state.lock().erased.sealed(key_id, clear);
        }
        Ok(SealedValue { sealed: Sealed { key_id, bytes: clear.to_vec() }, key: new })
    }

    fn open(
        &self,
        _at: &SealAt<'_>,
        sealed: &Sealed,
        key: &WrappedKey,
    ) -> Result<Vec<u8>, SealError> {
        if key.id == sealed.key_id && key.bytes == key_bytes(key.id) {
            Ok(sealed.bytes.clone())
        } else {
            Err(SealError::Altered)
        }
    }

    fn taken(&self, at: &SealAt<'_>, key: &WrappedKey) {
        // A key of nobody's is used once.
        if !at.user.is_empty() {
            self.known.lock().insert((at.shard, at.user.to_owned()), key.clone());
        }
    }

    fn forget(&self, at: &SealAt<'_>, key_id: u64) {
        let owner = (at.shard, at.user.to_owned());
        let mut known = self.known.lock();
        if known.get(&owner).is_some_and(|key| key.id == key_id) {
            known.remove(&owner);
        }
    }
}

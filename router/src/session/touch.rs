//! Renewals that follow reads: bounded, one at a time per session.

use std::{collections::BTreeSet, sync::Arc};

use hexpop_shard::{SessionHead, SessionId};
use parking_lot::Mutex;

/// Renewals under way at a time; a read beyond these renews nothing, and the next one will.
const UNDER_WAY_MAX: usize = 1024;

/// Whether a read at this time renews the session: not if it was renewed within the last tenth of
/// its life.
pub(super) const fn is_due(head: &SessionHead, now_ms: u64) -> bool {
    let left = head.expires_ms.saturating_sub(now_ms);
    head.sliding && left < head.ttl_ms - head.ttl_ms / 10
}

/// The renewals under way.
#[derive(Debug, Clone, Default)]
pub(crate) struct Touches {
    under_way: Arc<Mutex<BTreeSet<SessionId>>>,
}

/// One of them; ends when dropped.
#[derive(Debug)]
pub(super) struct Slot {
    id: SessionId,
    under_way: Arc<Mutex<BTreeSet<SessionId>>>,
}

impl Touches {
    /// Begins one, unless one for this session is under way or there are too many.
    pub(super) fn begin(&self, id: &SessionId) -> Option<Slot> {
        let mut under_way = self.under_way.lock();
        if under_way.len() >= UNDER_WAY_MAX || !under_way.insert(id.clone()) {
            return None;
        }
        Some(Slot { id: id.clone(), under_way: Arc::clone(&self.under_way) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.under_way.lock().remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::ShardId;
    use hexpop_shard::RecordVersion;

    use super::*;

    fn head(expires_ms: u64, sliding: bool) -> SessionHead {
        SessionHead {
            id: "it-lazio.a".parse().unwrap(),
            user: "u".to_owned(),
            created_ms: 0,
            expires_ms,
            ttl_ms: 10_000,
            sliding,
            version: RecordVersion { shard: ShardId(1), term: 1, index: 1 },
        }
    }

    #[test]
    fn a_session_is_renewed_at_most_once_per_tenth_of_its_life() {
        assert!(!is_due(&head(20_000, true), 10_000));
        assert!(!is_due(&head(20_000, true), 11_000));
        assert!(is_due(&head(20_000, true), 11_001));
        assert!(is_due(&head(20_000, true), 30_000));
        assert!(!is_due(&head(20_000, false), 19_000));
    }

    #[test]
    fn one_renewal_at_a_time() {
        let touches = Touches::default();
        let id = head(0, true).id;
        let slot = touches.begin(&id);
        assert!(slot.is_some() && touches.begin(&id).is_none());
        drop(slot);
        assert!(touches.begin(&id).is_some());
    }
}

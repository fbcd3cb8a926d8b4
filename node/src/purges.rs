//! Following the purges of the mesh: this node's HTTP cache applies them in the order of their log.
//!
//! What was recorded is pushed to every member at once, so that a purge takes a round trip; and every node
//! asks the purge group for what it may have missed, often enough to keep its right to serve what it has
//! stored. Pushing is a courtesy: nothing depends on it but time.

use std::{sync::Arc, time::Duration};

use hexpop_shard::{PurgeEntry, PurgeId};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{adapters::local::NodeHost, context::NodeRouter};

/// How often it is asked for purges, where the allowed silence is long.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long until it is asked again after nobody answered.
const PAUSE_FAILED: Duration = Duration::from_millis(200);

/// How long until somebody who waits for a purge has it asked for again.
const PAUSE_WOKEN: Duration = Duration::from_millis(20);

/// How long a purge that is not the next one is waited for, while those before it are fetched.
const CATCH_UP: Duration = Duration::from_millis(1500);

/// How far a node is with a purge, as it tells the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeReport {
    /// The last purge that it applied; `None` = it does not know where it is.
    pub position: Option<PurgeId>,
    /// Stored responses that the purge hit, and how long that took in microseconds; `None` = not applied,
    /// with others in one go, or too long ago.
    pub hit: Option<(u64, u64)>,
    /// For how much longer it may serve what is stored without asking the origin, milliseconds.
    pub trust_ms: u64,
    /// How long ago it applied the purge, milliseconds.
    pub since_ms: Option<u64>,
}

impl PurgeReport {
    /// Whether the purge is applied there.
    #[must_use]
    pub fn has_applied(&self, id: PurgeId) -> bool {
        self.position.is_some_and(|position| position >= id)
    }
}

/// Follows the purges; ends when it is dropped.
#[derive(Debug)]
pub struct Purges {
    router: Arc<NodeRouter>,
    max_silence: Duration,
    wake: Arc<Notify>,
    position: watch::Receiver<Option<PurgeId>>,
    following: JoinHandle<()>,
}

impl Drop for Purges {
    fn drop(&mut self) {
        self.following.abort();
    }
}

impl Purges {
    /// Begins to follow them, on the runtime that this is called in.
    #[must_use]
    pub fn follow(host: NodeHost, router: Arc<NodeRouter>, max_silence: Duration) -> Self {
        let wake = Arc::new(Notify::new());
        let (sender, position) = watch::channel(None);
        let (woken, followed) = (Arc::clone(&wake), Arc::clone(&router));
        let following = tokio::spawn(async move {
            loop {
                let caught_up = catch_up(&host, &followed, max_silence).await;
                sender.send_replace(followed.purge_position());
                let pause = if caught_up { (max_silence / 4).min(PAUSE_MAX) } else { PAUSE_FAILED };
                // Whoever woke it meanwhile finds it awake.
                drop(timeout(pause, woken.notified()).await);
            }
        });
        Self { router, max_silence, wake, position, following }
    }

    /// For how long this node may serve what is stored without proof that it knows of all purges.
    #[must_use]
    pub const fn max_silence(&self) -> Duration {
        self.max_silence
    }

    /// Applies a purge that was recorded, with those before it.
    pub async fn push(&self, entry: &PurgeEntry) -> PurgeReport {
        if !self.router.push_purge(entry) {
            self.reach(entry.id).await;
        }
        self.report(entry.id)
    }

    /// Catches up to a purge, if that can be done soon.
    pub async fn reach(&self, id: PurgeId) {
        let mut position = self.position.clone();
        let reached = async {
            loop {
                if self.router.purge_position().is_some_and(|at| at >= id) {
                    return;
                }
                position.mark_unchanged();
                self.wake.notify_one();
                // Told after each look, whatever it found.
                if position.changed().await.is_err() {
                    return;
                }
                sleep(PAUSE_WOKEN).await;
            }
        };
        drop(timeout(CATCH_UP, reached).await);
    }

    /// How far this node is with a purge.
    #[must_use]
    pub fn report(&self, id: PurgeId) -> PurgeReport {
        let progress = self.router.purge_progress(id);
        let trust = progress
            .silence
            .map_or(Duration::ZERO, |silence| self.max_silence.saturating_sub(silence));
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        PurgeReport {
            position: progress.position,
            hit: progress.hit.map(|hit| (hit.objects as u64, micros(hit.took))),
            trust_ms: millis_up(trust),
            since_ms: progress.hit.map(|hit| micros(hit.since) / 1000),
        }
    }
}

/// A time in whole milliseconds, never less than it is.
pub(crate) fn millis_up(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX)
}

/// Asks for what is behind the position until that is all. Answers whether it got there.
async fn catch_up(host: &NodeHost, router: &NodeRouter, max_silence: Duration) -> bool {
    loop {
        let asked = router.uptime();
        match host.pull_purges(router.purge_position(), max_silence).await {
            Ok(tail) => {
                if router.follow_purges(&tail, asked) {
                    return true;
                }
            }
            Err(error) => {
                tracing::debug!(%error, "nobody tells of purges");
                return false;
            }
        }
    }
}

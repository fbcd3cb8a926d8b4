//! What goes on in one connection: requests under way, and those that the client gave up.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::Context,
};

use futures::task::AtomicWaker;
use tokio::sync::Notify;

/// Requests that a client may give up before it is asked whether it gives up most of them. Browsers do
/// when a map is moved; whoever resets streams as fast as it opens them costs us all of the work and
/// waits for none of it ("rapid reset", CVE-2023-44487).
const GIVEN_UP_MAX: u64 = 200;

/// What goes on in one connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    begun: AtomicU64,
    ended: AtomicU64,
    given_up: AtomicU64,
    abused: Notify,
    /// Who waits for a request to end.
    waits: AtomicWaker,
}

impl Activity {
    /// A request begins.
    pub(super) fn begin(self: &Arc<Self>) -> Underway {
        self.begun.fetch_add(1, Relaxed);
        Underway { activity: Arc::clone(self), is_answered: false }
    }

    /// Requests that have begun by now.
    pub(super) fn begun(&self) -> u64 {
        self.begun.load(Relaxed)
    }

    /// Whether nothing is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.begun() == self.ended.load(Relaxed)
    }

    /// Whether nothing is under way; if something is, `cx` is woken when a request ends.
    pub(super) fn poll_idle(&self, cx: &Context<'_>) -> bool {
        self.waits.register(cx.waker());
        self.is_idle()
    }

    /// Ready when the client gives up most of what it asks for.
    pub(super) async fn abused(&self) {
        self.abused.notified().await;
    }

    fn end(&self, is_answered: bool) {
        self.ended.fetch_add(1, Relaxed);
        self.waits.wake();
        if is_answered {
            return;
        }
        let given_up = self.given_up.fetch_add(1, Relaxed) + 1;
        if given_up > GIVEN_UP_MAX && given_up.saturating_mul(2) > self.begun() {
            self.abused.notify_one();
        }
    }
}

/// A request under way; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Underway {
    activity: Arc<Activity>,
    is_answered: bool,
}

impl Underway {
    /// The answer is complete.
    pub(super) fn answered(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.activity.end(self.is_answered);
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[test]
    fn giving_up_is_abuse_when_it_is_most_of_what_a_client_does() {
        let activity = Arc::new(Activity::default());
        let run = |count, is_answered| {
            for _request in 0..count {
                let mut request = activity.begin();
                assert!(!activity.is_idle());
                if is_answered {
                    request.answered();
                }
            }
        };
        run(1_000, true);
        run(900, false);
        assert!(activity.is_idle());
        assert!(activity.abused().now_or_never().is_none(), "half of it is not most");
        run(200, false);
        assert!(activity.abused().now_or_never().is_some());
    }
}

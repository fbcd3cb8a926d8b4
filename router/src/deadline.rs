//! How long a request may take in all, wherever its parts run.

use std::{pin::pin, time::Duration};

use futures::future::{Either, select};
use openraft_rt::{AsyncRuntime, Instant};

/// The instant by which a request must have been answered. It travels as the time left, so that
/// clocks of different nodes need not agree.
#[derive(Debug)]
pub struct Deadline<R: AsyncRuntime> {
    at: R::Instant,
}

impl<R: AsyncRuntime> Clone for Deadline<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: AsyncRuntime> Copy for Deadline<R> {}

impl<R: AsyncRuntime> Deadline<R> {
    /// So much time from now.
    #[must_use]
    pub fn after(time: Duration) -> Self {
        Self { at: R::Instant::now() + time }
    }

    /// This one, or `time` from now if that is sooner.
    #[must_use]
    pub fn at_most(self, time: Duration) -> Self {
        Self { at: self.at.min(R::Instant::now() + time) }
    }

    /// The time left; zero when it has passed.
    #[must_use]
    pub fn left(self) -> Duration {
        self.at.saturating_duration_since(R::Instant::now())
    }

    /// Whether it has passed.
    #[must_use]
    pub fn has_passed(self) -> bool {
        self.left().is_zero()
    }

    /// The time left in whole milliseconds, rounded up: what a request to another node carries.
    #[must_use]
    pub fn left_ms(self) -> u32 {
        u32::try_from(self.left().as_micros().div_ceil(1000)).unwrap_or(u32::MAX)
    }

    /// Awaits `work` at most until then.
    ///
    /// # Errors
    /// [`Elapsed`]; `work` is dropped, so whatever it had begun elsewhere may still take effect.
    pub async fn bound<T>(self, work: impl Future<Output = T> + Send) -> Result<T, Elapsed> {
        // Not `R::timeout_at`: its type depends on that of `work`, and with it whether the whole
        // future may move between threads is more than the compiler can prove.
        let (work, sleep) = (pin!(work), pin!(R::sleep_until(self.at)));
        match select(work, sleep).await {
            Either::Left((done, _sleep)) => Ok(done),
            Either::Right(((), _work)) => Err(Elapsed),
        }
    }

    /// Sleeps for `time`, but not past the deadline; answers whether time is left afterwards.
    pub async fn sleep(self, time: Duration) -> bool {
        let left = self.left();
        if left <= time {
            return false;
        }
        R::sleep(time).await;
        true
    }
}

/// The deadline passed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
pub struct Elapsed;

#[cfg(test)]
mod tests {
    use openraft_rt_tokio::TokioRuntime;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_takes_longer_is_given_up() {
        let deadline = Deadline::<TokioRuntime>::after(Duration::from_millis(50));
        assert!(deadline.left_ms() <= 50);
        assert_eq!(deadline.bound(async { 3 }).await, Ok(3));
        assert_eq!(deadline.bound(std::future::pending::<()>()).await, Err(Elapsed));
        assert!(deadline.has_passed());
        assert!(!deadline.sleep(Duration::from_millis(1)).await);
    }
}

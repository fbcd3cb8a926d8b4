//! openraft's asynchronous runtime over the simulated [`executor`](super::executor).
//!
//! Channels and mutexes are tokio's, which need no runtime and no time. All of it belongs to the
//! thread whose world is entered; a future that is polled after its world is gone never resolves.

use std::{
    fmt,
    future::Future,
    io,
    ops::{Add, AddAssign, Sub, SubAssign},
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use openraft_rt::{AsyncRuntime, OptionalSend};
use openraft_rt_tokio::{TokioMpsc, TokioMutex, TokioOneshot, TokioWatch};
use rand::{SeedableRng, rngs::SmallRng};
use tokio::sync::oneshot;

use super::executor::{BEGIN, Executor, Nanos, current};

/// The simulated runtime.
#[derive(Debug)]
pub struct SimRuntime;

/// A point of virtual time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SimInstant(Nanos);

fn nanos(duration: Duration) -> Nanos {
    Nanos::try_from(duration.as_nanos()).unwrap_or(Nanos::MAX)
}

impl Add<Duration> for SimInstant {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }
}

impl AddAssign<Duration> for SimInstant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

impl Sub<Duration> for SimInstant {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(nanos(duration)))
    }
}

impl SubAssign<Duration> for SimInstant {
    fn sub_assign(&mut self, duration: Duration) {
        *self = *self - duration;
    }
}

impl Sub for SimInstant {
    type Output = Duration;

    fn sub(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

impl openraft_rt::Instant for SimInstant {
    fn now() -> Self {
        Self(current().map_or(BEGIN, |executor| executor.now()))
    }
}

/// Resolves when virtual time has come to it.
#[derive(Debug)]
pub struct SimSleep {
    at: Nanos,
    seq: u64,
    is_set: bool,
}

impl SimSleep {
    fn until(at: Nanos) -> Self {
        let seq = current().map_or(0, |executor| executor.timer_number());
        Self { at, seq, is_set: false }
    }
}

impl Future for SimSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Some(executor) = current() else { return Poll::Pending };
        if executor.now() >= self.at {
            return Poll::Ready(());
        }
        executor.set_timer(self.at, self.seq, context.waker());
        self.is_set = true;
        Poll::Pending
    }
}

impl Drop for SimSleep {
    fn drop(&mut self) {
        if self.is_set
            && let Some(executor) = current()
        {
            executor.cancel_timer(self.at, self.seq);
        }
    }
}

/// The time was up first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time is up: give it more, or look for what holds it up")]
pub struct SimElapsed;

/// A future, at most until a time.
pub struct SimTimeout<T> {
    future: Pin<Box<T>>,
    sleep: SimSleep,
}

impl<T> fmt::Debug for SimTimeout<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimTimeout").field("sleep", &self.sleep).finish_non_exhaustive()
    }
}

impl<T: Future> Future for SimTimeout<T> {
    type Output = Result<T::Output, SimElapsed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // What is there at the last moment counts.
        if let Poll::Ready(done) = self.future.as_mut().poll(context) {
            return Poll::Ready(Ok(done));
        }
        match pin!(&mut self.sleep).poll(context) {
            Poll::Ready(()) => Poll::Ready(Err(SimElapsed)),
            Poll::Pending => Poll::Pending,
        }
    }
}

/// A task has no result: its node died, or it panicked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the task ended without a result: its node died, or it panicked")]
pub struct SimJoinError;

/// Resolves with what a task returned.
#[derive(Debug)]
pub struct SimJoinHandle<T>(oneshot::Receiver<T>);

impl<T> Future for SimJoinHandle<T> {
    type Output = Result<T, SimJoinError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map_err(|_gone| SimJoinError)
    }
}

impl AsyncRuntime for SimRuntime {
    type JoinError = SimJoinError;
    type JoinHandle<T: OptionalSend + 'static> = SimJoinHandle<T>;
    type Sleep = SimSleep;
    type Instant = SimInstant;
    type TimeoutError = SimElapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = SimTimeout<T>;
    type ThreadLocalRng = SmallRng;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        let (done, receiver) = oneshot::channel();
        if let Some(executor) = current() {
            executor.spawn(Box::pin(async move {
                // Nobody waiting is no error.
                done.send(future.await).ok();
            }));
        }
        SimJoinHandle(receiver)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        Self::sleep_until(<SimInstant as openraft_rt::Instant>::now() + duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        SimSleep::until(deadline.0)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(
        duration: Duration,
        future: F,
    ) -> Self::Timeout<R, F> {
        SimTimeout { future: Box::pin(future), sleep: Self::sleep(duration) }
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(
        deadline: Self::Instant,
        future: F,
    ) -> Self::Timeout<R, F> {
        SimTimeout { future: Box::pin(future), sleep: Self::sleep_until(deadline) }
    }

    fn is_panic(_join_error: &Self::JoinError) -> bool {
        false
    }

    fn thread_rng() -> Self::ThreadLocalRng {
        SmallRng::seed_from_u64(current().map_or(0, |executor| executor.draw()))
    }

    type Mpsc = TokioMpsc;
    type Watch = TokioWatch;
    type Oneshot = TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = TokioMutex<T>;

    /// A world is entered by `Executor::enter`; this is only its name as a type.
    fn new(_threads: usize) -> Self {
        Self
    }

    /// Runs until `future` is done; for tests of the runtime. Without a world it makes one of seed 0.
    ///
    /// # Panics
    /// When nothing is left that could make the future go on.
    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        let (executor, entered) = Executor::enter(0);
        let mut future = pin!(future);
        let mut context = Context::from_waker(std::task::Waker::noop());
        let done = loop {
            if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
                break done;
            }
            executor.run(executor.now() + 1_000_000);
        };
        executor.clear();
        drop(entered);
        done
    }

    async fn spawn_blocking<F, T>(work: F) -> Result<T, io::Error>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // There is one thread, and blocking work takes no virtual time.
        Ok(work())
    }
}

#[cfg(test)]
mod tests {
    use openraft_rt::testing::Suite;

    use super::*;

    #[test]
    fn it_is_a_runtime_as_openraft_wants_one() {
        Suite::<SimRuntime>::test_all_on(&mut SimRuntime);
    }

    #[test]
    fn death_drops_tasks_where_they_stand_and_nothing_they_would_still_start() {
        let (executor, entered) = Executor::enter(1);
        let (mut one, mut other) = (None, None);
        executor
            .within(1, || one = Some(SimRuntime::spawn(SimRuntime::sleep(Duration::from_secs(1)))));
        executor.within(2, || {
            other = Some(SimRuntime::spawn(SimRuntime::sleep(Duration::from_secs(1))));
        });
        executor.run(executor.now() + 1_000);
        executor.kill(1);
        let late = executor.within(1, || SimRuntime::spawn(async {}));
        executor.run(executor.now() + 2_000_000_000);
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert_eq!(pin!(one.unwrap()).poll(&mut context), Poll::Ready(Err(SimJoinError)));
        assert_eq!(pin!(late).poll(&mut context), Poll::Ready(Err(SimJoinError)));
        assert_eq!(pin!(other.unwrap()).poll(&mut context), Poll::Ready(Ok(())));
        executor.clear();
        drop(entered);
    }

    #[test]
    fn a_paused_home_goes_on_where_it_stood() {
        let (executor, entered) = Executor::enter(1);
        let handle =
            executor.within(1, || SimRuntime::spawn(SimRuntime::sleep(Duration::from_secs(1))));
        executor.run(executor.now() + 1_000);
        executor.pause(1, true);
        executor.run(executor.now() + 2_000_000_000);
        let mut handle = pin!(handle);
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert_eq!(handle.as_mut().poll(&mut context), Poll::Pending);
        executor.pause(1, false);
        executor.run(executor.now() + 1_000);
        assert_eq!(handle.as_mut().poll(&mut context), Poll::Ready(Ok(())));
        executor.clear();
        drop(entered);
    }
}

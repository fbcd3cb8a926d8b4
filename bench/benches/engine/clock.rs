//! The one place that reads clocks.

use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// Now.
#[expect(clippy::disallowed_methods, reason = "a benchmark measures real time")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// What `work` gives, and how long it took.
pub(crate) fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = now();
    let value = work();
    (value, start.elapsed())
}

/// What `work` gives, and the seconds that this thread worked on it: what others on the machine
/// take of its processor meanwhile is not counted. Reading the thread's clock is a system call that
/// would show in very short times, so the shorter of that and the time that passed is taken.
pub(crate) fn worked<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let before = thread_seconds();
    let (value, passed) = timed(work);
    (value, passed.as_secs_f64().min(thread_seconds() - before))
}

fn thread_seconds() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

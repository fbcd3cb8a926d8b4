//! How long work takes.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

pub(crate) use crate::now::now;

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

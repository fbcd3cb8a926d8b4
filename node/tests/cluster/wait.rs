//! Waiting for conditions, never for time alone.

use std::{
    fmt::Debug,
    thread::sleep,
    time::{Duration, Instant},
};

/// Asks again and again until there is an answer.
///
/// # Panics
/// When there is none within `limit`, with what `ask` said last.
pub(crate) fn until<T, E: Debug>(
    what: &str,
    limit: Duration,
    mut ask: impl FnMut() -> Result<T, E>,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        let why = match ask() {
            Ok(answer) => return answer,
            Err(why) => why,
        };
        assert!(Instant::now() < deadline, "{what}: not within {limit:?}: {why:?}");
        sleep(Duration::from_millis(50));
    }
}

/// [`until`] for a plain condition.
pub(crate) fn until_true(what: &str, limit: Duration, mut holds: impl FnMut() -> bool) {
    until(what, limit, || if holds() { Ok(()) } else { Err("it does not hold") });
}

//! `hexpop doctor`: what is wrong with a node, before its start or while it runs.
//!
//! ```text
//! before a start   configuration file, system ──> probe::gather ──> before::checks ──┐
//! while it runs    admin port ──> admin_api reports ─────────────> running::checks ──┴──> Report
//! ```
//!
//! Judging is pure: facts in, checks out. What was not asked for, or is not known, is no fact, and
//! never guessed.

pub mod before;
pub mod probe;
mod report;
mod rings;
pub mod running;

pub use report::{Category, Check, Outcome, Report, Topic};

/// A certificate with fewer days than this left is a warning.
const CERTIFICATE_DAYS_MIN: i64 = 14;

/// What there is to say about the end of a certificate.
fn expiry_check(what: &str, expires_unix_s: i64, now_unix_s: i64, help: &str) -> Check {
    let days = (expires_unix_s - now_unix_s).div_euclid(24 * 60 * 60);
    let at = jiff::Timestamp::from_second(expires_unix_s)
        .map_or_else(|_out_of_range| "an unknown day".to_owned(), |at| at.to_string());
    if expires_unix_s <= now_unix_s {
        Check::error(format!("{what} has expired"), format!("it was valid until {at}")).hint(help)
    } else if days < CERTIFICATE_DAYS_MIN {
        Check::warning(format!("{what} expires within {} days ({at})", days + 1)).hint(help)
    } else {
        Check::ok(format!("{what} is valid for {days} more days"))
    }
}

/// `1 shard`, `2 shards`.
pub(crate) fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// Milliseconds as people read them.
fn millis(took: std::time::Duration) -> String {
    format!("{:.1} ms", took.as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_judged_by_the_days_left() {
        const DAY: i64 = 24 * 60 * 60;
        let at = |days: i64| expiry_check("it", 1_000 * DAY + days * DAY, 1_000 * DAY, "do").result;
        assert_eq!(at(90), Outcome::Success);
        assert_eq!(at(14), Outcome::Success);
        assert_eq!(at(13), Outcome::Warning);
        assert_eq!(at(0), Outcome::Error);
        assert_eq!(at(-1), Outcome::Error);
        assert_eq!(expiry_check("it", i64::MAX, 0, "do").result, Outcome::Success);
    }
}

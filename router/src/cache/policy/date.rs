//! HTTP dates (RFC 9110 §5.6.7): three forms are read, the first is written. Pure.

use http::{HeaderMap, HeaderName};
use jiff::{Timestamp, civil::DateTime, fmt::rfc2822::DateTimePrinter, tz::TimeZone};

const MONTHS: [&[u8]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

/// A day's name up to and including its first three letters decides nothing: the date counts.
const DAYS: [&[u8]; 7] = [b"mon", b"tue", b"wed", b"thu", b"fri", b"sat", b"sun"];

const LONG_DAYS: [&[u8]; 7] =
    [b"monday", b"tuesday", b"wednesday", b"thursday", b"friday", b"saturday", b"sunday"];

/// A date in milliseconds since the Unix epoch; `None` if it has none of the three forms. Names are
/// taken in any case. `now_ms` decides the century of a two-digit year.
pub(crate) fn parse(text: &[u8], now_ms: i64) -> Option<i64> {
    let text = text.to_ascii_lowercase();
    imf_fixdate(&text).or_else(|| rfc850(&text, now_ms)).or_else(|| asctime(&text))
}

/// `sun, 06 nov 1994 08:49:37 gmt`
fn imf_fixdate(text: &[u8]) -> Option<i64> {
    let rest = after_name(text, &DAYS)?.strip_prefix(b", ")?;
    let (day, rest) = number(rest, 2)?;
    let (month, rest) = month(rest.strip_prefix(b" ")?)?;
    let (year, rest) = number(rest.strip_prefix(b" ")?, 4)?;
    let (time, rest) = time(rest.strip_prefix(b" ")?)?;
    (rest == b" gmt").then(|| millis(year, month, day, time))?
}

/// `sunday, 06-nov-94 08:49:37 gmt`
fn rfc850(text: &[u8], now_ms: i64) -> Option<i64> {
    let rest = after_name(text, &LONG_DAYS)?.strip_prefix(b", ")?;
    let (day, rest) = number(rest, 2)?;
    let (month, rest) = month(rest.strip_prefix(b"-")?)?;
    let (year, rest) = number(rest.strip_prefix(b"-")?, 2)?;
    let (time, rest) = time(rest.strip_prefix(b" ")?)?;
    if rest != b" gmt" {
        return None;
    }
    let now = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(TimeZone::UTC);
    let century = now.year() - now.year() % 100;
    // What would be more than 50 years ahead is the most recent such year in the past.
    let limit = now.checked_add(jiff::Span::new().years(50)).ok()?.timestamp().as_millisecond();
    [century + 100, century, century - 100]
        .into_iter()
        .filter_map(|century| millis(century + year, month, day, time))
        .find(|date| *date <= limit)
}

/// `sun nov  6 08:49:37 1994`
fn asctime(text: &[u8]) -> Option<i64> {
    let rest = after_name(text, &DAYS)?.strip_prefix(b" ")?;
    let (month, rest) = month(rest)?;
    let rest = rest.strip_prefix(b" ")?;
    let (day, rest) = match rest.strip_prefix(b" ") {
        Some(rest) => number(rest, 1)?,
        None => number(rest, 2)?,
    };
    let (time, rest) = time(rest.strip_prefix(b" ")?)?;
    let (year, rest) = number(rest.strip_prefix(b" ")?, 4)?;
    rest.is_empty().then(|| millis(year, month, day, time))?
}

fn after_name<'a>(text: &'a [u8], names: &[&[u8]]) -> Option<&'a [u8]> {
    names.iter().find_map(|name| text.strip_prefix(*name))
}

fn month(text: &[u8]) -> Option<(i16, &[u8])> {
    (1..).zip(MONTHS).find_map(|(month, name)| Some((month, text.strip_prefix(name)?)))
}

fn number(text: &[u8], digits: usize) -> Option<(i16, &[u8])> {
    let (number, rest) = text.split_at_checked(digits)?;
    if !number.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some((str::from_utf8(number).ok()?.parse().ok()?, rest))
}

/// Hour, minute, second.
type Clock = (i16, i16, i16);

/// `08:49:37`
fn time(text: &[u8]) -> Option<(Clock, &[u8])> {
    let (hour, rest) = number(text, 2)?;
    let (minute, rest) = number(rest.strip_prefix(b":")?, 2)?;
    let (second, rest) = number(rest.strip_prefix(b":")?, 2)?;
    // A leap second is the one before.
    Some(((hour, minute, if second == 60 { 59 } else { second }), rest))
}

fn millis(year: i16, month: i16, day: i16, time: Clock) -> Option<i64> {
    let small = |number: i16| i8::try_from(number).ok();
    let (hour, minute, second) = (small(time.0)?, small(time.1)?, small(time.2)?);
    let civil = DateTime::new(year, small(month)?, small(day)?, hour, minute, second, 0).ok()?;
    Some(civil.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond())
}

/// The first form of a time in milliseconds since the Unix epoch.
pub(crate) fn format(at_ms: i64) -> Option<String> {
    let at = Timestamp::from_millisecond(at_ms).ok()?;
    DateTimePrinter::new().timestamp_to_rfc9110_string(&at).ok()
}

/// A field that holds one date: the first of its lines, as RFC 9111 §4.2.1 has it for `Expires`.
/// The outer `None` = the field is absent, the inner one = it is no date.
pub(crate) fn of_field(headers: &HeaderMap, name: &HeaderName, now_ms: i64) -> Option<Option<i64>> {
    Some(parse(headers.get(name)?.as_bytes(), now_ms))
}

/// The same where a field that is no date counts as absent.
pub(crate) fn valid(headers: &HeaderMap, name: &HeaderName, now_ms: i64) -> Option<i64> {
    of_field(headers, name, now_ms).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// 2026-11-30.
    const NOW: i64 = 1_796_000_000_000;

    #[test]
    fn rfc9110_5_6_7_forms() {
        let nov_1994 = Some(784_111_777_000);
        for (text, expected) in [
            ("Sun, 06 Nov 1994 08:49:37 GMT", nov_1994),
            ("Sunday, 06-Nov-94 08:49:37 GMT", nov_1994),
            ("Sun Nov  6 08:49:37 1994", nov_1994),
            ("SUN, 06 NOV 1994 08:49:37 gmt", nov_1994),
            // The name of the day is not checked.
            ("Mon, 06 Nov 1994 08:49:37 GMT", nov_1994),
            ("Thursday, 18-Aug-50 02:01:18 GMT", Some(2_544_400_878_000)),
            ("Sat, 31 Dec 2016 23:59:60 GMT", Some(1_483_228_799_000)),
            ("Sun, 06 Nov 1994 08:49:37 UTC", None),
            ("Sun, 06 Nov 1994 08:49:37 +0000", None),
            ("Sun, 06 Nov 94 08:49:37 GMT", None),
            ("Sun 06 Nov 1994 08:49:37 GMT", None),
            ("Sun, 06  Nov  1994 08:49:37 GMT", None),
            ("Sun, 06-Nov-1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08.49.37 GMT", None),
            ("Sun, 06 Nov 1994 8:49:37 GMT", None),
            ("Sun, 6 Nov 1994 08:49:37 GMT", None),
            ("Sun, 31 Feb 1994 08:49:37 GMT", None),
            ("Sun, 06 Nov 1994 24:49:37 GMT", None),
            ("Sun, 06 Nov 1994 08:49:37 GMT ", None),
            ("0", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(parse(text.as_bytes(), NOW), expected, "{text}");
        }
    }

    #[test]
    fn rfc9110_5_6_7_two_digit_years_are_at_most_50_years_ahead() {
        let year = |text: &str| {
            let at = parse(format!("Monday, 01-Jan-{text} 00:00:00 GMT").as_bytes(), NOW).unwrap();
            Timestamp::from_millisecond(at).unwrap().to_zoned(TimeZone::UTC).year()
        };
        assert_eq!((year("76"), year("77"), year("99"), year("00")), (2076, 1977, 1999, 2000));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(secs in 0_i64..253_402_300_799) {
            let text = format(secs * 1000).unwrap();
            prop_assert_eq!(parse(text.as_bytes(), NOW), Some(secs * 1000));
        }

        #[test]
        fn nothing_panics(text in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _read = parse(&text, NOW);
        }
    }
}

//! Timestamps as RFC 3339 writes them.

const MICROS_PER_SECOND: i64 = 1_000_000;

/// Microseconds since the Unix epoch of an RFC 3339 date-time; finer digits are cut. A leap second
/// counts as the last microsecond before it ends, so that order is kept.
pub(crate) fn parse(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> {
        let digits = bytes.get(from..to)?;
        digits.iter().try_fold(0_i64, |value, digit| {
            digit.is_ascii_digit().then(|| value * 10 + i64::from(digit - b'0'))
        })
    };
    let mark = |at: usize, marks: &[u8]| bytes.get(at).filter(|byte| marks.contains(byte));
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    mark(4, b"-")?;
    mark(7, b"-")?;
    mark(10, b"Tt ")?;
    mark(13, b":")?;
    mark(16, b":")?;
    if !(1..=12).contains(&month) || day < 1 || day > days_in(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (micros, rest) = fraction(text.get(19..)?)?;
    let offset_minutes = offset(rest)?;
    let whole = days_from_civil(year, month, day) * 86_400 + hour * 3_600 + minute * 60
        - offset_minutes * 60;
    let (second, micros) =
        if second == 60 { (59, MICROS_PER_SECOND - 1) } else { (second, micros) };
    Some((whole + second) * MICROS_PER_SECOND + micros)
}

/// The microseconds of an optional fraction, and what follows it.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let Some(digits) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let count = digits.bytes().take_while(u8::is_ascii_digit).count();
    if count == 0 {
        return None;
    }
    let micros = digits
        .bytes()
        .take(count)
        .chain(std::iter::repeat(b'0'))
        .take(6)
        .fold(0_i64, |value, digit| value * 10 + i64::from(digit - b'0'));
    Some((micros, digits.get(count..)?))
}

/// Minutes east of UTC.
fn offset(text: &str) -> Option<i64> {
    let sign = match text.as_bytes() {
        [b'Z' | b'z'] => return Some(0),
        [b'+', _, _, b':', _, _] => 1,
        [b'-', _, _, b':', _, _] => -1,
        _ => return None,
    };
    let part =
        |range| text.get(range).filter(|part: &&str| part.bytes().all(|b| b.is_ascii_digit()));
    let (hours, minutes) = (part(1..3)?.parse::<i64>().ok()?, part(4..6)?.parse::<i64>().ok()?);
    (hours <= 23 && minutes <= 59).then_some(sign * (hours * 60 + minutes))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01 in the proleptic Gregorian calendar: whole years, then the days of the
/// months before this one.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let before = year - 1;
    let leap_days = before.div_euclid(4) - before.div_euclid(100) + before.div_euclid(400);
    let month_days: i64 = (1..month).map(|month| days_in(year, month)).sum();
    before * 365 + leap_days + month_days + day - 1 - 719_162
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn date_times_are_read_to_the_microsecond() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-03-08T10:30:00Z", 1_772_965_800_000_000),
            ("2026-03-08T11:30:00+01:00", 1_772_965_800_000_000),
            ("2026-03-08t10:30:00.1234567z", 1_772_965_800_123_456),
            ("2024-02-29 23:59:60Z", 1_709_251_199_999_999),
            ("1969-12-31T23:59:59.5Z", -500_000),
            ("0000-01-01T00:00:00Z", -62_167_219_200_000_000),
        ] {
            assert_eq!(parse(text), Some(micros), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused() {
        for text in [
            "",
            "2018-12",
            "2018-12-01",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-03-08T10:30:00",
            "2026-03-08T24:00:00Z",
            "2026-03-08T10:30:00.Z",
            "2026-03-08T10:30:00+1:00",
            "2026-03-08T10:30:00Zjunk",
            "2026-03-08T10:30:00+24:00",
            "２０２６-03-08T10:30:00Z",
            "2026-03-08T10:30:00+-1:00",
            "2026-03-08T10:30Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}

//! Sizes and durations as people write them: a whole number with its unit, such as `64MiB` or `250ms`.
//!
//! A bare number is refused for both, because nobody can tell from `5000` whether it is meant in
//! milliseconds, seconds or bytes. Printing gives the largest unit that divides the value, so that
//! what is printed reads back as the same value.

use std::{fmt, str::FromStr};

/// Bytes per unit, largest first.
const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

/// Nanoseconds per unit, largest first.
const TIME_UNITS: [(&str, u64); 7] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// Text that is not the size or duration it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseUnitError {
    /// There is no whole number in front.
    #[error("`{found}` does not begin with a whole number; write {example}")]
    Number {
        /// The text found.
        found: String,
        /// Text of the same kind that would have been right.
        example: &'static str,
    },
    /// The number stands alone.
    #[error("`{found}` has no unit; write {example}")]
    NoUnit {
        /// The text found.
        found: String,
        /// Text of the same kind that would have been right.
        example: &'static str,
    },
    /// The unit is none of those known.
    #[error("`{unit}` is not a unit here; it is one of {known}")]
    Unit {
        /// The unit found.
        unit: String,
        /// The units known, largest first.
        known: &'static str,
    },
    /// The value is beyond what can be held.
    #[error("`{found}` is too large")]
    TooLarge {
        /// The text found.
        found: String,
    },
}

/// A number of bytes, written `64MiB`, `512KiB`, `1GiB` or `100B`.
///
/// ```
/// use hexpop_edge_config::ByteSize;
///
/// let size: ByteSize = "1536KiB".parse()?;
/// assert_eq!(size.bytes(), 1_572_864);
/// assert_eq!(ByteSize::mib(1024).to_string(), "1GiB");
/// assert!("1024".parse::<ByteSize>().is_err());
/// # Ok::<(), hexpop_edge_config::ParseUnitError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ByteSize(u64);

impl ByteSize {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// So many bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// So many times 2^10 bytes; the largest size if that is beyond it.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 10))
    }

    /// So many times 2^20 bytes; the largest size if that is beyond it.
    #[must_use]
    pub const fn mib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 20))
    }

    /// So many times 2^30 bytes; the largest size if that is beyond it.
    #[must_use]
    pub const fn gib(count: u64) -> Self {
        Self(count.saturating_mul(1 << 30))
    }

    /// The number of bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        self.0
    }

    /// The number of bytes as a length in memory; the largest length if that is beyond it.
    #[must_use]
    pub fn as_usize(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, factor) = largest_divisor(u128::from(self.0), &SIZE_UNITS, "B");
        write!(f, "{}{unit}", u128::from(self.0) / u128::from(factor))
    }
}

impl FromStr for ByteSize {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        parse(text, &SIZE_UNITS, "a size such as 64MiB", "TiB, GiB, MiB, KiB, B").map(Self)
    }
}

/// A length of time, written `250ms`, `10s`, `5m`, `1h` or `7d`.
///
/// ```
/// use hexpop_edge_config::ConfigDuration;
///
/// let pause: ConfigDuration = "1500ms".parse()?;
/// assert_eq!(pause.0, std::time::Duration::from_millis(1500));
/// assert_eq!(ConfigDuration(std::time::Duration::from_secs(300)).to_string(), "5m");
/// assert!("10".parse::<ConfigDuration>().is_err());
/// # Ok::<(), hexpop_edge_config::ParseUnitError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ConfigDuration(pub std::time::Duration);

impl fmt::Display for ConfigDuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (unit, factor) = largest_divisor(nanos, &TIME_UNITS, "s");
        write!(f, "{}{unit}", nanos / u128::from(factor))
    }
}

impl FromStr for ConfigDuration {
    type Err = ParseUnitError;

    fn from_str(text: &str) -> Result<Self, ParseUnitError> {
        parse(text, &TIME_UNITS, "a duration such as 250ms", "d, h, m, s, ms, us, ns")
            .map(|nanos| Self(std::time::Duration::from_nanos(nanos)))
    }
}

impl From<ConfigDuration> for std::time::Duration {
    fn from(duration: ConfigDuration) -> Self {
        duration.0
    }
}

/// The unit to print `value` in; `of_zero` names the one for zero, which every unit divides.
fn largest_divisor(
    value: u128,
    units: &[(&'static str, u64)],
    of_zero: &'static str,
) -> (&'static str, u64) {
    if value == 0 {
        return (of_zero, 1);
    }
    let fits = |&&(_, factor): &&(&str, u64)| value.is_multiple_of(u128::from(factor));
    units.iter().find(fits).copied().unwrap_or((of_zero, 1))
}

fn parse(
    text: &str,
    units: &[(&str, u64)],
    example: &'static str,
    known: &'static str,
) -> Result<u64, ParseUnitError> {
    // What is quoted in a message stays short whatever was given.
    let found = || text.chars().take(80).collect::<String>();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    if digits.is_empty() {
        return Err(ParseUnitError::Number { found: found(), example });
    }
    if unit.is_empty() {
        return Err(ParseUnitError::NoUnit { found: found(), example });
    }
    let Some(&(_, factor)) = units.iter().find(|(name, _)| *name == unit) else {
        return Err(ParseUnitError::Unit { unit: unit.chars().take(80).collect(), known });
    };
    // Digits only, so the one way to fail is overflow.
    let too_large = || ParseUnitError::TooLarge { found: found() };
    let count: u64 = digits.parse().map_err(|_source| too_large())?;
    count.checked_mul(factor).ok_or_else(too_large)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    #[test]
    fn printing_takes_the_largest_unit_that_divides() {
        for (bytes, text) in [
            (0, "0B"),
            (1, "1B"),
            (1024, "1KiB"),
            (1536, "1536B"),
            (64 << 20, "64MiB"),
            (1 << 40, "1TiB"),
        ] {
            assert_eq!(ByteSize::new(bytes).to_string(), text);
        }
        for (millis, text) in
            [(0, "0s"), (250, "250ms"), (60_000, "1m"), (90_000, "90s"), (86_400_000, "1d")]
        {
            assert_eq!(ConfigDuration(Duration::from_millis(millis)).to_string(), text);
        }
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        let size = |text: &str| text.parse::<ByteSize>().unwrap_err().to_string();
        assert_eq!(size("64"), "`64` has no unit; write a size such as 64MiB");
        assert_eq!(
            size("MiB"),
            "`MiB` does not begin with a whole number; write a size such as 64MiB"
        );
        assert_eq!(size("64MB"), "`MB` is not a unit here; it is one of TiB, GiB, MiB, KiB, B");
        assert_eq!(size("99999999999TiB"), "`99999999999TiB` is too large");
        let duration = |text: &str| text.parse::<ConfigDuration>().unwrap_err().to_string();
        assert_eq!(
            duration("-5s"),
            "`-5s` does not begin with a whole number; write a duration such as 250ms"
        );
        assert_eq!(duration("5 s"), "` s` is not a unit here; it is one of d, h, m, s, ms, us, ns");
        assert_eq!(
            duration("1.5s"),
            "`.5s` is not a unit here; it is one of d, h, m, s, ms, us, ns"
        );
        assert!("".parse::<ConfigDuration>().is_err());
    }

    proptest! {
        #[test]
        fn sizes_read_back_as_printed(bytes: u64) {
            prop_assert_eq!(ByteSize::new(bytes).to_string().parse(), Ok(ByteSize::new(bytes)));
        }

        #[test]
        fn durations_read_back_as_printed(count in 0_u64..1 << 20, unit in 0_usize..TIME_UNITS.len()) {
            let duration = ConfigDuration(Duration::from_nanos(count.saturating_mul(TIME_UNITS[unit].1)));
            prop_assert_eq!(duration.to_string().parse(), Ok(duration));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            if let Ok(size) = text.parse::<ByteSize>() {
                prop_assert_eq!(size.to_string().parse(), Ok(size));
            }
            if let Ok(duration) = text.parse::<ConfigDuration>() {
                prop_assert_eq!(duration.to_string().parse(), Ok(duration));
            }
        }
    }
}

//! Which of two writes of a listing is the newer one.

use serde::{Deserialize, Serialize};

/// What a write says about its age. `Default` says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
pub struct ListingVersion {
    /// The platform's version number.
    pub version: Option<u64>,
    /// `updatedAt` in microseconds since the Unix epoch.
    pub updated_at_us: Option<i64>,
}

/// How a write relates to the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precedence {
    /// It is newer.
    Newer,
    /// It says the same age: the same write again, or one that lost a race.
    Same,
    /// It is older.
    Older,
    /// Neither says enough: the order of the log decides.
    LogOrder,
}

impl ListingVersion {
    /// How a write with this version relates to a stored one: by `version` if both have it, else by
    /// `updatedAt` if both have that, else by log order.
    #[must_use]
    pub fn against(&self, stored: &Self) -> Precedence {
        let ordering = match (self.version, stored.version) {
            (Some(new), Some(old)) => new.cmp(&old),
            _ => match (self.updated_at_us, stored.updated_at_us) {
                (Some(new), Some(old)) => new.cmp(&old),
                _ => return Precedence::LogOrder,
            },
        };
        match ordering {
            std::cmp::Ordering::Greater => Precedence::Newer,
            std::cmp::Ordering::Equal => Precedence::Same,
            std::cmp::Ordering::Less => Precedence::Older,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(version: Option<u64>, updated_at_us: Option<i64>) -> ListingVersion {
        ListingVersion { version, updated_at_us }
    }

    #[test]
    fn the_number_decides_then_the_time_then_the_log() {
        let stored = of(Some(7), Some(1_000));
        assert_eq!(of(Some(8), Some(1)).against(&stored), Precedence::Newer);
        assert_eq!(of(Some(6), Some(9_000)).against(&stored), Precedence::Older);
        assert_eq!(of(Some(7), Some(9_000)).against(&stored), Precedence::Same);
        assert_eq!(of(None, Some(1_001)).against(&stored), Precedence::Newer);
        assert_eq!(of(None, Some(999)).against(&stored), Precedence::Older);
        assert_eq!(of(None, None).against(&stored), Precedence::LogOrder);
        assert_eq!(of(Some(1), None).against(&of(None, Some(5))), Precedence::LogOrder);
    }
}

//! The keyspace: every record's place, and the ranges that shards are.
//!
//! `(space, country, region, point)`, ordered in this order. At one fixed resolution the numeric
//! order of H3 indexes is the order of the hierarchy, so an H3 prefix is one contiguous range of
//! points. Final: keys are on disk, on the wire and in cursors.

use std::{cmp::Ordering, fmt, str::FromStr};

use hexpop_edge_config::{Country, Region, Territory};
use serde::{Deserialize, Serialize};

/// One past the greatest point: points have 63 bits (an H3 index has its top bit clear; hashes are
/// cut to 63 bits), so that the end of a territory is itself a key bound.
pub const POINT_END: u64 = 1 << 63;

/// What the point of a key is, and who reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Space {
    /// Point = the listing's H3 cell at resolution 9 (0 = no coordinates).
    Listings,
    /// Point = hash of the listing's id; the territory is the reserved `ZZ`.
    Directory,
    /// Point = hash of the session's id.
    Sessions,
}

impl Space {
    /// All spaces, in key order.
    pub const ALL: [Self; 3] = [Self::Listings, Self::Directory, Self::Sessions];

    /// The word used in URLs, tables and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Listings => "listings",
            Self::Directory => "directory",
            Self::Sessions => "sessions",
        }
    }
}

impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The place of a record, and a bound of ranges.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardKey {
    /// The space.
    pub space: Space,
    /// The country; [`Country::LOWEST`] only in the lower bound of a space.
    pub country: Country,
    /// The region; `None` only in bounds, below every region.
    pub region: Option<Region>,
    /// The point, below [`POINT_END`]; equal to it only in upper bounds.
    pub point: u64,
}

impl ShardKey {
    /// The key of `point` in a territory.
    #[must_use]
    pub fn new(space: Space, territory: &Territory, point: u64) -> Self {
        Self {
            space,
            country: territory.country,
            region: Some(territory.region.clone()),
            point: point & (POINT_END - 1),
        }
    }

    /// The key of a listing's id in the directory.
    #[must_use]
    pub fn directory(listing_id: &str) -> Self {
        Self {
            space: Space::Directory,
            country: Country::NONE,
            region: None,
            point: hash_point(listing_id.as_bytes()),
        }
    }

    /// The key of a session.
    #[must_use]
    pub fn session(territory: &Territory, session_id: &str) -> Self {
        Self::new(Space::Sessions, territory, hash_point(session_id.as_bytes()))
    }

    /// The lowest bound of a space.
    #[must_use]
    pub const fn space_start(space: Space) -> Self {
        Self { space, country: Country::LOWEST, region: None, point: 0 }
    }

    /// The territory, where the key has one.
    #[must_use]
    pub fn territory(&self) -> Option<Territory> {
        self.region.clone().map(|region| Territory { country: self.country, region })
    }
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let country = if self.country == Country::LOWEST { "first" } else { self.country.as_str() };
        write!(f, "{}/{country}", self.space)?;
        if let Some(region) = &self.region {
            write!(f, ":{region}")?;
        }
        if self.point == POINT_END {
            f.write_str("/end")
        } else {
            write!(f, "/{:016x}", self.point)
        }
    }
}

/// A text is no key of the keyspace.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is <space>/<country>:<region>/<point>, its point 16 hexadecimal digits or `end`")]
pub struct ParseKeyError;

impl FromStr for ShardKey {
    type Err = ParseKeyError;

    /// Takes what [`Display`](fmt::Display) writes.
    fn from_str(text: &str) -> Result<Self, ParseKeyError> {
        let mut parts = text.split('/');
        let (Some(space), Some(place), Some(point), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(ParseKeyError);
        };
        let space = Space::ALL.into_iter().find(|known| known.as_str() == space);
        let space = space.ok_or(ParseKeyError)?;
        let (country, region) = match place.split_once(':') {
            Some((country, region)) => (country, Some(region)),
            None => (place, None),
        };
        let country = match country {
            "first" => Country::LOWEST,
            // The directory's own country is not one that is read.
            text if text == Country::NONE.as_str() => Country::NONE,
            text => text.parse().map_err(|_error| ParseKeyError)?,
        };
        let region = region.map(str::parse).transpose().map_err(|_error| ParseKeyError)?;
        let is_hex = point.len() == 16 && point.bytes().all(|b| b.is_ascii_hexdigit());
        let point = match point {
            "end" => POINT_END,
            hex if is_hex => u64::from_str_radix(hex, 16).map_err(|_error| ParseKeyError)?,
            _ => return Err(ParseKeyError),
        };
        let is_point = point <= POINT_END;
        is_point.then_some(Self { space, country, region, point }).ok_or(ParseKeyError)
    }
}

/// FNV-1a 64 with a final avalanche (the finaliser of `MurmurHash3`), cut to 63 bits: stable for
/// ever, since it decides where a record lives. It need not resist an attacker: ids that collide
/// share a point, not a record.
#[must_use]
pub fn hash_point(bytes: &[u8]) -> u64 {
    let mut hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^= hash >> 33;
    hash & (POINT_END - 1)
}

/// A half-open range of keys within one space.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyRange {
    /// The first key of the range.
    pub start: ShardKey,
    /// The first key behind it; `None` = the end of the space.
    pub end: Option<ShardKey>,
}

impl KeyRange {
    /// All of a space.
    #[must_use]
    pub const fn space(space: Space) -> Self {
        Self { start: ShardKey::space_start(space), end: None }
    }

    /// All of a territory in one space.
    #[must_use]
    pub fn territory(space: Space, territory: &Territory) -> Self {
        let start = ShardKey::new(space, territory, 0);
        let end = ShardKey { point: POINT_END, ..start.clone() };
        Self { start, end: Some(end) }
    }

    /// The space the range lies in.
    #[must_use]
    pub const fn space_of(&self) -> Space {
        self.start.space
    }

    /// Whether `key` lies in the range.
    #[must_use]
    pub fn contains(&self, key: &ShardKey) -> bool {
        key.space == self.start.space
            && *key >= self.start
            && self.end.as_ref().is_none_or(|end| key < end)
    }

    /// Whether the two have a key in common.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.start.space == other.start.space
            && self.end.as_ref().is_none_or(|end| other.start < *end)
            && other.end.as_ref().is_none_or(|end| self.start < *end)
    }

    /// Whether the range has no key, or its bounds are out of order or in two spaces.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.end {
            None => false,
            Some(end) => end.space != self.start.space || self.start.cmp(end) != Ordering::Less,
        }
    }

    /// The territory, if the range lies in a single one.
    #[must_use]
    pub fn single_territory(&self) -> Option<Territory> {
        let end = self.end.as_ref()?;
        (self.start.country == end.country && self.start.region == end.region)
            .then(|| self.start.territory())
            .flatten()
    }
}

impl fmt::Display for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.end {
            Some(end) => write!(f, "[{}, {end})", self.start),
            None => write!(f, "[{}, end)", self.start),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn territory(text: &str) -> Territory {
        text.parse().unwrap()
    }

    #[test]
    fn a_territory_is_one_range_with_its_keys_and_no_other() {
        let range = KeyRange::territory(Space::Listings, &territory("IT:lombardia"));
        assert!(range.contains(&ShardKey::new(Space::Listings, &territory("IT:lombardia"), 0)));
        assert!(range.contains(&ShardKey::new(
            Space::Listings,
            &territory("IT:lombardia"),
            POINT_END - 1
        )));
        for other in ["IT:lombardi", "IT:lombardia-2", "IT:lazio", "FR:lombardia"] {
            assert!(
                !range.contains(&ShardKey::new(Space::Listings, &territory(other), 5)),
                "{other}"
            );
        }
        assert!(!range.contains(&ShardKey::session(&territory("IT:lombardia"), "x")));
        assert_eq!(range.single_territory(), Some(territory("IT:lombardia")));
    }

    #[test]
    fn a_key_is_read_as_it_is_shown() {
        let range = KeyRange::territory(Space::Listings, &territory("IT:lombardia"));
        let keys = [
            ShardKey::directory("lst_1"),
            ShardKey::session(&territory("IT:lazio"), "x"),
            ShardKey::space_start(Space::Sessions),
            range.start,
            range.end.unwrap(),
        ];
        for key in keys {
            assert_eq!(key.to_string().parse(), Ok(key));
        }
        for wrong in ["", "listings/IT:lazio", "listings/IT:lazio/12", "x/IT:lazio/end", "a/b/c/d"]
        {
            assert_eq!(wrong.parse::<ShardKey>(), Err(ParseKeyError), "{wrong}");
        }
    }

    #[test]
    fn the_hash_of_an_id_is_fixed() {
        for (text, point) in [
            ("", 0x6fd0_1f60_ba99_2926),
            ("a", 0x02a2_a958_a9be_ce5b),
            ("lst_000042", 0x168e_c2c5_81e4_b58d),
            ("it-lombardia.8Zk2", 0x2b5f_6653_179b_18d2),
            ("Città", 0x37d8_0caf_fe42_59c4),
        ] {
            assert_eq!(hash_point(text.as_bytes()), point, "{text}");
            assert!(point < POINT_END);
        }
        assert_eq!(ShardKey::directory("a").point, hash_point(b"a"));
    }

    #[test]
    fn ranges_overlap_only_in_common_keys() {
        let it = KeyRange::territory(Space::Listings, &territory("IT:lazio"));
        let next = KeyRange { start: it.end.clone().unwrap(), end: None };
        assert!(!it.overlaps(&next) && !next.overlaps(&it));
        assert!(it.overlaps(&KeyRange::space(Space::Listings)));
        assert!(!it.overlaps(&KeyRange::space(Space::Sessions)));
        assert!(!it.is_empty());
    }
}

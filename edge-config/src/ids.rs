//! Identifiers: of nodes, replicas, shards and territories. They are final: keys, file names, wire
//! frames and URLs are made of them.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// Text that is not the identifier it should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {expected}")]
pub struct ParseIdError {
    /// The text found.
    pub found: String,
    /// What would have been right, as a noun phrase.
    pub expected: &'static str,
}

impl ParseIdError {
    pub(crate) fn new(found: &str, expected: &'static str) -> Self {
        Self { found: found.chars().take(80).collect(), expected }
    }
}

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                text.parse().map(Self).map_err(|_source| ParseIdError::new(text, "a whole number"))
            }
        }
    };
}

number_id! {
    /// The number an operator gives a node; unique in a cluster, in its certificate, and kept when
    /// the node's disk is replaced.
    NodeId(u32)
}

number_id! {
    /// The identity of one data directory in Raft: random, written and synced before anything else.
    /// A node that returns with another directory has another one, so that it can never vote twice.
    RaftId(u64)
}

number_id! {
    /// A shard, and the Raft group that replicates it. Never used twice.
    ShardId(u64)
}

/// A Raft group; the group of a shard has the shard's number.
pub type GroupId = ShardId;

impl ShardId {
    /// The meta group: truth for shard ids, operations and policy. It is no shard.
    pub const META: Self = Self(0);

    /// The purge group: what stored responses are to be forgotten, in one order for all nodes. It is no
    /// shard; shards count up from 1 and do not get there.
    pub const PURGES: Self = Self(u64::MAX);

    /// Whether it is that of a shard, and not of the meta or purge group.
    #[must_use]
    pub const fn is_of_shard(self) -> bool {
        self.0 != Self::META.0 && self.0 != Self::PURGES.0
    }
}

/// What one proposal is known by, so that a repeat of it is recognised by the state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RequestId {
    /// The data directory of the node that took the request from its client.
    pub origin: RaftId,
    /// That process's start, so that the counter may begin again after a restart.
    pub start: u64,
    /// Counts up within one process.
    pub sequence: u64,
}

/// How new a descriptor of a shard is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Epoch {
    /// Grows with every change of the shard's range.
    pub version: u64,
    /// Grows with every change of its replicas.
    pub conf: u64,
}

impl Epoch {
    /// The epoch a shard is created with.
    pub const FIRST: Self = Self { version: 1, conf: 1 };
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.version, self.conf)
    }
}

impl FromStr for Epoch {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wrong = || ParseIdError::new(text, "an epoch such as 4.2");
        let (version, conf) = text.split_once('.').ok_or_else(wrong)?;
        Ok(Self {
            version: version.parse().map_err(|_source| wrong())?,
            conf: conf.parse().map_err(|_source| wrong())?,
        })
    }
}

/// `[a-z0-9]+(-[a-z0-9]+)*`, at most `max` bytes.
fn is_slug(text: &str, max: usize) -> bool {
    !text.is_empty()
        && text.len() <= max
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--")
}

macro_rules! slug_id {
    ($(#[$doc:meta])* $name:ident, $max:literal, $expected:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Box<str>);

        impl $name {
            /// The text of it.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                if is_slug(text, $max) {
                    Ok(Self(text.into()))
                } else {
                    Err(ParseIdError::new(text, $expected))
                }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

slug_id! {
    /// A point of presence: the failure domain that placement spreads replicas over.
    PopId, 32, "the name of a PoP (lower-case letters, digits and single dashes, at most 32)"
}

slug_id! {
    /// A region of a country: lower-case slug, such as `lombardia` or `castilla-y-leon`.
    Region, 48, "a region (lower-case letters, digits and single dashes, at most 48)"
}

slug_id! {
    /// The cluster's name: the trust domain of its certificates.
    ClusterName, 63, "a cluster name (lower-case letters, digits and single dashes, at most 63)"
}

/// A cluster in mesh messages: a hash of its name, so that a message costs eight bytes for it. Who
/// belongs to the cluster is decided by its certificate authority; this guards against mistakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ClusterId(pub u64);

impl From<&ClusterName> for ClusterId {
    /// FNV-1a, 64 bits.
    fn from(name: &ClusterName) -> Self {
        let hash = name.as_str().bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Self(hash)
    }
}

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// ISO 3166-1 alpha-2, upper case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Country([u8; 2]);

impl Country {
    /// The reserved country of keys that belong to no territory, such as directory keys.
    pub const NONE: Self = Self(*b"ZZ");

    /// Below every country that can be written: the lower end of a space. It has no text.
    pub const LOWEST: Self = Self([0, 0]);

    /// The two letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Country {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        match text.as_bytes() {
            &[a, b] if a.is_ascii_uppercase() && b.is_ascii_uppercase() => Ok(Self([a, b])),
            _ => Err(ParseIdError::new(text, "a country (ISO 3166-1 alpha-2, upper case)")),
        }
    }
}

impl Serialize for Country {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.as_str())
        } else {
            self.0.serialize(serializer)
        }
    }
}

impl<'de> Deserialize<'de> for Country {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return String::deserialize(deserializer)?.parse().map_err(de::Error::custom);
        }
        let letters = <[u8; 2]>::deserialize(deserializer)?;
        if letters == [0, 0] || letters.iter().all(u8::is_ascii_uppercase) {
            Ok(Self(letters))
        } else {
            Err(de::Error::custom("not a country"))
        }
    }
}

/// A country and a region of it: what residency is decided by. `IT:lombardia` in text.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Territory {
    /// The country.
    pub country: Country,
    /// The region.
    pub region: Region,
}

impl fmt::Display for Territory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.country, self.region)
    }
}

impl FromStr for Territory {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let wrong = || ParseIdError::new(text, "a territory such as IT:lombardia");
        let (country, region) = text.split_once(':').ok_or_else(wrong)?;
        Ok(Self {
            country: country.parse().map_err(|_source| wrong())?,
            region: region.parse().map_err(|_source| wrong())?,
        })
    }
}

impl Serialize for Territory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Territory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn territories_have_one_text_form() {
        let lombardia: Territory = "IT:lombardia".parse().unwrap();
        assert_eq!(lombardia.to_string(), "IT:lombardia");
        for wrong in
            ["IT", "it:lombardia", "IT:", "IT:Lombardia", "IT:a--b", "IT:-a", "ITA:a", ":a"]
        {
            assert!(wrong.parse::<Territory>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn epochs_are_not_decimals() {
        let ten: Epoch = "4.10".parse().unwrap();
        let one: Epoch = "4.1".parse().unwrap();
        assert!(ten > one);
        assert_eq!(ten.to_string(), "4.10");
        assert!("4".parse::<Epoch>().is_err());
    }

    #[test]
    fn cluster_ids_follow_the_name() {
        let demo: ClusterName = "demo".parse().unwrap();
        let other: ClusterName = "demo2".parse().unwrap();
        assert_ne!(ClusterId::from(&demo), ClusterId::from(&other));
        assert_eq!(ClusterId::from(&demo), ClusterId::from(&demo));
    }
}

//! What a session is.

use std::{fmt, str::FromStr};

use hexpop_edge_config::{Country, ParseIdError, Region, Territory};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::{RecordVersion, ShardKey};

/// The longest life of a session without a renewal, in milliseconds: 30 days.
pub const SESSION_TTL_MAX_MS: u64 = 2_592_000_000;

/// The most characters behind the dot of a session's id.
const TOKEN_MAX: usize = 64;

/// The id of a session: `<country>-<region>.<token>`, as in `it-lombardia.8Zk2`.
///
/// The territory stands in clear, so that a session routes without a lookup. The country is in lower
/// case; the token is 1 to 64 of `A-Za-z0-9_-`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    text: Box<str>,
    territory: Territory,
}

impl SessionId {
    /// The id with `token` in a territory.
    ///
    /// # Errors
    /// [`ParseIdError`] when the token is not 1 to 64 of `A-Za-z0-9_-`.
    pub fn new(territory: &Territory, token: &str) -> Result<Self, ParseIdError> {
        let country = territory.country.as_str().to_ascii_lowercase();
        format!("{country}-{}.{token}", territory.region).parse()
    }

    /// The text of it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The territory it belongs to.
    #[must_use]
    pub const fn territory(&self) -> &Territory {
        &self.territory
    }

    /// Where it is in the keyspace.
    #[must_use]
    pub fn key(&self) -> ShardKey {
        ShardKey::session(&self.territory, &self.text)
    }
}

/// An id splits at its first `.` and, before that, at its first `-`.
fn territory_of(text: &str) -> Option<Territory> {
    let (place, token) = text.split_once('.')?;
    let (country, region) = place.split_once('-')?;
    let token_fits = (1..=TOKEN_MAX).contains(&token.len())
        && token.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !token_fits || !country.bytes().all(|b| b.is_ascii_lowercase()) {
        return None;
    }
    let country: Country = country.to_ascii_uppercase().parse().ok()?;
    let region: Region = region.parse().ok()?;
    Some(Territory { country, region })
}

impl FromStr for SessionId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        territory_of(text).map(|territory| Self { text: text.into(), territory }).ok_or_else(|| {
            ParseIdError {
                found: text.chars().take(80).collect(),
                expected: "a session's id such as it-lombardia.8Zk2",
            }
        })
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for SessionId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A session's value, encrypted by whoever took the request.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// Which key opens it.
    pub key_id: u64,
    /// Nonce, ciphertext and tag, as the owner of the key lays them out.
    #[serde(with = "serde_bytes")]
    pub bytes: Vec<u8>,
}

impl fmt::Debug for Sealed {
    /// Names the length only: even ciphertext of a user's data has no place in a log line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealed")
            .field("key_id", &self.key_id)
            .field("bytes", &format_args!("{}", self.bytes.len()))
            .finish()
    }
}

/// Everything of a session but its value: what a write answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionHead {
    /// Its id.
    pub id: SessionId,
    /// The user it belongs to.
    pub user: String,
    /// When it was created, in group time; a replacement keeps it.
    pub created_ms: u64,
    /// When it ends: gone once the group's time has reached it.
    pub expires_ms: u64,
    /// How long it lives from a write, or from a touch when `sliding`.
    pub ttl_ms: u64,
    /// Whether touches renew it.
    pub sliding: bool,
    /// Changes with every write, not with touches.
    pub version: RecordVersion,
}

/// One session as the shard holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionRecord {
    /// Everything but the value.
    pub head: SessionHead,
    /// The value.
    pub sealed: Sealed,
}

impl SessionRecord {
    /// What it counts against the limit of the shard, in bytes: what it holds, and a flat amount for
    /// the structures around it.
    pub(crate) fn weight(&self) -> u64 {
        const OVERHEAD: usize = 256;
        let id = self.head.id.as_str().len();
        (OVERHEAD + 3 * id + 2 * self.head.user.len() + self.sealed.bytes.len()) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_carries_its_territory() {
        let territory: Territory = "ES:castilla-y-leon".parse().unwrap();
        let id = SessionId::new(&territory, "A_b-9").unwrap();
        assert_eq!(id.as_str(), "es-castilla-y-leon.A_b-9");
        assert_eq!(id.territory(), &territory);
        assert_eq!(id.key().territory(), Some(territory));
    }

    #[test]
    fn other_texts_are_no_ids() {
        let long = format!("it-lazio.{}", "a".repeat(65));
        for wrong in [
            "",
            "it-lazio",
            "it-lazio.",
            "IT-lazio.a",
            "it.a",
            "it-.a",
            "-lazio.a",
            "it-lazio.a b",
            "it-lazio.a.b",
            "ita-lazio.a",
            "it-Lazio.a",
            &long,
        ] {
            assert!(wrong.parse::<SessionId>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_sealed_value_is_not_printed() {
        let text = format!("{:?}", Sealed { key_id: 1, bytes: b"secret".to_vec() });
        assert_eq!(text, "Sealed { key_id: 1, bytes: 6 }");
    }
}

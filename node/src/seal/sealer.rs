//! The router's port, over a keyring.

use std::{collections::BTreeMap, sync::Arc, time::Instant};

use hexpop_edge_config::{Config, Territory};
use hexpop_router::{SealAt, SealError, SealedValue, Sealer};
use hexpop_shard::{Sealed, WrappedKey};
use parking_lot::Mutex;
use ring::aead::LessSafeKey;

use super::{
    cache::{KeyCache, Known},
    crypto::{self, Bound, Secret},
    keyring::{Keyring, scope_of},
};

/// What a sealed value is bound as.
const VALUE: &str = "session value";

/// What a wrapped key is bound as.
const KEY: &str = "session key";

/// Which keys serve which territory, by its residency labels.
#[derive(Debug, Clone, Default)]
pub struct Scopes {
    territories: BTreeMap<Territory, String>,
    /// All others.
    other: String,
}

impl Scopes {
    /// As the configuration places them.
    #[must_use]
    pub fn from_config(config: &Config) -> Self {
        let territories = config.territories.iter();
        Self {
            territories: territories
                .map(|policy| (policy.territory.clone(), scope_of(&policy.labels)))
                .collect(),
            other: scope_of(&config.placement.labels),
        }
    }

    fn of(&self, territory: Option<&Territory>) -> &str {
        territory.and_then(|territory| self.territories.get(territory)).unwrap_or(&self.other)
    }
}

/// Seals with the keys of a keyring; without one it seals and opens nothing, and says so.
#[derive(Debug)]
pub struct KeyringSealer {
    ring: Option<Keyring>,
    scopes: Scopes,
    known: Mutex<KeyCache>,
}

impl KeyringSealer {
    /// A sealer; `None` = no key file is configured.
    #[must_use]
    pub fn new(ring: Option<Keyring>, scopes: Scopes) -> Self {
        Self { ring, scopes, known: Mutex::new(KeyCache::new(Instant::now())) }
    }

    fn ring(&self) -> Result<&Keyring, SealError> {
        self.ring.as_ref().ok_or_else(|| {
            SealError::NoKey(
                "this node holds no session keys: name the cluster's key file in \
                 data.session_keys (`hexpop certs session-keys` makes one), and restart it"
                    .to_owned(),
            )
        })
    }

    fn owner(&self, at: &SealAt<'_>) -> (String, hexpop_edge_config::ShardId, String) {
        (self.scopes.of(at.territory).to_owned(), at.shard, at.user.to_owned())
    }

    /// A new key, wrapped.
    fn candidate(&self, at: &SealAt<'_>) -> Result<(Secret, WrappedKey), SealError> {
        let scope = self.scopes.of(at.territory);
        let (by, outer) = self.ring()?.wrapping(scope).ok_or_else(|| {
            SealError::NoKey(format!(
                "this node holds no session key of the labels {scope}: add it to the file of \
                 data.session_keys, or ask a node that has the labels"
            ))
        })?;
        let (secret, id): (Secret, u64) = (rand::random(), rand::random());
        let texts = [by, at.user];
        let bound = Bound { purpose: KEY, texts: &texts, key_id: id };
        let bytes = crypto::wrap(outer, &bound, &secret).ok_or(SealError::Altered)?;
        Ok((secret, WrappedKey { id, by: by.to_owned(), bytes }))
    }

    fn opened(&self, at: &SealAt<'_>, key: &WrappedKey) -> Result<Secret, SealError> {
        let outer = self.ring()?.get(&key.by).ok_or_else(|| {
            SealError::NoKey(format!(
                "this node does not hold the session key {}: add it to the file of \
                 data.session_keys, or ask a node that has it",
                key.by
            ))
        })?;
        let texts = [key.by.as_str(), at.user];
        let bound = Bound { purpose: KEY, texts: &texts, key_id: key.id };
        crypto::unwrap(outer, &bound, &key.bytes).ok_or(SealError::Altered)
    }

    /// The key that the shard is known to have for the user.
    fn known(&self, at: &SealAt<'_>) -> Option<Known> {
        self.known.lock().get(&self.owner(at), Instant::now())
    }

    fn remember(&self, at: &SealAt<'_>, id: u64, key: LessSafeKey) {
        // A key of nobody's is used once.
        if !at.user.is_empty() {
            let known = Known { id, key: Arc::new(key) };
            self.known.lock().insert(self.owner(at), known, Instant::now());
        }
    }
}

impl Sealer for KeyringSealer {
    fn seal(&self, at: &SealAt<'_>, clear: &[u8]) -> Result<SealedValue, SealError> {
        let (id, key, along) = match self.known(at) {
            Some(known) => (known.id, known.key, None),
            None => {
                let (secret, wrapped) = self.candidate(at)?;
                let key = crypto::key_of(&secret).ok_or(SealError::Altered)?;
                (wrapped.id, Arc::new(key), Some(wrapped))
            }
        };
        let texts = [at.name, at.user];
        let bound = Bound { purpose: VALUE, texts: &texts, key_id: id };
        let bytes = crypto::seal(&key, &bound, clear).ok_or(SealError::Altered)?;
        Ok(SealedValue { sealed: Sealed { key_id: id, bytes }, key: along })
    }

    fn open(
        &self,
        at: &SealAt<'_>,
        sealed: &Sealed,
        key: &WrappedKey,
    ) -> Result<Vec<u8>, SealError> {
        if key.id != sealed.key_id {
            return Err(SealError::Altered);
        }
        let texts = [at.name, at.user];
        let bound = Bound { purpose: VALUE, texts: &texts, key_id: key.id };
        if let Some(known) = self.known(at).filter(|known| known.id == key.id) {
            return crypto::open(&known.key, &bound, &sealed.bytes).ok_or(SealError::Altered);
        }
        let opened = crypto::key_of(&self.opened(at, key)?).ok_or(SealError::Altered)?;
        let clear = crypto::open(&opened, &bound, &sealed.bytes).ok_or(SealError::Altered)?;
        // The shard has it, so that what this node writes for the user can be under it too; not one
        // of a key that has been rotated out, which is to go with its last value.
        let scope = self.scopes.of(at.territory);
        if self.ring()?.wrapping(scope).is_some_and(|(newest, _)| newest == key.by) {
            self.remember(at, key.id, opened);
        }
        Ok(clear)
    }

    fn taken(&self, at: &SealAt<'_>, key: &WrappedKey) {
        if let Ok(secret) = self.opened(at, key)
            && let Some(opened) = crypto::key_of(&secret)
        {
            self.remember(at, key.id, opened);
        }
    }

    fn forget(&self, at: &SealAt<'_>, key_id: u64) {
        self.known.lock().forget(&self.owner(at), key_id);
    }
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::ShardId;

    use super::*;
    use crate::seal::generate;

    const AT: SealAt<'_> =
        SealAt { shard: ShardId(7), territory: None, name: "it-lazio.a", user: "u1" };

    fn sealer(lines: &[&str]) -> KeyringSealer {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("session.keys");
        std::fs::write(&path, lines.concat()).unwrap();
        let territories = BTreeMap::from([("IT:lazio".parse().unwrap(), "eu".to_owned())]);
        let scopes = Scopes { territories, other: "*".to_owned() };
        KeyringSealer::new(Some(Keyring::read(&path).unwrap()), scopes)
    }

    #[test]
    fn a_value_opens_at_another_node_that_has_the_key() {
        let line = generate("k1", &[]);
        let (one, other) = (sealer(&[&line]), sealer(&[&line]));
        let value = one.seal(&AT, b"clear").unwrap();
        let key = value.key.unwrap();
        assert_eq!(value.sealed.key_id, key.id);
        assert!(!value.sealed.bytes.windows(5).any(|bytes| bytes == b"clear"));
        assert_eq!(other.open(&AT, &value.sealed, &key).unwrap(), b"clear");
        for elsewhere in [SealAt { name: "it-lazio.b", ..AT }, SealAt { user: "u2", ..AT }] {
            assert_eq!(one.open(&elsewhere, &value.sealed, &key), Err(SealError::Altered));
        }
        let mut altered = value.sealed.clone();
        altered.bytes[20] ^= 1;
        assert_eq!(other.open(&AT, &altered, &key), Err(SealError::Altered));
        let wrong = WrappedKey { id: key.id ^ 1, ..key };
        assert_eq!(other.open(&AT, &value.sealed, &wrong), Err(SealError::Altered));
        let renumbered = Sealed { key_id: wrong.id, ..value.sealed };
        assert_eq!(other.open(&AT, &renumbered, &wrong), Err(SealError::Altered));
    }

    #[test]
    fn a_key_goes_along_until_the_shard_has_it_and_never_twice() {
        let one = sealer(&[&generate("k1", &[])]);
        let first = one.seal(&AT, b"1").unwrap().key.unwrap();
        let second = one.seal(&AT, b"1").unwrap().key.unwrap();
        assert_ne!(first.id, second.id);
        one.taken(&AT, &first);
        let third = one.seal(&AT, b"1").unwrap();
        assert_eq!((third.key, third.sealed.key_id), (None, first.id));
        // Another user and another shard have none yet.
        assert!(one.seal(&SealAt { user: "u2", ..AT }, b"1").unwrap().key.is_some());
        assert!(one.seal(&SealAt { shard: ShardId(8), ..AT }, b"1").unwrap().key.is_some());
        one.forget(&AT, first.id);
        assert!(one.seal(&AT, b"1").unwrap().key.is_some());
    }

    #[test]
    fn the_newest_key_wraps_and_all_open() {
        let (old, new) = (generate("k1", &[]), generate("k2", &[]));
        let before = sealer(&[&old]).seal(&AT, b"1").unwrap();
        let rotated = sealer(&[&old, &new]);
        let key = before.key.unwrap();
        assert_eq!(rotated.open(&AT, &before.sealed, &key).unwrap(), b"1");
        let after = rotated.seal(&AT, b"2").unwrap();
        assert_eq!(after.key.as_ref().unwrap().by, "k2", "what was rotated out is not taken up");
        let gone = sealer(&[&new]).open(&AT, &before.sealed, &key).unwrap_err();
        assert!(gone.to_string().contains("k1"), "{gone}");
    }

    #[test]
    fn a_node_without_the_key_of_a_label_says_so() {
        let lazio: Territory = "IT:lazio".parse().unwrap();
        let at = SealAt { territory: Some(&lazio), ..AT };
        let labels = ["eu".to_owned()];
        let inside = sealer(&[&generate("k1", &[]), &generate("eu1", &labels)]);
        let value = inside.seal(&at, b"1").unwrap();
        assert_eq!(value.key.as_ref().unwrap().by, "eu1");
        let outside = sealer(&[&generate("k1", &[])]);
        let refused = outside.seal(&at, b"1").unwrap_err();
        assert!(refused.to_string().contains("labels eu"), "{refused}");
        assert!(matches!(
            outside.open(&at, &value.sealed, &value.key.unwrap()),
            Err(SealError::NoKey(_))
        ));
        let without = KeyringSealer::new(None, Scopes::default());
        let refused = without.seal(&AT, b"1").unwrap_err();
        assert!(refused.to_string().contains("data.session_keys"), "{refused}");
    }
}

//! Facts: small versioned statements that all members should know. The newest wins.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hexpop_edge_config::{NodeId, codec};
use serde::{Deserialize, Serialize};

use crate::{Error, Identity, NodeInfo};

/// The longest fact in bytes: it shares a datagram with a message of SWIM.
pub(crate) const FACT_BYTES_MAX: usize = 960;

/// What a fact is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Topic {
    /// What a node says about itself; one fact per node.
    Info,
    /// The version of the shard map; one fact.
    ShardMap,
}

impl Topic {
    const fn to_wire(self) -> u8 {
        match self {
            Self::Info => 1,
            Self::ShardMap => 2,
        }
    }

    const fn from_wire(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Info),
            2 => Some(Self::ShardMap),
            _ => None,
        }
    }
}

/// Which fact: its topic, and the node it is of, or 0.
pub(crate) type Key = (Topic, u32);

/// How new a fact is: the incarnation of its node and a count within it, or the version of the map
/// and 0.
pub(crate) type Version = (u64, u64);

/// A fact as it crosses the mesh.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Wire {
    topic: u8,
    key: u32,
    version: Version,
    body: Vec<u8>,
}

#[derive(Debug)]
struct Fact {
    version: Version,
    /// As it crosses the mesh.
    encoded: Vec<u8>,
}

/// All facts that a node knows.
#[derive(Debug)]
pub(crate) struct Facts {
    facts: BTreeMap<Key, Fact>,
    infos: BTreeMap<NodeId, NodeInfo>,
    shard_map: (u64, NodeId),
    keys_max: usize,
    /// Keys whose fact changed since they were last taken.
    news: Vec<Key>,
    /// Facts that did not decode or had no room.
    pub(crate) refused: u64,
}

impl Facts {
    pub(crate) fn new(members_max: usize) -> Self {
        Self {
            facts: BTreeMap::new(),
            infos: BTreeMap::new(),
            shard_map: (0, NodeId(0)),
            keys_max: members_max.saturating_add(1),
            news: Vec::new(),
            refused: 0,
        }
    }

    /// Encodes a fact.
    ///
    /// # Errors
    /// [`Error::FactTooLong`].
    pub(crate) fn encode<T: Serialize>(
        (topic, key): Key,
        version: Version,
        body: &T,
    ) -> Result<Vec<u8>, Error> {
        let unencoded = |error: codec::CodecError| Error::Encode(error.to_string());
        let body = codec::encode(body).map_err(unencoded)?;
        let wire = Wire { topic: topic.to_wire(), key, version, body };
        let encoded = codec::encode(&wire).map_err(unencoded)?;
        if encoded.len() > FACT_BYTES_MAX {
            return Err(Error::FactTooLong { bytes: encoded.len(), bytes_max: FACT_BYTES_MAX });
        }
        Ok(encoded)
    }

    /// Takes an encoded fact in; its key and version if it is news.
    ///
    /// A topic of a newer build, a damaged fact and one without room are not passed on: they would
    /// circulate without anybody knowing when they are old.
    pub(crate) fn take_in(&mut self, encoded: &[u8]) -> Option<(Key, Version)> {
        let taken = self.try_take_in(encoded);
        if taken.is_err() {
            self.refused = self.refused.saturating_add(1);
        }
        taken.ok().flatten()
    }

    fn try_take_in(&mut self, encoded: &[u8]) -> Result<Option<(Key, Version)>, ()> {
        if encoded.len() > FACT_BYTES_MAX {
            return Err(());
        }
        let wire: Wire = codec::decode(encoded).map_err(|_damaged| ())?;
        let key = (Topic::from_wire(wire.topic).ok_or(())?, wire.key);
        let known = self.facts.get(&key).map(|fact| fact.version);
        if known >= Some(wire.version) {
            return Ok(None);
        }
        if known.is_none() && self.facts.len() >= self.keys_max {
            return Err(());
        }
        match key.0 {
            Topic::Info => {
                let info = codec::decode(&wire.body).map_err(|_damaged| ())?;
                self.infos.insert(NodeId(wire.key), info);
            }
            Topic::ShardMap => {
                // There is one shard map: another key would be a second truth about it.
                if wire.key != 0 {
                    return Err(());
                }
                let holder = codec::decode(&wire.body).map_err(|_damaged| ())?;
                self.shard_map = (wire.version.0, holder);
            }
        }
        self.facts.insert(key, Fact { version: wire.version, encoded: encoded.to_vec() });
        self.news.push(key);
        Ok(Some((key, wire.version)))
    }

    pub(crate) fn version(&self, key: Key) -> Option<Version> {
        self.facts.get(&key).map(|fact| fact.version)
    }

    pub(crate) fn encoded(&self, key: Key) -> Option<&[u8]> {
        self.facts.get(&key).map(|fact| fact.encoded.as_slice())
    }

    /// Up to `most` facts in order of their keys, from `from` on and around.
    pub(crate) fn versions_from(&self, from: Option<Key>, most: usize) -> Vec<(Key, Version)> {
        let split = from.unwrap_or((Topic::Info, 0));
        let around = self.facts.range(split..).chain(self.facts.range(..split));
        around.take(most).map(|(key, fact)| (*key, fact.version)).collect()
    }

    pub(crate) fn info(&self, node: NodeId) -> Option<&NodeInfo> {
        self.infos.get(&node)
    }

    pub(crate) const fn shard_map(&self) -> (u64, NodeId) {
        self.shard_map
    }

    pub(crate) fn take_news(&mut self) -> Vec<Key> {
        std::mem::take(&mut self.news)
    }

    /// Forgets what `node` said about itself.
    pub(crate) fn forget(&mut self, node: NodeId) {
        self.facts.remove(&(Topic::Info, node.0));
        self.infos.remove(&node);
    }
}

/// A key of a digest as it crosses the mesh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DigestEntry {
    topic: u8,
    key: u32,
    version: Version,
}

impl DigestEntry {
    pub(crate) fn new((topic, key): Key, version: Version) -> Self {
        Self { topic: topic.to_wire(), key, version }
    }

    /// The key and version; `None` for a topic of a newer build.
    pub(crate) fn parts(&self) -> Option<(Key, Version)> {
        Some(((Topic::from_wire(self.topic)?, self.key), self.version))
    }
}

/// The facts, shared between the gossip and the protocol that carries them.
#[derive(Debug, Clone)]
pub(crate) struct SharedFacts(Arc<Mutex<Facts>>);

impl SharedFacts {
    pub(crate) fn new(members_max: usize) -> Self {
        Self(Arc::new(Mutex::new(Facts::new(members_max))))
    }

    /// Nothing panics under this lock, and a fact is replaced as a whole: what a poisoned lock
    /// guards is still sound.
    pub(crate) fn lock(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the protocol needs to know about a fact that it passes on.
#[derive(Debug)]
pub(crate) struct Carried {
    key: Key,
    version: Version,
}

impl foca::Invalidates for Carried {
    fn invalidates(&self, other: &Self) -> bool {
        self.key == other.key && self.version >= other.version
    }
}

/// Facts are never refused with an error: it would stop the rest of the datagram.
#[derive(Debug, thiserror::Error)]
#[error("unreachable")]
pub(crate) enum Never {}

impl foca::BroadcastHandler<Identity> for SharedFacts {
    type Key = Carried;
    type Error = Never;

    fn receive_item(
        &mut self,
        data: &[u8],
        _sender: Option<&Identity>,
    ) -> Result<Option<Carried>, Never> {
        Ok(self.lock().take_in(data).map(|(key, version)| Carried { key, version }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(version: u64, holder: u32) -> Vec<u8> {
        Facts::encode((Topic::ShardMap, 0), (version, 0), &NodeId(holder)).unwrap()
    }

    #[test]
    fn the_newest_wins_and_old_news_is_not_passed_on() {
        let mut facts = Facts::new(8);
        assert!(facts.take_in(&map(5, 1)).is_some());
        assert!(facts.take_in(&map(5, 2)).is_none());
        assert!(facts.take_in(&map(4, 3)).is_none());
        assert_eq!(facts.shard_map(), (5, NodeId(1)));
        assert!(facts.take_in(&map(6, 3)).is_some());
        assert_eq!(facts.shard_map(), (6, NodeId(3)));
        assert_eq!(facts.refused, 0);
    }

    #[test]
    fn damaged_and_unknown_facts_change_nothing() {
        let mut facts = Facts::new(8);
        let unknown = Wire { topic: 99, key: 0, version: (1, 0), body: vec![] };
        let second = Facts::encode((Topic::ShardMap, 1), (1, 0), &NodeId(1)).unwrap();
        let body = Wire { topic: 1, key: 1, version: (1, 0), body: vec![1, 2] };
        for wrong in [vec![], vec![1; 40], codec::encode(&unknown).unwrap(), second]
            .into_iter()
            .chain([codec::encode(&body).unwrap(), vec![0; FACT_BYTES_MAX + 1]])
        {
            assert_eq!(facts.take_in(&wrong), None);
        }
        assert_eq!(facts.refused, 6);
        assert!(facts.take_news().is_empty());
        assert_eq!(facts.version((Topic::ShardMap, 1)), None);
    }
}

//! Comparing facts: what single datagrams lost, and what newcomers missed, is fetched.
//!
//! News rides with the messages of SWIM a bounded number of times, so a member can miss it, and a
//! new one always does. A *digest* says which versions its sender has (version zero: none); whoever
//! gets it sends the facts that are newer, and asks back for those that are older.

use hexpop_edge_config::codec;
use serde::{Deserialize, Serialize};

use crate::{
    PacketError,
    facts::{DigestEntry, Facts, Key, Version},
};

/// Entries of one digest: with the longest numbers they still fit the smallest datagram allowed.
pub(crate) const DIGEST_ENTRIES_MAX: usize = 18;
/// Datagrams with facts in answer to one digest.
const ANSWER_PACKETS_MAX: usize = 8;
/// What a list of facts costs beyond the facts: version byte, count, a length each.
const LIST_OVERHEAD: usize = 8;
const FACT_OVERHEAD: usize = 3;

#[derive(Debug, Serialize, Deserialize)]
struct Digest {
    /// Whether the receiver should ask back for what is newer here.
    compare: bool,
    entries: Vec<DigestEntry>,
}

/// Encodes a digest.
pub(crate) fn encode_digest(compare: bool, versions: &[(Key, Version)]) -> Option<Vec<u8>> {
    let entries = versions
        .iter()
        .take(DIGEST_ENTRIES_MAX)
        .map(|(key, version)| DigestEntry::new(*key, *version))
        .collect();
    codec::encode(&Digest { compare, entries }).ok()
}

/// What to answer to a digest.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// Lists of facts, one per datagram.
    pub(crate) facts: Vec<Vec<u8>>,
    /// A digest that asks back.
    pub(crate) ask: Option<Vec<u8>>,
}

/// Answers a digest, in datagrams whose body has at most `body_bytes_max`.
pub(crate) fn answer(
    facts: &Facts,
    digest: &[u8],
    body_bytes_max: usize,
) -> Result<Answer, PacketError> {
    let digest: Digest = decode(digest)?;
    let mut newer = Vec::new();
    let mut older = Vec::new();
    for (key, theirs) in digest.entries.iter().filter_map(DigestEntry::parts) {
        let ours = facts.version(key);
        if ours > Some(theirs) {
            newer.extend(facts.encoded(key).map(<[u8]>::to_vec));
        } else if ours < Some(theirs) {
            older.push((key, ours.unwrap_or_default()));
        }
    }
    let ask = (digest.compare && !older.is_empty()).then(|| encode_digest(false, &older)).flatten();
    Ok(Answer { facts: pack(newer, body_bytes_max), ask })
}

/// Lists facts in as few datagrams as they fit into.
fn pack(facts: Vec<Vec<u8>>, body_bytes_max: usize) -> Vec<Vec<u8>> {
    let mut lists = Vec::new();
    let mut list: Vec<Vec<u8>> = Vec::new();
    let mut used = LIST_OVERHEAD;
    let mut close = |list: &mut Vec<Vec<u8>>| {
        if !list.is_empty() && lists.len() < ANSWER_PACKETS_MAX {
            lists.extend(codec::encode(list).ok());
        }
        list.clear();
    };
    for fact in facts {
        let bytes = fact.len() + FACT_OVERHEAD;
        if used + bytes > body_bytes_max {
            close(&mut list);
            used = LIST_OVERHEAD;
        }
        // One that is too long for any datagram of this size still rides with SWIM's.
        if used + bytes <= body_bytes_max {
            used += bytes;
            list.push(fact);
        }
    }
    close(&mut list);
    lists
}

/// The facts of a list.
pub(crate) fn decode_facts(body: &[u8]) -> Result<Vec<Vec<u8>>, PacketError> {
    decode(body)
}

fn decode<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, PacketError> {
    codec::decode(body).map_err(|error| PacketError::Decode(error.to_string()))
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::NodeId;

    use super::*;
    use crate::facts::Topic;

    #[test]
    fn the_longest_digest_fits_the_smallest_datagram() {
        let entry = ((Topic::Info, u32::MAX), (u64::MAX, u64::MAX));
        let digest = encode_digest(true, &[entry; 100]).unwrap();
        assert!(digest.len() <= 512 - crate::packet::PREFIX_BYTES, "{}", digest.len());
    }

    #[test]
    fn a_digest_brings_what_is_newer_and_asks_for_what_is_older() {
        let map = |version| Facts::encode((Topic::ShardMap, 0), (version, 0), &NodeId(1)).unwrap();
        let key = (Topic::ShardMap, 0);
        let mut ours = Facts::new(4);
        ours.take_in(&map(5));

        let behind = encode_digest(true, &[(key, (4, 0))]).unwrap();
        let answered = answer(&ours, &behind, 1000).unwrap();
        assert_eq!(decode_facts(&answered.facts[0]).unwrap(), [map(5)]);
        assert!(answered.ask.is_none());

        let ahead = encode_digest(true, &[(key, (6, 0))]).unwrap();
        let answered = answer(&ours, &ahead, 1000).unwrap();
        assert!(answered.facts.is_empty());
        let mut theirs = Facts::new(4);
        theirs.take_in(&map(6));
        let given = answer(&theirs, &answered.ask.unwrap(), 1000).unwrap();
        assert_eq!(decode_facts(&given.facts[0]).unwrap(), [map(6)]);

        let no_reply = encode_digest(false, &[(key, (6, 0))]).unwrap();
        assert!(answer(&ours, &no_reply, 1000).unwrap().ask.is_none());
        let same = encode_digest(true, &[(key, (5, 0))]).unwrap();
        let nothing = answer(&ours, &same, 1000).unwrap();
        assert!(nothing.facts.is_empty() && nothing.ask.is_none());
    }
}

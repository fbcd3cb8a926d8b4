//! What nodes of a PoP say to each other about objects of the HTTP cache. Final: these types cross the
//! mesh through the codec; the enums only grow at their ends.
//!
//! ```text
//! fetch    -> accepted, then head, data ..., trailers?, end
//!             declined: at once, or in place of a head
//!             failed: in place of a head; broken off: in place of an end
//! forget   -> accepted
//! ```

use std::net::IpAddr;

use bytes::Bytes;
use hexpop_edge_config::{NodeId, codec};
use hexpop_shard::PurgeId;
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    cache::{key::CacheKey, purge::Purge},
    port::Client,
};

/// The longest frame, in bytes: more than the fields that the data port takes of a request, and than any
/// origin's answer has.
pub(crate) const FRAME_BYTES_MAX: usize = 1 << 20;

/// Bytes of one piece of a body at most.
pub(crate) const PIECE_BYTES_MAX: usize = 64 << 10;

/// What one node asks of another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Question {
    /// For an object.
    Fetch(Box<Fetch>),
    /// To forget what a write has changed.
    Forget(Forget),
    /// For an object, and for the interim responses before it. Nodes of earlier builds do not know it, and
    /// decline it as malformed.
    FetchWithInterims(Box<Fetch>),
}

/// What is to be forgotten before anything is answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Forget {
    pub(crate) all: Vec<Forgotten>,
    /// Nodes that were told the same and did not confirm it: they may have the old still, so that nobody
    /// asks them for anything without telling them again.
    pub(crate) also: Vec<NodeId>,
}

/// A GET that the asker would send to the origin otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fetch {
    /// The last purge that the asker has applied: whoever is behind it has nothing for the asker.
    pub(crate) position: Option<PurgeId>,
    /// What is to be forgotten first, since it is not certain that it was.
    pub(crate) forget: Forget,
    /// Whether the asker has a stale one itself, and wants nothing but a fresh one.
    pub(crate) fresh: bool,
    /// Who sent the request to the asker.
    pub(crate) client: Sender,
    /// Path and query.
    pub(crate) target: String,
    /// The header fields.
    pub(crate) fields: Fields,
}

/// Header fields in order.
pub(crate) type Fields = Vec<(String, Bytes)>;

/// Who sent a request, as the connection says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sender {
    pub(crate) address: IpAddr,
    pub(crate) secure: bool,
    pub(crate) authority: String,
}

/// What a write has changed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(crate) enum Forgotten {
    /// Everything under a URI.
    Uri { origin: String, target: String },
    /// Whatever has a tag.
    Tag(String),
    /// Everything: there was too much to name.
    All,
}

/// One frame of an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Frame {
    /// The question is understood and worked on.
    Accepted,
    /// It has nothing for the asker, who has to ask the origin.
    Declined(Declined),
    /// The head of the response.
    Head(Box<Head>),
    /// The origin failed.
    Failed(Failed),
    /// A piece of the body.
    Data(Bytes),
    /// What follows the body.
    Trailers(Fields),
    /// The body is whole.
    End,
    /// The body broke off.
    BrokenOff(String),
    /// A response before the response: its status and its fields.
    Interim(u16, Fields),
}

/// Why a node has nothing for the asker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Declined {
    /// It keeps nothing for others.
    Off,
    /// It does not understand the question.
    Malformed,
    /// It has not applied all purges that the asker has.
    Behind,
    /// It may have missed purges.
    Silent,
    /// The response is for one client only.
    Uncacheable,
    /// It has too much to do.
    Overloaded,
    /// The request came through it before.
    Loop,
}

/// The head of a response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    /// How long the body is, where that is known.
    pub(crate) length: Option<u64>,
    /// The node's own member of `Cache-Status`.
    pub(crate) member: String,
    /// How old the response is in microseconds, which `Age` tells in whole seconds only; `None` = the
    /// fields say it all.
    pub(crate) age_us: Option<u64>,
    /// How long the node worked on it in microseconds, from the question to this head, as far as the age
    /// contains that already.
    pub(crate) worked_us: u64,
    /// How long it is fresh since it was made: a soft purge may have ended that earlier than the fields
    /// say. `None` = the fields say it all.
    pub(crate) lifetime_us: Option<u64>,
    /// Whether it is stale and stands in for an origin that failed.
    pub(crate) stands_in: bool,
}

/// How the origin failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Failed {
    /// It certainly did not get the request: the asker may reach it.
    pub(crate) missed: bool,
    /// It did not answer in time.
    pub(crate) timed_out: bool,
    /// In words.
    pub(crate) detail: String,
}

/// Encodes a frame; `None` if it is longer than frames may be.
pub(crate) fn encode<T: Serialize>(frame: &T) -> Option<Bytes> {
    let frame = codec::encode(frame).ok()?;
    (frame.len() <= FRAME_BYTES_MAX).then(|| frame.into())
}

/// Decodes a frame.
pub(crate) fn decode<T: DeserializeOwned>(frame: &[u8]) -> Option<T> {
    if frame.len() > FRAME_BYTES_MAX {
        return None;
    }
    codec::decode(frame).ok()
}

/// Header fields for the way.
pub(crate) fn fields_of(headers: &HeaderMap) -> Fields {
    let field = |(name, value): (&HeaderName, &HeaderValue)| {
        (name.as_str().to_owned(), Bytes::copy_from_slice(value.as_bytes()))
    };
    headers.iter().map(field).collect()
}

/// Header fields that came; `None` if some are none.
pub(crate) fn headers_of(fields: Fields) -> Option<HeaderMap> {
    let mut headers = HeaderMap::try_with_capacity(fields.len()).ok()?;
    for (name, value) in fields {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        let value = HeaderValue::from_maybe_shared(value).ok()?;
        headers.try_append(name, value).ok()?;
    }
    Some(headers)
}

impl From<&Client> for Sender {
    fn from(client: &Client) -> Self {
        Self {
            address: client.address,
            secure: client.scheme == "https",
            authority: client.authority.clone(),
        }
    }
}

impl From<Sender> for Client {
    fn from(sender: Sender) -> Self {
        let scheme = if sender.secure { "https" } else { "http" };
        Self { address: sender.address, scheme, authority: sender.authority }
    }
}

impl Forgotten {
    /// Everything under a URI.
    pub(crate) fn uri(key: &CacheKey) -> Self {
        Self::Uri { origin: key.origin().to_owned(), target: key.target().to_owned() }
    }

    /// The same as a purge.
    pub(crate) fn purge(&self) -> Purge {
        match self {
            Self::Uri { origin, target } => Purge::Uri(CacheKey::of_parts(origin, target)),
            Self::Tag(tag) => Purge::Tag(tag.as_str().into()),
            Self::All => Purge::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn head(fields: Fields) -> Frame {
        Frame::Head(Box::new(Head {
            status: 200,
            fields,
            length: Some(3),
            member: "hexpop-mil-1; hit; ttl=3".to_owned(),
            age_us: Some(1),
            worked_us: 1,
            lifetime_us: None,
            stands_in: false,
        }))
    }

    #[test]
    fn fields_keep_their_order_and_their_bytes() {
        let mut headers = HeaderMap::new();
        for (name, value) in [("set-cookie", &b"a=1"[..]), ("set-cookie", b"b=2"), ("x", b"\xe9")] {
            let value = HeaderValue::from_bytes(value).unwrap();
            headers.append(HeaderName::from_static(name), value);
        }
        let frame = encode(&head(fields_of(&headers))).unwrap();
        let Some(Frame::Head(head)) = decode(&frame) else { panic!("no head") };
        assert_eq!(headers_of(head.fields), Some(headers));
    }

    #[test]
    fn questions_have_the_bytes_that_nodes_of_all_builds_know() {
        let fetch = Box::new(Fetch {
            position: None,
            forget: Forget { all: vec![Forgotten::Tag("t".to_owned())], also: Vec::new() },
            fresh: true,
            client: Sender {
                address: "10.1.2.3".parse().unwrap(),
                secure: true,
                authority: "a".to_owned(),
            },
            target: "/p".to_owned(),
            fields: vec![("accept".to_owned(), "*/*".into())],
        });
        // The codec's version, then the question's number.
        let bytes = |number: u8, rest: &[u8]| [&[codec::V2, number], rest].concat();
        let known = b"\0\x01\x01\x01t\0\x01\0\x0a\x01\x02\x03\x01\x01a\x02/p\x01\x06accept\x03*/*";
        let forget = Forget { all: vec![Forgotten::All], also: Vec::new() };
        for (question, bytes) in [
            (Question::Fetch(fetch.clone()), bytes(0, known)),
            (Question::Forget(forget), bytes(1, b"\x01\x02\0")),
            (Question::FetchWithInterims(fetch), bytes(2, known)),
        ] {
            assert_eq!(encode(&question).unwrap(), bytes);
            assert_eq!(decode(&bytes), Some(question));
        }
        // So a node that knows only the first two takes the third for neither.
        assert_eq!(decode::<Question>(&bytes(3, known)), None);
        assert_eq!(encode(&Frame::Interim(103, Vec::new())).unwrap()[..2], [codec::V2, 8]);
    }

    #[test]
    fn what_is_no_field_is_refused() {
        let field = |name: &str, value: &'static [u8]| vec![(name.to_owned(), value.into())];
        assert!(headers_of(field("a b", b"1")).is_none());
        assert!(headers_of(field("a", b"1\r\nb: 2")).is_none());
        assert!(headers_of(field("a", b"1")).is_some());
    }

    #[test]
    fn frames_are_bounded_both_ways() {
        let long = Frame::Data(vec![0; FRAME_BYTES_MAX].into());
        assert!(encode(&long).is_none());
        assert!(decode::<Frame>(&vec![2; FRAME_BYTES_MAX + 1]).is_none());
        assert!(encode(&Frame::Data(vec![0; PIECE_BYTES_MAX].into())).is_some());
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_frame_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop((decode::<Frame>(&bytes), decode::<Question>(&bytes)));
            let mut versioned = vec![codec::V2];
            versioned.extend(bytes);
            drop((decode::<Frame>(&versioned), decode::<Question>(&versioned)));
        }
    }
}

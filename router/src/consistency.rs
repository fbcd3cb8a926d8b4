//! Read levels: what a client asks for and what it was given (`Hexpop-Consistency`). Pure.

use std::fmt;

use hexpop_edge_config::{Epoch, ShardId};
use hexpop_shard::{LogPosition, ShardMap};
use serde::{Deserialize, Serialize};
use sfv::{BareItem, Item, Parser};

use crate::{
    error::{FieldPlace, Problem, RouteError},
    token::Token,
};

/// The request and answer header field.
pub const CONSISTENCY_HEADER: &str = "hexpop-consistency";

/// The header field of [`Token`].
pub const TOKEN_HEADER: &str = "hexpop-token";

/// The greatest bound on staleness that may be asked for: one day.
const MAX_STALENESS_MS: u64 = 86_400_000;

/// How fresh a read has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Level {
    /// Whatever a replica has.
    #[default]
    Eventual,
    /// No older than this, proven by the replica that answers.
    Bounded {
        /// Milliseconds.
        max_staleness_ms: u64,
    },
    /// Linearizable: includes every write acknowledged before the read began.
    Strong,
}

impl Level {
    /// The word in the header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eventual => "eventual",
            Self::Bounded { .. } => "bounded",
            Self::Strong => "strong",
        }
    }

    /// Reads the request header: `eventual`, `bounded; max-staleness=250` (milliseconds) or
    /// `strong`, a structured field item (RFC 9651). Parameters that do not exist are refused,
    /// since ignoring them could give less than what was meant.
    ///
    /// # Errors
    /// 400 [`Problem::InvalidRequest`].
    pub fn parse(value: &[u8]) -> Result<Self, RouteError> {
        let item: Item = Parser::new(value)
            .parse()
            .map_err(|error| invalid(format!("not a structured field item: {error}")))?;
        let BareItem::Token(word) = &item.bare_item else {
            return Err(invalid("must be eventual, bounded or strong".to_owned()));
        };
        let level = match word.as_str() {
            "eventual" => Self::Eventual,
            "strong" => Self::Strong,
            "bounded" => {
                let max_staleness_ms = match item.params.get("max-staleness") {
                    Some(BareItem::Integer(ms)) => {
                        u64::try_from(i64::from(*ms)).ok().filter(|ms| *ms <= MAX_STALENESS_MS)
                    }
                    Some(_) | None => None,
                };
                Self::Bounded {
                    max_staleness_ms: max_staleness_ms.ok_or_else(|| {
                        invalid(format!(
                            "bounded needs max-staleness, in milliseconds, 0 to {MAX_STALENESS_MS}"
                        ))
                    })?,
                }
            }
            other => {
                let other: String = other.chars().take(40).collect();
                return Err(invalid(format!("`{other}` is not eventual, bounded or strong")));
            }
        };
        let known = |name: &str| matches!(level, Self::Bounded { .. }) && name == "max-staleness";
        match item.params.keys().find(|name| !known(name.as_str())) {
            None => Ok(level),
            Some(name) => {
                Err(invalid(format!("{} has no parameter `{}`", level.as_str(), name.as_str())))
            }
        }
    }
}

fn invalid(detail: String) -> RouteError {
    RouteError::new(Problem::InvalidRequest, format!("Hexpop-Consistency: {detail}"))
        .with_status(400)
        .with_field(FieldPlace::Header("Hexpop-Consistency".to_owned()), detail)
}

/// What one shard answered from: one entry of a read vector.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadPoint {
    /// The shard.
    pub shard: ShardId,
    /// Its epoch at the read.
    pub epoch: Epoch,
    /// The last applied position.
    pub position: LogPosition,
    /// How far behind the leader the answer may be, in milliseconds; `None` when the replica
    /// cannot tell.
    pub staleness_ms: Option<u64>,
}

impl ReadPoint {
    /// The token that makes a later read include this state.
    #[must_use]
    pub const fn token(&self) -> Token {
        Token { shard: self.shard, epoch: self.epoch, position: self.position }
    }
}

/// What a read was given; its `Display` is the answer header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The level that held for every shard.
    pub level: Level,
    /// One entry per shard that answered, by shard id.
    pub vector: Vec<ReadPoint>,
}

impl Given {
    /// The worst staleness of all, `None` if one cannot tell.
    #[must_use]
    pub fn staleness_ms(&self) -> Option<u64> {
        self.vector
            .iter()
            .try_fold(0, |worst: u64, point| point.staleness_ms.map(|ms| worst.max(ms)))
    }

    /// The token of an answer that came from one shard.
    #[must_use]
    pub fn token(&self) -> Option<Token> {
        match self.vector.as_slice() {
            [point] => Some(point.token()),
            _ => None,
        }
    }
}

impl fmt::Display for Given {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.level.as_str())?;
        if let Some(staleness) = self.staleness_ms() {
            write!(f, "; staleness={staleness}")?;
        }
        match self.vector.as_slice() {
            [point] => write!(
                f,
                "; shard={}; epoch=\"{}\"; index={}",
                point.shard, point.epoch, point.position.index
            ),
            points => write!(f, "; shards={}", points.len()),
        }
    }
}

/// What a read must fulfil besides its level, worked out of a client's token: either a position to
/// wait for, or (when the shard changed its range since) a strong read. The map is that by which the shard
/// was chosen.
pub(crate) fn with_token(
    level: Level,
    token: Option<&Token>,
    shard: ShardId,
    epoch: Epoch,
    map: &ShardMap,
) -> (Level, Option<LogPosition>) {
    match token {
        None => (level, None),
        Some(token) if token.shard == shard && token.epoch.version == epoch.version => {
            (level, Some(token.position))
        }
        Some(token) if token.shard == shard => (Level::Strong, None),
        Some(token) => match map.get(token.shard) {
            // Another shard's token says nothing about this one.
            Some(known) if known.epoch.version >= token.epoch.version => (level, None),
            // What is known here of that shard is older than the token: it may have these keys by now.
            Some(_) | None => (Level::Strong, None),
        },
    }
}

#[cfg(test)]
mod tests {
    use hexpop_shard::{KeyRange, ShardDescriptor, Space};

    use super::*;

    fn point(shard: u64, staleness_ms: Option<u64>) -> ReadPoint {
        ReadPoint {
            shard: ShardId(shard),
            epoch: Epoch { version: 4, conf: 2 },
            position: LogPosition { term: 3, index: 9120 },
            staleness_ms,
        }
    }

    #[test]
    fn levels_are_read_from_the_header() {
        let bounded = |ms| Level::Bounded { max_staleness_ms: ms };
        for (text, level) in [
            ("eventual", Level::Eventual),
            (" strong ", Level::Strong),
            ("bounded; max-staleness=250", bounded(250)),
            ("bounded;max-staleness=0", bounded(0)),
        ] {
            assert_eq!(Level::parse(text.as_bytes()), Ok(level), "{text}");
        }
    }

    #[test]
    fn other_values_are_a_400_that_names_the_header() {
        for text in [
            "",
            "weak",
            "\"strong\"",
            "strong, strong",
            "strong; max-staleness=1",
            "bounded",
            "bounded; max-staleness=-1",
            "bounded; max-staleness=1.5",
            "bounded; max-staleness=\"9\"",
            "bounded; max-staleness=99999999999",
            "bounded; max-staleness=1; x",
            "eventual;",
            "\u{e9}",
        ] {
            let error = Level::parse(text.as_bytes()).unwrap_err();
            assert_eq!((error.status, error.errors.len()), (400, 1), "{text}");
        }
    }

    #[test]
    fn one_shard_names_its_place_and_several_their_number() {
        let mut given = Given { level: Level::Eventual, vector: vec![point(17, Some(8))] };
        let text = r#"eventual; staleness=8; shard=17; epoch="4.2"; index=9120"#;
        assert_eq!(given.to_string(), text);
        let item: Item = Parser::new(text).parse().unwrap();
        assert_eq!(item.params.len(), 4);
        given.vector.push(point(18, Some(12)));
        given.level = Level::Bounded { max_staleness_ms: 250 };
        assert_eq!(given.to_string(), "bounded; staleness=12; shards=2");
        given.vector.push(point(19, None));
        assert_eq!(given.to_string(), "bounded; shards=3");
    }

    #[test]
    fn a_token_asks_for_its_position_or_after_a_change_of_range_for_a_strong_read() {
        let token = point(17, None).token();
        let shard = |id, space, version| ShardDescriptor {
            id: ShardId(id),
            range: KeyRange::space(space),
            epoch: Epoch { version, conf: 9 },
            replicas: Vec::new(),
        };
        // `known`: the shard of the token, and its version, as the map has them.
        let read = |id, version, known: (u64, u64)| {
            let map = ShardMap::create(vec![
                shard(1, Space::Listings, 1),
                shard(2, Space::Directory, 1),
                shard(known.0, Space::Sessions, known.1),
            ])
            .unwrap();
            let epoch = Epoch { version, conf: 9 };
            with_token(Level::Eventual, Some(&token), ShardId(id), epoch, &map)
        };
        assert_eq!(read(17, 4, (17, 4)), (Level::Eventual, Some(token.position)));
        assert_eq!(read(17, 5, (17, 5)), (Level::Strong, None));
        assert_eq!(read(18, 4, (19, 4)), (Level::Strong, None), "it is no more");
        assert_eq!(read(18, 4, (17, 4)), (Level::Eventual, None));
        assert_eq!(read(18, 4, (17, 5)), (Level::Eventual, None));
        assert_eq!(read(18, 4, (17, 3)), (Level::Strong, None), "it may have absorbed this one");
    }
}

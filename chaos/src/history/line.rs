//! One line of a history file: the fields that it may have, as they are written.

use serde::{Deserialize, Serialize};

/// The first line. Unknown fields are refused: a misspelt one would silently not count.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct HeadLine {
    pub(super) schema: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) started_at: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ttl_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) clock_bound_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) expiry_slack_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) initial: Option<InitialWord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<serde_json::Value>,
}

/// Any other line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OperationLine {
    pub(super) kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) client: Option<Text>,
    pub(super) start_us: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) end_us: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) if_match: Option<Text>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) ttl_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sliding: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) level: Option<LevelWord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) max_staleness_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sent_token: Option<String>,
    pub(super) outcome: OutcomeWord,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) created: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) token: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) position: Option<PositionField>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) staleness_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) note: Option<serde_json::Value>,
}

/// A text, or an integer that stands for its decimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged, expecting = "neither a string nor an integer from 0 to 2^64 - 1")]
pub(super) enum Text {
    Number(u64),
    Text(String),
}

impl Text {
    pub(super) fn into_string(self) -> String {
        match self {
            Self::Number(number) => number.to_string(),
            Self::Text(text) => text,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum InitialWord {
    Absent,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Kind {
    Create,
    Put,
    Delete,
    Touch,
    Read,
    EraseUser,
    ListingUpsert,
    ListingDelete,
    ListingRead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum LevelWord {
    Strong,
    Bounded,
    Eventual,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OutcomeWord {
    Ok,
    NotFound,
    Conflict,
    Refused,
    Unknown,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PositionField {
    pub(super) shard: u64,
    pub(super) index: u64,
}

//! What clients did and what they were told: the operations that a history is made of.

/// What was recorded of a mesh: how its times are to be taken, and every operation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct History {
    /// What holds for all of it.
    pub head: Head,
    /// The operations, in any order.
    pub operations: Vec<Operation>,
}

/// What holds for a whole history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// When the recording began, RFC 3339; for people only.
    pub started_at: Option<String>,
    /// The life of sessions whose write does not say its own, milliseconds. Without either a session
    /// does not expire.
    pub ttl_ms: Option<u64>,
    /// How far the clock that ends sessions may run ahead of the one that stamped their last
    /// renewal, milliseconds, as seen by the recorder's clock. Smaller than the truth makes false
    /// alarms; larger hides early expiry.
    pub clock_bound_ms: u64,
    /// How long after its life, plus [`Head::clock_bound_ms`], a session may still be answered,
    /// milliseconds; `None` = that is not checked. Sliding sessions are never checked for it.
    pub expiry_slack_ms: Option<u64>,
    /// What is known of keys before the first operation.
    pub initial: Initial,
}

impl Head {
    /// A leader whose clock is 500 ms off the median hands over, so that two may be this far apart.
    pub const CLOCK_BOUND_MS_DEFAULT: u64 = 1_000;
}

impl Default for Head {
    fn default() -> Self {
        Self {
            started_at: None,
            ttl_ms: None,
            clock_bound_ms: Self::CLOCK_BOUND_MS_DEFAULT,
            expiry_slack_ms: None,
            initial: Initial::Absent,
        }
    }
}

/// What is known of keys before the first operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Initial {
    /// There are none.
    #[default]
    Absent,
    /// Nothing: a mesh that held data already. A value that no operation wrote may have been there.
    Unknown,
}

/// One call of a client, from its first attempt to its last answer: attempts under one
/// `Idempotency-Key`, or that the client repeats because nothing was sent, are one operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Operation {
    /// Who called; for people only, since order between calls follows from times and tokens.
    pub client: String,
    /// When it was called, microseconds since the recording began, on one clock for all clients.
    pub start_us: u64,
    /// When its outcome was known, on the same clock; `None` = never, so [`Outcome::Unknown`].
    pub end_us: Option<u64>,
    /// What was asked.
    pub action: Action,
    /// What became of it.
    pub outcome: Outcome,
    /// The `Hexpop-Token` that the client sent along: the answer must include the state of the
    /// operations that answered with this token.
    pub sent_token: Option<String>,
    /// What the answer said.
    pub answer: Answer,
}

/// What was asked. Sessions and listings are different keys, even where their texts are equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A session is created if there is none with this id.
    Create {
        /// The session.
        key: String,
        /// What was written.
        write: Write,
    },
    /// A session is replaced or created; with a condition, compare-and-set.
    Put {
        /// The session.
        key: String,
        /// What was written.
        write: Write,
        /// What must hold of the stored session.
        condition: Option<Condition>,
    },
    /// A session is removed.
    Delete {
        /// The session.
        key: String,
        /// What must hold of the stored session.
        condition: Option<Condition>,
    },
    /// A session is renewed, if it is sliding.
    Touch {
        /// The session.
        key: String,
    },
    /// A session is read.
    Read {
        /// The session.
        key: String,
        /// How fresh the answer must be.
        level: Level,
    },
    /// All sessions of a user are removed, one by one: not at one moment.
    EraseUser {
        /// The user.
        user: String,
    },
    /// A listing is written, unless the stored one is as new or newer.
    ListingUpsert {
        /// The listing.
        key: String,
        /// Its version.
        version: u64,
        /// What was written.
        value: String,
    },
    /// A listing is removed, unless the stored one is as new or newer. Older versions stay ignored.
    ListingDelete {
        /// The listing.
        key: String,
        /// The version of the removal.
        version: u64,
    },
    /// A listing is read by id.
    ListingRead {
        /// The listing.
        key: String,
        /// How fresh the answer must be.
        level: Level,
    },
}

/// What is written to a session.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Write {
    /// The value. Values that no two writes of a key share make the sharpest check.
    pub value: String,
    /// How long the session lives after it, milliseconds; `None` = as [`Head::ttl_ms`] says.
    pub ttl_ms: Option<u64>,
    /// Whether reads and touches renew it.
    pub sliding: bool,
    /// Whose it is; [`Action::EraseUser`] removes it by this name.
    pub user: Option<String>,
}

/// What must hold of the stored session for a write to happen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// It exists and has this version (`If-Match: "17-3-9120"`).
    Version(String),
    /// It exists (`If-Match: *`).
    Exists,
}

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// Linearizable.
    #[default]
    Strong,
    /// What was current at some moment no earlier than this before the call.
    Bounded {
        /// Milliseconds.
        max_staleness_ms: u64,
    },
    /// What was current at any moment before the answer.
    Eventual,
}

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It happened.
    Ok,
    /// There was no such session or listing, or it had expired; nothing changed.
    NotFound,
    /// Its condition did not hold (412) or a created session was there already, and nothing changed. Of
    /// a listing's write: it was ignored, since the stored one is as new or newer (perhaps from an
    /// earlier attempt of the mesh for the same call).
    Conflict,
    /// It did not happen and never will: another 4xx, or a problem with `"applied":false`.
    Refused,
    /// Nothing is known: it may take effect at any time after its start, or never.
    Unknown,
}

/// What an answer said; all of it is optional, and what is there is checked.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Answer {
    /// Of a read that found something: its value.
    pub value: Option<String>,
    /// The version that a write made or that a read found: of a session its `ETag` without quotes,
    /// of a listing its number.
    pub version: Option<String>,
    /// Of a put: whether it created the session (201) or replaced it (200).
    pub created: Option<bool>,
    /// The `Hexpop-Token`.
    pub token: Option<String>,
    /// The place in a shard's log that the write took, or that the read answered from.
    pub position: Option<Position>,
    /// Of a read: how old the answer may be by its own account, milliseconds.
    pub staleness_ms: Option<u64>,
}

/// A place in the log of a shard; indexes of one shard are in the order in which its writes took
/// effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// The shard.
    pub shard: u64,
    /// The log index.
    pub index: u64,
}

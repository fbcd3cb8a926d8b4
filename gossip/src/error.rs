//! What goes wrong.

/// Why the gossip of a node cannot be set up, or told something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// An option is outside of its range. Nothing was changed.
    #[error("gossip option {name}: {problem}")]
    Option {
        /// Which one.
        name: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A fact is too long for a datagram. Nothing was changed.
    #[error("a fact of {bytes} bytes is over the limit of {bytes_max}")]
    FactTooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// A fact cannot be encoded. Nothing was changed.
    #[error("a fact cannot be encoded: {0}")]
    Encode(String),
    /// The metrics cannot be registered.
    #[error("the metrics of the gossip cannot be registered: {0}")]
    Metrics(String),
}

/// Why a datagram was not taken. The membership is as it was, unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// It is too short to be one of ours.
    #[error("a datagram of {0} bytes is too short")]
    TooShort(usize),
    /// It is longer than any of ours.
    #[error("a datagram of {bytes} bytes is over the limit of {bytes_max}")]
    TooLong {
        /// Its length.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// It is of a version that this build does not read.
    #[error("gossip version {0} is not understood here")]
    Version(u8),
    /// It is of another cluster.
    #[error("a datagram of another cluster")]
    OtherCluster,
    /// There is no such kind of datagram.
    #[error("unknown kind of datagram {0}")]
    Kind(u8),
    /// It claims to be of another node than the one that sent it.
    #[error("a datagram that claims to be of another node than its sender")]
    OtherSender,
    /// It is our own, or of another process with our node id.
    #[error("a datagram of a process with this node's id")]
    OwnId,
    /// It would make more members than are kept.
    #[error("a datagram that would make more members than the limit of {0}")]
    TooManyMembers(usize),
    /// It does not decode.
    #[error("a datagram does not decode: {0}")]
    Decode(String),
    /// The protocol refuses it; what it says about members may have been taken in.
    #[error("a datagram was refused: {0}")]
    Refused(String),
}

impl PacketError {
    /// As it is written in metrics.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::TooShort(_) => "too_short",
            Self::TooLong { .. } => "too_long",
            Self::Version(_) => "version",
            Self::OtherCluster => "other_cluster",
            Self::Kind(_) => "kind",
            Self::OtherSender => "other_sender",
            Self::OwnId => "own_id",
            Self::TooManyMembers(_) => "too_many_members",
            Self::Decode(_) => "decode",
            Self::Refused(_) => "refused",
        }
    }
}

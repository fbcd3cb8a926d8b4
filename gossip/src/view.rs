//! The members as a node sees them.

use std::{collections::BTreeMap, fmt, time::Instant};

use hexpop_edge_config::NodeId;

use crate::{Identity, NodeInfo};

/// Whether a member lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Liveness {
    /// It answers.
    Alive,
    /// It does not answer, and has some time to object. It still counts as a member.
    Suspect,
    /// It is gone.
    Down,
    /// It said goodbye.
    Left,
}

impl Liveness {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Alive, Self::Suspect, Self::Down, Self::Left];

    /// Whether it counts as a member.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::Alive | Self::Suspect)
    }

    /// As it is written in metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Suspect => "suspect",
            Self::Down => "down",
            Self::Left => "left",
        }
    }
}

impl fmt::Display for Liveness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its newest identity.
    pub identity: Identity,
    /// Whether it lives.
    pub liveness: Liveness,
    /// What it says about itself, once that has arrived. It may be of an earlier run.
    pub info: Option<NodeInfo>,
    /// When this node first heard of it.
    pub first_seen: Instant,
    /// When this node last heard from it, or of it that it is up.
    pub last_seen: Instant,
}

/// The members as a node sees them at one moment, itself among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// The node whose view it is.
    pub local: NodeId,
    /// All members, with those that are down and not forgotten yet.
    pub members: BTreeMap<NodeId, Member>,
    /// The newest version of the shard map heard of, 0 for none, and a node that has it.
    pub shard_map: (u64, NodeId),
}

impl View {
    /// The members that count, in order of their ids.
    pub fn up(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.liveness.is_up())
    }
}

//! The tier of a PoP: one of its nodes keeps a URI for all of them and is asked before the origin, so that
//! the PoP fetches an object about once.
//!
//! ```text
//! client ─> node that was asked ──────────────> node that keeps it ─> origin
//!            own store, own policy   mesh        own store, own policy
//! ```
//!
//! To the asker the owner is one more cache on the way to the origin, as RFC 9111 has them: it takes what
//! it gets with the age that it has there, and decides itself what of it to store. Beyond that:
//!
//! - **Purges.** The request names the last purge that the asker has applied. An owner that is behind it, or
//!   may have missed purges itself, declines. What the asker applies while it waits keeps the answer
//!   out of its store, as it does with answers of the origin. So nothing that a purge named comes back
//!   through the tier.
//! - **Writes** are told to all nodes of the PoP before they are answered, the owner first. What a node
//!   did not confirm goes with each further request to it, and without one it is told again, until it
//!   does. Those that did are told which did not, so that they ask them for nothing without telling
//!   them as well.
//! - **Nobody forwards twice.** An owner asks the origin or nobody, and whoever asks it waits for fetches
//!   from the origin only, never for those from a third node: no two nodes wait for each other, whatever
//!   they believe about who is there.
//! - **An owner that is down is none**: of those that are up and heard, and whose breaker is closed, the
//!   next one is. One that declines, or says nothing, leaves the asker to ask the origin.
//! - **Earlier builds** do not know questions for interim responses, and decline them as malformed; they are asked
//!   again at once, without.
//! - **Bounds.** Frames, exchanges per peer, bytes under way per exchange (flow control of the mesh), and every
//!   wait has a deadline.

mod ask;
mod owner;
mod plain;
mod serve;
mod tell;
mod unconfirmed;
pub(super) mod wire;

use std::{sync::Arc, time::Duration};

use hexpop_edge_config::{NodeId, PopId};

pub(super) use self::{
    ask::{FromOwner, Hop},
    serve::declined,
    wire::{Declined, Forgotten},
};
use self::{owner::owner_of, plain::Plain, unconfirmed::Unconfirmed};
use super::{key::CacheKey, options::CacheOptions};
use crate::{
    breakers::{Admitted, Breakers, Class, Target},
    metrics::Metrics,
    port::{CachePeers, LocalShard, Peer, Peers, Ports},
};

/// How long an owner may take to say whether it has something for the asker. Too low: an owner that is busy
/// is left out, and the origin asked more often. Too high: one that hangs costs every miss so much.
const ACCEPT_WITHIN: Duration = Duration::from_secs(2);

/// How much longer than the origin an owner may take: the way there and back.
const TRANSIT: Duration = Duration::from_secs(1);

/// How long a write waits for nodes of its PoP to forget what it changed: first for those that the others
/// fetch from, then for these, and then, if some did not, for all that did to know of them.
const FORGET_WITHIN: Duration = Duration::from_millis(300);

/// How long after a write those that missed it are told again at first; that doubles up to the other.
const TELL_AGAIN_FIRST: Duration = Duration::from_millis(250);
const TELL_AGAIN_MAX: Duration = Duration::from_secs(5);

/// How long an owner may take for the head of an answer, from the question on.
pub(crate) const fn answer_within(options: &CacheOptions) -> Duration {
    ACCEPT_WITHIN.saturating_add(options.origin_timeout).saturating_add(TRANSIT)
}

/// The other nodes of the PoP.
pub(crate) struct Tier {
    on: bool,
    node: NodeId,
    pop: PopId,
    peers: Arc<dyn Peers>,
    local: Arc<dyn LocalShard>,
    port: Arc<dyn CachePeers>,
    breakers: Arc<Breakers>,
    metrics: Metrics,
    unconfirmed: Unconfirmed,
    plain: Plain,
}

impl Tier {
    /// The tier that a node is part of; `on`: whether it is one.
    pub(crate) fn new(
        on: bool,
        node: NodeId,
        pop: PopId,
        ports: &Ports,
        breakers: Arc<Breakers>,
        metrics: Metrics,
    ) -> Self {
        Self {
            on,
            node,
            pop,
            peers: Arc::clone(&ports.peers),
            local: Arc::clone(&ports.local),
            port: Arc::clone(&ports.cache_peers),
            breakers,
            metrics,
            unconfirmed: Unconfirmed::default(),
            plain: Plain::default(),
        }
    }

    /// The node that is to be asked for a URI; `None` = this one keeps it, or nobody does.
    pub(super) fn owner(&self, key: &CacheKey, now: Duration) -> Option<NodeId> {
        if !self.on {
            return None;
        }
        let members = self.peers.members();
        let keeps = |peer: &&Peer| {
            peer.pop == self.pop
                && peer.alive
                && peer.serves
                && (peer.node == self.node || self.would_answer(peer.node, now))
        };
        let owner = owner_of(key, members.iter().filter(keeps).map(|peer| peer.node));
        owner.filter(|owner| *owner != self.node)
    }

    fn would_answer(&self, node: NodeId, now: Duration) -> bool {
        self.local.hears(node) && self.breakers.would_admit(Target::Node(node), Class::Tier, now)
    }

    fn admit(&self, node: NodeId, now: Duration) -> Option<Admitted> {
        self.breakers.admit(Target::Node(node), Class::Tier, now)
    }

    /// The other nodes of the PoP that may hold something, whether they serve or not, and whether they can
    /// be told anything now.
    pub(super) fn others(&self) -> Vec<(NodeId, bool)> {
        if !self.on {
            return Vec::new();
        }
        let members = self.peers.members();
        let others = members.iter().filter(|peer| peer.pop == self.pop && peer.node != self.node);
        others.map(|peer| (peer.node, peer.alive && self.local.hears(peer.node))).collect()
    }
}

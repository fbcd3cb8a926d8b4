//! Where faults are put into the links between nodes.
//!
//! The mesh asks a [`LinkHook`] before it sends and before it hands on what it received. With no
//! hook armed the question costs one relaxed load.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use hexpop_edge_config::NodeId;

use super::Class;

/// What is about to cross a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Traffic {
    /// An attempt to connect.
    Connect,
    /// A datagram of the gossip.
    Datagram,
    /// A request.
    Request(Class),
    /// An answer to a request that came over the link from the other side.
    Answer(Class),
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkAction {
    /// It passes.
    Pass,
    /// It passes this much later. Requests of [`Class::Raft`] keep their order.
    Delay(Duration),
    /// It is lost without a trace; whoever waits for an answer runs into the deadline.
    Drop,
    /// The link is cut: the sender is told at once that the peer is unreachable. For what was
    /// received it is the same as [`Drop`](Self::Drop).
    Cut,
}

/// Decides what happens to traffic of the links of this node.
///
/// It is asked for each message, on the way of the message: it must answer at once.
pub trait LinkHook: Send + Sync {
    /// About what this node sends to `peer`.
    fn on_send(&self, peer: NodeId, traffic: Traffic) -> LinkAction;
    /// About what this node received from `peer`.
    fn on_receive(&self, peer: NodeId, traffic: Traffic) -> LinkAction;
}

/// The place in the mesh that holds the hook, if one is armed.
#[derive(Default)]
pub struct HookSlot {
    armed: AtomicBool,
    hook: ArcSwapOption<Arc<dyn LinkHook>>,
}

impl HookSlot {
    /// Arms `hook`, in place of any other.
    pub fn arm(&self, hook: Arc<dyn LinkHook>) {
        self.hook.store(Some(Arc::new(hook)));
        self.armed.store(true, Ordering::Relaxed);
    }

    /// Lets everything pass again.
    pub fn disarm(&self) {
        self.armed.store(false, Ordering::Relaxed);
        self.hook.store(None);
    }

    pub(super) fn on_send(&self, peer: NodeId, traffic: Traffic) -> LinkAction {
        if !self.armed.load(Ordering::Relaxed) {
            return LinkAction::Pass;
        }
        self.hook.load().as_ref().map_or(LinkAction::Pass, |hook| hook.on_send(peer, traffic))
    }

    pub(super) fn on_receive(&self, peer: NodeId, traffic: Traffic) -> LinkAction {
        if !self.armed.load(Ordering::Relaxed) {
            return LinkAction::Pass;
        }
        self.hook.load().as_ref().map_or(LinkAction::Pass, |hook| hook.on_receive(peer, traffic))
    }
}

impl fmt::Debug for HookSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookSlot").field("armed", &self.armed).finish_non_exhaustive()
    }
}

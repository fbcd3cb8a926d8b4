//! The members of the mesh as the other parts of a node want them: for consensus, for routing, for
//! operators. One view, replaced as a whole whenever gossip has news.

use std::{sync::Arc, time::Instant};

use arc_swap::ArcSwap;
use hexpop_edge_config::{NodeId, PopId};
use hexpop_gossip::{Liveness, Member as GossipMember, NodeState, View};
use hexpop_raft::Membership;
use hexpop_router::{Peer, Peers};
use hexpop_shard::Member;

use crate::{
    mesh::{Mesh, gossip_loop::GossipHandle},
    view::MemberView,
};

/// The members, as gossip saw them last.
#[derive(Debug)]
pub struct Members {
    gossip: GossipHandle,
    seen: ArcSwap<Seen>,
}

/// One view in the forms that are asked for often.
#[derive(Debug)]
struct Seen {
    view: Arc<View>,
    placement: Arc<[Member]>,
    peers: Arc<[Peer]>,
}

impl Members {
    /// The members that a gossip sees.
    #[must_use]
    pub fn new(gossip: GossipHandle) -> Arc<Self> {
        let seen = ArcSwap::from_pointee(Seen::new(gossip.view()));
        Arc::new(Self { gossip, seen })
    }

    /// The newest view; made anew only when gossip has news.
    fn seen(&self) -> Arc<Seen> {
        let seen = self.seen.load_full();
        let view = self.gossip.view();
        if Arc::ptr_eq(&seen.view, &view) {
            return seen;
        }
        let newer = Arc::new(Seen::new(view));
        self.seen.store(Arc::clone(&newer));
        newer
    }

    /// All members, by id, with what is known of the links to them.
    #[must_use]
    pub fn views(&self, mesh: &Mesh, now: Instant) -> Vec<MemberView> {
        let seen = self.seen();
        seen.view
            .members
            .values()
            .map(|member| member_view(seen.view.local, member, mesh, now))
            .collect()
    }
}

impl Seen {
    fn new(view: Arc<View>) -> Self {
        // Whoever has not said where it is can hold nothing yet.
        let placement = view
            .members
            .values()
            .filter_map(|member| {
                let info = member.info.as_ref()?;
                Some(Member {
                    node: member.identity.node,
                    raft: member.identity.raft,
                    pop: info.pop.clone(),
                    labels: info.labels.clone(),
                    alive: member.liveness.is_up() && info.state != NodeState::Leaving,
                    draining: info.state == NodeState::Draining,
                })
            })
            .collect();
        let peers = view
            .members
            .values()
            .filter_map(|member| {
                let info = member.info.as_ref()?;
                let pop: PopId = info.pop.clone();
                let (alive, serves) = (member.liveness.is_up(), info.state == NodeState::Up);
                Some(Peer { node: member.identity.node, pop, alive, serves })
            })
            .collect();
        Self { view, placement, peers }
    }
}

fn member_view(local: NodeId, member: &GossipMember, mesh: &Mesh, now: Instant) -> MemberView {
    let node = member.identity.node;
    let info = member.info.as_ref();
    let own = node == local;
    MemberView {
        node,
        raft: member.identity.raft,
        pop: info.map(|info| info.pop.to_string()),
        labels: info.map(|info| info.labels.iter().cloned().collect()).unwrap_or_default(),
        state: match (member.liveness, info.map(|info| info.state)) {
            (Liveness::Left, _) => "left",
            (Liveness::Down, _) => "unreachable",
            (Liveness::Suspect, _) => "suspect",
            (Liveness::Alive, Some(NodeState::Up)) => "up",
            (Liveness::Alive, Some(NodeState::Draining)) => "draining",
            (Liveness::Alive, Some(NodeState::Leaving)) => "leaving",
            (Liveness::Alive, Some(NodeState::Joining) | None) => "joining",
        },
        incarnation: member.identity.incarnation,
        rtt: if own { None } else { mesh.rtt(node) },
        version: info.map(|info| info.version.clone()),
        http: info.map(|info| format!("http://{}", info.http)),
        admin: info.map(|info| format!("http://{}", info.admin)),
        mesh: member.identity.address.to_string(),
        last_seen: (!own).then(|| now.saturating_duration_since(member.last_seen)),
    }
}

impl Membership for Members {
    fn members(&self) -> Arc<[Member]> {
        Arc::clone(&self.seen().placement)
    }
}

impl Peers for Members {
    fn members(&self) -> Arc<[Peer]> {
        Arc::clone(&self.seen().peers)
    }
}

//! The members: what the protocol knows of them, compared with what was last seen.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use foca::State;
use hexpop_edge_config::NodeId;

use crate::{Event, Gossip, Identity, Liveness, Member, NodeState, Output, View};

/// What was last seen of a member.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) identity: Identity,
    pub(crate) state: State,
    pub(crate) first_seen: Instant,
    pub(crate) last_seen: Instant,
}

impl Gossip {
    /// The members, this node among them, as they are known now.
    #[must_use]
    pub fn members(&self) -> BTreeMap<NodeId, Member> {
        let facts = self.facts.lock();
        let mut members: BTreeMap<NodeId, Member> = self
            .records
            .iter()
            .map(|(node, record)| {
                let info = facts.info(*node).cloned();
                let left = info.as_ref().is_some_and(|info| info.state == NodeState::Leaving);
                let liveness = match record.state {
                    State::Alive => Liveness::Alive,
                    State::Suspect => Liveness::Suspect,
                    State::Down if left => Liveness::Left,
                    State::Down => Liveness::Down,
                };
                let (first_seen, last_seen) = (record.first_seen, record.last_seen);
                let identity = record.identity;
                (*node, Member { identity, liveness, info, first_seen, last_seen })
            })
            .collect();
        let own = *self.identity();
        let newest = self.records.values().map(|record| record.last_seen).max();
        members.insert(
            own.node,
            Member {
                identity: own,
                liveness: if self.leaving { Liveness::Left } else { Liveness::Alive },
                info: Some(self.info.clone()),
                first_seen: self.started,
                last_seen: newest.unwrap_or(self.started),
            },
        );
        members
    }

    /// Everything as this node sees it now.
    #[must_use]
    pub fn view(&self) -> View {
        View {
            local: self.identity().node,
            members: self.members(),
            shard_map: self.facts.lock().shard_map(),
        }
    }

    /// Compares the members of the protocol with what was last seen of them.
    pub(crate) fn observe(&mut self, now: Instant) {
        let own = self.identity().node;
        let mut events = Vec::new();
        let mut present = 0;
        for member in self.protocol.iter_membership_state() {
            let identity = *member.id();
            // Of this node itself only former identities are listed.
            if identity.node == own {
                continue;
            }
            present += 1;
            let state = member.state();
            let Some(record) = self.records.get_mut(&identity.node) else {
                let (first_seen, last_seen) = (now, now);
                let record = Record { identity, state, first_seen, last_seen };
                self.records.insert(identity.node, record);
                if state != State::Down {
                    events.push(Event::Up(identity));
                }
                continue;
            };
            if record.identity == identity && record.state == state {
                continue;
            }
            let from = std::mem::replace(&mut record.identity, identity);
            let before = std::mem::replace(&mut record.state, state);
            if from != identity {
                events.push(Event::Rejoined { from, to: identity });
            }
            let was_up = before != State::Down;
            match state {
                State::Alive if !was_up => events.push(Event::Up(identity)),
                State::Alive if before == State::Suspect && from == identity => {
                    events.push(Event::Refuted(identity));
                }
                State::Alive => {}
                State::Suspect => events.push(Event::Suspect(identity)),
                State::Down if was_up => {
                    let info = self.facts.lock().info(identity.node).map(|info| info.state);
                    let left = info == Some(NodeState::Leaving);
                    events.push(Event::Down { identity, left });
                }
                State::Down => {}
            }
            if state == State::Alive {
                record.last_seen = now;
            }
        }
        if present < self.records.len() {
            self.forget_absent(own, &mut events);
        }
        if !events.is_empty() {
            events.into_iter().for_each(|event| self.push(Output::Event(event)));
            self.seek_missing(now);
        }
    }

    fn forget_absent(&mut self, own: NodeId, events: &mut Vec<Event>) {
        let present: BTreeSet<NodeId> = self
            .protocol
            .iter_membership_state()
            .map(|member| member.id().node)
            .filter(|node| *node != own)
            .collect();
        let absent: Vec<_> =
            self.records.keys().filter(|node| !present.contains(node)).copied().collect();
        for node in absent {
            self.records.remove(&node);
            self.facts.lock().forget(node);
            events.push(Event::Forgotten(node));
        }
    }
}

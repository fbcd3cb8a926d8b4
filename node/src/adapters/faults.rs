//! Fault rules on the links of this node.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hexpop_chaos::{Effect, Hook, Registry, Target, TrafficClass};
use hexpop_edge_config::NodeId;

use crate::mesh::{Class, LinkAction, LinkHook, Traffic};

/// Asks the registry about each message.
#[derive(Debug)]
pub struct LinkFaults(pub Arc<Registry>);

impl LinkFaults {
    fn decide(&self, hook: Hook, peer: NodeId, traffic: Traffic) -> LinkAction {
        let class = match traffic {
            Traffic::Connect => None,
            Traffic::Datagram => Some(TrafficClass::Gossip),
            Traffic::Request(class) | Traffic::Answer(class) => Some(match class {
                Class::Raft => TrafficClass::Raft,
                Class::Query => TrafficClass::Query,
                Class::Cache => TrafficClass::Cache,
                Class::Admin => TrafficClass::Admin,
                Class::Snapshot => TrafficClass::Snapshot,
            }),
        };
        let target = Target { peer: Some(peer.0), class };
        match self.0.link(hook, target, Instant::now()) {
            None => LinkAction::Pass,
            Some((Effect::Delay, delay)) => LinkAction::Delay(delay.min(Duration::from_secs(60))),
            Some((Effect::Drop, _)) => LinkAction::Drop,
            Some((Effect::Cut | Effect::Error, _)) => LinkAction::Cut,
        }
    }
}

impl LinkHook for LinkFaults {
    fn on_send(&self, peer: NodeId, traffic: Traffic) -> LinkAction {
        self.decide(Hook::LinkOut, peer, traffic)
    }

    fn on_receive(&self, peer: NodeId, traffic: Traffic) -> LinkAction {
        self.decide(Hook::LinkIn, peer, traffic)
    }
}

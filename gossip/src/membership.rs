//! The gossip of one node.

use std::{
    collections::{BTreeMap, VecDeque},
    fmt,
    net::SocketAddr,
    time::{Duration, Instant},
};

use foca::{AccumulatingRuntime, Codec, Foca, Message, OwnedNotification};
use hexpop_edge_config::{ClusterId, NodeId};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    Counters, Error, Event, Identity, NodeInfo, NodeState, Options, Output, PacketError,
    codec::SwimCodec,
    facts::{Facts, Key, SharedFacts, Topic},
    members::Record,
    packet::{self, Kind, PREFIX_BYTES},
    sync,
    timers::{Timer, Timers},
};

/// Outputs that nobody has taken. A driver takes them after each call; what piles up beyond this is
/// a driver that does not, and the oldest datagrams are the ones worth least.
const OUTPUTS_MAX: usize = 8192;

type Protocol = Foca<Identity, SwimCodec, StdRng, SharedFacts>;

/// The gossip of one node, as a value. See the [crate's page](crate).
pub struct Gossip {
    pub(crate) cluster: ClusterId,
    pub(crate) options: Options,
    pub(crate) protocol: Protocol,
    pub(crate) runtime: AccumulatingRuntime<Identity>,
    pub(crate) facts: SharedFacts,
    pub(crate) info: NodeInfo,
    pub(crate) info_count: u64,
    pub(crate) rng: StdRng,
    pub(crate) timers: Timers,
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) records: BTreeMap<NodeId, Record>,
    pub(crate) started: Instant,
    pub(crate) seeds_pause: Duration,
    pub(crate) rejoin_pause: Duration,
    pub(crate) rejoined: Option<Instant>,
    pub(crate) connected: bool,
    /// Who sent the message of SWIM that is being handled.
    pub(crate) heard_from: Option<Identity>,
    pub(crate) sync_from: Option<Key>,
    pub(crate) leaving: bool,
    pub(crate) counters: Counters,
}

impl fmt::Debug for Gossip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gossip").field("identity", self.identity()).finish_non_exhaustive()
    }
}

impl Gossip {
    /// The gossip of the node `identity`, alone at first: it asks for the seeds at once.
    ///
    /// `seed` feeds its random numbers: the same inputs give the same outputs.
    ///
    /// # Errors
    /// [`Error::Option`], [`Error::FactTooLong`] for `info`.
    pub fn new(
        now: Instant,
        cluster: ClusterId,
        identity: Identity,
        info: NodeInfo,
        options: Options,
        seed: u64,
    ) -> Result<Self, Error> {
        let config = options.to_foca()?;
        let facts = SharedFacts::new(options.members_max);
        let mut rng = StdRng::seed_from_u64(seed);
        let protocol_rng = StdRng::seed_from_u64(rng.random());
        let protocol =
            Foca::with_custom_broadcast(identity, config, protocol_rng, SwimCodec, facts.clone());
        let mut gossip = Self {
            cluster,
            protocol,
            runtime: AccumulatingRuntime::new(),
            facts,
            info,
            info_count: 0,
            rng,
            timers: Timers::default(),
            outputs: VecDeque::new(),
            records: BTreeMap::new(),
            started: now,
            seeds_pause: options.retry_min,
            rejoin_pause: Duration::ZERO,
            rejoined: None,
            connected: false,
            heard_from: None,
            sync_from: None,
            leaving: false,
            counters: Counters::default(),
            options,
        };
        gossip.publish_info()?;
        gossip.timers.add(now, Duration::ZERO, Timer::Seeds);
        let sync_after = gossip.jittered(gossip.options.sync_period);
        gossip.timers.add(now, sync_after, Timer::Sync);
        gossip.facts.lock().take_news();
        Ok(gossip)
    }

    /// This node as the others know it.
    #[must_use]
    pub fn identity(&self) -> &Identity {
        self.protocol.identity()
    }

    /// What this node says about itself.
    #[must_use]
    pub fn info(&self) -> &NodeInfo {
        &self.info
    }

    /// What was counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { facts_refused: self.facts.lock().refused, ..self.counters }
    }

    /// Takes in a datagram that `from` sent, as its certificate says.
    ///
    /// # Errors
    /// [`PacketError`]: it was not taken.
    pub fn handle_datagram(
        &mut self,
        now: Instant,
        from: NodeId,
        packet: &[u8],
    ) -> Result<(), PacketError> {
        let taken = self.take_packet(now, from, packet);
        match &taken {
            Ok(()) => {
                self.counters.packets_received += 1;
                if let Some(record) = self.records.get_mut(&from) {
                    record.last_seen = now;
                }
            }
            Err(_) => self.counters.packets_refused += 1,
        }
        self.settle(now);
        taken
    }

    fn take_packet(
        &mut self,
        now: Instant,
        from: NodeId,
        packet: &[u8],
    ) -> Result<(), PacketError> {
        if from == self.identity().node {
            return Err(PacketError::OwnId);
        }
        let (kind, body) = packet::unwrap(self.cluster, self.options.packet_bytes_max, packet)?;
        match kind {
            Kind::Swim => {
                self.heard_from = Some(self.check_swim(from, body)?);
                self.protocol
                    .handle_data(body, &mut self.runtime)
                    .map_err(|error| PacketError::Refused(error.to_string()))
            }
            Kind::Digest => {
                let body_bytes_max = self.options.packet_bytes_max - PREFIX_BYTES;
                let answer = sync::answer(&self.facts.lock(), body, body_bytes_max)?;
                let Some(to) = self.records.get(&from).map(|record| record.identity) else {
                    return Ok(());
                };
                for list in answer.facts {
                    self.send(to, Kind::Facts, &list);
                }
                if let Some(ask) = answer.ask {
                    self.send(to, Kind::Digest, &ask);
                }
                Ok(())
            }
            Kind::Facts => {
                for fact in sync::decode_facts(body)? {
                    self.facts.lock().take_in(&fact);
                }
                self.seek_missing(now);
                Ok(())
            }
        }
    }

    /// Reads a message of SWIM before the protocol does: its sender must be who sent it, and it may
    /// not bring more members than are kept.
    fn check_swim(&self, from: NodeId, mut body: &[u8]) -> Result<Identity, PacketError> {
        let undecoded = |error: crate::codec::SwimError| PacketError::Decode(error.to_string());
        let header = SwimCodec.decode_header(&mut body).map_err(undecoded)?;
        if header.src.node != from {
            return Err(PacketError::OtherSender);
        }
        let known = |node| self.records.contains_key(&node);
        let mut unknown = usize::from(!known(from));
        if header.message != Message::Broadcast
            && let Some((count, updates)) = body.split_first_chunk()
        {
            body = updates;
            for _ in 0..u16::from_be_bytes(*count) {
                let member = SwimCodec.decode_member(&mut body).map_err(undecoded)?;
                unknown += usize::from(!known(member.id().node));
            }
        }
        if unknown > 0 && self.records.len() + unknown > self.options.members_max {
            return Err(PacketError::TooManyMembers(self.options.members_max));
        }
        Ok(header.src)
    }

    /// Does what is due at `now`.
    pub fn handle_timer(&mut self, now: Instant) {
        while let Some(timer) = self.timers.take_due(now) {
            match timer {
                Timer::Swim(timer) => {
                    let handled = self.protocol.handle_timer(timer, &mut self.runtime);
                    self.note(handled);
                }
                Timer::Seeds => self.ask_seeds(now),
                Timer::Sync => self.sync(now),
                Timer::Pull => self.pull(now),
                Timer::Rejoin => self.rejoin(now),
            }
            self.settle(now);
        }
    }

    /// When [`handle_timer`](Self::handle_timer) has something to do next.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next_due()
    }

    /// The next thing to do or to know. To be drained after each call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// Asks `node`, reached at `address`, to let this node in: a seed was found to be it.
    pub fn join(&mut self, now: Instant, node: NodeId, address: SocketAddr) {
        if node == self.identity().node || self.leaving {
            return;
        }
        let to = match self.records.get(&node) {
            Some(record) if record.identity.address == address => record.identity,
            Some(_) | None => Identity::placeholder(node, address),
        };
        let announced = self.protocol.announce(to, &mut self.runtime);
        self.note(announced);
        self.settle(now);
    }

    /// Says something new about this node to all.
    ///
    /// # Errors
    /// [`Error::FactTooLong`]: what was said before stays.
    pub fn set_info(&mut self, now: Instant, info: NodeInfo) -> Result<(), Error> {
        if info == self.info {
            return Ok(());
        }
        let before = std::mem::replace(&mut self.info, info);
        if let Err(error) = self.publish_info() {
            self.info = before;
            return Err(error);
        }
        self.spread(now);
        Ok(())
    }

    /// Says what this node is doing.
    ///
    /// # Errors
    /// As [`set_info`](Self::set_info).
    pub fn set_state(&mut self, now: Instant, state: NodeState) -> Result<(), Error> {
        self.set_info(now, NodeInfo { state, ..self.info.clone() })
    }

    /// Says that this node has version `version` of the shard map, if nobody has a newer one.
    ///
    /// # Errors
    /// [`Error::Encode`].
    pub fn set_shard_map_version(&mut self, now: Instant, version: u64) -> Result<(), Error> {
        if version <= self.facts.lock().shard_map().0 {
            return Ok(());
        }
        let holder = self.identity().node;
        let fact = Facts::encode((Topic::ShardMap, 0), (version, 0), &holder)?;
        self.add_fact(&fact);
        self.spread(now);
        Ok(())
    }

    /// The newest version of the shard map that anybody named, and who did.
    #[must_use]
    pub fn shard_map(&self) -> (u64, NodeId) {
        self.facts.lock().shard_map()
    }

    /// Says goodbye: the others need not find out by themselves. Nothing but driving the outputs
    /// out is of use afterwards.
    pub fn leave(&mut self, now: Instant) {
        if self.leaving {
            return;
        }
        if let Err(error) = self.set_state(now, NodeState::Leaving) {
            tracing::debug!(%error, "cannot say that this node leaves");
        }
        self.leaving = true;
        let left = self.protocol.leave_cluster(&mut self.runtime);
        self.note(left);
        self.settle(now);
    }

    pub(crate) fn publish_info(&mut self) -> Result<(), Error> {
        self.info_count += 1;
        let identity = *self.identity();
        let version = (identity.incarnation, self.info_count);
        let fact = Facts::encode((Topic::Info, identity.node.0), version, &self.info)?;
        self.add_fact(&fact);
        Ok(())
    }

    fn add_fact(&mut self, fact: &[u8]) {
        let added = self.protocol.add_broadcast(fact).map(|_news| ());
        self.note(added);
    }

    /// Does not wait for the next probe with news of our own.
    fn spread(&mut self, now: Instant) {
        let told = self.protocol.gossip(&mut self.runtime);
        self.note(told);
        self.settle(now);
    }

    pub(crate) fn note(&mut self, result: Result<(), foca::Error>) {
        if let Err(error) = result {
            self.counters.protocol_errors += 1;
            tracing::debug!(%error, "the membership protocol met an error");
        }
    }

    pub(crate) fn send(&mut self, to: Identity, kind: Kind, body: &[u8]) {
        let packet = packet::wrap(self.cluster, kind, body);
        self.counters.packets_sent += 1;
        self.counters.bytes_sent += packet.len() as u64;
        self.push(Output::Send { to: to.node, address: to.address, packet });
    }

    pub(crate) fn push(&mut self, output: Output) {
        if self.outputs.len() >= OUTPUTS_MAX {
            self.outputs.pop_front();
        }
        self.outputs.push_back(output);
    }

    /// Carries over what the protocol has done: datagrams, timers, changes of members.
    fn settle(&mut self, now: Instant) {
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.timers.add(now, after, Timer::Swim(timer));
        }
        while let Some(notification) = self.runtime.to_notify() {
            match notification {
                OwnedNotification::Active => {
                    self.connected = true;
                    self.push(Output::Event(Event::Joined));
                }
                OwnedNotification::Idle => {
                    self.connected = false;
                    self.push(Output::Event(Event::Alone));
                    if !self.leaving {
                        self.seeds_pause = self.options.retry_min;
                        self.timers.add(now, Duration::ZERO, Timer::Seeds);
                    }
                }
                OwnedNotification::Defunct if !self.leaving => {
                    self.connected = false;
                    self.schedule_rejoin(now);
                }
                // The members are compared below, which also finds out about suspicion.
                OwnedNotification::Defunct
                | OwnedNotification::Rejoin(_)
                | OwnedNotification::MemberUp(_)
                | OwnedNotification::MemberDown(_)
                | OwnedNotification::Rename(..) => {}
            }
        }
        self.observe(now);
        while let Some((to, data)) = self.runtime.to_send() {
            self.send(to, Kind::Swim, &data);
        }
        self.tell_news();
    }

    fn tell_news(&mut self) {
        let (news, (version, holder)) = {
            let mut facts = self.facts.lock();
            (facts.take_news(), facts.shard_map())
        };
        let own = self.identity().node;
        for (topic, node) in news {
            match topic {
                Topic::Info if node == own.0 => self.outbid_former_self(),
                Topic::Info => self.push(Output::Event(Event::Info(NodeId(node)))),
                Topic::ShardMap if holder == own => {}
                Topic::ShardMap => {
                    self.push(Output::Event(Event::ShardMap { version, holder }));
                }
            }
        }
    }

    /// What this node says now must not give way to something that an earlier run of it said.
    fn outbid_former_self(&mut self) {
        let own = *self.identity();
        let known = self.facts.lock().version((Topic::Info, own.node.0));
        if let Some((incarnation, count)) = known
            && incarnation == own.incarnation
            && count > self.info_count
        {
            self.info_count = count;
            let published = self.publish_info();
            if let Err(error) = published {
                tracing::debug!(%error, "cannot publish what this node says about itself");
            }
            self.facts.lock().take_news();
        }
    }
}

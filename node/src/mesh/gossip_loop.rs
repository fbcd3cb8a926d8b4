//! Drives the gossip: datagrams and time in, datagrams and events out. All decisions are in
//! `hexpop_gossip`.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use hexpop_edge_config::NodeId;
use hexpop_gossip::{Event, Gossip, Metrics, NodeInfo, NodeState, Output, View};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::JoinSet,
};

use super::Mesh;

/// Datagrams that wait to be taken in. Gossip repeats itself: what does not fit is dropped.
const INBOX_MAX: usize = 1024;
/// Events that a slow listener may be behind; it is told when it missed some, and reads the view.
const EVENTS_MAX: usize = 1024;
/// Seeds asked at the same time.
const SEEDS_AT_ONCE: usize = 8;
/// How long the last datagrams of a node that leaves may take to go out.
const FAREWELL: Duration = Duration::from_millis(200);

/// What the loop is told, besides time.
#[derive(Debug)]
enum Input {
    Datagram(NodeId, Bytes),
    SetInfo(Box<NodeInfo>),
    SetState(NodeState),
    SetShardMap(u64),
    Leave(oneshot::Sender<()>),
}

/// What others hold of the gossip of this node.
#[derive(Debug, Clone)]
pub struct GossipHandle {
    inbox: mpsc::Sender<Input>,
    view: Arc<ArcSwap<View>>,
    events: broadcast::Sender<Event>,
}

/// What the loop sees, for who is not to keep it running: it ends when every [`GossipHandle`] is gone.
#[derive(Debug)]
pub struct GossipWatch {
    view: Arc<ArcSwap<View>>,
    events: broadcast::Receiver<Event>,
}

impl GossipWatch {
    /// The members as this node saw them at the last change.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// Waits until something has happened; `false` when nothing will any more.
    pub async fn changed(&mut self) -> bool {
        !matches!(self.events.recv().await, Err(broadcast::error::RecvError::Closed))
    }

    /// What happened so far is no news any more.
    pub fn skip(&mut self) {
        self.events = self.events.resubscribe();
    }
}

/// The loop's half, made before the mesh whose handler needs the [`GossipHandle`].
#[derive(Debug)]
pub struct GossipLoop {
    gossip: Gossip,
    inbox: mpsc::Receiver<Input>,
    view: Arc<ArcSwap<View>>,
    events: broadcast::Sender<Event>,
    metrics: Option<Metrics>,
    seeds: Vec<SocketAddr>,
    /// Where members were before a restart; asked while this node knows nobody.
    remembered: Vec<SocketAddr>,
    /// Counts up, so that all seeds have their turn.
    turn: usize,
}

impl GossipHandle {
    /// Hands a datagram in, from the mesh's handler.
    pub fn datagram(&self, from: NodeId, payload: Bytes) {
        // A full inbox loses a datagram, as a network does.
        self.inbox.try_send(Input::Datagram(from, payload)).ok();
    }

    /// The members as this node saw them at the last change.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.load_full()
    }

    /// What happens from now on, without keeping the loop running.
    #[must_use]
    pub fn watch(&self) -> GossipWatch {
        GossipWatch { view: Arc::clone(&self.view), events: self.events.subscribe() }
    }

    /// What happens from now on.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Says something new about this node to all members.
    pub async fn set_info(&self, info: NodeInfo) {
        // The loop is gone only when the node stops; nobody is interested any more then.
        self.inbox.send(Input::SetInfo(Box::new(info))).await.ok();
    }

    /// Says what this node is doing.
    pub async fn set_state(&self, state: NodeState) {
        self.inbox.send(Input::SetState(state)).await.ok();
    }

    /// Says that this node has this version of the shard map.
    pub async fn set_shard_map_version(&self, version: u64) {
        self.inbox.send(Input::SetShardMap(version)).await.ok();
    }

    /// Says goodbye, and waits until that is on its way, or the loop is gone.
    pub async fn leave(&self) {
        let (done, left) = oneshot::channel();
        if self.inbox.send(Input::Leave(done)).await.is_ok() {
            left.await.ok();
        }
    }
}

impl GossipLoop {
    /// The two halves of a gossip that begins alone and asks `seeds`.
    #[must_use]
    pub fn new(
        gossip: Gossip,
        seeds: Vec<SocketAddr>,
        metrics: Option<Metrics>,
    ) -> (GossipHandle, Self) {
        let (sender, inbox) = mpsc::channel(INBOX_MAX);
        let view = Arc::new(ArcSwap::from_pointee(gossip.view()));
        let events = broadcast::Sender::new(EVENTS_MAX);
        let handle =
            GossipHandle { inbox: sender, view: Arc::clone(&view), events: events.clone() };
        let (remembered, turn) = (Vec::new(), 0);
        (handle, Self { gossip, inbox, view, events, metrics, seeds, remembered, turn })
    }

    /// Has these addresses asked too, as long as no member is known.
    #[must_use]
    pub fn remembering(mut self, peers: Vec<SocketAddr>) -> Self {
        self.remembered = peers;
        self
    }

    /// Runs until this node has left, or every handle is gone.
    pub async fn run(mut self, mesh: Mesh) {
        let mut found: JoinSet<(SocketAddr, Result<NodeId, String>)> = JoinSet::new();
        loop {
            let due = self.gossip.poll_timeout();
            let sleep = due.map(tokio::time::Instant::from_std);
            tokio::select! {
                // Datagrams first: after a pause of this process the answers that have arrived
                // meanwhile must count before the time-outs that passed.
                biased;
                input = self.inbox.recv() => match input {
                    Some(Input::Leave(done)) => {
                        self.leave(&mesh).await;
                        done.send(()).ok();
                        return;
                    }
                    Some(input) => self.take(input),
                    None => return,
                },
                Some(asked) = found.join_next(), if !found.is_empty() => {
                    if let Ok((seed, Ok(node))) = asked {
                        self.gossip.join(now(), node, seed);
                    }
                }
                () = tokio::time::sleep_until(sleep.unwrap_or_else(tokio::time::Instant::now)),
                    if sleep.is_some() => self.gossip.handle_timer(now()),
            }
            self.carry_out(&mesh, Some(&mut found));
        }
    }

    fn take(&mut self, input: Input) {
        let result = match input {
            Input::Datagram(from, payload) => {
                if let Err(error) = self.gossip.handle_datagram(now(), from, &payload) {
                    tracing::debug!(peer = %from, %error, "a gossip datagram was refused");
                    if let Some(metrics) = &self.metrics {
                        metrics.note_refused(&error);
                    }
                }
                Ok(())
            }
            Input::SetInfo(info) => self.gossip.set_info(now(), *info),
            Input::SetState(state) => self.gossip.set_state(now(), state),
            Input::SetShardMap(version) => self.gossip.set_shard_map_version(now(), version),
            Input::Leave(_) => Ok(()),
        };
        if let Err(error) = result {
            tracing::warn!(%error, "this node cannot say what it should about itself");
        }
    }

    async fn leave(&mut self, mesh: &Mesh) {
        self.gossip.leave(now());
        self.carry_out(mesh, None);
        // The datagrams are with the connection; closing it right away would throw them away.
        tokio::time::sleep(FAREWELL).await;
    }

    fn carry_out(
        &mut self,
        mesh: &Mesh,
        mut found: Option<&mut JoinSet<(SocketAddr, Result<NodeId, String>)>>,
    ) {
        let mut changed = false;
        while let Some(output) = self.gossip.poll_output() {
            match output {
                Output::Send { to, address, packet } => {
                    mesh.note_address(to, address);
                    if let Err(error) = mesh.send_datagram(to, packet) {
                        tracing::trace!(peer = %to, %error, "a gossip datagram was not sent");
                    }
                }
                Output::AskSeeds { alone } => {
                    if let Some(found) = found.as_deref_mut() {
                        self.ask_seeds(mesh, alone, found);
                    }
                }
                Output::Event(event) => {
                    changed = true;
                    self.tell(mesh, event);
                }
            }
        }
        // What this node says about itself changes the view without an event.
        let own = self.gossip.identity().node;
        let shown = self.view.load();
        let info = shown.members.get(&own).and_then(|member| member.info.as_ref());
        let is_shown =
            info == Some(self.gossip.info()) && shown.shard_map == self.gossip.shard_map();
        drop(shown);
        if changed || !is_shown {
            let view = Arc::new(self.gossip.view());
            if let Some(metrics) = &self.metrics {
                metrics.show(&self.gossip.counters(), &view);
            }
            self.view.store(view);
        }
    }

    fn tell(&self, mesh: &Mesh, event: Event) {
        match &event {
            Event::Up(identity) => {
                tracing::info!(peer = %identity.node, address = %identity.address, "member up");
                mesh.note_address(identity.node, identity.address);
            }
            Event::Rejoined { from, to } => {
                tracing::info!(peer = %to.node, from = from.incarnation, to = to.incarnation,
                    wiped = from.raft != to.raft, "member returned with a new identity");
                mesh.note_address(to.node, to.address);
            }
            Event::Suspect(identity) => tracing::info!(peer = %identity.node, "member suspected"),
            Event::Refuted(identity) => tracing::info!(peer = %identity.node, "member answered"),
            Event::Down { identity, left } => {
                tracing::info!(peer = %identity.node, left, "member down");
            }
            Event::Forgotten(node) => mesh.forget(*node),
            Event::Returned(identity) => {
                tracing::warn!(
                    incarnation = identity.incarnation,
                    "the others held this node for down; it returns"
                );
            }
            Event::Info(_) | Event::ShardMap { .. } | Event::Joined | Event::Alone => {}
        }
        // Nobody listening is no error.
        self.events.send(event).ok();
    }

    fn ask_seeds(
        &mut self,
        mesh: &Mesh,
        alone: bool,
        found: &mut JoinSet<(SocketAddr, Result<NodeId, String>)>,
    ) {
        let view = self.view.load();
        let own = self.gossip.identity().address;
        let is_member =
            |seed: &SocketAddr| view.up().any(|member| member.identity.address == *seed);
        let remembered = self.remembered.iter().filter(|_| alone);
        let mut wanted: Vec<SocketAddr> = Vec::new();
        for seed in self.seeds.iter().chain(remembered) {
            if *seed != own && !wanted.contains(seed) && (alone || !is_member(seed)) {
                wanted.push(*seed);
            }
        }
        // Those that do not answer keep nobody else from being asked.
        let room = SEEDS_AT_ONCE.saturating_sub(found.len());
        let first = self.turn.checked_rem(wanted.len()).unwrap_or_default();
        wanted.rotate_left(first);
        if wanted.len() > room {
            self.turn = first.wrapping_add(room);
        }
        for seed in wanted.into_iter().take(room) {
            let mesh = mesh.clone();
            found.spawn(async move {
                let asked = mesh.discover(seed).await;
                if let Err(problem) = &asked {
                    // A node that knows nobody has to say why; the pauses between its attempts grow.
                    if alone {
                        tracing::info!(%seed, problem, "a seed does not answer");
                    } else {
                        tracing::debug!(%seed, problem, "a seed does not answer");
                    }
                }
                (seed, asked)
            });
        }
    }
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

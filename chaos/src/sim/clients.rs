//! The clients of a simulated mesh: what they ask, of which node, and what they were told.

mod answer;
mod ask;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use hexpop_edge_config::NodeId;
use hexpop_router::{Router, Token};
use openraft_rt::AsyncRuntime;
use parking_lot::Mutex;
use tokio::sync::oneshot;

pub(super) use self::ask::listings;
use self::{
    answer::{Told, carry_out},
    ask::{Asked, What, ask, in_lull},
};
use super::{
    executor::{BEGIN, Home, current},
    invariant::Checks,
    lulls::{self, Phase, Whisper},
    random::Random,
    runtime::SimRuntime,
    trace::Trace,
};
use crate::history::{Action, Operation, Outcome, Write};

/// What a client can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A session that must not exist.
    Create,
    /// A session, whatever is there.
    Put,
    /// A session, if it still is what was read.
    CompareAndSet,
    /// A session is renewed.
    Touch,
    /// A session ends.
    Delete,
    /// All sessions of a user end.
    Erase,
    /// A session is read.
    Read,
    /// A listing is written, here or elsewhere.
    Upsert,
    /// A listing is deleted.
    ListingDelete,
    /// A listing is read by id.
    ListingRead,
    /// Everything is searched for.
    Search,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 11] = [
        Self::Create,
        Self::Put,
        Self::CompareAndSet,
        Self::Touch,
        Self::Delete,
        Self::Erase,
        Self::Read,
        Self::Upsert,
        Self::ListingDelete,
        Self::ListingRead,
        Self::Search,
    ];

    /// The kinds that only read; most of them sessions.
    const READS: [Self; 4] = [Self::Read, Self::Read, Self::ListingRead, Self::Search];

    /// Its name in the coverage.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Create => "op-create",
            Self::Put => "op-put",
            Self::CompareAndSet => "op-compare-and-set",
            Self::Touch => "op-touch",
            Self::Delete => "op-delete",
            Self::Erase => "op-erase",
            Self::Read => "op-read",
            Self::Upsert => "op-upsert",
            Self::ListingDelete => "op-listing-delete",
            Self::ListingRead => "op-listing-read",
            Self::Search => "op-search",
        }
    }
}

/// A node that takes requests.
#[derive(Clone)]
pub(super) struct Door {
    pub(super) home: Home,
    pub(super) router: Arc<Router<SimRuntime>>,
}

/// How many sessions that end soon are remembered, to be touched when they do.
const FADING_MAX: usize = 8;

/// An erasure that a node took.
#[derive(Debug, Clone)]
pub(super) struct Begun {
    pub(super) user: String,
    pub(super) id: String,
    /// When it was asked for.
    pub(super) start_us: u64,
}

/// What all clients share.
pub(super) struct Clients {
    pub(super) doors: Mutex<BTreeMap<NodeId, Door>>,
    pub(super) operations: Mutex<Vec<Operation>>,
    pub(super) done: Mutex<BTreeMap<Kind, u64>>,
    /// How many of each kind there are to be.
    pub(super) wanted: u64,
    pub(super) is_over: std::sync::atomic::AtomicBool,
    /// A leader that was cut off: clients that only read go there now and then.
    pub(super) cut_off: Mutex<Option<NodeId>>,
    /// Whom it was cut off from.
    pub(super) cut_from: Mutex<Vec<NodeId>>,
    /// Whether there are lulls.
    lulls: bool,
    /// Every erasure that was taken.
    pub(super) erasures: Mutex<Vec<Begun>>,
    /// Sliding sessions that end soon, and when, by the group's time.
    fading: Mutex<VecDeque<(String, u64)>>,
    versions: Mutex<BTreeMap<String, String>>,
    next: Mutex<u64>,
    checks: Arc<Checks>,
    trace: Arc<Trace>,
}

impl Clients {
    pub(super) fn new(
        wanted: u64,
        lulls: bool,
        checks: Arc<Checks>,
        trace: Arc<Trace>,
    ) -> Arc<Self> {
        Arc::new(Self {
            doors: Mutex::default(),
            operations: Mutex::default(),
            done: Mutex::default(),
            wanted,
            is_over: false.into(),
            cut_off: Mutex::default(),
            cut_from: Mutex::default(),
            lulls,
            erasures: Mutex::default(),
            fading: Mutex::default(),
            versions: Mutex::default(),
            next: Mutex::new(0),
            checks,
            trace,
        })
    }

    /// Whether there are enough operations of every kind.
    pub(super) fn is_satisfied(&self) -> bool {
        let done = self.done.lock();
        Kind::ALL.iter().all(|kind| done.get(kind).is_some_and(|done| *done >= self.wanted))
    }

    /// The door of a leader that is cut off.
    fn cut_off(&self) -> Option<Door> {
        let node = (*self.cut_off.lock())?;
        self.doors.lock().get(&node).cloned()
    }

    /// Where somebody goes who asks in a lull: writes reach those that a leader is cut off from, half of the
    /// reads the leader itself.
    fn door_in_lull(&self, whisper: Whisper, random: &mut Random) -> Option<Door> {
        let doors = self.doors.lock();
        let node = match whisper {
            Whisper::Write => random.pick(&self.cut_from.lock()).copied(),
            Whisper::Read => self.cut_off.lock().filter(|_| random.chance(500)),
        };
        let all: Vec<NodeId> = doors.keys().copied().collect();
        doors.get(&node.or_else(|| random.pick(&all).copied())?).cloned()
    }

    /// A sliding session was written that ends soon.
    fn note_fading(&self, key: &str, ends_ms: u64) {
        let mut fading = self.fading.lock();
        if fading.len() >= FADING_MAX {
            fading.pop_front();
        }
        fading.push_back((key.to_owned(), ends_ms));
    }

    fn number(&self) -> u64 {
        let mut next = self.next.lock();
        *next += 1;
        *next
    }

    /// The kind there is least of, or any.
    fn choose(&self, is_reader: bool, random: &mut Random) -> Kind {
        if is_reader {
            return random.pick(&Kind::READS).copied().unwrap_or(Kind::Read);
        }
        let done = self.done.lock();
        let count = |kind: &Kind| done.get(kind).copied().unwrap_or(0);
        let least = Kind::ALL.iter().min_by_key(|kind| count(kind)).copied();
        let any = random.pick(&Kind::ALL).copied();
        if random.chance(500) { any } else { least }.unwrap_or(Kind::Read)
    }
}

fn now_us() -> u64 {
    current().map_or(0, |executor| executor.now().saturating_sub(BEGIN) / 1_000)
}

/// Now and then nobody asks for anything, so that groups are parked: for the last so many of every so
/// many microseconds.
const QUIET_US: u64 = 1_500_000;
const QUIET_EVERY_US: u64 = 9_000_000;

/// How long it is quiet yet.
const fn quiet_us(now_us: u64) -> u64 {
    let into = now_us % QUIET_EVERY_US;
    if into < QUIET_EVERY_US - QUIET_US { 0 } else { QUIET_EVERY_US - into }
}

/// One client: asks one thing after the other until the world is over.
pub(super) async fn run(number: u64, clients: Arc<Clients>, mut random: Random) {
    let name = format!("c{number}");
    let mut token: Option<Token> = None;
    // One client in four only reads, so that a write that hangs does not keep everybody from it.
    let is_reader = number % 4 == 3;
    let begun_us = now_us();
    while !clients.is_over.load(std::sync::atomic::Ordering::Relaxed) {
        SimRuntime::sleep(Duration::from_micros(random.between(1_000, 160_000))).await;
        let whisper = if clients.lulls {
            wait_in_lull(number, begun_us).await
        } else {
            SimRuntime::sleep(Duration::from_micros(quiet_us(now_us()))).await;
            None
        };
        if let Some(whisper) = whisper {
            let Some(door) = clients.door_in_lull(whisper, &mut random) else { continue };
            let (kind, asked) = in_lull(&clients, whisper, &mut random);
            if kind == Kind::Put {
                clients.trace.count("lull-writes", 1);
            }
            if let Some(news) = carry_on(&clients, &name, &door, kind, asked).await {
                token = Some(news);
            }
            continue;
        }
        let doors: Vec<Door> = clients.doors.lock().values().cloned().collect();
        // As a rule clients keep to the node that is near them.
        let near = usize::try_from(number).unwrap_or(0) % doors.len().max(1);
        let door = if random.chance(800) { doors.get(near) } else { random.pick(&doors) };
        let cut_off = is_reader.then(|| clients.cut_off()).flatten();
        let cut_off = cut_off.filter(|_| random.chance(700));
        let Some(door) = cut_off.as_ref().or(door).cloned() else { continue };
        let kind =
            if cut_off.is_some() { Kind::Read } else { clients.choose(is_reader, &mut random) };
        let asked = ask(&clients, kind, token, cut_off.is_some(), &mut random);
        if cut_off.is_some() {
            clients.trace.count("reads-at-cut-leaders", 1);
        }
        if let Some(news) = carry_on(&clients, &name, &door, kind, asked).await {
            token = Some(news);
        }
    }
}

/// Waits until a client may ask something: anything it likes, or what is asked in a lull.
async fn wait_in_lull(number: u64, begun_us: u64) -> Option<Whisper> {
    loop {
        match lulls::phase(now_us().saturating_sub(begun_us)) {
            Phase::Busy => return None,
            Phase::Whisper { .. } if let Some(whisper) = lulls::whisper(number) => {
                return Some(whisper);
            }
            Phase::Silent { left_us } | Phase::Whisper { left_us } => {
                SimRuntime::sleep(Duration::from_micros(left_us)).await;
            }
        }
    }
}

/// Asks one thing of a node, and notes what came of it; answers the token that came with it.
async fn carry_on(
    clients: &Arc<Clients>,
    name: &str,
    door: &Door,
    kind: Kind,
    asked: Asked,
) -> Option<Token> {
    let start_us = now_us();
    let sent_token = asked.context.token.map(|token| token.encode());
    let (sender, receiver) = oneshot::channel();
    if let Some(executor) = current() {
        let (what, context) = (asked.what.clone(), asked.context.clone());
        let (clients, router) = (Arc::clone(clients), Arc::clone(&door.router));
        executor.within(door.home, || {
            drop(SimRuntime::spawn(async move {
                sender.send(carry_out(&clients, &router, what, context).await).ok();
            }));
        });
    }
    // A client has more patience than any request takes; a node that dies tells it nothing.
    let told = SimRuntime::timeout(Duration::from_secs(20), receiver).await;
    let (told, end_us) = match told {
        Ok(Ok(told)) => (told, Some(now_us())),
        Ok(Err(_)) | Err(_) => (Told::of(Outcome::Unknown), None),
    };
    *clients.done.lock().entry(kind).or_default() += 1;
    let news = told.token;
    note(clients, name, &asked, kind, told, (start_us, end_us, sent_token));
    news
}

fn note(
    clients: &Clients,
    name: &str,
    asked: &Asked,
    kind: Kind,
    told: Told,
    (start_us, end_us, sent_token): (u64, Option<u64>, Option<String>),
) {
    let now = current().map_or(0, |executor| executor.now());
    let word = match told.outcome {
        Outcome::Ok => "outcome-ok",
        Outcome::NotFound => "outcome-not-found",
        Outcome::Conflict => "outcome-conflict",
        Outcome::Refused => "outcome-refused",
        Outcome::Unknown => "outcome-unknown",
    };
    clients.trace.count(kind.name(), 1);
    let index = told.answer.position.map_or(0, |position| position.index);
    clients.trace.note(now, word, &[kind as u64, start_us, index], || {
        format!("{name} {:?} -> {:?}", asked.action, told.answer)
    });
    let action = match (&asked.action, &asked.what, told.key) {
        (Some(action), _, _) => action.clone(),
        // Under an id that the mesh chose: nobody knows it but from the answer.
        (None, What::Create(_, body, None), Some(key)) => Action::Create {
            key,
            write: Write {
                value: body.data.get().to_owned(),
                ttl_ms: Some(body.ttl_ms),
                sliding: body.sliding,
                user: Some(body.user.clone()),
            },
        },
        (None, _, _) => return,
    };
    if let (Action::Read { key, .. } | Action::Put { key, .. }, Some(version)) =
        (&action, &told.answer.version)
    {
        clients.versions.lock().insert(key.clone(), version.clone());
    }
    clients.operations.lock().push(Operation {
        client: name.to_owned(),
        start_us,
        end_us,
        action,
        outcome: told.outcome,
        sent_token,
        answer: told.answer,
    });
}

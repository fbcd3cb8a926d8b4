//! The clients of a simulated mesh: what they ask, of which node, and what they were told.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use hexpop_edge_config::{NodeId, Territory};
use hexpop_router::{
    Context, Level as RouteLevel, NewSession, Problem, PutBody, RouteError, Routed, Router,
    SessionOrigin, SessionReply, Token, WriteOutcome, full,
};
use hexpop_shard::{Condition as ShardCondition, SearchRequest, SearchRules, SessionLimits};
use openraft_rt::AsyncRuntime;
use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::oneshot;

use super::{
    executor::{BEGIN, Home, current},
    invariant::Checks,
    random::Random,
    runtime::SimRuntime,
    trace::Trace,
};
use crate::history::{Action, Answer, Condition, Level, Operation, Outcome, Position, Write};

/// Sessions under ids that clients choose.
const SESSIONS: u64 = 40;
/// Their users.
const USERS: u64 = 20;
/// Listings.
const LISTINGS: u64 = 30;
/// The longest line of an ingest.
const LINE_BYTES_MAX: usize = 1 << 16;

/// What a client can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A session that must not exist.
    Create,
    /// A session, whatever is there.
    Put,
    /// A session, if it still is what was read.
    CompareAndSet,
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
    pub const ALL: [Self; 10] = [
        Self::Create,
        Self::Put,
        Self::CompareAndSet,
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

/// The ids of all listings.
pub(super) fn listings() -> Vec<String> {
    (0..LISTINGS).map(|number| format!("l{number:02}")).collect()
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
    versions: Mutex<BTreeMap<String, String>>,
    next: Mutex<u64>,
    checks: Arc<Checks>,
    trace: Arc<Trace>,
}

/// What the node that was asked told.
struct Told {
    outcome: Outcome,
    answer: Answer,
    token: Option<Token>,
    /// The id of a session that the mesh named.
    key: Option<String>,
}

impl Told {
    fn of(outcome: Outcome) -> Self {
        Self { outcome, answer: Answer::default(), token: None, key: None }
    }
}

impl Clients {
    pub(super) fn new(wanted: u64, checks: Arc<Checks>, trace: Arc<Trace>) -> Arc<Self> {
        Arc::new(Self {
            doors: Mutex::default(),
            operations: Mutex::default(),
            done: Mutex::default(),
            wanted,
            is_over: false.into(),
            cut_off: Mutex::default(),
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

/// One client: asks one thing after the other until the world is over.
pub(super) async fn run(number: u64, clients: Arc<Clients>, mut random: Random) {
    let name = format!("c{number}");
    let mut token: Option<Token> = None;
    // One client in four only reads, so that a write that hangs does not keep everybody from it.
    let is_reader = number % 4 == 3;
    while !clients.is_over.load(std::sync::atomic::Ordering::Relaxed) {
        SimRuntime::sleep(Duration::from_micros(random.between(1_000, 160_000))).await;
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
        let start_us = now_us();
        let sent_token = asked.context.token.map(|token| token.encode());
        if cut_off.is_some() {
            clients.trace.count("strong-reads-at-cut-leaders", 1);
        }
        let (sender, receiver) = oneshot::channel();
        if let Some(executor) = current() {
            let (what, context) = (asked.what.clone(), asked.context.clone());
            let clients = Arc::clone(&clients);
            executor.within(door.home, || {
                drop(SimRuntime::spawn(async move {
                    sender.send(carry_out(&clients, &door.router, what, context).await).ok();
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
        if let Some(news) = told.token {
            token = Some(news);
        }
        note(&clients, &name, &asked, kind, told, (start_us, end_us, sent_token));
    }
}

/// What one request is about.
#[derive(Clone)]
enum What {
    Create(Territory, PutBody),
    Put(String, PutBody, Option<ShardCondition>),
    Delete(String, Option<ShardCondition>),
    Erase(String),
    Read(String),
    Ingest(String),
    ListingRead(String),
    Search,
}

struct Asked {
    what: What,
    action: Option<Action>,
    context: Context,
}

/// What a client asks for; a read only if it is strong, if it says so.
fn ask(
    clients: &Clients,
    kind: Kind,
    token: Option<Token>,
    is_strong: bool,
    random: &mut Random,
) -> Asked {
    let n = clients.number();
    let session = random.below(SESSIONS);
    // One in four belongs to a shard of another territory.
    let territory = if session.is_multiple_of(4) { "fr-paris" } else { "it-lombardia" };
    let key = format!("{territory}.s{session:02}aaaaaaaaaaaaaaaaaaaa");
    let user = format!("u{:02}", session % USERS);
    let ttl_ms = if random.chance(150) { random.between(2_000, 9_000) } else { 3_600_000 };
    let write = Write {
        value: format!("\"v{n}\""),
        ttl_ms: Some(ttl_ms),
        sliding: false,
        user: Some(user.clone()),
    };
    let body = || body_of(&write, &user);
    let mut context = Context::default();
    let version = || clients.versions.lock().get(&key).cloned();
    let (what, action) = match kind {
        Kind::Create
            if random.chance(250)
                && let Ok(territory) = TERRITORY.parse() =>
        {
            (What::Create(territory, body()), None)
        }
        Kind::Create => (
            What::Put(key.clone(), body(), Some(ShardCondition::IfAbsent)),
            Some(Action::Create { key, write: write.clone() }),
        ),
        Kind::CompareAndSet
            if let Some(version) = version()
                && let Ok(parsed) = version.parse() =>
        {
            let condition = Some(Condition::Version(version));
            (
                What::Put(key.clone(), body(), Some(ShardCondition::IfMatch(parsed))),
                Some(Action::Put { key, write: write.clone(), condition }),
            )
        }
        Kind::Put | Kind::CompareAndSet => (
            What::Put(key.clone(), body(), None),
            Some(Action::Put { key, write: write.clone(), condition: None }),
        ),
        Kind::Delete => {
            (What::Delete(key.clone(), None), Some(Action::Delete { key, condition: None }))
        }
        Kind::Erase => (What::Erase(user.clone()), Some(Action::EraseUser { user: user.clone() })),
        Kind::Read => {
            let level = if is_strong { Level::Strong } else { draw_level(random) };
            context.level = Some(route_level(level));
            context.token = token.filter(|_| level != Level::Strong && random.chance(500));
            (What::Read(key.clone()), Some(Action::Read { key, level }))
        }
        Kind::Upsert | Kind::ListingDelete => listing_write(kind, n, random),
        Kind::ListingRead => {
            context.level = Some(RouteLevel::Strong);
            let key = format!("l{:02}", random.below(LISTINGS));
            (
                What::ListingRead(key.clone()),
                Some(Action::ListingRead { key, level: Level::Strong }),
            )
        }
        Kind::Search => {
            let level = if random.chance(500) { Level::Strong } else { Level::Eventual };
            context.level = Some(route_level(level));
            (What::Search, None)
        }
    };
    Asked { what, action, context }
}

fn body_of(write: &Write, user: &str) -> PutBody {
    PutBody {
        user: user.to_owned(),
        ttl_ms: write.ttl_ms.unwrap_or_default(),
        sliding: write.sliding,
        data: RawValue::from_string(write.value.clone()).unwrap_or_default(),
        limits: SessionLimits::default(),
    }
}

fn draw_level(random: &mut Random) -> Level {
    match random.below(4) {
        0 => Level::Eventual,
        1 => Level::Bounded { max_staleness_ms: random.between(100, 3_000) },
        _ => Level::Strong,
    }
}

const TERRITORY: &str = "IT:lombardia";

const fn route_level(level: Level) -> RouteLevel {
    match level {
        Level::Strong => RouteLevel::Strong,
        Level::Bounded { max_staleness_ms } => RouteLevel::Bounded { max_staleness_ms },
        Level::Eventual => RouteLevel::Eventual,
    }
}

fn listing_write(kind: Kind, n: u64, random: &mut Random) -> (What, Option<Action>) {
    let listing = random.below(LISTINGS);
    let key = format!("l{listing:02}");
    // Some writes come late: with a version that another one has overtaken.
    let version = if random.chance(100) { n.saturating_sub(40).max(1) } else { n };
    if kind == Kind::ListingDelete {
        let line = format!("{{\"delete\":\"{key}\",\"version\":{version}}}");
        return (What::Ingest(line), Some(Action::ListingDelete { key, version }));
    }
    let value = format!("t{n}");
    // Every other listing moves between shards.
    let moves = is_moving(&key) && random.chance(500);
    let (country, region, lat, lng) =
        if moves { ("FR", "paris", 48.85, 2.35) } else { ("IT", "lombardia", 45.46, 9.19) };
    let property = if random.chance(500) { "apartment" } else { "villa" };
    let line = format!(
        "{{\"id\":\"{key}\",\"listingType\":\"sale\",\"status\":\"active\",\"country\":\"{country}\",\
         \"region\":\"{region}\",\"version\":{version},\"title\":\"{value}\",\
         \"propertyType\":\"{property}\",\"location\":{{\"lat\":{lat},\"lng\":{lng}}}}}"
    );
    (What::Ingest(line), Some(Action::ListingUpsert { key, version, value }))
}

/// Whether a listing changes its place now and then: it may be missing while it does.
fn is_moving(key: &str) -> bool {
    key.as_bytes().last().is_some_and(|digit| digit % 2 == 1)
}

/// Asks the router of a node, as its HTTP server would.
async fn carry_out(
    clients: &Clients,
    router: &Arc<Router<SimRuntime>>,
    what: What,
    context: Context,
) -> Told {
    match what {
        What::Create(territory, body) => {
            let new = NewSession { territory, body, idempotency_key: None };
            session(router.session_create(new, &context).await, true)
        }
        What::Put(key, body, condition) => {
            session(router.session_put(&key, body, condition, &context).await, true)
        }
        What::Read(key) => session(router.session_get(&key, &context).await, false),
        What::Delete(key, condition) => {
            match router.session_delete(&key, condition, &context).await {
                // A repeat is answered from a later entry than the one that deleted.
                Ok(token) => {
                    let told = answered(token);
                    Told { answer: Answer { position: None, ..told.answer }, ..told }
                }
                Err(error) => Told::of(outcome_of(&error, true)),
            }
        }
        What::Erase(user) => match router.erase_user(&user, &context).await {
            Ok(erasure) if erasure.is_complete() => Told::of(Outcome::Ok),
            // What is pending is tried again for hours.
            Ok(_) => Told::of(Outcome::Unknown),
            Err(error) => Told::of(outcome_of(&error, true)),
        },
        What::Ingest(line) => {
            match router.ingest(full(line.into()), LINE_BYTES_MAX, &context).await {
                Ok(report) if report.accepted > 0 => Told::of(Outcome::Ok),
                // It may have been begun; and one that is ignored may have given way to a newer one
                // that was begun, and whose client has to repeat it.
                Ok(_) => Told::of(Outcome::Unknown),
                Err(error) => Told::of(outcome_of(&error, true)),
            }
        }
        What::ListingRead(key) => match router.get_listing(&key, &context).await {
            Ok(Routed::Mesh(found)) => {
                let json: serde_json::Value =
                    serde_json::from_slice(&found.value.json).unwrap_or_default();
                let text =
                    |name: &str| json.get(name).and_then(|it| it.as_str()).map(str::to_owned);
                let version = json.get("version").and_then(serde_json::Value::as_u64);
                let answer = Answer {
                    value: text("title"),
                    version: version.map(|version| version.to_string()),
                    ..Answer::default()
                };
                Told { answer, ..Told::of(Outcome::Ok) }
            }
            Ok(Routed::Origin(_)) => Told::of(Outcome::Refused),
            Err(error) => Told::of(outcome_of(&error, false)),
        },
        What::Search => search(clients, router, &context).await,
    }
}

async fn search(clients: &Clients, router: &Arc<Router<SimRuntime>>, context: &Context) -> Told {
    let json = br#"{"listingType":"sale","facets":["propertyTypes"]}"#;
    let Ok(request) = SearchRequest::from_json(json, &SearchRules::default()) else {
        return Told::of(Outcome::Refused);
    };
    match router.search(&request, context).await {
        Ok(Routed::Mesh(answer)) if !answer.value.partial => {
            let checked = clients.checks.state.lock().searches.answered(&answer.value);
            clients.checks.take("searches agree with their position", checked);
            clients.trace.count("searches-checked", 1);
            Told::of(Outcome::Ok)
        }
        Ok(_) => Told::of(Outcome::Refused),
        Err(error) => Told::of(outcome_of(&error, false)),
    }
}

fn answered(token: Token) -> Told {
    let answer = Answer {
        token: Some(token.encode()),
        position: Some(Position { shard: token.shard.0, index: token.position.index }),
        ..Answer::default()
    };
    Told { answer, token: Some(token), ..Told::of(Outcome::Ok) }
}

fn session(reply: Result<SessionReply, RouteError>, is_write: bool) -> Told {
    match reply {
        Ok(reply) => {
            let told = answered(reply.token);
            // The answer to a repeat names a later entry; the version is that of the one that wrote.
            let version = reply.head.version;
            let wrote = Position { shard: version.shard.0, index: version.index };
            let answer = Answer {
                position: if is_write { Some(wrote) } else { told.answer.position },
                value: (!is_write).then(|| reply.data.get().to_owned()),
                version: Some(reply.head.version.to_string()),
                created: is_write.then_some(reply.origin == SessionOrigin::Created),
                staleness_ms: reply.given.as_ref().and_then(|given| given.staleness_ms()),
                ..told.answer
            };
            Told { answer, key: Some(reply.head.id.as_str().to_owned()), ..told }
        }
        Err(error) => Told::of(outcome_of(&error, is_write)),
    }
}

/// What an error says about a request.
fn outcome_of(error: &RouteError, is_write: bool) -> Outcome {
    match (error.problem, error.outcome) {
        (Problem::NotFound | Problem::SessionExpired, _) => Outcome::NotFound,
        (Problem::PreconditionFailed, _) => Outcome::Conflict,
        (_, Some(WriteOutcome::NotApplied)) => Outcome::Refused,
        (_, Some(WriteOutcome::Unknown)) => Outcome::Unknown,
        (_, None) if is_write && error.status >= 500 => Outcome::Unknown,
        (_, None) => Outcome::Refused,
    }
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
        (None, What::Create(_, body), Some(key)) => Action::Create {
            key,
            write: Write {
                value: body.data.get().to_owned(),
                ttl_ms: Some(body.ttl_ms),
                sliding: false,
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

#[cfg(test)]
mod tests {
    use hexpop_shard::SessionId;

    use super::*;

    #[test]
    fn ids_and_lines_of_clients_are_sound() {
        "it-lombardia.s01aaaaaaaaaaaaaaaaaaaa".parse::<SessionId>().unwrap();
        let mut random = Random::new(1);
        for n in 0..50 {
            let (What::Ingest(line), _) = listing_write(Kind::Upsert, n, &mut random) else {
                continue;
            };
            hexpop_shard::IngestLine::parse(line.as_bytes()).unwrap();
        }
    }
}

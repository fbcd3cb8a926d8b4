//! What clients ask for.

use hexpop_edge_config::Territory;
use hexpop_router::{Context, Level as RouteLevel, PutBody, Token};
use hexpop_shard::{Condition as ShardCondition, SessionLimits};
use serde_json::value::RawValue;

use super::{Clients, Kind};
use crate::{
    history::{Action, Condition, Level, Write},
    sim::{lulls::Whisper, random::Random},
};

/// Sessions under ids that clients choose.
const SESSIONS: u64 = 40;
/// Their users.
const USERS: u64 = 20;
/// Idempotency keys.
const KEYS: u64 = 60;
/// Listings.
const LISTINGS: u64 = 30;

/// The ids of all listings.
pub(in crate::sim) fn listings() -> Vec<String> {
    (0..LISTINGS).map(|number| format!("l{number:02}")).collect()
}

/// What one request is about.
#[derive(Clone)]
pub(super) enum What {
    Create(Territory, PutBody, Option<String>),
    /// Not before this time on an exact clock, milliseconds.
    Touch(String, u64),
    Put(String, PutBody, Option<ShardCondition>),
    Delete(String, Option<ShardCondition>),
    Erase(String),
    Read(String),
    Ingest(String),
    ListingRead(String),
    Search,
}

pub(super) struct Asked {
    pub(super) what: What,
    pub(super) action: Option<Action>,
    pub(super) context: Context,
}

/// What a client asks for; a read only if it is one that a leader without a quorum must refuse sooner or
/// later, if it says so.
pub(super) fn ask(
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
        sliding: session.is_multiple_of(3),
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
            (create(territory, body(), random), None)
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
        Kind::Touch => touch(clients, key, random),
        Kind::Delete => {
            (What::Delete(key.clone(), None), Some(Action::Delete { key, condition: None }))
        }
        Kind::Erase => (What::Erase(user.clone()), Some(Action::EraseUser { user: user.clone() })),
        Kind::Read => {
            let level = match draw_level(random) {
                Level::Eventual if is_strong => Level::Strong,
                level => level,
            };
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

/// The sessions that are asked for in lulls, all of them of one shard: few, so that who reads one reads what was
/// written in the same lull.
const IN_LULLS: [u64; 5] = [1, 2, 5, 7, 10];

/// What a client asks for in a lull: a session is written, or is read without asking its leader, which would
/// wake the group.
pub(super) fn in_lull(clients: &Clients, whisper: Whisper, random: &mut Random) -> (Kind, Asked) {
    let session = random.pick(&IN_LULLS).copied().unwrap_or(1);
    let key = format!("it-lombardia.s{session:02}aaaaaaaaaaaaaaaaaaaa");
    let mut context = Context::default();
    match whisper {
        Whisper::Write => {
            let user = format!("u{:02}", session % USERS);
            let write = Write {
                value: format!("\"v{}\"", clients.number()),
                ttl_ms: Some(3_600_000),
                sliding: false,
                user: Some(user.clone()),
            };
            let what = What::Put(key.clone(), body_of(&write, &user), None);
            let action = Some(Action::Put { key, write, condition: None });
            (Kind::Put, Asked { what, action, context })
        }
        Whisper::Read => {
            let level = Level::Bounded { max_staleness_ms: random.between(600, 1_500) };
            context.level = Some(route_level(level));
            let action = Some(Action::Read { key: key.clone(), level });
            (Kind::Read, Asked { what: What::Read(key), action, context })
        }
    }
}

/// A touch; if there is a session that ends soon, of that one and at about that time.
fn touch(clients: &Clients, key: String, random: &mut Random) -> (What, Option<Action>) {
    let fading = clients.fading.lock().pop_front();
    let (key, ends_ms) = fading.unwrap_or((key, 0));
    let from_ms = ends_ms.saturating_add(random.below(20));
    (What::Touch(key.clone(), from_ms), Some(Action::Touch { key }))
}

/// A create under an id that the mesh chooses; half of them under a key that others use too.
fn create(territory: Territory, body: PutBody, random: &mut Random) -> What {
    if random.chance(500) {
        let (key, body) = keyed(random.below(KEYS));
        What::Create(territory, body, Some(key))
    } else {
        What::Create(territory, body, None)
    }
}

/// A create that is repeated now and then: the same key, user and body.
fn keyed(number: u64) -> (String, PutBody) {
    let user = format!("u{:02}", number % USERS);
    let write = Write {
        value: format!("\"k{number}\""),
        ttl_ms: Some(3_600_000),
        sliding: false,
        user: Some(user.clone()),
    };
    (format!("key-{number}"), body_of(&write, &user))
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

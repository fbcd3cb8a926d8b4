//! All orders of a few operations on one session, tried one after the other: no memory, no pruning
//! but an order that has failed already. Written from the definitions alone.

use crate::history::{
    Action, Condition, History, Initial, Level, Operation, Outcome, Position, Write,
};

/// An operation, and whether it may be left out of the order.
#[derive(Clone)]
pub(super) struct Event {
    pub(super) operation: Operation,
    pub(super) optional: bool,
}

/// What is stored.
#[derive(Clone)]
struct Stored {
    write: Write,
    /// The version, once known.
    version: Option<String>,
    /// Which event wrote it.
    writer: usize,
    may_end_us: u64,
    must_end_us: u64,
}

#[derive(Clone, Default)]
struct World {
    now_us: u64,
    stored: Option<Stored>,
    /// Versions of writes that did not tell theirs, as reads found them.
    named: Vec<(usize, String)>,
    /// Versions that such a write cannot have.
    denied: Vec<(usize, String)>,
    order: Vec<usize>,
}

/// Whether all operations that are known to have happened, and any of the others, have an order.
pub(super) fn has_order(history: &History, events: &[Event]) -> bool {
    assert_eq!(history.head.initial, Initial::Absent);
    Enumeration { history, events }.can_go_on(&World::default())
}

/// The events of a history; those of unknown outcome are optional. An erasure says nothing of a
/// session that never was of its user.
pub(super) fn events(history: &History) -> Vec<Event> {
    let has_user = history.operations.iter().any(|operation| match &operation.action {
        Action::Create { write, .. } | Action::Put { write, .. } => write.user.is_some(),
        _ => false,
    });
    let useful = history.operations.iter().filter(|operation| {
        operation.outcome != Outcome::Refused
            && !(is_read(operation) && operation.outcome == Outcome::Unknown)
            && (has_user || !matches!(operation.action, Action::EraseUser { .. }))
    });
    useful
        .map(|operation| Event {
            operation: operation.clone(),
            optional: operation.outcome == Outcome::Unknown,
        })
        .collect()
}

pub(super) fn is_read(operation: &Operation) -> bool {
    matches!(operation.action, Action::Read { .. })
}

struct Enumeration<'a> {
    history: &'a History,
    events: &'a [Event],
}

impl Enumeration<'_> {
    fn can_go_on(&self, world: &World) -> bool {
        let missing = |index: &usize| !world.order.contains(index);
        let mut left = (0..self.events.len()).filter(missing).peekable();
        if (0..self.events.len()).filter(missing).all(|index| self.events[index].optional) {
            return true;
        }
        left.any(|index| {
            // It may expire before, or not.
            let mut worlds = vec![world.clone()];
            if let Some(stored) = world.stored.as_ref().filter(|one| one.may_end_us < u64::MAX) {
                let now_us = world.now_us.max(stored.may_end_us);
                worlds.push(World { now_us, stored: None, ..world.clone() });
            }
            worlds
                .into_iter()
                .any(|world| self.next(world, index).is_some_and(|world| self.can_go_on(&world)))
        })
    }

    fn next(&self, mut world: World, index: usize) -> Option<World> {
        let operation = &self.events[index].operation;
        let known = operation.outcome != Outcome::Unknown;
        world.now_us = world.now_us.max(self.earliest(operation));
        if known && operation.end_us.is_some_and(|end| world.now_us > end) {
            return None;
        }
        if !self.prescribed(&world, index) {
            return None;
        }
        // What must have ended by now has.
        if world.stored.as_ref().is_some_and(|stored| world.now_us > stored.must_end_us) {
            world.stored = None;
        }
        let mut world = self.apply(world, index)?;
        world.order.push(index);
        Some(world)
    }

    fn earliest(&self, operation: &Operation) -> u64 {
        let claimed = operation.answer.staleness_ms;
        let back = match operation.action {
            Action::Read { level: Level::Strong, .. } => Some(0),
            Action::Read { level: Level::Bounded { max_staleness_ms }, .. } => {
                Some(claimed.unwrap_or(max_staleness_ms).min(max_staleness_ms))
            }
            Action::Read { level: Level::Eventual, .. } => claimed,
            _ => Some(0),
        };
        back.map_or(0, |ms| operation.start_us.saturating_sub(ms * 1_000))
    }

    /// Whether nothing is against the order that tokens and positions prescribe: what comes before this
    /// event is there, unless it may be left out, and nothing is there that comes after.
    fn prescribed(&self, world: &World, index: usize) -> bool {
        let is_missing = |other: usize| {
            !self.events[other].optional
                && self.is_before(other, index)
                && !world.order.contains(&other)
        };
        !(0..self.events.len()).any(is_missing)
            && !world.order.iter().any(|other| self.is_before(index, *other))
    }

    /// Whether a token or the log says that the one was before the other.
    fn is_before(&self, one: usize, other: usize) -> bool {
        let (event, operation) = (&self.events[one].operation, &self.events[other].operation);
        if one == other || event.outcome == Outcome::Unknown {
            return false;
        }
        let answer = &event.answer;
        let is_one_moment = Some(event.start_us) == operation.end_us;
        let heard = event.end_us.is_some_and(|end| end <= operation.start_us) && !is_one_moment;
        let by_token = heard && answer.token.is_some() && answer.token == operation.sent_token;
        let changes = !is_read(event) && event.outcome == Outcome::Ok;
        let by_place = |of: Option<Position>, including: bool| {
            changes
                && of.zip(answer.position).is_some_and(|(mine, its)| {
                    mine.shard == its.shard
                        && (its.index < mine.index || including && its.index == mine.index)
                })
        };
        let sees = is_read(operation) || operation.outcome != Outcome::Ok;
        by_token
            || by_place(operation.answer.position, sees)
            || by_place(self.position_of(operation.sent_token.as_ref()), true)
    }

    fn position_of(&self, token: Option<&String>) -> Option<Position> {
        let token = token?;
        let answers = self.history.operations.iter().map(|operation| &operation.answer);
        answers.filter(|answer| answer.token.as_ref() == Some(token)).find_map(|one| one.position)
    }

    fn apply(&self, mut world: World, index: usize) -> Option<World> {
        let operation = &self.events[index].operation;
        let known = operation.outcome != Outcome::Unknown;
        let bound_us = self.history.head.clock_bound_ms * 1_000;
        match (&operation.action, operation.outcome) {
            (Action::Read { .. }, Outcome::Ok) => {
                let value = world.stored.as_ref()?.write.value.clone();
                let is_it = operation.answer.value.as_ref().is_none_or(|found| *found == value);
                let seen = operation.answer.version.as_ref();
                (is_it && seen.is_none_or(|version| self.has_version(&mut world, version)))
                    .then_some(world)
            }
            (_, Outcome::NotFound) => world.stored.is_none().then_some(world),
            (Action::Create { .. }, Outcome::Conflict) => world.stored.is_some().then_some(world),
            (
                Action::Put { condition, .. } | Action::Delete { condition, .. },
                Outcome::Conflict,
            ) => self.misses(&mut world, condition.as_ref().unwrap()).then_some(world),
            (Action::Create { write, .. }, _) => {
                world.stored.is_none().then(|| self.store(world, index, write, bound_us))
            }
            (Action::Put { write, condition, .. }, _) => {
                let created = operation.answer.created.filter(|_created| known);
                let fits = created.is_none_or(|created| created == world.stored.is_none());
                let met = condition.as_ref().is_none_or(|one| self.meets(&mut world, one));
                (fits && met).then(|| self.store(world, index, write, bound_us))
            }
            (Action::Delete { condition, .. }, _) => {
                let met = condition.as_ref().is_none_or(|one| self.meets(&mut world, one));
                (met && world.stored.take().is_some()).then_some(world)
            }
            (Action::Touch { .. }, _) => {
                let stored = world.stored.as_mut()?;
                if let (true, Some(ttl)) = (stored.write.sliding, self.life(&stored.write)) {
                    let until = (operation.start_us + ttl).saturating_sub(bound_us);
                    stored.may_end_us = stored.may_end_us.max(until);
                }
                Some(world)
            }
            (Action::EraseUser { user }, _) => {
                world.stored.take_if(|stored| stored.write.user.as_ref() == Some(user));
                Some(world)
            }
            other => panic!("{other:?} is not of a session"),
        }
    }

    fn life(&self, write: &Write) -> Option<u64> {
        write.ttl_ms.or(self.history.head.ttl_ms).map(|ms| ms * 1_000)
    }

    fn store(&self, world: World, index: usize, write: &Write, bound_us: u64) -> World {
        let operation = &self.events[index].operation;
        let life = self.life(write);
        let may_end_us =
            life.map_or(u64::MAX, |life| (operation.start_us + life).saturating_sub(bound_us));
        let known = operation.outcome != Outcome::Unknown;
        let slack = self.history.head.expiry_slack_ms.filter(|_ms| known && !write.sliding);
        let must_end_us = life.zip(slack).map_or(u64::MAX, |(life, slack)| {
            operation.end_us.unwrap() + life + bound_us + slack * 1_000
        });
        let told = operation.answer.version.clone().filter(|_version| known);
        let stored =
            Stored { write: write.clone(), version: told, writer: index, may_end_us, must_end_us };
        World { stored: Some(stored), ..world }
    }

    fn meets(&self, world: &mut World, condition: &Condition) -> bool {
        match condition {
            Condition::Exists => world.stored.is_some(),
            Condition::Version(version) => self.has_version(world, version),
        }
    }

    /// Whether a condition does not hold. A version that is not known yet is another one, from now on.
    fn misses(&self, world: &mut World, condition: &Condition) -> bool {
        let (Some(stored), Condition::Version(version)) = (&world.stored, condition) else {
            return world.stored.is_none();
        };
        let writer = stored.writer;
        let named = world.named.iter().find(|(named, _version)| *named == writer);
        match stored.version.as_ref().or_else(|| Some(&named?.1)) {
            Some(own) => own != version,
            None => {
                if self.is_told(version) {
                    world.denied.push((writer, version.clone()));
                }
                true
            }
        }
    }

    /// Whether any answer told this version. One that only conditions name may be that of any write
    /// that did not tell its own.
    fn is_told(&self, version: &String) -> bool {
        self.events.iter().any(|event| event.operation.answer.version.as_ref() == Some(version))
    }

    /// Whether what is stored has this version. One that is not known yet becomes it, if it can.
    fn has_version(&self, world: &mut World, version: &String) -> bool {
        let Some(stored) = &world.stored else { return false };
        if let Some(own) = &stored.version {
            return own == version;
        }
        let writer = stored.writer;
        if let Some((_writer, own)) = world.named.iter().find(|(named, _)| *named == writer) {
            return own == version;
        }
        let is_denied = world.denied.contains(&(writer, version.clone()));
        let is_taken = is_denied
            || world.named.iter().any(|(_writer, named)| named == version)
            || self.events.iter().any(|event| {
                !is_read(&event.operation)
                    && event.operation.outcome == Outcome::Ok
                    && event.operation.answer.version.as_ref() == Some(version)
            });
        if !is_taken && self.is_told(version) {
            world.named.push((writer, version.clone()));
        }
        !is_taken
    }
}

//! Random small histories, right ones and ones with something changed: the checker must say what an
//! enumeration of all orders says.

use super::{
    oracle::{self, Event, has_order},
    *,
};

/// Histories that are tried.
const SEEDS: u64 = 20_000;

/// `SplitMix64`.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let word = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (word ^ word >> 31) % end
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }

    fn of<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        let count = u64::try_from(items.len()).unwrap();
        (count > 0).then(|| &items[usize::try_from(self.below(count)).unwrap()])
    }
}

/// What is really stored, while a right history is made.
#[derive(Clone)]
struct Truth {
    write: Write,
    version: String,
    ends_ms: u64,
}

/// How a history is made.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) operations: u64,
    /// Whether sessions expire.
    pub(super) mortal: bool,
    pub(super) tokens: bool,
    pub(super) positions: bool,
    pub(super) slack: bool,
}

/// A history of one session as it could have been: each operation takes effect at one moment.
pub(super) fn make(dice: &mut Dice, shape: Shape) -> History {
    let bound_ms = dice.below(3);
    let head = Head {
        clock_bound_ms: bound_ms,
        expiry_slack_ms: shape.slack.then_some(0),
        ..Head::default()
    };
    // When each takes effect, and when it begins and ends.
    let mut moments: Vec<(u64, Operation)> = (0..shape.operations)
        .map(|number| {
            let start = dice.below(30);
            let length = dice.below(12);
            let action = ask(dice, shape, number);
            let mut moment = start + dice.below(length + 1);
            let mut operation = op(start, start + length, action);
            if dice.one_in(4) && !oracle::is_read(&operation) {
                operation = lost(operation);
                moment += dice.below(20);
            }
            if let Action::Read { level, .. } = &operation.action {
                let back = match *level {
                    Level::Strong => 0,
                    Level::Bounded { max_staleness_ms } => dice.below(max_staleness_ms + 1),
                    Level::Eventual => dice.below(30),
                };
                // No later than the call then, so that the age can be told.
                moment = if back > 0 { start.saturating_sub(back) } else { moment };
                if back > 0 && dice.one_in(2) {
                    operation.answer.staleness_ms = Some(back);
                }
            }
            (moment, operation)
        })
        .collect();
    moments.sort_by_key(|(moment, _operation)| *moment);
    let versions = vec!["never".into()];
    let mut world = World { dice, shape, bound_ms, truth: None, versions, changes: 0 };
    for (moment, operation) in &mut moments {
        world.happen(*moment, operation);
    }
    if shape.tokens {
        send_tokens(dice, &mut moments);
    }
    let operations = moments.into_iter().map(|(_moment, operation)| operation).collect();
    History { head, operations }
}

/// Something to do to session `s`.
fn ask(dice: &mut Dice, shape: Shape, number: u64) -> Action {
    let write = Write {
        value: number.to_string(),
        ttl_ms: shape.mortal.then(|| 4 + dice.below(20)),
        sliding: dice.one_in(2),
        user: dice.one_in(2).then(|| "u".into()),
    };
    match dice.below(12) {
        0 => Action::Create { key: key(), write },
        1..4 => Action::Put { key: key(), write, condition: None },
        // The version is filled in when it is known which there are.
        4 | 5 => {
            let condition = Some(Condition::Version(String::new()));
            Action::Put { key: key(), write, condition }
        }
        6 => {
            let conditions =
                [None, Some(Condition::Exists), Some(Condition::Version(String::new()))];
            Action::Delete { key: key(), condition: dice.of(&conditions).cloned().flatten() }
        }
        7 if shape.mortal => Action::Touch { key: key() },
        8 if dice.one_in(2) => Action::EraseUser { user: "u".into() },
        _ => {
            let levels = [
                Level::Strong,
                Level::Strong,
                Level::Bounded { max_staleness_ms: 5 },
                Level::Eventual,
            ];
            Action::Read { key: key(), level: *dice.of(&levels).unwrap() }
        }
    }
}

/// The world that a right history is a record of.
struct World<'a> {
    dice: &'a mut Dice,
    shape: Shape,
    bound_ms: u64,
    truth: Option<Truth>,
    /// All versions that were told.
    versions: Vec<String>,
    /// How often something changed.
    changes: u64,
}

impl World<'_> {
    /// Lets an operation take effect at `moment`, and writes down its answer.
    fn happen(&mut self, moment: u64, operation: &mut Operation) {
        if self.truth.as_ref().is_some_and(|one| one.ends_ms <= moment) {
            self.truth = None;
            self.changes += 1;
        }
        self.choose_version(operation);
        let before = self.changes;
        let mut answer =
            Answer { staleness_ms: operation.answer.staleness_ms, ..Answer::default() };
        let outcome = match &operation.action {
            Action::Create { .. } | Action::Put { .. } => self.put(moment, operation, &mut answer),
            Action::Delete { condition, .. } => self.delete(condition.as_ref()),
            Action::Touch { .. } => self.touch(moment, operation),
            Action::EraseUser { user } => {
                let erased = self.truth.take_if(|one| one.write.user.as_ref() == Some(user));
                self.changes += u64::from(erased.is_some());
                Outcome::Ok
            }
            Action::Read { .. } => self.read(&mut answer),
            other => panic!("{other:?} is not made here"),
        };
        if operation.outcome == Outcome::Unknown {
            return;
        }
        answer.token = self.shape.tokens.then(|| format!("t{}", self.changes));
        // Only what changed something has a place of its own in the log.
        let is_sight = oracle::is_read(operation) || outcome != Outcome::Ok;
        if self.shape.positions && (is_sight || self.changes > before) {
            answer.position = Some(Position { shard: 1, index: self.changes });
        }
        operation.answer = answer;
        operation.outcome = outcome;
    }

    /// A conditional write asks for some version that was told.
    fn choose_version(&mut self, operation: &mut Operation) {
        if let Action::Put { condition: Some(Condition::Version(version)), .. }
        | Action::Delete { condition: Some(Condition::Version(version)), .. } =
            &mut operation.action
        {
            *version = self.dice.of(&self.versions).cloned().unwrap();
        }
    }

    fn meets(&self, condition: Option<&Condition>) -> bool {
        match condition {
            None => true,
            Some(Condition::Exists) => self.truth.is_some(),
            Some(Condition::Version(version)) => {
                self.truth.as_ref().is_some_and(|one| one.version == *version)
            }
        }
    }

    /// The end of a life that was renewed by an operation: the leader stamps it between call and
    /// effect, and its clock may run ahead later.
    fn end_of(&mut self, moment: u64, operation: &Operation, write: &Write) -> u64 {
        let start = operation.start_us / 1_000;
        let stamp = start + self.dice.below(moment.max(start) - start + 1);
        let early = self.dice.below(self.bound_ms + 1);
        write.ttl_ms.map_or(u64::MAX, |ms| stamp + ms.saturating_sub(early))
    }

    fn put(&mut self, moment: u64, operation: &Operation, answer: &mut Answer) -> Outcome {
        let (write, met) = match &operation.action {
            Action::Put { write, condition, .. } => (write, self.meets(condition.as_ref())),
            Action::Create { write, .. } => (write, self.truth.is_none()),
            other => panic!("{other:?} writes nothing"),
        };
        if !met {
            return Outcome::Conflict;
        }
        self.changes += 1;
        let version = format!("v{}", self.changes);
        let is_put = matches!(operation.action, Action::Put { .. });
        answer.created = (is_put && self.dice.one_in(2)).then_some(self.truth.is_none());
        if operation.outcome != Outcome::Unknown && self.dice.one_in(2) {
            answer.version = Some(version.clone());
            self.versions.push(version.clone());
        }
        let ends_ms = self.end_of(moment, operation, write).max(moment);
        self.truth = Some(Truth { write: write.clone(), version, ends_ms });
        Outcome::Ok
    }

    fn delete(&mut self, condition: Option<&Condition>) -> Outcome {
        if !self.meets(condition) {
            return Outcome::Conflict;
        }
        if self.truth.take().is_none() {
            return Outcome::NotFound;
        }
        self.changes += 1;
        Outcome::Ok
    }

    fn touch(&mut self, moment: u64, operation: &Operation) -> Outcome {
        let Some(mut one) = self.truth.take() else { return Outcome::NotFound };
        if one.write.sliding {
            one.ends_ms = one.ends_ms.max(self.end_of(moment, operation, &one.write));
        }
        self.truth = Some(one);
        Outcome::Ok
    }

    fn read(&mut self, answer: &mut Answer) -> Outcome {
        let Some(one) = &self.truth else { return Outcome::NotFound };
        answer.value = Some(one.write.value.clone());
        if self.dice.one_in(2) {
            answer.version = Some(one.version.clone());
            self.versions.push(one.version.clone());
        }
        Outcome::Ok
    }
}

/// Reads carry tokens that they fulfil.
fn send_tokens(dice: &mut Dice, moments: &mut [(u64, Operation)]) {
    let number = |token: &str| token.trim_start_matches('t').parse::<u64>().unwrap();
    let given: Vec<(u64, String)> = moments
        .iter()
        .filter_map(|(_moment, one)| Some((one.end_us?, one.answer.token.clone()?)))
        .collect();
    for (_moment, read) in moments.iter_mut().filter(|(_moment, one)| oracle::is_read(one)) {
        let Some(own) = read.answer.token.as_deref().map(number) else { continue };
        let possible: Vec<&String> = given
            .iter()
            .filter(|(end, token)| *end <= read.start_us && number(token) <= own)
            .map(|(_end, token)| token)
            .collect();
        read.sent_token = dice.of(&possible).map(|token| (*token).clone());
    }
}

/// Changes something that was answered, asked or timed.
fn spoil(dice: &mut Dice, history: &mut History) {
    let values: Vec<String> =
        (0..history.operations.len()).map(|value| value.to_string()).collect();
    let tokens: Vec<String> =
        history.operations.iter().filter_map(|one| one.answer.token.clone()).collect();
    let versions: Vec<String> =
        history.operations.iter().filter_map(|one| one.answer.version.clone()).collect();
    let count = u64::try_from(history.operations.len()).unwrap();
    if count == 0 {
        return;
    }
    let chosen = usize::try_from(dice.below(count)).unwrap();
    let one = &mut history.operations[chosen];
    let is_read = oracle::is_read(one);
    match dice.below(6) {
        0 | 1 if is_read => {
            one.outcome = Outcome::Ok;
            one.answer.value = dice.of(&values).cloned();
            one.answer.version = None;
        }
        2 if is_read => {
            one.outcome = Outcome::NotFound;
            one.answer = Answer { token: one.answer.token.clone(), ..Answer::default() };
        }
        3 => one.start_us = one.start_us.saturating_sub(dice.below(8) * 1_000),
        4 if is_read => one.sent_token = dice.of(&tokens).cloned(),
        5 if is_read && one.outcome == Outcome::Ok => {
            one.answer.version = dice.of(&versions).cloned();
        }
        _ if one.end_us.is_some() => {
            let length = one.end_us.unwrap() - one.start_us;
            one.start_us = dice.below(30) * 1_000;
            one.end_us = Some(one.start_us + length);
        }
        _ => {}
    }
}

/// What the witness claims: whatever the other writes did, each in its own time, what contradicts
/// has no order.
fn is_proof(history: &History, violation: &Violation) -> bool {
    let contradicts = |index: usize| {
        violation.witness.iter().any(|one| one.index == index && one.role == Role::Contradicts)
    };
    let events: Vec<Event> = history
        .operations
        .iter()
        .enumerate()
        .filter(|(_index, one)| one.outcome != Outcome::Refused)
        .filter_map(|(index, one)| {
            let sees = oracle::is_read(one)
                || matches!(one.outcome, Outcome::Conflict | Outcome::NotFound);
            let optional = !contradicts(index);
            (!(sees && optional)).then(|| Event { operation: one.clone(), optional })
        })
        .collect();
    !has_order(history, &events)
}

#[test]
fn the_checker_says_what_an_enumeration_says() {
    let mut counts = [0_u64; 2];
    let mut kinds = std::collections::BTreeSet::new();
    let mut expiries = 0;
    for seed in 0..SEEDS {
        let mut dice = Dice(seed);
        let shape = Shape {
            operations: 2 + dice.below(5),
            mortal: dice.one_in(2),
            tokens: dice.one_in(2),
            positions: dice.one_in(3),
            slack: dice.one_in(3),
        };
        let mut history = make(&mut dice, shape);
        let spoils = dice.below(6);
        if spoils == 0 {
            assert!(has_order(&history, &oracle::events(&history)), "{seed}: {history:#?}");
        }
        for _time in 0..spoils {
            spoil(&mut dice, &mut history);
        }
        let expected = has_order(&history, &oracle::events(&history));
        let report = checked(&history);
        let verdict = if expected { Verdict::Holds } else { Verdict::Violated };
        assert_eq!(report.verdict(), verdict, "seed {seed}: {report:#?}\n{history:#?}");
        counts[usize::from(expected)] += 1;
        for violation in &report.violations {
            kinds.insert(violation.kind);
            assert!(is_proof(&history, violation), "seed {seed}: {violation}\n{history:#?}");
        }
        expiries += u64::from(expected && shape.mortal);
    }
    assert!(counts.iter().all(|count| *count > 4_000), "{counts:?}");
    assert!(expiries > 2_000, "{expiries}");
    // All kinds that one session can show, but for refused writes, which are not made here.
    assert!(kinds.len() >= 11, "{kinds:?}");
}

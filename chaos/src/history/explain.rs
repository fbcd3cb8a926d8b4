//! Which promise was broken, told with the operations that prove it.

use super::{
    facts::{Fact, Key},
    judge::Judge,
    model::{Deed, Duty, Needs, Put, Sight},
    operation::{Action, History, Initial, Level, Operation},
    prepare::{Leniency, Part},
    report::{Role, Space, Verdict, Violation, ViolationKind, Witness},
    shrink::shrink,
};

/// A violation that shows without a search: a value that cannot have been there, or an answer that
/// says of itself that it is too old.
pub(super) fn evident(history: &History, key: &Key) -> Option<Violation> {
    let mut sights: Vec<&Fact> = key.facts.iter().filter(|fact| fact.sees_only()).collect();
    sights.sort_by_key(|fact| (fact.end, fact.index));
    let first_written = first_written(key);
    let is_any_possible = history.head.initial == Initial::Unknown && key.space == Space::Listing;
    sights.into_iter().find_map(|sight| {
        let operation = history.operations.get(sight.index)?;
        if is_older_than_asked(operation) {
            return Some(told(history, key, ViolationKind::StalenessClaim, &[sight.index]));
        }
        let value = sight.seen_value().filter(|_value| !is_any_possible)?;
        let written = first_written.get(usize::try_from(value).ok()?).copied().flatten();
        match written {
            Some((start, writer)) if start > sight.end => {
                Some(told(history, key, ViolationKind::FromTheFuture, &[sight.index, writer]))
            }
            Some(_) => None,
            None => {
                let refused = key.refused.iter().find(|(refused, _index)| *refused == value);
                match refused {
                    Some((_value, index)) => {
                        Some(told(history, key, ViolationKind::RefusedSeen, &[*index, sight.index]))
                    }
                    None if history.head.initial == Initial::Unknown => None,
                    None => Some(told(history, key, ViolationKind::NeverWritten, &[sight.index])),
                }
            }
        }
    })
}

/// For each value, when and by which operation it was written first.
fn first_written(key: &Key) -> Vec<Option<(u64, usize)>> {
    let mut first = vec![None; usize::try_from(key.values).unwrap_or(usize::MAX)];
    // By start, so the first is the earliest.
    for fact in &key.facts {
        let value = fact.written_value().and_then(|value| usize::try_from(value).ok());
        if let Some(first) = value.and_then(|value| first.get_mut(value)) {
            first.get_or_insert((fact.start, fact.index));
        }
    }
    first
}

fn is_older_than_asked(operation: &Operation) -> bool {
    let (Action::Read { level, .. } | Action::ListingRead { level, .. }) = &operation.action else {
        return false;
    };
    let Level::Bounded { max_staleness_ms } = *level else { return false };
    operation.answer.staleness_ms.is_some_and(|ms| ms > max_staleness_ms)
}

/// The story of `parts`, which have no order.
pub(super) fn explain(history: &History, judge: &mut Judge<'_>, parts: Vec<Part>) -> Violation {
    let proof = shrink(judge, parts);
    let kind = Proof::new(judge.key, &proof).kind(judge, &proof);
    let shown = Proof::new(judge.key, &proof);
    let must = shown.must.iter().map(|fact| (fact.index, Role::Contradicts));
    let origins = shown.origins();
    let others = shown.free.len() - origins.len();
    let mut roles: Vec<(usize, Role)> =
        must.chain(origins.iter().map(|index| (*index, Role::Origin))).collect();
    roles.sort_unstable_by_key(|(index, _role)| *index);
    let mut violation = told(history, judge.key, kind, &[]);
    violation.witness = witnesses(history, &roles);
    violation.others = others;
    violation
}

/// A violation with these operations as its witness.
fn told(history: &History, key: &Key, kind: ViolationKind, indexes: &[usize]) -> Violation {
    let roles: Vec<_> = indexes.iter().map(|index| (*index, Role::Contradicts)).collect();
    Violation {
        space: key.space,
        key: key.name.clone(),
        kind,
        witness: witnesses(history, &roles),
        others: 0,
    }
}

fn witnesses(history: &History, roles: &[(usize, Role)]) -> Vec<Witness> {
    let of = |(index, role): &(usize, Role)| {
        let operation = history.operations.get(*index)?.clone();
        Some(Witness { index: *index, operation, role: *role })
    };
    let mut witness: Vec<Witness> = roles.iter().filter_map(of).collect();
    witness.sort_by_key(|one| (one.operation.start_us, one.index));
    witness
}

/// What a proof consists of.
struct Proof<'a> {
    key: &'a Key,
    /// What cannot all be true.
    must: Vec<&'a Fact>,
    free: Vec<&'a Fact>,
}

impl<'a> Proof<'a> {
    fn new(key: &'a Key, parts: &[Part]) -> Self {
        let of = |wanted: fn(Duty) -> bool| -> Vec<&'a Fact> {
            let parts = parts.iter().filter(|part| wanted(part.duty));
            parts.filter_map(|part| key.facts.get(part.fact)).collect()
        };
        Self { key, must: of(|duty| duty == Duty::Must), free: of(|duty| duty != Duty::Must) }
    }

    /// The writes whose values or versions were seen.
    fn origins(&self) -> Vec<usize> {
        let is_seen = |fact: &&&Fact| {
            self.must.iter().any(|seer| {
                let value =
                    seer.seen_value().is_some_and(|value| fact.written_value() == Some(value));
                let version = matches!(fact.deed, Deed::Put(Put { version: Some(version), .. })
                    if seer.seen_version() == Some(version));
                value || version
            })
        };
        self.free.iter().filter(is_seen).map(|fact| fact.index).collect()
    }

    /// Which promise it breaks: the one without which it would break none, or else what it looks like.
    fn kind(&self, judge: &mut Judge<'_>, parts: &[Part]) -> ViolationKind {
        if self.has_two_winners() {
            return ViolationKind::TwoWinners;
        }
        let usual = Leniency::default();
        let excuses = [
            (Leniency { early_expiry: true, ..usual }, ViolationKind::EarlyExpiry),
            (Leniency { late_expiry: true, ..usual }, ViolationKind::LateExpiry),
            (Leniency { order: true, ..usual }, ViolationKind::SessionGuarantee),
            (Leniency { age: true, ..usual }, ViolationKind::StalenessBound),
        ];
        let excused = excuses
            .into_iter()
            .find(|(lenient, _kind)| judge.decide(parts, *lenient) == Verdict::Holds);
        excused.map_or_else(|| self.looks(), |(_lenient, kind)| kind)
    }

    /// Two conditional writes succeeded where one makes the other impossible.
    fn has_two_winners(&self) -> bool {
        let needs = |fact: &&Fact| match fact.deed {
            Deed::Put(Put { needs, .. }) | Deed::End(needs) => Some(needs),
            _ => None,
        };
        let all: Vec<Needs> = self.must.iter().filter_map(needs).collect();
        all.len() > 1
            && all.len() == self.must.len()
            && all.first().is_some_and(|first| {
                matches!(first, Needs::Absent | Needs::Version(_))
                    && all.iter().all(|one| one == first)
            })
    }

    fn looks(&self) -> ViolationKind {
        let sights =
            self.must.iter().filter(|fact| matches!(fact.deed, Deed::See(_) | Deed::Renew));
        let Some(last) = sights.max_by_key(|fact| (fact.end, fact.start)) else {
            return ViolationKind::NotLinearizable;
        };
        let newer = self.must.iter().copied().filter(|fact| fact.index != last.index);
        match last.deed {
            Deed::See(Sight::Absent) => {
                // Something was there: it is lost, unless others still find it.
                let mut written =
                    newer.filter_map(|fact| fact.written_value().or_else(|| fact.seen_value()));
                match written.next_back() {
                    Some(value) if self.is_seen_after(value, last) => ViolationKind::StaleRead,
                    Some(_) => ViolationKind::LostWrite,
                    None => ViolationKind::NotLinearizable,
                }
            }
            Deed::See(Sight::Present { value: Some(value), .. }) => self.old_value(value, last),
            _ => ViolationKind::NotLinearizable,
        }
    }

    /// `last` saw a value that was no longer there.
    fn old_value(&self, value: u32, last: &Fact) -> ViolationKind {
        let others = || self.must.iter().filter(|fact| fact.index != last.index);
        let saw_gone = others().any(|fact| {
            matches!(
                fact.deed,
                Deed::End(_) | Deed::Erase(_) | Deed::Bury(_) | Deed::See(Sight::Absent)
            )
        });
        if saw_gone {
            return ViolationKind::Resurrected;
        }
        let is_other = |other: &u32| *other != value;
        if others().any(|fact| fact.seen_value().is_some_and(|other| is_other(&other))) {
            return self.stale();
        }
        match others().filter_map(|fact| fact.written_value()).find(is_other) {
            Some(newer) if self.is_seen(newer) => self.stale(),
            Some(_) => ViolationKind::LostWrite,
            None => ViolationKind::NotLinearizable,
        }
    }

    const fn stale(&self) -> ViolationKind {
        match self.key.space {
            Space::Session => ViolationKind::StaleRead,
            Space::Listing => ViolationKind::VersionWentBack,
        }
    }

    fn is_seen(&self, value: u32) -> bool {
        self.key.facts.iter().any(|fact| fact.seen_value() == Some(value))
    }

    fn is_seen_after(&self, value: u32, than: &Fact) -> bool {
        let later = self.key.facts.iter().filter(|fact| fact.start > than.end);
        later.into_iter().any(|fact| fact.seen_value() == Some(value))
    }
}

//! From the facts of a key to a problem that can be searched: what times, values, versions, tokens
//! and positions say of the order before any search.
//!
//! Everything here follows from the facts that are in the problem, so that whatever is proven of a
//! part of them rests on that part alone.

use std::collections::BTreeMap;

use super::{
    facts::{Fact, Key, Reach},
    model::{Deed, Duty, Expiry, Problem, Put, State, Step},
    operation::{Head, Initial, Position},
};

/// Of the operations that answered with one token, so many are remembered for the reads that sent it:
/// what a prescribed order leaves out makes the check weaker, never wrong.
const SAME_TOKEN_MAX: usize = 8;

/// What is let pass, to find out which promise it was that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Leniency {
    /// Sessions may end at half their life.
    pub(super) early_expiry: bool,
    /// Sessions may be answered after their time.
    pub(super) late_expiry: bool,
    /// Tokens and positions say nothing.
    pub(super) order: bool,
    /// Bounded reads may be of any age.
    pub(super) age: bool,
    /// Strong reads may be of any age too.
    pub(super) strong: bool,
}

/// A fact in a problem, and whether it took effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Part {
    /// Its place in [`Key::facts`].
    pub(super) fact: usize,
    pub(super) duty: Duty,
}

/// Makes the problem of `parts` of a key.
pub(super) fn prepare(head: &Head, key: &Key, parts: &[Part], lenient: Leniency) -> Problem {
    let mut drafts: Vec<Draft> = parts
        .iter()
        .filter_map(|part| Some(Draft::new(head, *key.facts.get(part.fact)?, part.duty, lenient)))
        .collect();
    let is_listing = key.space == super::report::Space::Listing;
    let writers = Writers::of(key, &drafts);
    // A value that was there before may be a listing's as well as one that is written again.
    if head.initial == Initial::Absent || !is_listing {
        writers.tighten(&mut drafts);
    }
    writers.name_versions(&mut drafts);
    drafts.sort_by_key(|draft| (draft.step.start, draft.fact.index));
    if !lenient.order {
        prescribe(&mut drafts);
    }
    let mut owners = vec![None; size(key.versions)];
    let mut is_written = vec![false; size(key.values)];
    for (place, draft) in (0_u32..).zip(&drafts) {
        if let Deed::Put(Put { version: Some(version), .. }) = draft.step.deed
            && let Some(owner) = owners.get_mut(size(version))
        {
            *owner = Some(place);
        }
        let written = draft.fact.written_value().and_then(|value| is_written.get_mut(size(value)));
        if let Some(written) = written {
            *written = true;
        }
    }
    Problem {
        steps: drafts.into_iter().map(|draft| draft.step).collect(),
        is_listing,
        expiry: expiry(head, lenient),
        initial: State::initial(head.initial == Initial::Absent),
        owners,
        is_written,
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

const fn bound_us(head: &Head) -> u64 {
    head.clock_bound_ms.saturating_mul(1_000)
}

const fn expiry(head: &Head, lenient: Leniency) -> Expiry {
    if lenient.early_expiry { Expiry::Half } else { Expiry::Early(bound_us(head)) }
}

/// A step in the making.
#[derive(Debug, Clone)]
struct Draft {
    fact: Fact,
    step: Step,
}

impl Draft {
    fn new(head: &Head, fact: Fact, duty: Duty, lenient: Leniency) -> Self {
        let ever = match fact.reach {
            Reach::Current => lenient.strong && fact.sees_only(),
            Reach::Within(_) => lenient.age,
            Reach::Ever => true,
        };
        let start = match fact.reach {
            _ if ever => 0,
            Reach::Within(us) => fact.start.saturating_sub(us),
            Reach::Current | Reach::Ever => fact.start,
        };
        let (from, until) = match fact.deed {
            Deed::Put(put) => life(head, &fact, put, lenient),
            _ => (u64::MAX, u64::MAX),
        };
        let step =
            Step { start, end: fact.end, duty, deed: fact.deed, after: Vec::new(), from, until };
        Self { fact, step }
    }
}

/// When what a write stored may expire, and until when it may be there.
///
/// The leader stamps a write's time between its call and its effect; so it lives from its call at
/// least, and from its answer at most.
fn life(head: &Head, fact: &Fact, put: Put, lenient: Leniency) -> (u64, u64) {
    let Some(life) = put.life_us else { return (u64::MAX, u64::MAX) };
    let from = expiry(head, lenient).earliest(fact.start, life);
    let until = match head.expiry_slack_ms {
        Some(slack) if !put.sliding && !lenient.late_expiry => {
            [life, bound_us(head), slack.saturating_mul(1_000)]
                .into_iter()
                .fold(fact.end, u64::saturating_add)
        }
        _ => u64::MAX,
    };
    (from, until)
}

/// Who may have written each value and each version.
struct Writers {
    /// The writes of each value, by their places in the drafts; more than one is as good as many.
    of_value: Vec<Few>,
    /// The write that answered with each version.
    of_version: Vec<Option<usize>>,
}

/// None, one or several.
#[derive(Debug, Clone, Copy)]
enum Few {
    None,
    One(usize),
    Several,
}

impl Writers {
    fn of(key: &Key, drafts: &[Draft]) -> Self {
        let mut of_value = vec![Few::None; size(key.values)];
        let mut of_version = vec![None; size(key.versions)];
        for (place, draft) in drafts.iter().enumerate() {
            let value = draft.fact.written_value();
            if let Some(few) = value.and_then(|value| of_value.get_mut(size(value))) {
                *few = match few {
                    Few::None => Few::One(place),
                    Few::One(_) | Few::Several => Few::Several,
                };
            }
            if let Deed::Put(Put { version: Some(version), .. }) = draft.fact.deed
                && let Some(owner) = of_version.get_mut(size(version))
            {
                *owner = Some(place);
            }
        }
        Self { of_value, of_version }
    }

    /// The one write that can have made what this fact saw.
    fn source(&self, fact: &Fact) -> Option<usize> {
        let by_value = fact.seen_value().and_then(|value| self.of_value.get(size(value)));
        if let Some(Few::One(place)) = by_value {
            return Some(*place);
        }
        let version = fact.seen_version()?;
        *self.of_version.get(size(version))?
    }

    /// What was seen was written before: its write happened, and no later than the first sight of it
    /// ended; the sights are no earlier than the write.
    fn tighten(&self, drafts: &mut [Draft]) {
        for seer in 0..drafts.len() {
            let Some(draft) = drafts.get(seer).filter(|draft| draft.step.duty == Duty::Must) else {
                continue;
            };
            let (fact, end) = (draft.fact, draft.step.end);
            let Some(writer) = self.source(&fact).filter(|writer| *writer != seer) else {
                continue;
            };
            let Some(written) = drafts.get_mut(writer) else { continue };
            written.step.duty = Duty::Must;
            written.step.end = written.step.end.min(end);
            let start = written.step.start;
            if let Some(draft) = drafts.get_mut(seer) {
                draft.step.start = draft.step.start.max(start);
            }
        }
    }

    /// Gives a write that did not tell its version the one under which its value was seen first, unless
    /// another write has that.
    fn name_versions(mut self, drafts: &mut [Draft]) {
        for seer in 0..drafts.len() {
            let Some(fact) = drafts.get(seer).map(|draft| draft.fact) else { continue };
            let (Some(value), Some(version)) = (fact.seen_value(), fact.seen_version()) else {
                continue;
            };
            let Some(Few::One(writer)) = self.of_value.get(size(value)) else { continue };
            if let Some(owner @ None) = self.of_version.get_mut(size(version))
                && let Some(Draft { step: Step { deed: Deed::Put(put), .. }, .. }) =
                    drafts.get_mut(*writer)
                && put.version.is_none()
            {
                put.version = Some(version);
                *owner = Some(*writer);
            }
        }
    }
}

/// Writes down the order that tokens and positions in logs prescribe. `drafts` are in their final order.
fn prescribe(drafts: &mut [Draft]) {
    let mut writes: BTreeMap<u64, BTreeMap<u64, Vec<u32>>> = BTreeMap::new();
    let mut answered: BTreeMap<u32, Vec<(u64, u64, u32)>> = BTreeMap::new();
    for (place, draft) in (0_u32..).zip(&*drafts) {
        if draft.step.duty != Duty::Must {
            continue;
        }
        if let Some(Position { shard, index }) = draft.fact.position
            && !draft.fact.sees_only()
        {
            let same = writes.entry(shard).or_default().entry(index).or_default();
            if same.len() < SAME_TOKEN_MAX {
                same.push(place);
            }
        }
        if let Some(token) = draft.fact.token {
            answered.entry(token).or_default().push((draft.fact.end, draft.fact.start, place));
        }
    }
    for answers in answered.values_mut() {
        answers.sort_unstable();
    }
    for (place, draft) in (0_u32..).zip(drafts) {
        let fact = draft.fact;
        let mut after = Vec::new();
        if let Some(Position { shard, index }) = fact.position {
            // A write comes after those before it, a read after the one it answered from too.
            let end = if fact.sees_only() { index.saturating_add(1) } else { index };
            after.extend(last_below(&writes, shard, end));
        }
        if let Some(Position { shard, index }) = fact.sent_position {
            after.extend(last_below(&writes, shard, index.saturating_add(1)));
        }
        if let Some(answers) = fact.sent_token.and_then(|token| answered.get(&token)) {
            // A token was sent only after it had been received.
            // (What all happened at one moment heard nothing of each other.)
            let received = answers.partition_point(|(end, _start, _place)| *end <= fact.start);
            let latest = answers.iter().take(received).rev();
            let latest = latest.filter(|(_end, start, _place)| *start < fact.end);
            after.extend(latest.take(SAME_TOKEN_MAX).map(|(_end, _start, place)| *place));
        }
        after.retain(|other| *other != place);
        after.sort_unstable();
        after.dedup();
        draft.step.after = after;
    }
}

/// The last writes in a shard's log before `end`; those before them are prescribed to them.
fn last_below(
    writes: &BTreeMap<u64, BTreeMap<u64, Vec<u32>>>,
    shard: u64,
    end: u64,
) -> impl Iterator<Item = u32> {
    let of_shard = writes.get(&shard);
    let last = of_shard.and_then(|of_shard| of_shard.range(..end).next_back());
    last.into_iter().flat_map(|(_index, places)| places.iter().copied())
}

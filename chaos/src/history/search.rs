//! The search for an order of a key's operations in which every answer is true.
//!
//! Wing and Gong's search (*Testing and Verifying Concurrent Objects*, 1993) with Lowe's memory of
//! configurations (*Testing for linearizability*, 2017): an operation may come next if no other that
//! is left ended before it began; a configuration (what has been ordered, and what the key holds) is
//! looked at once. What is new here:
//!
//! - *Time.* A configuration carries the earliest moment at which it can exist, since sessions
//!   expire. Moments are chosen as early as possible, which loses nothing: what must come later says
//!   so. One that was looked at is looked at again only if it can exist earlier.
//! - *Sightings at once.* An operation that is true now and changes nothing is ordered without trying
//!   it later. It cannot be missed later, and whatever waits has an end no earlier than its start, so
//!   it is still in time. Where that last argument fails (see [`Search::is_safe_now`]) it is tried both ways.
//! - *Configurations as fingerprints* of 128 bits (Zobrist hashing), so that one costs the same
//!   however long the history is. Two that collide could hide an order, and make a false violation;
//!   therefore a violation is believed only when searches with two seeds agree.

use std::{
    collections::hash_map::Entry,
    hash::{BuildHasherDefault, Hasher},
    sync::atomic::{AtomicBool, Ordering},
};

use super::{
    chain::Chain,
    model::{Deed, Duty, Problem, State, Step},
};

/// After how many configurations it is looked whether the search was stopped.
const STOP_EVERY: u64 = 1_024;

/// What makes the two halves of a fingerprint differ.
const SALTS: [u64; 2] = [0x6a09_e667_f3bc_c908, 0xbb67_ae85_84ca_a73b];

/// What a search found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// An order. `exact`: no [`Duty::Free`] step is in it twice.
    Order {
        /// Whether it is one of [`Duty::May`] too.
        exact: bool,
    },
    /// There is none.
    NoOrder,
    /// It gave up.
    GaveUp,
}

/// What searches may cost.
#[derive(Debug)]
pub(super) struct Budget<'a> {
    /// Configurations that are left.
    pub(super) left: u64,
    pub(super) stop: &'a AtomicBool,
}

impl Budget<'_> {
    fn spend(&mut self) -> bool {
        if self.left == 0
            || (self.left.is_multiple_of(STOP_EVERY) && self.stop.load(Ordering::Relaxed))
        {
            return false;
        }
        self.left -= 1;
        true
    }
}

/// Looks for an order of all steps of `problem` that must have happened.
pub(super) fn search(problem: &Problem, seed: u64, budget: &mut Budget<'_>) -> Found {
    if budget.stop.load(Ordering::Relaxed) {
        return Found::GaveUp;
    }
    Search::new(problem, seed).run(budget)
}

/// Where to return to: the step that was taken, what was before it, and how long the trail was.
#[derive(Debug, Clone, Copy)]
struct Frame {
    place: u32,
    before: State,
    trail: usize,
}

struct Search<'a> {
    problem: &'a Problem,
    seed: u64,
    /// What must happen and is not ordered yet, by start.
    duties: Chain,
    /// The same, by end.
    deadlines: Chain,
    /// What may happen, by start.
    options: Chain,
    /// Ends of free steps, in order.
    free_ends: Vec<u64>,
    has_edges: bool,
    /// Whether each step is ordered.
    done: Vec<bool>,
    /// What has been ordered, in order.
    trail: Vec<u32>,
    /// The fingerprint of what has been ordered.
    set: u128,
    seen: Seen,
}

impl<'a> Search<'a> {
    fn new(problem: &'a Problem, seed: u64) -> Self {
        let count = u32::try_from(problem.steps.len()).unwrap_or(u32::MAX);
        let places = || (0_u32..).zip(&problem.steps);
        let must = places().filter(|(_place, step)| step.duty == Duty::Must);
        let mut by_end: Vec<(u64, u32)> =
            must.clone().map(|(place, step)| (step.end, place)).collect();
        by_end.sort_unstable();
        let may = places().filter(|(_place, step)| step.duty != Duty::Must);
        let free = problem.steps.iter().filter(|step| step.duty == Duty::Free);
        let mut free_ends: Vec<u64> = free.map(|step| step.end).collect();
        free_ends.sort_unstable();
        Self {
            problem,
            seed,
            duties: Chain::new(count, must.map(|(place, _step)| place)),
            deadlines: Chain::new(count, by_end.into_iter().map(|(_end, place)| place)),
            options: Chain::new(count, may.map(|(place, _step)| place)),
            free_ends,
            has_edges: problem.steps.iter().any(|step| !step.after.is_empty()),
            done: vec![false; problem.steps.len()],
            trail: Vec::with_capacity(problem.steps.len()),
            set: 0,
            seen: Seen::default(),
        }
    }

    fn run(mut self, budget: &mut Budget<'_>) -> Found {
        let mut frames: Vec<Frame> = Vec::new();
        let mut state = self.settle(self.problem.initial);
        let mut next = self.open(state, budget);
        loop {
            match next {
                Next::Finished => return Found::Order { exact: self.is_exact() },
                Next::GaveUp => return Found::GaveUp,
                Next::Try(candidate) => {
                    if let Some((place, after)) = self.pick(state, candidate) {
                        frames.push(Frame { place, before: state, trail: self.trail.len() });
                        self.take(place);
                        state = self.settle(after);
                        next = self.open(state, budget);
                    } else if let Some(frame) = frames.pop() {
                        self.rewind(frame.trail);
                        state = frame.before;
                        next = Next::Try(self.behind(frame.place));
                    } else {
                        return Found::NoOrder;
                    }
                }
            }
        }
    }

    /// Looks at a configuration for the first time.
    fn open(&mut self, state: State, budget: &mut Budget<'_>) -> Next {
        let Some(deadline) = self.deadline() else { return Next::Finished };
        if deadline < state.now() || self.was_seen(state) {
            return Next::Try(None);
        }
        if budget.spend() { Next::Try(self.begin()) } else { Next::GaveUp }
    }

    /// Whether this configuration was looked at before, no later than now: what can follow at a moment
    /// can follow at any earlier one.
    fn was_seen(&mut self, state: State) -> bool {
        let now = state.now();
        match self.seen.entry(self.set ^ fingerprint(state, self.seed)) {
            Entry::Vacant(entry) => {
                entry.insert(now);
                false
            }
            Entry::Occupied(mut entry) => {
                let was = *entry.get() <= now;
                if !was {
                    entry.insert(now);
                }
                was
            }
        }
    }

    /// The end of the step that must come soonest; `None` once nothing must.
    fn deadline(&self) -> Option<u64> {
        self.step(self.deadlines.first()?).map(|step| step.end)
    }

    fn begin(&self) -> Option<u32> {
        self.duties.first().or_else(|| self.options.first())
    }

    /// The candidate behind `place`: what must happen is tried before what may.
    fn behind(&self, place: u32) -> Option<u32> {
        match self.step(place)?.duty {
            Duty::Must => self.duties.following(place).or_else(|| self.options.first()),
            Duty::May | Duty::Free => self.options.following(place),
        }
    }

    /// The first step from `candidate` on that can come next, and what it leads to.
    fn pick(&self, state: State, mut candidate: Option<u32>) -> Option<(u32, State)> {
        let deadline = self.deadline()?;
        while let Some(place) = candidate {
            let step = self.step(place)?;
            if step.start > deadline {
                // All behind it in its chain began later still.
                candidate = match step.duty {
                    Duty::Must => self.options.first(),
                    Duty::May | Duty::Free => None,
                };
                continue;
            }
            if self.is_ready(step)
                && let Some(after) = self.problem.after(state, place)
                && (step.duty == Duty::Must || !after.holds_as(state))
            {
                return Some((place, after));
            }
            candidate = self.behind(place);
        }
        None
    }

    /// Orders every step that is true in `state`, changes nothing and can be taken at once.
    fn settle(&mut self, mut state: State) -> State {
        loop {
            let before = self.trail.len();
            let mut candidate = self.duties.first();
            while let Some(place) = candidate {
                let (Some(step), Some(deadline)) = (self.step(place), self.deadline()) else {
                    break;
                };
                if step.start > deadline {
                    break;
                }
                candidate = self.duties.following(place);
                if can_be_idle(step.deed)
                    && self.is_ready(step)
                    && let Some(after) = self.problem.after(state, place)
                    && after.holds_as(state)
                    && self.is_safe_now(state, after)
                {
                    self.take(place);
                    state = after;
                }
            }
            // Taking one can allow another that began before it only where orders are prescribed.
            if self.trail.len() == before || !self.has_edges {
                return state;
            }
        }
    }

    /// Whether moving time from `state` on to `after` takes nothing away: no free step ends in
    /// between, and what is stored outlives it. (Steps that must happen end no earlier than the
    /// deadline, and those that may have no end before it.)
    fn is_safe_now(&self, state: State, after: State) -> bool {
        let ended = self.free_ends.partition_point(|end| *end < state.now());
        let in_between = self.free_ends.get(ended).is_some_and(|end| *end < after.now());
        !in_between && self.problem.outlives(after)
    }

    fn is_ready(&self, step: &Step) -> bool {
        step.after.iter().all(|place| self.is_done(*place))
    }

    fn is_done(&self, place: u32) -> bool {
        usize::try_from(place).ok().and_then(|place| self.done.get(place)).is_some_and(|done| *done)
    }

    fn take(&mut self, place: u32) {
        self.trail.push(place);
        self.mark(place, true, Chain::take);
    }

    fn rewind(&mut self, length: usize) {
        while self.trail.len() > length
            && let Some(place) = self.trail.pop()
        {
            self.mark(place, false, Chain::restore);
        }
    }

    fn mark(&mut self, place: u32, done: bool, change: fn(&mut Chain, u32)) {
        match self.step(place).map(|step| step.duty) {
            Some(Duty::Must) => {
                change(&mut self.duties, place);
                change(&mut self.deadlines, place);
            }
            Some(Duty::May) => change(&mut self.options, place),
            // It can come again.
            Some(Duty::Free) | None => return,
        }
        self.set ^= wide(self.seed, u64::from(place));
        if let Some(mark) = usize::try_from(place).ok().and_then(|place| self.done.get_mut(place)) {
            *mark = done;
        }
    }

    fn step(&self, place: u32) -> Option<&'a Step> {
        self.problem.steps.get(usize::try_from(place).ok()?)
    }

    fn is_exact(&self) -> bool {
        let is_free = |place: &&u32| self.step(**place).is_some_and(|step| step.duty == Duty::Free);
        let mut free: Vec<u32> = self.trail.iter().filter(is_free).copied().collect();
        let count = free.len();
        free.sort_unstable();
        free.dedup();
        free.len() == count
    }
}

/// The earliest moment of each configuration that was looked at.
#[expect(clippy::disallowed_types, reason = "its hasher is fixed and nothing iterates over it")]
type Seen = std::collections::HashMap<u128, u64, BuildHasherDefault<Passing>>;

/// How a search goes on.
#[derive(Debug, Clone, Copy)]
enum Next {
    Finished,
    GaveUp,
    /// With the steps from this one on; `None` = back.
    Try(Option<u32>),
}

/// Whether a step that changes nothing now cannot be needed for a change later: sightings never
/// change anything, a renewal only forbids, and a listing's write that is too old stays so.
const fn can_be_idle(deed: Deed) -> bool {
    match deed {
        Deed::See(_) | Deed::Renew | Deed::Upsert(_) | Deed::Bury(_) => true,
        Deed::Put(_) | Deed::End(_) | Deed::Erase(_) => false,
    }
}

fn fingerprint(state: State, seed: u64) -> u128 {
    let lane = |salt: u64| {
        state.words().into_iter().fold(scramble(!seed ^ salt), |hash, word| scramble(hash ^ word))
    };
    join(lane(SALTS[0]), lane(SALTS[1]))
}

/// 128 bits that depend on both numbers.
fn wide(seed: u64, word: u64) -> u128 {
    let lane = |salt: u64| scramble(scramble(seed ^ salt).wrapping_add(word));
    join(lane(SALTS[0]), lane(SALTS[1]))
}

fn join(high: u64, low: u64) -> u128 {
    u128::from(high) << 64 | u128::from(low)
}

fn low(hash: u128) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = hash.to_le_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood 2014).
const fn scramble(word: u64) -> u64 {
    let word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let word = (word ^ word >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let word = (word ^ word >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ word >> 31
}

/// Takes the low half of what is a hash already.
#[derive(Debug, Default)]
struct Passing(u64);

impl Hasher for Passing {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u128(&mut self, hash: u128) {
        self.0 = low(hash);
    }
}

//! What happened in a world: a running hash of all of it, counters of what kinds there were, and on
//! demand the text of it.

use std::{collections::BTreeMap, fmt::Write as _};

use parking_lot::Mutex;

use super::{
    coverage::{FAULTS, RARE},
    executor::{BEGIN, Nanos},
    random::mix,
};

/// Lines that are kept when a trace is asked for; the oldest go first.
const LINES_MAX: usize = 200_000;

/// The trace of one world.
#[derive(Debug)]
pub(super) struct Trace {
    state: Mutex<State>,
    is_kept: bool,
}

#[derive(Debug, Default)]
struct State {
    hash: u64,
    lines: std::collections::VecDeque<String>,
    coverage: BTreeMap<&'static str, u64>,
}

impl Trace {
    pub(super) fn new(is_kept: bool) -> Self {
        let never = FAULTS.iter().chain(&RARE).map(|name| (*name, 0)).collect();
        Self { state: Mutex::new(State { coverage: never, ..State::default() }), is_kept }
    }

    /// Takes in that `what` (made of these numbers) happened at `now`.
    pub(super) fn fold(&self, now: Nanos, what: &'static str, numbers: &[u64]) {
        let mut state = self.state.lock();
        let mut hash = mix(state.hash ^ now);
        hash = mix(hash ^ hash_bytes(what.as_bytes()));
        for number in numbers {
            hash = mix(hash ^ number);
        }
        state.hash = hash;
        *state.coverage.entry(what).or_default() += 1;
    }

    /// As [`fold`](Self::fold), with a line for people.
    pub(super) fn note(
        &self,
        now: Nanos,
        what: &'static str,
        numbers: &[u64],
        text: impl FnOnce() -> String,
    ) {
        self.fold(now, what, numbers);
        if !self.is_kept {
            return;
        }
        let mut line = String::new();
        let ms = now.saturating_sub(BEGIN) / 1_000_000;
        // Writing into a string cannot fail.
        write!(line, "{:>4}.{:03} {what}: {}", ms / 1000, ms % 1000, text()).ok();
        let mut state = self.state.lock();
        if state.lines.len() >= LINES_MAX {
            state.lines.pop_front();
        }
        state.lines.push_back(line);
    }

    /// Counts something that does not belong into the hash of its own.
    pub(super) fn count(&self, what: &'static str, by: u64) {
        *self.state.lock().coverage.entry(what).or_default() += by;
    }

    pub(super) fn hash(&self) -> u64 {
        self.state.lock().hash
    }

    pub(super) fn coverage(&self) -> BTreeMap<&'static str, u64> {
        self.state.lock().coverage.clone()
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.state.lock().lines.iter().cloned().collect()
    }
}

/// FNV-1a, 64 bits.
pub(super) fn hash_bytes(bytes: &[u8]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold)
}

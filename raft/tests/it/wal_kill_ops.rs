//! What a group's log is asked to do, one after another, as it follows from a seed: the process that
//! is killed does it, and the one that killed it works out what may be there.

use bytes::Bytes;
use hexpop_raft::{
    Split,
    wal::{LogEntry, LogPosition, LogVote, NewGroup},
};

use crate::wal_model::{GroupModel, entry};

/// How many entries a group holds before it purges.
const ENTRIES_MAX: usize = 60;

#[derive(Debug, Clone)]
pub(crate) enum Op {
    Create(NewGroup),
    Append(Vec<LogEntry>),
    Vote(LogVote),
    Truncate(u64),
    Purge(LogPosition),
    Destroy,
}

/// The operations of one group from a state on.
#[derive(Debug)]
pub(crate) struct Ops {
    rng: Split,
    pub(crate) state: GroupModel,
}

impl Ops {
    pub(crate) fn new(seed: u64, group: u64, state: GroupModel) -> Self {
        let mut mix = Split::new(seed);
        for _ in 0..group {
            mix.next_u64();
        }
        Self { rng: Split::new(mix.next_u64()), state }
    }

    /// The next operation, and what the log may be found as once it was begun: after each of its
    /// records, the last one being all of it.
    pub(crate) fn next(&mut self) -> (Op, Vec<GroupModel>) {
        let op = self.choose();
        let states = match &op {
            Op::Append(entries) => entries
                .iter()
                .map(|entry| {
                    if self.state.entries.is_empty() {
                        self.state.first = entry.index;
                    }
                    self.state.entries.push(entry.clone());
                    self.state.clone()
                })
                .collect(),
            other => {
                self.apply(other);
                vec![self.state.clone()]
            }
        };
        (op, states)
    }

    fn apply(&mut self, op: &Op) {
        let state = &mut self.state;
        match op {
            Op::Create(new) => {
                let votes = [state.vote, new.vote].into_iter().flatten();
                *state = GroupModel {
                    alive: true,
                    about: new.about.clone(),
                    vote: votes.max_by_key(|vote| (vote.term, vote.committed)),
                    purged: new.purged,
                    first: new.purged.map_or(0, |purged| purged.index + 1),
                    entries: Vec::new(),
                };
            }
            Op::Append(entries) => state.entries.extend(entries.iter().cloned()),
            Op::Vote(vote) => state.vote = Some(*vote),
            Op::Truncate(from) => {
                state.entries.truncate((from - state.first) as usize);
                if state.entries.is_empty() {
                    state.first = state.purged.map_or(0, |purged| purged.index + 1);
                }
            }
            Op::Purge(upto) => {
                state.entries.retain(|entry| entry.index > upto.index);
                state.first = state.first.max(upto.index + 1);
                state.purged = Some(*upto);
            }
            Op::Destroy => *state = GroupModel { vote: state.vote, ..GroupModel::default() },
        }
    }

    /// The highest term that the log knows of.
    fn term(&self) -> u64 {
        let entries = self.state.entries.last().map(|entry| entry.term);
        let purged = self.state.purged.map(|purged| purged.term);
        let vote = self.state.vote.map(|vote| vote.term);
        [entries, purged, vote].into_iter().flatten().max().unwrap_or(1)
    }

    fn choose(&mut self) -> Op {
        let term = self.term();
        let Self { rng, state } = self;
        if !state.alive {
            let about = Bytes::from(vec![7; rng.below(40) as usize]);
            let purged = (rng.below(2) == 0).then(|| LogPosition { term, index: rng.below(50) });
            return Op::Create(NewGroup { about, vote: None, purged });
        }
        let begun = state.purged.is_some() || !state.entries.is_empty();
        match rng.below(64) {
            _ if state.entries.len() > ENTRIES_MAX => {
                let upto = state.first + rng.below(state.entries.len() as u64);
                Op::Purge(LogPosition { term, index: upto })
            }
            0..=5 => {
                let node = rng.below(3);
                Op::Vote(LogVote { term: term + 1, node, committed: rng.below(2) == 0 })
            }
            6..=9 if !state.entries.is_empty() => {
                Op::Truncate(state.next() - 1 - rng.below(state.entries.len().min(4) as u64))
            }
            10..=12 if begun => {
                let upto = state.first + rng.below(state.entries.len() as u64 + 2);
                Op::Purge(LogPosition { term, index: upto })
            }
            13 => Op::Destroy,
            _ => {
                let first = state.next();
                let count = 1 + rng.below(4);
                let sized = |index| {
                    // Mostly small, some over a page.
                    let bytes = if rng.below(16) == 0 { rng.below(9000) } else { rng.below(500) };
                    entry(index, term, bytes as usize)
                };
                Op::Append((first..first + count).map(sized).collect())
            }
        }
    }
}

//! Whether there is an order for a key, or for a part of what happened to it.

use std::sync::atomic::AtomicBool;

use super::{
    facts::Key,
    model::Duty,
    operation::Head,
    prepare::{Leniency, Part, prepare},
    report::Verdict,
    search::{Budget, Found, search},
};

/// The seed of searches, and the one of those that confirm a violation.
const SEEDS: [u64; 2] = [0x3c6e_f372_fe94_f82b, 0xa54f_f53a_5f1d_36f1];

/// Decides on parts of one key.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub(super) head: &'a Head,
    pub(super) key: &'a Key,
    pub(super) states_max: u64,
    pub(super) stop: &'a AtomicBool,
    /// States looked at so far.
    pub(super) states: u64,
}

impl Judge<'_> {
    /// Whether an order of `parts` explains all answers.
    ///
    /// What may have happened is first taken as free: it may then come more than once, which needs no
    /// memory of what came, so that a hundred timed-out writes do not make 2^100 configurations. If there is no order
    /// even so, there is none; if none of them comes twice in the order that is found, it is one.
    /// Only else is it searched for in earnest.
    pub(super) fn decide(&mut self, parts: &[Part], lenient: Leniency) -> Verdict {
        let mut left = self.states_max;
        let with = |duty: Duty| -> Vec<Part> {
            let exchange = |part: &Part| match part.duty {
                Duty::May => Part { duty, ..*part },
                Duty::Must | Duty::Free => *part,
            };
            parts.iter().map(exchange).collect()
        };
        let has_may = parts.iter().any(|part| part.duty == Duty::May);
        match self.look(&with(Duty::Free), lenient, &mut left) {
            Found::NoOrder => Verdict::Violated,
            Found::GaveUp => Verdict::Undecided,
            Found::Order { exact } if exact || !has_may => Verdict::Holds,
            Found::Order { .. } => match self.look(&with(Duty::May), lenient, &mut left) {
                Found::NoOrder => Verdict::Violated,
                Found::GaveUp => Verdict::Undecided,
                Found::Order { .. } => Verdict::Holds,
            },
        }
    }

    fn look(&mut self, parts: &[Part], lenient: Leniency, left: &mut u64) -> Found {
        let problem = prepare(self.head, self.key, parts, lenient);
        let mut found = Found::NoOrder;
        for seed in SEEDS {
            let mut budget = Budget { left: *left, stop: self.stop };
            found = search(&problem, seed, &mut budget);
            self.states = self.states.saturating_add(left.saturating_sub(budget.left));
            *left = budget.left;
            // What was found needs no confirmation; an order is its own proof.
            if found != Found::NoOrder {
                break;
            }
        }
        found
    }
}

//! For how long placement leaves a group alone that an operation changes.

use std::{ops::Add, time::Duration};

/// For how long a hold counts in another term than that in which it was set: a leader that is elected anew at
/// once must not undo what the operation has done, whose next errand comes sooner than that.
const BEYOND_TERM: Duration = Duration::from_secs(5);

/// As a leader was told by the last errand. It goes not far beyond that leadership: that the operation has ended
/// is told to whoever leads by then, and one that leads again later would not hear of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hold<I> {
    /// The term in which it was set.
    pub(super) term: u64,
    /// When it was.
    pub(super) set: I,
    /// When it ends.
    pub(super) until: I,
}

impl<I: Copy + Ord + Add<Duration, Output = I>> Hold<I> {
    /// Whether it counts in a term.
    pub(super) fn holds(&self, term: u64, now: I) -> bool {
        now < self.until && (term == self.term || now < self.set + BEYOND_TERM)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_lasts_as_told_in_its_term_and_for_a_moment_in_another() {
        // Since some beginning.
        let set = Duration::from_secs(100);
        let after = |seconds| set + Duration::from_secs(seconds);
        let hold = Hold { term: 3, set, until: after(60) };
        assert!(hold.holds(3, after(59)) && !hold.holds(3, after(60)));
        assert!(hold.holds(5, after(4)) && !hold.holds(5, after(5)));
        // Let go of.
        let gone = Hold { until: set, ..hold };
        assert!(!gone.holds(3, set) && !gone.holds(5, set));
    }
}

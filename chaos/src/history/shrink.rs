//! From a violated key to a handful of operations that cannot all be true.
//!
//! What may be left out so that the rest still proves something? Suppose there were an order of
//! everything in which all answers are true. Then it would remain one
//!
//! - without an operation that only saw something: nothing depends on it;
//! - if a write were free to happen or not, in its own time: in that order it happens, in its time;
//! - if it ended at some moment: what ended before is in it, writes that began before may be, and
//!   nothing else is.
//!
//! So as long as the rest has no order, the whole has none, and the rest is a proof. A write is never
//! simply removed: another answer may depend on it, and the rest would be wrong for a wrong reason.
//! Nor does the rest borrow from what was left out: bounds that follow from other operations are worked
//! out anew from what is there (`prepare`).

use super::{
    judge::Judge,
    model::Duty,
    prepare::{Leniency, Part},
    report::Verdict,
};

/// The smallest proof that was found, out of `parts`, which have no order.
pub(super) fn shrink(judge: &mut Judge<'_>, parts: Vec<Part>) -> Vec<Part> {
    let free = with_free_writes(&parts);
    // What may have happened is left free where that suffices.
    let parts = if is_violated(judge, &free) { free } else { parts };
    let parts = first_moment(judge, parts);
    thin_out(judge, parts)
}

fn is_violated(judge: &mut Judge<'_>, parts: &[Part]) -> bool {
    judge.decide(parts, Leniency::default()) == Verdict::Violated
}

fn with_free_writes(parts: &[Part]) -> Vec<Part> {
    let exchange = |part: &Part| match part.duty {
        Duty::May => Part { duty: Duty::Free, ..*part },
        Duty::Must | Duty::Free => *part,
    };
    parts.iter().map(exchange).collect()
}

/// What there was at the first moment at which it could no longer be true.
fn first_moment(judge: &mut Judge<'_>, parts: Vec<Part>) -> Vec<Part> {
    let mut ends: Vec<u64> = parts
        .iter()
        .filter(|part| part.duty == Duty::Must)
        .filter_map(|part| judge.key.facts.get(part.fact).map(|fact| fact.end))
        .collect();
    ends.sort_unstable();
    ends.dedup();
    // Violated at the end of what `high` stands for, not known to be before `low`.
    let (mut low, mut high) = (0, ends.len().saturating_sub(1));
    let mut proof = parts.clone();
    while low < high {
        let middle = low.midpoint(high);
        let Some(end) = ends.get(middle) else { break };
        let until = parts_until(judge, &parts, *end);
        if is_violated(judge, &until) {
            high = middle;
            proof = until;
        } else {
            low = middle + 1;
        }
    }
    proof
}

fn parts_until(judge: &Judge<'_>, parts: &[Part], end: u64) -> Vec<Part> {
    let cut = |part: &Part| -> Option<Part> {
        let fact = judge.key.facts.get(part.fact)?;
        match part.duty {
            _ if fact.start > end => None,
            Duty::Must if fact.end <= end => Some(*part),
            Duty::Must if fact.sees_only() => None,
            Duty::Must => Some(Part { duty: Duty::Free, ..*part }),
            Duty::May | Duty::Free => Some(*part),
        }
    };
    parts.iter().filter_map(cut).collect()
}

/// Leaves out whatever it can: halves, quarters and so on, the oldest first, so that what remains is
/// close together in time; single ones until none can go.
fn thin_out(judge: &mut Judge<'_>, mut parts: Vec<Part>) -> Vec<Part> {
    let mut chunk = duties(&parts).len().div_ceil(2);
    while chunk > 0 {
        let fewer = thin_out_by(judge, &parts, chunk);
        let is_done = fewer.len() == parts.len() && duties(&fewer) == duties(&parts);
        parts = fewer;
        chunk = match chunk {
            1 if is_done => 0,
            1 => 1,
            _ => chunk.div_ceil(2),
        };
    }
    parts
}

fn thin_out_by(judge: &mut Judge<'_>, parts: &[Part], chunk: usize) -> Vec<Part> {
    let mut parts = parts.to_vec();
    let mut begin = 0;
    loop {
        let duties = duties(&parts);
        let end = duties.len().min(begin + chunk);
        let Some(chosen) = duties.get(begin..end).filter(|chosen| !chosen.is_empty()) else {
            return parts;
        };
        let without = without(judge, &parts, chosen);
        if is_violated(judge, &without) {
            parts = without;
        } else {
            begin += chunk;
        }
    }
}

/// The places of what must have happened.
fn duties(parts: &[Part]) -> Vec<usize> {
    let must = parts.iter().enumerate().filter(|(_place, part)| part.duty == Duty::Must);
    must.map(|(place, _part)| place).collect()
}

/// `chosen`, in order, no longer counts: sights go, writes become free.
fn without(judge: &Judge<'_>, parts: &[Part], chosen: &[usize]) -> Vec<Part> {
    let thin = |(place, part): (usize, &Part)| -> Option<Part> {
        if chosen.binary_search(&place).is_err() {
            return Some(*part);
        }
        let fact = judge.key.facts.get(part.fact)?;
        (!fact.sees_only()).then_some(Part { duty: Duty::Free, ..*part })
    };
    parts.iter().enumerate().filter_map(thin).collect()
}

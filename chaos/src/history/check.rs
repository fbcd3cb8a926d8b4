//! The check of a whole history: key by key.

use std::{
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use super::{
    explain, facts,
    facts::Key,
    judge::Judge,
    model::Duty,
    operation::{Head, History},
    prepare::{Leniency, Part},
    report::{Options, Report, Verdict, Violation},
};

/// Checks every key of `history`. Once `stop` is set, what has not been checked stays undecided.
///
/// Deterministic: the same history and options give the same report, unless it is stopped.
#[must_use]
pub fn check(history: &History, options: &Options, stop: &AtomicBool) -> Report {
    let keys = facts::keys(history);
    let judged = in_parallel(&keys, options.threads, |key| {
        let mut judge = judge(&history.head, key, options, stop);
        let verdict = match explain::evident(history, key) {
            Some(_violation) => Verdict::Violated,
            None => judge.decide(&all_parts(key), Leniency::default()),
        };
        let verdict = match verdict {
            // Strong reads alone may be decided where all together are too many.
            Verdict::Undecided => match judge.decide(&strong_parts(key), Leniency::default()) {
                Verdict::Violated => Verdict::Violated,
                Verdict::Holds | Verdict::Undecided => Verdict::Undecided,
            },
            verdict @ (Verdict::Holds | Verdict::Violated) => verdict,
        };
        (verdict, judge.states)
    });
    let with = |verdict: Verdict| -> Vec<&Key> {
        let keys = keys.iter().zip(&judged);
        keys.filter(|(_key, (is, _states))| *is == verdict).map(|(key, _judged)| key).collect()
    };
    let violated = with(Verdict::Violated);
    let explained: Vec<&Key> = violated.iter().take(options.explained_max).copied().collect();
    let violations = in_parallel(&explained, options.threads, |key| {
        let mut judge = judge(&history.head, key, options, stop);
        explain_one(history, &mut judge)
    });
    Report {
        operations: history.operations.len(),
        keys: keys.len(),
        held: with(Verdict::Holds).len(),
        violated: violated.len(),
        undecided: with(Verdict::Undecided)
            .into_iter()
            .map(|key| (key.space, key.name.clone()))
            .collect(),
        states: judged.iter().map(|(_verdict, states)| *states).sum(),
        violations,
    }
}

fn judge<'a>(head: &'a Head, key: &'a Key, options: &Options, stop: &'a AtomicBool) -> Judge<'a> {
    Judge { head, key, states_max: options.states_max.max(1), stop, states: 0 }
}

fn explain_one(history: &History, judge: &mut Judge<'_>) -> Violation {
    if let Some(violation) = explain::evident(history, judge.key) {
        return violation;
    }
    let strong = strong_parts(judge.key);
    let is_strong = judge.decide(&strong, Leniency::default()) == Verdict::Violated;
    explain::explain(history, judge, if is_strong { strong } else { all_parts(judge.key) })
}

/// Everything that was promised.
fn all_parts(key: &Key) -> Vec<Part> {
    (0..key.facts.len()).filter_map(|fact| part(key, fact)).collect()
}

/// What was promised to be current.
fn strong_parts(key: &Key) -> Vec<Part> {
    let is_strong =
        |fact: &usize| key.facts.get(*fact).is_some_and(|fact| fact.reach == facts::Reach::Current);
    (0..key.facts.len()).filter(is_strong).filter_map(|fact| part(key, fact)).collect()
}

fn part(key: &Key, fact: usize) -> Option<Part> {
    let duty = if key.facts.get(fact)?.is_known { Duty::Must } else { Duty::May };
    Some(Part { fact, duty })
}

/// `work` on each of `items`, on so many threads; the results are in the order of the items.
fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    threads: usize,
    work: impl Fn(&T) -> R + Sync,
) -> Vec<R> {
    let threads = threads.clamp(1, items.len().max(1));
    if threads == 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let worker = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return done };
            done.push((index, work(item)));
        }
    };
    let mut done: Vec<(usize, R)> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_thread| scope.spawn(worker)).collect();
        let joined = workers.into_iter().flat_map(|worker| match worker.join() {
            Ok(done) => done,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        joined.collect()
    });
    done.sort_by_key(|(index, _result)| *index);
    done.into_iter().map(|(_index, result)| result).collect()
}

//! Who stands for election, and when.
//!
//! openraft's own election timers are off. A follower with a timer of its own notices a dead leader as
//! soon, but stands only after the lease *and* a random wait, and a thousand of them stand at once, so
//! that all of them time out. Here the voters of a group take turns from the moment on that its leader's
//! lease ends, in an order that all of them come to by themselves; a node's death costs its groups the
//! lease and one election, and groups that were parked under it, not even the lease. And no node seeks
//! leaders for more than [`SEEKING_MAX`] groups at a time.
//!
//! **It decides nothing**: a turn is a pre-vote that anybody who still hears the leader refuses. If a
//! pair is lost without a fault, nothing happens.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

use hexpop_edge_config::{GroupId, RaftId};
use openraft::{AsyncRuntime, Instant as _, async_runtime::Select2};

use super::{Pairs, table};
use crate::{group::Group, host::Inner};

/// How many groups seek a leader at a time.
const SEEKING_MAX: usize = 64;

/// How many times the pause between two attempts doubles.
const DOUBLED_MAX: u32 = 2;

/// The attempts to get groups a leader, by group, since a leader of theirs was heard last.
type Attempts<I> = BTreeMap<GroupId, Attempt<I>>;

#[derive(Debug, Clone, Copy)]
struct Attempt<I> {
    /// When the last was made.
    at: I,
    /// How many were.
    times: u32,
}

/// What decides when a voter stands for election.
#[derive(Debug, Clone, Copy)]
struct Standing<I> {
    /// When a leader or a candidate with this voter's vote was heard last.
    heard: I,
    /// When the group was woken last; nothing was to be heard before.
    woken: I,
    /// Whether the leader's node is gone, or none is known.
    is_leaderless: bool,
    /// This voter's place among those that can stand, and how many they are.
    place: u32,
    of: u32,
}

/// The times of a group.
#[derive(Debug, Clone, Copy)]
struct Timers {
    /// A beat is long enough for an election where the timers fit the way between the voters.
    beat: Duration,
    election_min: Duration,
    /// For how long voters vote for nobody else after they heard a leader.
    lease: Duration,
}

impl<I: openraft::Instant> Standing<I> {
    /// When it is this voter's turn.
    fn turn(&self, timers: Timers, attempt: Option<Attempt<I>>) -> I {
        let Timers { beat, election_min, lease } = timers;
        let from = if self.is_leaderless {
            self.heard + lease
        } else {
            self.heard.max(self.woken) + lease + election_min
        };
        // The others heard the leader at about the same time, not at the same.
        let first = from + beat / 8 + beat * self.place;
        match attempt {
            None => first,
            Some(Attempt { at, times }) => {
                let round = beat * self.of.max(2);
                first.max(at + round * (1 << times.saturating_sub(1).min(DOUBLED_MAX)))
            }
        }
    }
}

/// Has groups without a leader elect one; ends when the host closes.
pub(super) fn spawn<R: AsyncRuntime>(inner: &Arc<Inner<R>>) {
    let inner = Arc::clone(inner);
    drop(R::spawn(async move {
        let mut attempts = Attempts::new();
        loop {
            let next = step(&inner, &mut attempts).await;
            let waited = R::timeout_at(next, inner.wake_standing.notified());
            if matches!(R::select2(inner.closed(), waited).await, Select2::First(())) {
                return;
            }
        }
    }));
}

/// Stands for election where it is this node's turn; answers when to look again.
async fn step<R: AsyncRuntime>(
    inner: &Inner<R>,
    attempts: &mut Attempts<R::Instant>,
) -> R::Instant {
    let (due, next) = due(inner, attempts);
    for (times, group) in due {
        inner.metrics.pairs.elections.inc();
        if let Err(error) = group.raft.trigger().elect(true).await {
            tracing::debug!(group = %group.id, %error, "a stopped replica does not stand");
        }
        attempts.insert(group.id, Attempt { at: R::Instant::now(), times: times + 1 });
    }
    next
}

/// A group whose turn it is, and how many attempts it had.
type Due<R> = (u32, Arc<Group<R>>);

/// Where it is this node's turn, as many as there is room for; and when to look again.
fn due<R: AsyncRuntime>(
    inner: &Inner<R>,
    attempts: &mut Attempts<R::Instant>,
) -> (Vec<Due<R>>, R::Instant) {
    let timers = Timers {
        beat: inner.options.heartbeat,
        election_min: inner.options.election_min,
        lease: inner.options.election_max,
    };
    let now = R::Instant::now();
    let mut next = now + timers.beat;
    let running = inner.running();
    attempts.retain(|id, _| running.binary_search_by_key(id, |group| group.id).is_ok());
    let mut under_way = 0;
    let mut due = Vec::new();
    // Looked at before the pairs are locked: a state may be locked for as long as a snapshot takes.
    let (able, unable): (Vec<_>, Vec<_>) = running.into_iter().partition(|group| {
        !(group.sleeps() || group.leads() || group.in_grace() || group.fault().is_some())
    });
    for group in unable {
        attempts.remove(&group.id);
    }
    let pairs = inner.pairs.lock();
    for group in able {
        let Some(standing) = standing(inner, &pairs, &group) else {
            attempts.remove(&group.id);
            continue;
        };
        let attempt = attempts.get(&group.id).copied().filter(|last| standing.heard <= last.at);
        if attempt.is_none() {
            attempts.remove(&group.id);
        }
        let turn = standing.turn(timers, attempt);
        if turn <= now {
            due.push((attempt.map_or(0, |last| last.times), Reverse(standing.heard), group));
            continue;
        }
        next = next.min(turn);
        if attempt.is_some_and(|last| now < last.at + timers.election_min) {
            under_way += 1;
        }
    }
    drop(pairs);
    // Those first that nobody tried yet, and of them those that somebody may wait for.
    due.sort_by_key(|(times, heard, group)| (*times, *heard, group.id));
    let room = SEEKING_MAX.saturating_sub(under_way);
    if due.len() > room {
        next = next.min(now + timers.beat / 4);
    }
    let due = due.into_iter().take(room).map(|(times, _, group)| (times, group)).collect();
    (due, next)
}

/// What decides when this node's replica of a group, which is awake, does not lead and may vote, stands
/// for election; `None` if it is no voter.
fn standing<R: AsyncRuntime>(
    inner: &Inner<R>,
    pairs: &Pairs<R::Instant>,
    group: &Group<R>,
) -> Option<Standing<R::Instant>> {
    let (voters, leader): (Vec<RaftId>, _) = group.with_metrics(|metrics| {
        let voters = metrics.membership_config.membership().voter_ids();
        (voters.map(RaftId).collect(), metrics.current_leader.map(RaftId))
    });
    let heard = group.heard_leader();
    let is_gone = |raft: RaftId| pairs.is_gone(raft, heard);
    let is_leaderless = leader.is_none_or(|raft| raft == inner.raft || is_gone(raft));
    let gone = leader.filter(|_| is_leaderless);
    let able: Vec<RaftId> = voters
        .into_iter()
        .filter(|voter| *voter == inner.raft || (Some(*voter) != gone && !pairs.is_lost(*voter)))
        .collect();
    let (place, of) = table::rank(inner.raft, group.id, &able)?;
    Some(Standing { heard, woken: group.woken(), is_leaderless, place, of })
}

#[cfg(test)]
mod tests {
    use openraft_rt_tokio::TokioInstant;

    use super::*;

    const TIMERS: Timers = Timers {
        beat: Duration::from_millis(80),
        election_min: Duration::from_millis(250),
        lease: Duration::from_millis(330),
    };

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn voters_take_turns_from_the_end_of_the_lease_on() {
        let heard = TokioInstant::now();
        let standing =
            |place, is_leaderless| Standing { heard, woken: heard, is_leaderless, place, of: 2 };
        assert_eq!(standing(0, true).turn(TIMERS, None), heard + ms(340));
        assert_eq!(standing(1, true).turn(TIMERS, None), heard + ms(420));
        // Who is only silent may speak again.
        assert_eq!(standing(0, false).turn(TIMERS, None), heard + ms(590));
        // Woken after a long sleep, it has not been silent for long.
        let woken = Standing { woken: heard + ms(9000), ..standing(0, false) };
        assert_eq!(woken.turn(TIMERS, None), heard + ms(9590));
        // A leader whose node died while the group slept was heard long ago: nobody waits.
        let forsaken = Standing { woken: heard + ms(9000), ..standing(1, true) };
        assert_eq!(forsaken.turn(TIMERS, None), heard + ms(420));
    }

    #[test]
    fn attempts_become_rarer_and_never_cease() {
        let heard = TokioInstant::now();
        let standing = Standing { heard, woken: heard, is_leaderless: true, place: 1, of: 3 };
        let after = |times| standing.turn(TIMERS, Some(Attempt { at: heard + ms(1000), times }));
        let pauses = [1, 2, 3, 4, 900].map(|times| after(times) - (heard + ms(1000)));
        assert_eq!(pauses, [ms(240), ms(480), ms(960), ms(960), ms(960)]);
    }
}

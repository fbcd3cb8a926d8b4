//! Which groups are parked, and under whom: pure, with the time passed in.
//!
//! A parked group costs nothing: its leader sends no heartbeats, its followers wait for none. What
//! holds it together is a promise that every replica gave its leader, for a term: *I stand for no
//! election and vote for nobody while I hear your node.* One beat between two nodes renews the
//! promises of all groups between them: it carries a digest of what is parked under its sender.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use hexpop_edge_config::{
    GroupId, RaftId,
    planted::{self, Bug},
};
use openraft::Instant;

use super::table::mix;
use crate::rpc::ParkOffer;

/// The most beats to a peer that are remembered.
const BEATS_MAX: usize = 8;

/// Beats that a peer may answer with another digest before all promises are asked for anew.
const MISSES_MAX: u32 = 2;

/// A group that is parked under this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Led {
    /// The term in which this node leads it.
    pub(crate) term: u64,
    /// The last entry of its log, which every replica that is asleep has applied.
    pub(crate) index: u64,
    /// Its other replicas that are asleep.
    pub(crate) asleep: BTreeSet<RaftId>,
    /// Its other replicas, whether they are asleep or could not be reached.
    pub(crate) others: BTreeSet<RaftId>,
    /// Those that vote, this node's own among them.
    pub(crate) voters: BTreeSet<RaftId>,
}

impl Led {
    /// Whether those that promised, and the leader itself, are a quorum.
    pub(crate) fn is_held(&self) -> bool {
        let promised = |raft: &&RaftId| !self.others.contains(*raft) || self.asleep.contains(*raft);
        self.voters.iter().filter(promised).count() > self.voters.len() / 2
    }
}

/// What this node promised about a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Under<I> {
    pub(crate) leader: RaftId,
    pub(crate) term: u64,
    pub(crate) index: u64,
    /// The leader woke it, or leads it no more: until then its next heartbeat is waited for.
    pub(crate) waking: Option<I>,
}

/// A node that is asleep in groups that are parked under this one.
#[derive(Debug)]
struct Sleeper<I> {
    groups: usize,
    /// In how many of them it votes: only what voters promise says that nobody else leads.
    voting: usize,
    digest: u64,
    /// When all of them were certain last.
    confirmed: I,
    /// Beats since that it answered otherwise.
    misses: u32,
    /// The last beats to it, which it may still confirm.
    beats: VecDeque<Beat<I>>,
}

/// A beat to a sleeper.
#[derive(Debug)]
struct Beat<I> {
    sent: I,
    digest: u64,
    /// Of the groups that came since, when the one was proven that was proven first.
    since: Option<I>,
}

/// A node under which groups of this one are parked.
#[derive(Debug)]
struct Leader<I> {
    /// Of which of its lives.
    start: u64,
    groups: BTreeSet<GroupId>,
    digest: u64,
    /// When it was asked, and how long before it was sure that nobody else led.
    closed: Option<(I, Duration)>,
}

/// All groups that are parked here.
#[derive(Debug)]
pub(crate) struct Parked<I> {
    led: BTreeMap<GroupId, Led>,
    sleepers: BTreeMap<RaftId, Sleeper<I>>,
    under: BTreeMap<GroupId, Under<I>>,
    leaders: BTreeMap<RaftId, Leader<I>>,
}

impl<I> Default for Parked<I> {
    fn default() -> Self {
        Self {
            led: BTreeMap::new(),
            sleepers: BTreeMap::new(),
            under: BTreeMap::new(),
            leaders: BTreeMap::new(),
        }
    }
}

/// The part of a digest that one group makes; the parts are combined by exclusive or.
const fn part(group: GroupId, term: u64) -> u64 {
    mix(mix(group.0).wrapping_add(term))
}

/// How old what was certain at `oldest` is; a leader that needs nobody is certain now.
fn age<I: Instant>(oldest: Option<I>, now: I) -> Duration {
    oldest.map_or(Duration::ZERO, |at| now.saturating_duration_since(at))
}

/// `peer` sleeps in `group`, which was proven to have no other leader at `proven`.
fn count_in<I: Instant>(
    sleepers: &mut BTreeMap<RaftId, Sleeper<I>>,
    group: GroupId,
    led: &Led,
    peer: RaftId,
    proven: I,
) {
    let sleeper = sleepers.entry(peer).or_insert_with(|| Sleeper {
        groups: 0,
        voting: 0,
        digest: 0,
        confirmed: proven,
        misses: 0,
        beats: VecDeque::new(),
    });
    sleeper.groups += 1;
    sleeper.voting += usize::from(led.voters.contains(&peer));
    sleeper.digest ^= part(group, led.term);
    // What was confirmed before, or is on its way, was not about this group.
    sleeper.confirmed = sleeper.confirmed.min(proven);
    for beat in &mut sleeper.beats {
        beat.since = Some(beat.since.map_or(proven, |first| first.min(proven)));
    }
}

fn count_out<I>(
    sleepers: &mut BTreeMap<RaftId, Sleeper<I>>,
    group: GroupId,
    led: &Led,
    peer: RaftId,
) {
    if let Some(sleeper) = sleepers.get_mut(&peer) {
        sleeper.groups -= 1;
        sleeper.voting -= usize::from(led.voters.contains(&peer));
        sleeper.digest ^= part(group, led.term);
        if sleeper.groups == 0 {
            sleepers.remove(&peer);
        }
    }
}

impl<I: Instant> Parked<I> {
    /// Parks a group that this node leads; at `proven` it was certain that nobody else did.
    pub(crate) fn park(&mut self, group: GroupId, led: Led, proven: I) {
        self.wake_led(group);
        for peer in &led.asleep {
            count_in(&mut self.sleepers, group, &led, *peer, proven);
        }
        self.led.insert(group, led);
    }

    /// A sleeper is not heard any more: its groups stay parked without it where the others are enough. Answers those where they are not: nothing newer is claimed of them than was
    /// confirmed last, and they are to be woken.
    pub(crate) fn do_without(&mut self, peer: RaftId) -> Vec<GroupId> {
        let mut not_held = Vec::new();
        for (group, led) in &mut self.led {
            if !led.asleep.remove(&peer) {
                continue;
            }
            if led.is_held() || planted::has(Bug::ParkedWithoutQuorum) {
                count_out(&mut self.sleepers, *group, led, peer);
            } else {
                led.asleep.insert(peer);
                not_held.push(*group);
            }
        }
        not_held
    }

    /// All groups that are parked under this node, with their terms.
    pub(crate) fn all_led(&self) -> Vec<(GroupId, u64)> {
        self.led.iter().map(|(group, led)| (*group, led.term)).collect()
    }

    /// Forgets that a group is parked under this node; `false` if it was not.
    pub(crate) fn wake_led(&mut self, group: GroupId) -> bool {
        let Some(led) = self.led.remove(&group) else { return false };
        for peer in &led.asleep {
            count_out(&mut self.sleepers, group, &led, *peer);
        }
        true
    }

    /// A group that is parked under this node.
    pub(crate) fn led(&self, group: GroupId) -> Option<&Led> {
        self.led.get(&group)
    }

    /// Everything that is parked under this node and asleep on `peer`.
    pub(crate) fn led_with(&self, peer: RaftId) -> Vec<(GroupId, Led)> {
        let with = self.led.iter().filter(|(_, led)| led.asleep.contains(&peer));
        with.map(|(group, led)| (*group, led.clone())).collect()
    }

    /// What to offer `peer`: the groups under this node with a replica there that is not asleep.
    pub(crate) fn led_without(&self, peer: RaftId) -> Vec<ParkOffer> {
        let without = |led: &Led| led.others.contains(&peer) && !led.asleep.contains(&peer);
        let led = self.led.iter().filter(|(_, led)| without(led));
        led.map(|(group, led)| ParkOffer { group: *group, term: led.term, index: led.index })
            .collect()
    }

    /// `peer`, asked at `sent`, accepted an offer; it is of no use if the group was woken meanwhile.
    pub(crate) fn admit(&mut self, offer: ParkOffer, peer: RaftId, sent: I) {
        let ParkOffer { group, term, index } = offer;
        let Some(led) = self.led.get_mut(&group) else { return };
        let is_same = led.term == term && led.index == index;
        if is_same && led.others.contains(&peer) && led.asleep.insert(peer) {
            count_in(&mut self.sleepers, group, led, peer, sent);
        }
    }

    /// A beat to `peer` is sent now: answers the digest that it carries.
    pub(crate) fn beat(&mut self, peer: RaftId, sent: I) -> u64 {
        let Some(sleeper) = self.sleepers.get_mut(&peer) else { return 0 };
        if sleeper.beats.len() == BEATS_MAX {
            sleeper.beats.pop_front();
        }
        let digest = sleeper.digest;
        sleeper.beats.push_back(Beat { sent, digest, since: None });
        digest
    }

    /// The digest of what is asleep on `peer` under this node.
    pub(crate) fn digest_for(&self, peer: RaftId) -> u64 {
        self.sleepers.get(&peer).map_or(0, |sleeper| sleeper.digest)
    }

    /// `peer` confirmed the beat that was sent at `sent` with `digest`, or said that it knows otherwise.
    /// Answers whether it did so often enough in a row that it has to be told all: the first time may
    /// have crossed a change.
    pub(crate) fn confirm(&mut self, peer: RaftId, sent: I, digest: u64, confirmed: bool) -> bool {
        // It keeps promises that nobody counts on.
        let Some(sleeper) = self.sleepers.get_mut(&peer) else { return !confirmed };
        if confirmed {
            // It says nothing of the groups that came since, each of which was proven when it came.
            let beat = sleeper.beats.iter().find(|beat| beat.sent == sent && beat.digest == digest);
            if let Some(beat) = beat {
                let all = beat.since.map_or(sent, |first| first.min(sent));
                sleeper.confirmed = sleeper.confirmed.max(all);
            }
            sleeper.misses = 0;
            return false;
        }
        sleeper.misses = sleeper.misses.saturating_add(1);
        sleeper.misses.is_multiple_of(MISSES_MAX)
    }

    /// The nodes that sleep in groups under this one.
    pub(crate) fn sleepers(&self) -> Vec<RaftId> {
        self.sleepers.keys().copied().collect()
    }

    /// How long ago it was certain that nobody else leads what is parked under this node. `None` when
    /// nothing is that has another replica.
    ///
    /// Each of these groups has a quorum asleep, so that the oldest confirmation of a node that votes in
    /// any is a bound for all of them. One that only learns may be far away.
    pub(crate) fn closed_age(&self, now: I) -> Option<Duration> {
        if self.sleepers.is_empty() {
            return None;
        }
        let voting = self.sleepers.values().filter(|sleeper| sleeper.voting > 0);
        Some(age(voting.map(|sleeper| sleeper.confirmed).min(), now))
    }

    /// The last index of a group that is parked under this node, and how long ago that was certain to
    /// be all.
    pub(crate) fn closed_as_leader(&self, group: GroupId, now: I) -> Option<(u64, Duration)> {
        let led = self.led.get(&group)?;
        let voting = led.asleep.intersection(&led.voters);
        let confirmed = voting.filter_map(|peer| self.sleepers.get(peer));
        Some((led.index, age(confirmed.map(|sleeper| sleeper.confirmed).min(), now)))
    }

    /// Takes a promise down: this node's replica of a group sleeps under `leader`, in its life `start`.
    pub(crate) fn sleep(
        &mut self,
        group: GroupId,
        leader: RaftId,
        start: u64,
        term: u64,
        index: u64,
    ) {
        self.rouse(group);
        let fresh = Leader { start, groups: BTreeSet::new(), digest: 0, closed: None };
        let entry = self.leaders.entry(leader).or_insert(fresh);
        entry.start = start;
        entry.groups.insert(group);
        entry.digest ^= part(group, term);
        self.under.insert(group, Under { leader, term, index, waking: None });
    }

    /// Forgets a promise; `false` if there was none.
    pub(crate) fn rouse(&mut self, group: GroupId) -> bool {
        let Some(under) = self.under.remove(&group) else { return false };
        if under.waking.is_none()
            && let Some(leader) = self.leaders.get_mut(&under.leader)
        {
            leader.groups.remove(&group);
            leader.digest ^= part(group, under.term);
            if leader.groups.is_empty() {
                self.leaders.remove(&under.leader);
            }
        }
        true
    }

    /// The leader does not count on a promise any more; it is kept `until` its heartbeat comes, or then.
    pub(crate) fn expect_heartbeat(&mut self, group: GroupId, until: I) {
        let Some(under) = self.under.get(&group).copied() else { return };
        self.rouse(group);
        self.under.insert(group, Under { waking: Some(under.waking.unwrap_or(until)), ..under });
    }

    /// The groups whose leader was to send a heartbeat by now; their promises are forgotten.
    pub(crate) fn overdue(&mut self, now: I) -> Vec<GroupId> {
        let late = |under: &Under<I>| under.waking.is_some_and(|until| now >= until);
        let late = self.under.iter().filter(|(_, under)| late(under));
        let late: Vec<GroupId> = late.map(|(group, _)| *group).collect();
        for group in &late {
            self.rouse(*group);
        }
        late
    }

    /// The groups that sleep under `leader`, with their terms.
    pub(crate) fn sleeping_under(&self, leader: RaftId) -> Vec<(GroupId, u64)> {
        let Some(leader) = self.leaders.get(&leader) else { return Vec::new() };
        let groups = leader.groups.iter();
        groups.filter_map(|group| Some((*group, self.under.get(group)?.term))).collect()
    }

    /// Whether what sleeps here under `leader` is what it believes.
    pub(crate) fn agrees(&self, leader: RaftId, start: u64, digest: u64) -> bool {
        match self.leaders.get(&leader) {
            Some(known) => known.start == start && known.digest == digest,
            None => digest == 0,
        }
    }

    /// All promises to a leader that is gone are forgotten; answers the groups.
    pub(crate) fn forsake(&mut self, leader: RaftId) -> Vec<GroupId> {
        let promised = self.under.iter().filter(|(_, under)| under.leader == leader);
        let groups: Vec<GroupId> = promised.map(|(group, _)| *group).collect();
        for group in &groups {
            self.rouse(*group);
        }
        groups
    }

    /// `leader`, asked at `asked`, was sure `age` before that nobody else led what sleeps under it here.
    pub(crate) fn note_closed(&mut self, leader: RaftId, asked: I, age: Duration) {
        if let Some(known) = self.leaders.get_mut(&leader) {
            let news = asked.elapsed().saturating_add(age);
            let old = known.closed.map(|(asked, age)| asked.elapsed().saturating_add(age));
            if old.is_none_or(|old| news < old) {
                known.closed = Some((asked, age));
            }
        }
    }

    /// How old this node's replica of a sleeping group is at most, if it has applied `applied`.
    pub(crate) fn staleness(&self, group: GroupId, applied: u64) -> Option<Duration> {
        let under = self.under.get(&group)?;
        let (asked, age) = self.leaders.get(&under.leader)?.closed?;
        let valid = under.waking.is_none() && applied >= under.index;
        valid.then(|| asked.elapsed().saturating_add(age))
    }

    /// Whether this node must vote for nobody in a group: it leads it, or promised so.
    pub(crate) fn forbids_vote(&self, group: GroupId) -> bool {
        self.led.contains_key(&group) || self.under.contains_key(&group)
    }

    /// How many groups are parked under this node, and how many sleep here under others.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.led.len(), self.under.len())
    }
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::ShardId;
    use openraft_rt_tokio::TokioInstant;
    use proptest::prelude::*;

    use super::*;

    const LEADER: RaftId = RaftId(7);
    const FOLLOWER: RaftId = RaftId(8);
    const OTHER: RaftId = RaftId(9);
    const START: u64 = 3;
    const BEAT: Duration = Duration::from_millis(50);

    fn led(term: u64, asleep: &[RaftId]) -> Led {
        let others = BTreeSet::from([FOLLOWER, OTHER]);
        let voters = BTreeSet::from([LEADER, FOLLOWER, OTHER]);
        Led { term, index: 10 + term, asleep: asleep.iter().copied().collect(), others, voters }
    }

    #[test]
    fn a_group_stays_parked_without_a_peer_while_a_quorum_holds_it() {
        let now = TokioInstant::now();
        let mut parked = Parked::default();
        parked.park(ShardId(1), led(4, &[FOLLOWER, OTHER]), now);
        parked.park(ShardId(2), led(4, &[OTHER]), now);
        assert_eq!(parked.do_without(OTHER), [ShardId(2)]);
        assert_eq!(parked.led_without(OTHER), [offer(1)]);
        // The other one stays as it is until it is woken, and is as old as it was confirmed last.
        assert_eq!(parked.digest_for(OTHER), part(ShardId(2), 4));
        assert_eq!(parked.do_without(OTHER), [ShardId(2)]);
        assert_eq!(parked.closed_as_leader(ShardId(2), now + BEAT), Some((14, BEAT)));
        assert!(parked.wake_led(ShardId(2)));
        assert_eq!((parked.digest_for(OTHER), parked.do_without(OTHER)), (0, vec![]));
        assert_eq!(parked.do_without(FOLLOWER), [ShardId(1)]);
        assert_eq!((parked.counts(), parked.closed_age(now)), ((1, 0), Some(Duration::ZERO)));
    }

    #[test]
    fn what_is_closed_is_as_old_as_the_oldest_confirmation() {
        let start = TokioInstant::now();
        let mut parked = Parked::default();
        parked.park(ShardId(1), led(4, &[FOLLOWER, OTHER]), start);
        let digest = parked.digest_for(OTHER);
        for beat in 0..5 {
            assert_eq!(parked.beat(FOLLOWER, start + BEAT * beat), digest);
            assert_eq!(parked.beat(OTHER, start + BEAT * beat), digest);
        }
        parked.confirm(FOLLOWER, start + BEAT * 4, digest, true);
        parked.confirm(OTHER, start + BEAT, digest, true);
        // An answer that came late takes nothing back, and one about other groups confirms nothing.
        parked.confirm(OTHER, start, digest, true);
        assert!(!parked.confirm(OTHER, start + BEAT * 3, digest + 1, true));
        assert!(!parked.confirm(OTHER, start + BEAT * 3, digest, false));
        assert!(parked.confirm(OTHER, start + BEAT * 4, digest, false));
        // Whom nobody counts on is told so at once.
        assert!(parked.confirm(RaftId(99), start, 0, false));
        assert!(!parked.confirm(RaftId(99), start, 0, true));
        let now = start + BEAT * 5;
        assert_eq!(parked.closed_age(now), Some(BEAT * 4));
        assert_eq!(parked.closed_as_leader(ShardId(1), now), Some((14, BEAT * 4)));
        assert_eq!(parked.closed_as_leader(ShardId(2), now), None);
        assert!(parked.led_without(OTHER).is_empty());
        parked.park(ShardId(1), led(4, &[FOLLOWER]), now);
        assert_eq!(parked.led_without(OTHER), [offer(1)]);
        assert_eq!((parked.digest_for(OTHER), parked.sleepers()), (0, vec![FOLLOWER]));
        assert!(parked.wake_led(ShardId(1)) && !parked.wake_led(ShardId(1)));
        assert_eq!(parked.closed_age(now), None);
    }

    #[test]
    fn one_that_only_learns_makes_nothing_old() {
        let start = TokioInstant::now();
        let now = start + BEAT * 9;
        let learns =
            Led { voters: BTreeSet::from([LEADER, FOLLOWER]), ..led(4, &[FOLLOWER, OTHER]) };
        let mut parked = Parked::default();
        parked.park(ShardId(1), learns.clone(), start);
        let digest = parked.beat(FOLLOWER, now);
        parked.confirm(FOLLOWER, now, digest, true);
        assert_eq!(parked.closed_age(now), Some(Duration::ZERO));
        assert_eq!(parked.closed_as_leader(ShardId(1), now), Some((14, Duration::ZERO)));
        // It votes in another group, whose quorum it is.
        parked.park(ShardId(2), led(4, &[OTHER]), start + BEAT);
        assert_eq!(parked.closed_age(now), Some(BEAT * 9));
        assert_eq!(parked.closed_as_leader(ShardId(1), now), Some((14, Duration::ZERO)));
        assert!(parked.wake_led(ShardId(2)) && parked.wake_led(ShardId(1)));
        assert_eq!(parked.closed_age(now), None);
        // A single voter is certain by itself.
        parked.park(ShardId(3), Led { voters: BTreeSet::from([LEADER]), ..learns }, start);
        assert_eq!(parked.closed_age(now), Some(Duration::ZERO));
    }

    #[test]
    fn a_confirmation_counts_also_when_groups_came_meanwhile() {
        let start = TokioInstant::now();
        let mut parked = Parked::default();
        parked.park(ShardId(1), led(4, &[FOLLOWER]), start);
        let first = parked.beat(FOLLOWER, start + BEAT * 4);
        parked.park(ShardId(2), led(4, &[FOLLOWER]), start + BEAT * 3);
        parked.park(ShardId(3), led(4, &[FOLLOWER]), start + BEAT * 9);
        let now = start + BEAT * 10;
        assert_eq!(parked.closed_age(now), Some(BEAT * 10));
        parked.confirm(FOLLOWER, start + BEAT * 4, first, true);
        // As old as the second was proven.
        assert_eq!(parked.closed_age(now), Some(BEAT * 7));
        let second = parked.beat(FOLLOWER, start + BEAT * 8);
        // Woken before the answer comes, and parked again.
        assert!(parked.wake_led(ShardId(3)));
        parked.confirm(FOLLOWER, start + BEAT * 8, second, true);
        assert_eq!(parked.closed_age(now), Some(BEAT * 2));
    }

    fn offer(group: u64) -> ParkOffer {
        ParkOffer { group: ShardId(group), term: 4, index: 14 }
    }

    #[test]
    fn a_peer_that_returns_sleeps_on_unless_the_group_was_woken() {
        let now = TokioInstant::now();
        let (mut parked, mut whole) = (Parked::default(), Parked::default());
        for group in 1..=2 {
            parked.park(ShardId(group), led(4, &[FOLLOWER]), now);
            whole.park(ShardId(group), led(4, &[FOLLOWER, OTHER]), now);
        }
        assert_eq!(parked.led_without(OTHER), [offer(1), offer(2)]);
        for group in [1, 2, 1, 3] {
            parked.admit(offer(group), OTHER, now + BEAT);
        }
        assert_eq!(parked.digest_for(OTHER), whole.digest_for(OTHER));
        assert_eq!(parked.led(ShardId(1)), whole.led(ShardId(1)));
        assert!(parked.led_without(OTHER).is_empty());
        // Woken and parked again, in another term or with a longer log, while the answer was on its way.
        parked.park(ShardId(2), led(5, &[FOLLOWER]), now + BEAT);
        parked.admit(offer(2), OTHER, now + BEAT);
        parked.park(ShardId(1), Led { index: 15, ..led(4, &[FOLLOWER]) }, now + BEAT);
        parked.admit(offer(1), OTHER, now + BEAT);
        assert_eq!(parked.digest_for(OTHER), 0);
    }

    #[test]
    fn a_promise_ends_with_its_leader_or_when_its_heartbeat_does_not_come() {
        let now = TokioInstant::now();
        let mut parked = Parked::default();
        parked.sleep(ShardId(1), LEADER, START, 4, 14);
        parked.sleep(ShardId(2), LEADER, START, 4, 14);
        parked.sleep(ShardId(3), OTHER, START, 1, 2);
        parked.expect_heartbeat(ShardId(2), now + BEAT);
        // It counts as promised, and not as parked.
        assert!(parked.forbids_vote(ShardId(2)));
        assert_eq!(parked.sleeping_under(LEADER), [(ShardId(1), 4)]);
        assert!(parked.agrees(LEADER, START, part(ShardId(1), 4)));
        assert!(!parked.agrees(LEADER, START + 1, part(ShardId(1), 4)));
        // Said again, it is not put off.
        parked.expect_heartbeat(ShardId(2), now + BEAT * 9);
        assert!(parked.overdue(now).is_empty());
        assert_eq!(parked.overdue(now + BEAT), [ShardId(2)]);
        assert!(!parked.forbids_vote(ShardId(2)));
        assert_eq!(parked.forsake(LEADER), [ShardId(1)]);
        assert!(!parked.forbids_vote(ShardId(1)) && parked.forbids_vote(ShardId(3)));
        assert_eq!(parked.counts(), (0, 1));
    }

    #[test]
    fn a_sleeper_is_no_older_than_its_leader_was_sure_and_only_with_all_entries() {
        let mut parked = Parked::default();
        parked.sleep(ShardId(1), LEADER, START, 4, 14);
        assert_eq!(parked.staleness(ShardId(1), 14), None);
        let asked = TokioInstant::now();
        parked.note_closed(LEADER, asked, BEAT);
        parked.note_closed(LEADER, asked, BEAT * 100);
        let age = parked.staleness(ShardId(1), 14).unwrap();
        assert!(age >= BEAT && age < BEAT * 100);
        assert_eq!(parked.staleness(ShardId(1), 13), None);
        parked.expect_heartbeat(ShardId(1), asked);
        assert_eq!(parked.staleness(ShardId(1), 14), None);
    }

    proptest! {
        /// Two nodes agree exactly when the same groups of the same terms are parked at both.
        #[test]
        fn digests_are_equal_when_the_groups_are(
            steps in proptest::collection::vec((0_u8..5, 0_u64..6, 1_u64..4), 1..120),
        ) {
            let now = TokioInstant::now();
            let (mut above, mut below) = (Parked::default(), Parked::default());
            let mut leads: BTreeMap<GroupId, u64> = BTreeMap::new();
            let mut sleeps: BTreeMap<GroupId, u64> = BTreeMap::new();
            for (step, group, term) in steps {
                let group = ShardId(group);
                match step {
                    0 => {
                        above.park(group, led(term, &[FOLLOWER]), now);
                        leads.insert(group, term);
                    }
                    1 => {
                        prop_assert_eq!(above.wake_led(group), leads.remove(&group).is_some());
                    }
                    2 => {
                        below.sleep(group, LEADER, START, term, 0);
                        sleeps.insert(group, term);
                    }
                    3 => {
                        below.rouse(group);
                        sleeps.remove(&group);
                    }
                    _ => {
                        below.expect_heartbeat(group, now);
                        sleeps.remove(&group);
                    }
                }
                let agrees = below.agrees(LEADER, START, above.digest_for(FOLLOWER));
                prop_assert_eq!(agrees, leads == sleeps);
                let under: BTreeMap<_, _> = below.sleeping_under(LEADER).into_iter().collect();
                prop_assert_eq!(&under, &sleeps);
            }
        }
    }
}

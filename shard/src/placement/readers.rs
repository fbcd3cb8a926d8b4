//! Where the reads of a shard come in, as its voters are told: so that a PoP that asks for much has a learner
//! of its own, for as long as it does.
//!
//! Nodes tell the voters what they are asked of shards that no voter of their PoP has, whoever answers it: a
//! PoP whose learner answers everything goes on telling, and so keeps it. A pure function of what was told and
//! of how long it has been so. A burst makes no learner, and a quiet hour costs none. Whoever leads next was told
//! as well, so that a change of leader neither takes a learner away nor keeps one for longer.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{PopId, ShardId};

use super::Learners;

/// When a PoP gets a learner, and when it loses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReaderLimits {
    /// So many reads a second of a shard make a learner; 0 = none ever.
    pub reads_per_s: u64,
    /// How many learners a shard may have for its readers.
    pub learners_max: usize,
    /// How long the reads must have been so many, in milliseconds.
    pub persist_ms: u64,
    /// How long they must have been few, in milliseconds, before the learner goes.
    pub keep_ms: u64,
}

impl ReaderLimits {
    /// No learner is ever made for readers.
    pub const NONE: Self = Self { reads_per_s: 0, learners_max: 0, persist_ms: 0, keep_ms: 0 };

    /// Whether learners are made for readers.
    #[must_use]
    pub const fn are_any(&self) -> bool {
        self.learners() > 0
    }

    /// How many learners a shard may have for its readers.
    #[must_use]
    pub const fn learners(&self) -> usize {
        if self.reads_per_s > 0 { self.learners_max } else { 0 }
    }

    /// Fewer reads a second than that are few.
    #[must_use]
    pub fn few(&self) -> u64 {
        self.percent(FEW_PERCENT)
    }

    /// So many percent of the limit, and no less than 1.
    fn percent(&self, percent: u64) -> u64 {
        let least = u128::from(self.reads_per_s) * u128::from(percent) / 100;
        u64::try_from(least).unwrap_or(u64::MAX).max(1)
    }
}

impl Default for ReaderLimits {
    fn default() -> Self {
        Self::NONE
    }
}

/// Below this many percent of the limit a PoP's reads are over it no more.
const HOT_PERCENT: u64 = 80;

/// Below this many percent they are few.
const FEW_PERCENT: u64 = 25;

/// Where the reads of one shard come in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Readers {
    /// The PoPs that are to have a learner, with their reads a second, most first.
    pub hot: Vec<(PopId, u64)>,
    /// The PoPs that keep the one they have; `None` = all do, since it is not known for long enough.
    pub kept: Option<BTreeSet<PopId>>,
}

/// What is known of the readers of shards, and of the learners that are there for them or for a vote.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadersOf {
    /// How many learners a shard may have for them; 0 = none, and what there is goes.
    pub learners_max: usize,
    /// Where those of the shards that are led here are.
    pub shards: BTreeMap<ShardId, Readers>,
    /// Whether other shards are led elsewhere, by those who know: their learners are left alone, whatever the
    /// limit is here. Otherwise no learner of theirs is for readers.
    pub others_are_led: bool,
    /// How the learners of the shards that are led here come along.
    pub learners: Learners,
}

impl ReadersOf {
    pub(super) fn of(&self, shard: ShardId) -> Near<'_> {
        match self.shards.get(&shard) {
            Some(readers) if self.learners_max > 0 => {
                Near::Known { readers, learners_max: self.learners_max }
            }
            None if self.others_are_led => Near::Unknown,
            Some(_) | None => Near::Nobody,
        }
    }
}

/// What is known of the readers of one shard.
#[derive(Debug, Clone, Copy)]
pub(super) enum Near<'a> {
    /// No learner is for readers.
    Nobody,
    /// Somebody else leads it, and knows.
    Unknown,
    /// This.
    Known { readers: &'a Readers, learners_max: usize },
}

impl<'a> Near<'a> {
    /// The PoPs that are to have a learner, most reads first.
    pub(super) fn hot(&self) -> &'a [(PopId, u64)] {
        match self {
            Self::Known { readers, .. } => &readers.hot,
            Self::Nobody | Self::Unknown => &[],
        }
    }

    /// How many learners there may be.
    pub(super) const fn learners_max(&self) -> usize {
        match self {
            Self::Known { learners_max, .. } => *learners_max,
            Self::Nobody | Self::Unknown => 0,
        }
    }

    /// Whether the learner of a PoP stays for its readers.
    pub(super) fn keep(&self, pop: &PopId) -> bool {
        match self {
            Self::Nobody => false,
            Self::Unknown => true,
            Self::Known { readers, .. } => {
                readers.kept.as_ref().is_none_or(|kept| kept.contains(pop))
            }
        }
    }

    /// How many reads a second come in at a PoP, if it is one of those that many do.
    pub(super) fn reads_at(&self, pop: &PopId) -> Option<u64> {
        self.hot().iter().find(|(hot, _)| hot == pop).map(|(_, reads)| *reads)
    }
}

/// The reads of one PoP.
#[derive(Debug, Clone, Copy)]
struct Rate {
    reads_per_s: u64,
    /// Since when they are over the limit.
    hot_since_ms: Option<u64>,
    /// When they were not few last; `None` = never.
    warm_ms: Option<u64>,
}

/// The reads of a shard, by the PoP that they came in at.
#[derive(Debug, Clone)]
pub struct ReadDemand {
    began_ms: u64,
    pops: BTreeMap<PopId, Rate>,
}

impl ReadDemand {
    /// That of a leader which began at `now_ms`.
    #[must_use]
    pub const fn new(now_ms: u64) -> Self {
        Self { began_ms: now_ms, pops: BTreeMap::new() }
    }

    /// Takes what was told lately, in reads a second, at `now_ms`, and answers who reads. What one PoP reads
    /// is remembered until it is cold, so that this holds no more than there are PoPs.
    pub fn look(
        &mut self,
        now_ms: u64,
        told: &BTreeMap<PopId, u64>,
        limits: &ReaderLimits,
    ) -> Readers {
        for pop in told.keys() {
            let rate = Rate { reads_per_s: 0, hot_since_ms: None, warm_ms: None };
            self.pops.entry(pop.clone()).or_insert(rate);
        }
        for (pop, rate) in &mut self.pops {
            rate.reads_per_s = told.get(pop).copied().unwrap_or_default();
            if rate.reads_per_s >= limits.reads_per_s.max(1) {
                rate.hot_since_ms.get_or_insert(now_ms);
            } else if rate.reads_per_s < limits.percent(HOT_PERCENT) {
                rate.hot_since_ms = None;
            }
            if rate.reads_per_s >= limits.few() {
                rate.warm_ms = Some(now_ms);
            }
        }
        let is_cold = |since_ms: u64| now_ms.saturating_sub(since_ms) >= limits.keep_ms;
        self.pops.retain(|_, rate| {
            rate.reads_per_s > 0 || rate.warm_ms.is_some_and(|warm_ms| !is_cold(warm_ms))
        });
        let persists = |since_ms: u64| now_ms.saturating_sub(since_ms) >= limits.persist_ms;
        let hot = self.pops.iter().filter(|(_, rate)| rate.hot_since_ms.is_some_and(persists));
        let mut hot: Vec<(PopId, u64)> =
            hot.map(|(pop, rate)| (pop.clone(), rate.reads_per_s)).collect();
        hot.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        let warm = self
            .pops
            .iter()
            .filter(|(_, rate)| rate.warm_ms.is_some_and(|warm_ms| !is_cold(warm_ms)));
        let kept = is_cold(self.began_ms).then(|| warm.map(|(pop, _)| pop.clone()).collect());
        Readers { hot, kept }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMITS: ReaderLimits =
        ReaderLimits { reads_per_s: 100, learners_max: 2, persist_ms: 10_000, keep_ms: 60_000 };

    fn told(reads: &[(&str, u64)]) -> BTreeMap<PopId, u64> {
        reads.iter().map(|(pop, reads)| (pop.parse().unwrap(), *reads)).collect()
    }

    /// Looks once a second; the last answer.
    fn looks(demand: &mut ReadDemand, from_s: u64, times: u64, reads: &[(&str, u64)]) -> Readers {
        let seconds = from_s..from_s + times;
        let answers = seconds.map(|second| demand.look(second * 1_000, &told(reads), &LIMITS));
        answers.last().unwrap()
    }

    fn hot(readers: &Readers) -> Vec<&str> {
        readers.hot.iter().map(|(pop, _)| pop.as_str()).collect()
    }

    fn keeps(readers: &Readers, pop: &str) -> bool {
        let near = Near::Known { readers, learners_max: 2 };
        near.keep(&pop.parse().unwrap())
    }

    #[test]
    fn what_lasts_is_hot_and_a_burst_is_not() {
        let mut demand = ReadDemand::new(0);
        assert_eq!(hot(&looks(&mut demand, 0, 5, &[("mil", 500)])), Vec::<&str>::new());
        assert_eq!(hot(&looks(&mut demand, 5, 5, &[])), Vec::<&str>::new());
        let readers = looks(&mut demand, 10, 11, &[("mil", 100), ("mad", 300), ("ber", 99)]);
        assert_eq!(hot(&readers), ["mad", "mil"], "the most first");
        // A little less for a moment is not less.
        let readers = looks(&mut demand, 21, 1, &[("mil", 80), ("mad", 300)]);
        assert_eq!(hot(&readers), ["mad", "mil"]);
        assert_eq!(hot(&looks(&mut demand, 22, 1, &[("mil", 79), ("mad", 300)])), ["mad"]);
    }

    #[test]
    fn a_learner_stays_until_its_readers_have_been_few_for_long() {
        let mut demand = ReadDemand::new(0);
        looks(&mut demand, 0, 61, &[("mil", 200)]);
        // Not hot any more, and not few.
        let readers = looks(&mut demand, 61, 200, &[("mil", 25)]);
        assert!(keeps(&readers, "mil") && hot(&readers).is_empty());
        assert!(!keeps(&readers, "mad"));
        assert!(keeps(&looks(&mut demand, 261, 59, &[("mil", 24)]), "mil"));
        assert!(!keeps(&looks(&mut demand, 320, 1, &[("mil", 24)]), "mil"));
        assert!(looks(&mut demand, 321, 70, &[]).hot.is_empty() && demand.pops.is_empty());
    }

    #[test]
    fn a_leader_that_just_began_takes_no_learner_away() {
        let mut demand = ReadDemand::new(5_000);
        assert!(keeps(&looks(&mut demand, 5, 59, &[]), "mil"));
        assert!(!keeps(&looks(&mut demand, 65, 1, &[]), "mil"));
    }

    proptest! {
        /// Against what each means, said of the whole history.
        #[test]
        fn it_is_hot_and_kept_as_its_history_says(
            history in prop::collection::vec(prop::sample::select(vec![10_u64, 50, 150]), 1..200),
        ) {
            let mut demand = ReadDemand::new(0);
            let mut readers = Readers::default();
            for (second, reads) in (0_u64..).zip(&history) {
                readers = demand.look(second * 1_000, &told(&[("mil", *reads)]), &LIMITS);
            }
            let now = history.len() - 1;
            let since = |few: &dyn Fn(u64) -> bool| {
                history.iter().rposition(|reads| few(*reads)).map_or(0, |at| at + 1)
            };
            // None of these rates is between what makes hot and what ends it.
            let hot_from = since(&|reads| reads < 100);
            let is_hot = hot_from <= now && now - hot_from >= 10;
            prop_assert_eq!(!readers.hot.is_empty(), is_hot);
            let last_warm = history.iter().rposition(|reads| *reads >= 25);
            let is_kept = now < 60 || last_warm.is_some_and(|at| now - at < 60);
            prop_assert_eq!(keeps(&readers, "mil"), is_kept);
        }
    }
}

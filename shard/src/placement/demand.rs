//! Where the writes of a shard come in, as its leader counts them: so that it leads where they do.
//!
//! A pure function of the counts and of how long something has been so. A burst moves no leader, writes that
//! come from everywhere do not either, and one that has followed its writers stays with them.

use std::collections::BTreeMap;

use hexpop_edge_config::PopId;

/// Fewer writes a second than this, in thousandths, are not worth a change of leader.
const LEAST: u64 = 1_000;

/// What was followed stays so with fewer, down to this; and so does what a leader leads where it is, whoever
/// made it the leader: or about [`LEAST`] writes a second would have it wander.
const LEAST_TO_STAY: u64 = LEAST / 4;

/// A PoP that so many percent of the writes come from is followed.
const FOLLOW_PERCENT: u64 = 60;

/// One that was followed stays so with this many.
const STAY_PERCENT: u64 = 40;

/// What a look counts for: one part in so many.
const PART: u64 = 8;

/// Where most writes of a shard come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Writers {
    /// The PoP.
    pub pop: PopId,
    /// Whether that has been so for long enough to move the leader there; until then it only stays, if
    /// it is there.
    pub persist: bool,
}

/// The writes of a shard, by the PoP of the node that they came in at.
#[derive(Debug, Clone, Default)]
pub struct Demand {
    /// Writes a second, in thousandths, smoothed.
    rates: BTreeMap<PopId, u64>,
    /// Where most come from, and since when.
    from: Option<(PopId, u64)>,
}

impl Demand {
    /// Takes what was counted in the `elapsed_ms` before `now_ms`, by a leader in the PoP `own`.
    pub fn look(
        &mut self,
        now_ms: u64,
        elapsed_ms: u64,
        counted: &BTreeMap<PopId, u64>,
        own: Option<&PopId>,
    ) {
        for pop in counted.keys().filter(|pop| counted.get(*pop).is_some_and(|count| *count > 0)) {
            self.rates.entry(pop.clone()).or_default();
        }
        for (pop, rate) in &mut self.rates {
            let count = counted.get(pop).copied().unwrap_or_default();
            let now = count.saturating_mul(1_000_000) / elapsed_ms.max(1);
            *rate = rate.saturating_sub(*rate / PART).saturating_add(now / PART);
        }
        self.rates.retain(|_, rate| *rate >= PART);
        let most = self.rates.iter().max_by_key(|(_, rate)| **rate).map(|(pop, _)| pop);
        let followed = self.from.as_ref().map(|(pop, _)| pop);
        let found = most
            .filter(|pop| self.sends(pop, LEAST, FOLLOW_PERCENT))
            .or_else(|| followed.filter(|pop| self.sends(pop, LEAST_TO_STAY, STAY_PERCENT)))
            .or_else(|| own.filter(|pop| self.sends(pop, LEAST_TO_STAY, STAY_PERCENT)));
        match found.cloned() {
            Some(pop) if self.from.as_ref().is_some_and(|(known, _)| *known == pop) => {}
            found => self.from = found.map(|pop| (pop, now_ms)),
        }
    }

    fn sends(&self, pop: &PopId, least: u64, percent: u64) -> bool {
        let all: u64 = self.rates.values().fold(0, |sum, rate| sum.saturating_add(*rate));
        let rate = self.rates.get(pop).copied().unwrap_or_default();
        all >= least && rate.saturating_mul(100) >= all.saturating_mul(percent)
    }

    /// Where most writes come from, if they come from one PoP; `persist_ms` is how long that must have been
    /// so to move a leader.
    #[must_use]
    pub fn writers(&self, now_ms: u64, persist_ms: u64) -> Option<Writers> {
        let (pop, since_ms) = self.from.as_ref()?;
        let persist = now_ms.saturating_sub(*since_ms) >= persist_ms;
        Some(Writers { pop: pop.clone(), persist })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks once a second at what comes from each PoP in that time.
    fn looks(demand: &mut Demand, from_s: u64, times: u64, counted: &[(&str, u64)]) {
        let counted = counted.iter().map(|(pop, count)| (pop.parse().unwrap(), *count)).collect();
        for second in from_s..from_s + times {
            demand.look(second * 1_000, 1_000, &counted, None);
        }
    }

    #[test]
    fn a_leader_stays_where_fewer_writes_come_in_than_would_bring_it_there() {
        let mut demand = Demand::default();
        let counted = |writes| BTreeMap::from([("mil".parse().unwrap(), writes)]);
        let (here, there) = ("mil".parse().unwrap(), "mad".parse().unwrap());
        // A write every other second.
        let mut look = |own: &PopId| {
            let mut demand = std::mem::take(&mut demand);
            for second in 0..100 {
                demand.look(second * 1_000, 1_000, &counted(second % 2), Some(own));
            }
            demand.writers(100_000, 30_000)
        };
        assert_eq!(look(&there), None, "too few to go there");
        assert_eq!(look(&here).unwrap().pop, here, "enough to stay");
    }

    fn writers(demand: &Demand, now_s: u64) -> Option<(String, bool)> {
        let found = demand.writers(now_s * 1_000, 30_000)?;
        Some((found.pop.to_string(), found.persist))
    }

    #[test]
    fn what_lasts_is_followed_and_a_burst_is_not() {
        let mut demand = Demand::default();
        looks(&mut demand, 0, 100, &[("mil", 20)]);
        assert_eq!(writers(&demand, 100), Some(("mil".into(), true)));
        // A burst from elsewhere.
        looks(&mut demand, 100, 10, &[("mil", 20), ("mad", 100)]);
        assert_eq!(writers(&demand, 110), Some(("mad".into(), false)));
        looks(&mut demand, 110, 40, &[("mil", 20)]);
        assert_eq!(writers(&demand, 150).unwrap().0, "mil");
        // The day moves on.
        looks(&mut demand, 150, 60, &[("mil", 5), ("mad", 20)]);
        assert_eq!(writers(&demand, 210), Some(("mad".into(), true)));
    }

    #[test]
    fn writes_from_everywhere_keep_no_leader_and_few_count_for_nothing() {
        let mut demand = Demand::default();
        looks(&mut demand, 0, 100, &[("mil", 10), ("mad", 10), ("ber", 10)]);
        assert_eq!(writers(&demand, 100), None);
        let mut demand = Demand::default();
        let rarely: Vec<(&str, u64)> = vec![("mil", 0)];
        looks(&mut demand, 0, 100, &rarely);
        assert_eq!(writers(&demand, 100), None);
        // And what stops is forgotten.
        looks(&mut demand, 100, 20, &[("mil", 20)]);
        looks(&mut demand, 120, 100, &[]);
        assert!(demand.rates.is_empty() && writers(&demand, 220).is_none());
    }

    #[test]
    fn one_that_is_followed_stays_so_with_less_than_it_took() {
        let mut demand = Demand::default();
        looks(&mut demand, 0, 60, &[("mil", 50), ("mad", 50)]);
        assert_eq!(writers(&demand, 60), None);
        looks(&mut demand, 60, 60, &[("mil", 70), ("mad", 30)]);
        assert_eq!(writers(&demand, 120), Some(("mil".into(), true)));
        looks(&mut demand, 120, 60, &[("mil", 50), ("mad", 50)]);
        assert_eq!(writers(&demand, 180), Some(("mil".into(), true)));
        looks(&mut demand, 180, 60, &[("mil", 45), ("mad", 55)]);
        assert_eq!(writers(&demand, 240), Some(("mil".into(), true)));
        looks(&mut demand, 240, 60, &[("mil", 35), ("mad", 65)]);
        assert_eq!(writers(&demand, 300).unwrap().0, "mad");
    }
}

//! Rings: PoPs that are near each other, within which the voters of a shard stay, so that no write waits for
//! one that is far away.
//!
//! They are configured and not measured: round trips change with every detour, and a plan that followed them
//! would move replicas for it. Residency, the number of voters and one voter a PoP come before them; a shard
//! whose voters cannot all be in one ring is reported.

use std::collections::{BTreeMap, BTreeSet};

use hexpop_edge_config::{
    PopId, Territory,
    config::{Placement, TerritoryPolicy},
};

use super::Member;
use crate::KeyRange;

/// The rings of a mesh.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rings {
    /// The number of the ring of each PoP that is in one. Empty = all PoPs are one ring.
    of: BTreeMap<PopId, usize>,
    /// A PoP in whose ring the voters of a territory are to be.
    near: BTreeMap<Territory, PopId>,
}

/// A ring: one that is configured, or a PoP by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ring<'a> {
    /// The one of this number.
    Of(usize),
    /// A PoP that is in none.
    Alone(&'a PopId),
}

/// Where the voters of a shard are to be: in a ring, or, without one, anywhere.
#[derive(Debug, Clone, Copy)]
pub(super) struct Home<'a>(Option<(&'a Rings, Ring<'a>)>);

impl<'a> Home<'a> {
    /// Any PoP is as good as another.
    pub(super) const ANYWHERE: Home<'static> = Home(None);

    /// The ring, if voters are to be in one.
    pub(super) fn ring(&self) -> Option<Ring<'a>> {
        self.0.map(|(_, ring)| ring)
    }

    /// Whether a PoP is where voters are to be.
    pub(super) fn has(&self, pop: &PopId) -> bool {
        self.0.is_none_or(|(rings, ring)| rings.ring(pop) == ring)
    }
}

impl Rings {
    /// As configured.
    #[must_use]
    pub fn from_config(default: &Placement, territories: &[TerritoryPolicy]) -> Self {
        let rings = default.rings.iter().enumerate();
        let of = rings.flat_map(|(number, pops)| pops.iter().map(move |pop| (pop.clone(), number)));
        let near = territories.iter();
        let near = near.filter_map(|named| Some((named.territory.clone(), named.near.clone()?)));
        Self::new(of.collect(), near.collect())
    }

    /// Those in which each PoP is in the one of this number; the voters of a territory are to be in that of
    /// its PoP in `near`.
    #[must_use]
    pub const fn new(of: BTreeMap<PopId, usize>, near: BTreeMap<Territory, PopId>) -> Self {
        Self { of, near }
    }

    /// Whether there is more than one.
    pub(super) fn are_told_apart(&self) -> bool {
        !self.of.is_empty()
    }

    /// Where those are that are to be in this ring.
    pub(super) const fn home_in<'a>(&'a self, ring: Ring<'a>) -> Home<'a> {
        Home(Some((self, ring)))
    }

    /// Whether one is named for any territory.
    pub(super) fn names_any(&self) -> bool {
        !self.near.is_empty()
    }

    /// The ring of a PoP.
    pub(super) fn ring<'a>(&self, pop: &'a PopId) -> Ring<'a> {
        self.of.get(pop).map_or(Ring::Alone(pop), |number| Ring::Of(*number))
    }

    /// Where the voters of a shard that has some are to be: in the ring that is configured, if one may hold
    /// them there, or else in the one where most of them are, and of those in the one with the most room. What
    /// is there stays, whatever happens to the PoPs, so that nothing moves without need.
    pub(super) fn home<'a>(
        &'a self,
        range: &KeyRange,
        voters: impl Iterator<Item = &'a Member>,
        free: &BTreeSet<&'a PopId>,
    ) -> Home<'a> {
        if !self.are_told_apart() {
            return Home::ANYWHERE;
        }
        if let Some(home) = self.configured(range, free) {
            return home;
        }
        let mut found: BTreeMap<Ring<'a>, (usize, usize)> = BTreeMap::new();
        for voter in voters {
            found.entry(self.ring(&voter.pop)).or_default().0 += 1;
        }
        // As nearly all of them are.
        if found.len() == 1 {
            return Home(found.into_keys().next().map(|ring| (self, ring)));
        }
        for pop in free {
            found.entry(self.ring(pop)).or_default().1 += 1;
        }
        let most = found
            .into_iter()
            .max_by_key(|(ring, (voters, room))| (*voters, *room, std::cmp::Reverse(*ring)));
        Home(most.map(|(ring, _)| (self, ring)))
    }

    /// Where the voters of a shard begin: in the ring that is configured, or else in the one that has PoPs for
    /// the most of them, and of those in the one whose nodes have least.
    pub(super) fn first_home<'a>(
        &'a self,
        range: &KeyRange,
        voters: usize,
        free: impl Iterator<Item = &'a Member>,
        load: impl Fn(&Member) -> u32,
    ) -> Home<'a> {
        if !self.are_told_apart() {
            return Home::ANYWHERE;
        }
        let free: Vec<&Member> = free.collect();
        let pops: BTreeSet<&PopId> = free.iter().map(|member| &member.pop).collect();
        if let Some(home) = self.configured(range, &pops) {
            return home;
        }
        let mut room: BTreeMap<Ring<'a>, usize> = BTreeMap::new();
        for pop in pops {
            *room.entry(self.ring(pop)).or_default() += 1;
        }
        let mean = |ring: Ring<'_>| {
            let nodes = free.iter().filter(|member| self.ring(&member.pop) == ring);
            let (count, sum) = nodes.fold((0_u64, 0_u64), |(count, sum), member| {
                (count + 1, sum.saturating_add(u64::from(load(member))))
            });
            sum.saturating_mul(1_000) / count.max(1)
        };
        let most = room.into_iter().max_by_key(|(ring, room)| {
            (*room.min(&voters), std::cmp::Reverse((mean(*ring), *ring)))
        });
        Home(most.map(|(ring, _)| (self, ring)))
    }

    /// The ring that is configured for a territory, if a node there may hold its shards.
    fn configured<'a>(&'a self, range: &KeyRange, free: &BTreeSet<&'a PopId>) -> Option<Home<'a>> {
        if !self.names_any() {
            return None;
        }
        let near = self.near.get(&range.single_territory()?)?;
        let home = Home(Some((self, self.ring(near))));
        free.iter().any(|pop| home.has(pop)).then_some(home)
    }
}

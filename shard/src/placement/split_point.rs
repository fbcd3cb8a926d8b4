//! Where to divide a shard, by where its records are.
//!
//! By territory first, then along H3 prefixes, the coarsest that divides well, then by the hash of a
//! session's or listing's id: what lies together is asked for together, and stays so as long as it can.

use std::collections::BTreeMap;

use hexpop_edge_config::{Country, Territory};

use crate::{
    cell::{Cell, LISTING_RESOLUTION},
    key::{KeyRange, ShardKey, Space},
};

/// How much of the whole the smaller half has at least, in percent, where a coarser bound is preferred to
/// one nearer to the middle.
const HALF_MIN_PERCENT: usize = 30;

/// The records of a shard by place: the points of each territory's, in any order, and repeated as often as
/// there are records. Those of the directory have no territory.
pub type Places = BTreeMap<Option<Territory>, Vec<u64>>;

/// The key that divides a shard of `range` best, given where its records are. `None` when no bound has
/// records on both sides: all are at one place.
#[must_use]
pub fn split_point(range: &KeyRange, mut places: Places) -> Option<ShardKey> {
    let space = range.space_of();
    let total: usize = places.values().map(Vec::len).sum();
    let territory_bound = {
        let mut before = 0;
        let mut bounds = Vec::new();
        for (territory, points) in &places {
            bounds.push((before, key_at(space, territory.as_ref(), 0)));
            before += points.len();
        }
        best(bounds.into_iter().filter(|(_, key)| divides(range, key)), total)
    };
    if let Some((below, key)) = &territory_bound
        && is_even(*below, total)
    {
        return Some(key.clone());
    }
    // Within the territory that has the record in the middle.
    let mut before = 0;
    for (territory, points) in &mut places {
        if before + points.len() > total / 2 {
            points.sort_unstable();
            let within = within(space, territory.as_ref(), points, before, total)
                .filter(|(_, key)| divides(range, key));
            let found = best(territory_bound.into_iter().chain(within), total);
            return found.map(|(_, key)| key);
        }
        before += points.len();
    }
    territory_bound.map(|(_, key)| key)
}

fn key_at(space: Space, territory: Option<&Territory>, point: u64) -> ShardKey {
    territory.map_or_else(
        || ShardKey { point, country: Country::NONE, ..ShardKey::space_start(space) },
        |territory| ShardKey::new(space, territory, point),
    )
}

/// The key at which an operator wants a shard of `range` divided: a key as it is shown, a territory (its
/// start, or its end where the shard begins with it), or an H3 cell (where the range lies in one territory).
#[must_use]
pub fn bound_of(range: &KeyRange, text: &str) -> Option<ShardKey> {
    let space = range.space_of();
    if let Ok(territory) = text.parse::<Territory>() {
        let KeyRange { start, end } = KeyRange::territory(space, &territory);
        return if divides(range, &start) { Some(start) } else { end };
    }
    let cell = u64::from_str_radix(text, 16).ok().and_then(Cell::from_raw);
    if let (Space::Listings, Some(cell)) = (space, cell)
        && cell.resolution() <= LISTING_RESOLUTION
    {
        let territory = range.single_territory()?;
        return Some(ShardKey::new(space, &territory, cell.listing_cells().0));
    }
    text.parse().ok()
}

fn divides(range: &KeyRange, key: &ShardKey) -> bool {
    range.contains(key) && *key != range.start
}

/// Of bounds with how many records are below each, the one nearest to the middle that has some on
/// both sides.
fn best(
    bounds: impl IntoIterator<Item = (usize, ShardKey)>,
    total: usize,
) -> Option<(usize, ShardKey)> {
    let both_sides = bounds.into_iter().filter(|(below, _)| *below > 0 && *below < total);
    both_sides.min_by_key(|(below, key)| (below.abs_diff(total / 2), key.clone()))
}

/// Whether the smaller half has enough.
const fn is_even(below: usize, total: usize) -> bool {
    let above = total.saturating_sub(below);
    let smaller = if below < above { below } else { above };
    smaller * 100 >= total * HALF_MIN_PERCENT
}

/// The best bound within a territory whose sorted points are these, with `before` records below it.
fn within(
    space: Space,
    territory: Option<&Territory>,
    points: &[u64],
    before: usize,
    total: usize,
) -> Option<(usize, ShardKey)> {
    let below = |point: u64| before + points.partition_point(|found| *found < point);
    let bound = |point: u64| (below(point), key_at(space, territory, point));
    if space != Space::Listings {
        // Hashes: any is a bound; the middle, or the next that is not the first.
        let middle = total.saturating_sub(1) / 2;
        let at =
            middle.checked_sub(before).and_then(|at| points.get(at + 1).or_else(|| points.last()));
        let first = points.first().copied();
        let next = points.iter().copied().find(|point| Some(*point) != first);
        let candidates = at.copied().into_iter().chain(next).map(bound);
        return best(candidates, total);
    }
    let mut found = None;
    for resolution in 0..=LISTING_RESOLUTION {
        // The first cells of the prefixes of this resolution that have records.
        let mut starts: Vec<u64> = points
            .iter()
            .filter_map(|point| Cell::from_raw(*point))
            .map(|cell| cell.ancestor(resolution).listing_cells().0)
            // What has no coordinates is below all cells.
            .filter(|start| Cell::from_raw(*start).is_some())
            .collect();
        starts.dedup();
        found = best(starts.into_iter().map(bound).chain(found), total);
        if let Some((below, _)) = &found
            && is_even(*below, total)
        {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::geo::LatLng;

    fn territory(text: &str) -> Territory {
        text.parse().unwrap()
    }

    fn of(text: &str) -> Option<Territory> {
        Some(territory(text))
    }

    fn below(key: &ShardKey, places: &Places) -> usize {
        let of = |(territory, points): (&Option<Territory>, &Vec<u64>)| {
            let below = |point: &&u64| key_at(key.space, territory.as_ref(), **point) < *key;
            points.iter().filter(below).count()
        };
        places.iter().map(of).sum()
    }

    fn cells(lat: f64, count: usize) -> Vec<u64> {
        let at =
            |n: usize| LatLng { lat: lat + n as f64 * 0.004, lng: 9.0 + (n % 13) as f64 * 0.01 };
        (0..count).map(|n| Cell::at(at(n)).unwrap().raw()).collect()
    }

    #[test]
    fn territories_come_before_cells() {
        let places: Places =
            [(of("IT:lazio"), cells(41.8, 60)), (of("IT:veneto"), cells(45.4, 40))].into();
        let at = split_point(&KeyRange::space(Space::Listings), places).unwrap();
        assert_eq!(at, KeyRange::territory(Space::Listings, &territory("IT:veneto")).start);
    }

    #[test]
    fn a_territory_divides_at_the_coarsest_prefix_that_is_even_enough() {
        let places: Places = [(of("IT:lazio"), cells(41.0, 500))].into();
        let range = KeyRange::territory(Space::Listings, &territory("IT:lazio"));
        let at = split_point(&range, places.clone()).unwrap();
        let share = below(&at, &places);
        assert!(is_even(share, 500), "{share}");
        assert!(
            crate::Split { at, child: hexpop_edge_config::ShardId(9) }
                .check(hexpop_edge_config::ShardId(1), &range)
                .is_ok()
        );
    }

    #[test]
    fn what_is_all_at_one_place_does_not_divide() {
        let range = KeyRange::territory(Space::Listings, &territory("IT:lazio"));
        let one = cells(41.0, 1);
        let places: Places = [(of("IT:lazio"), vec![one[0]; 50])].into();
        assert_eq!(split_point(&range, places), None);
        assert_eq!(split_point(&range, Places::new()), None);
        let sessions = KeyRange::territory(Space::Sessions, &territory("IT:lazio"));
        let places: Places = [(of("IT:lazio"), vec![7; 50])].into();
        assert_eq!(split_point(&sessions, places), None);
    }

    #[test]
    fn hashes_divide_in_the_middle() {
        let range = KeyRange::territory(Space::Sessions, &territory("IT:lazio"));
        let places: Places = [(of("IT:lazio"), (0..100).map(|n| n * 1_000).collect())].into();
        let at = split_point(&range, places.clone()).unwrap();
        assert!((48..=52).contains(&below(&at, &places)));
        // Most are the same: what can be divided is.
        let mut points = vec![5; 90];
        points.extend(10..20);
        let places: Places = [(of("IT:lazio"), points)].into();
        let at = split_point(&range, places.clone()).unwrap();
        assert_eq!(below(&at, &places), 90);
    }

    #[test]
    fn the_directory_divides_in_its_middle() {
        let places: Places = [(None, (0..100).map(|n| n * 7).collect())].into();
        let at = split_point(&KeyRange::space(Space::Directory), places.clone()).unwrap();
        assert!((48..=52).contains(&below(&at, &places)));
        let split = crate::Split { at, child: hexpop_edge_config::ShardId(9) };
        assert!(
            split.check(hexpop_edge_config::ShardId(1), &KeyRange::space(Space::Directory)).is_ok()
        );
    }

    #[test]
    fn an_operator_names_a_territory_a_cell_or_a_key() {
        let all = KeyRange::space(Space::Listings);
        let lazio = KeyRange::territory(Space::Listings, &territory("IT:lazio"));
        assert_eq!(bound_of(&all, "IT:lazio"), Some(lazio.start.clone()));
        let from_there = KeyRange { start: lazio.start.clone(), end: None };
        assert_eq!(bound_of(&from_there, "IT:lazio"), lazio.end);
        let cell = Cell::at(LatLng { lat: 41.9, lng: 12.5 }).unwrap();
        let prefix = cell.ancestor(5);
        let at = bound_of(&lazio, &prefix.to_string()).unwrap();
        assert_eq!(at.point, prefix.listing_cells().0);
        assert_eq!(bound_of(&all, &prefix.to_string()), None, "in which territory?");
        assert_eq!(bound_of(&all, &at.to_string()), Some(at));
        assert_eq!(bound_of(&all, "somewhere"), None);
    }
}

//! When what a question may find changed last.
//!
//! For every coarse H3 cell of every territory, and for what has no coordinates, the position of the last
//! entry of the log that changed anything in it. Whoever has an answer to a question, with the position
//! that [`Changes::last`] gave for it, has what a replica would answer now exactly as long as the replica
//! gives the same position: what changes elsewhere in the shard does not count. With one position for the
//! whole shard, steady updates would leave no answer alive.
//!
//! **Invariants**
//! - Equal positions mean equal answers, at whichever replicas: what the cells of a question held behind
//!   an entry is one thing, and nothing changed in them after it.
//! - A function of the log alone, so that replicas agree; it is part of a snapshot. One made before there
//!   was this counts as changed all over by its last entry.
//! - At most [`CELLS_MAX`] cells. Those that changed longest ago are forgotten together, and count as
//!   changed by the latest of them: too new costs a fresh answer, too old would be wrong.

use serde::{Deserialize, Serialize};

use super::{
    area::{Area, Relation},
    shared::SharedMap,
    zone::Span,
};
use crate::{
    LogPosition,
    cell::Cell,
    geo::LatLng,
    key::{KeyRange, ShardKey, Space},
    query::{Filters, MapQuery},
};

/// The resolution of the cells: about 250 km² each, a large city is a handful of them. Coarser ones are
/// changed by their neighbours' updates, finer ones cost every question more.
const RESOLUTION: u8 = 5;

/// Cells of one shard at most: about a million km², and half a megabyte.
const CELLS_MAX: usize = 4096;

/// When one cell changed last, and where its rows that ever changed are or were.
#[derive(Debug, Clone, Copy)]
struct Changed {
    position: LogPosition,
    lat: Span,
    lng: Span,
}

/// A cell in a snapshot. Final on disk.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ChangedCell {
    key: ShardKey,
    position: LogPosition,
    lat: (f64, f64),
    lng: (f64, f64),
}

/// When the cells of a shard changed last. A clone shares everything and stays as it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Changes {
    /// By the first key of the cell; what has no coordinates is at point 0.
    cells: SharedMap<ShardKey, Changed>,
    len: usize,
    /// When all other cells changed last, or earlier.
    floor: LogPosition,
    latest: LogPosition,
}

/// Where a question may find something.
#[derive(Debug)]
pub(crate) struct Coverage {
    ranges: Vec<KeyRange>,
    /// In all of these; none = everywhere, coordinates or not.
    areas: Vec<Area>,
}

impl Coverage {
    /// Everywhere.
    pub(crate) fn everything() -> Self {
        Self { ranges: vec![KeyRange::space(Space::Listings)], areas: Vec::new() }
    }

    /// Where listings may pass filters.
    pub(crate) fn of_filters(filters: &Filters) -> Self {
        let areas = filters.geometry.iter().map(Area::new).collect();
        Self { ranges: filters.key_ranges(), areas }
    }

    /// Where a map view may find something.
    pub(crate) fn of_map(query: &MapQuery) -> Self {
        let mut coverage = Self::of_filters(&query.filters);
        coverage.areas.extend(query.bounds.map(Area::of_bounds));
        coverage
    }

    fn is_everything(&self) -> bool {
        let all = KeyRange::space(Space::Listings);
        self.areas.is_empty() && self.ranges.contains(&all)
    }

    fn may_have(&self, key: &ShardKey, changed: &Changed) -> bool {
        self.areas.iter().all(|area| area.relation(changed.lat, changed.lng) != Relation::Outside)
            && self.ranges.iter().any(|range| range.contains(key))
    }
}

impl Changes {
    /// An entry changes a row that is, or was, at a place.
    pub(crate) fn note(&mut self, key: &ShardKey, place: Option<LatLng>, position: LogPosition) {
        self.latest = self.latest.max(position);
        let point = place.map_or(0, |_| Cell::from_known(key.point).ancestor(RESOLUTION).raw());
        let cell = ShardKey { point, ..key.clone() };
        if let Some(changed) = self.cells.get_mut(&cell) {
            changed.add(place, position);
            return;
        }
        let mut changed = Changed { position, lat: Span::default(), lng: Span::default() };
        changed.add(place, position);
        self.cells.insert(cell, changed);
        self.len += 1;
        if self.len > CELLS_MAX {
            self.forget_oldest();
        }
    }

    /// An entry changes everything, or may have.
    pub(crate) fn note_all(&mut self, position: LogPosition) {
        let latest = self.latest.max(position);
        *self = Self { floor: latest, latest, ..Self::default() };
    }

    /// When something in a coverage changed last; never too early.
    pub(crate) fn last(&self, coverage: &Coverage) -> LogPosition {
        if coverage.is_everything() {
            return self.latest;
        }
        self.cells
            .from(|_| false)
            .filter(|(key, changed)| {
                changed.position > self.floor && coverage.may_have(key, changed)
            })
            .map(|(_, changed)| changed.position)
            .fold(self.floor, LogPosition::max)
    }

    /// Forgets a quarter, so that it is seldom done.
    fn forget_oldest(&mut self) {
        let mut positions: Vec<_> = self.cells.from(|_| false).map(|(_, it)| it.position).collect();
        positions.sort_unstable();
        let Some(until) = positions.get(CELLS_MAX / 4).copied() else { return };
        let old: Vec<ShardKey> = self
            .cells
            .from(|_| false)
            .filter(|(_, it)| it.position <= until)
            .map(|(key, _)| key.clone())
            .collect();
        for key in &old {
            self.cells.remove(key);
        }
        self.len = self.len.saturating_sub(old.len());
        self.floor = self.floor.max(until);
    }

    /// For a snapshot: when what is not named changed last, and the cells.
    pub(crate) fn items(&self) -> (LogPosition, impl Iterator<Item = ChangedCell> + use<'_>) {
        let cells = self.cells.from(|_| false).map(|(key, changed)| ChangedCell {
            key: key.clone(),
            position: changed.position,
            lat: (changed.lat.min, changed.lat.max),
            lng: (changed.lng.min, changed.lng.max),
        });
        (self.floor, cells)
    }

    /// Takes in what [`items`](Self::items) gave.
    pub(crate) fn restore(&mut self, floor: LogPosition, cells: Vec<ChangedCell>) {
        self.floor = self.floor.max(floor);
        self.latest = self.latest.max(floor);
        for ChangedCell { key, position, lat, lng } in cells {
            self.latest = self.latest.max(position);
            let span = |(min, max): (f64, f64)| Span { min, max };
            let changed = Changed { position, lat: span(lat), lng: span(lng) };
            self.len += usize::from(self.cells.insert(key, changed).is_none());
        }
    }

    /// Whether nothing ever changed.
    pub(crate) fn is_empty(&self) -> bool {
        self.latest == LogPosition::default()
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.cells.bytes()
    }
}

impl Changed {
    fn add(&mut self, place: Option<LatLng>, position: LogPosition) {
        self.position = self.position.max(position);
        if let Some(place) = place {
            self.lat.add(place.lat);
            self.lng.add(place.lng);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{geo::Geometry, key::Space, query::SearchRequest};

    fn at(index: u64) -> LogPosition {
        LogPosition { term: 1, index }
    }

    fn key(territory: &str, place: Option<LatLng>) -> ShardKey {
        let point = place.and_then(Cell::at).map_or(0, Cell::raw);
        ShardKey::new(Space::Listings, &territory.parse().unwrap(), point)
    }

    fn coverage(territories: &[&str], geometry: Option<Geometry>) -> Coverage {
        let json = serde_json::json!({ "listingType": "sale", "territories": territories });
        let request =
            SearchRequest::from_json(json.to_string().as_bytes(), &Default::default()).unwrap();
        Coverage::of_filters(&Filters { geometry, ..request.query.filters })
    }

    fn around(lat: f64, lng: f64, radius_km: f64) -> Option<Geometry> {
        Some(Geometry::Radius { center: LatLng { lat, lng }, radius_km })
    }

    #[test]
    fn what_changes_elsewhere_does_not_count() {
        let mut changes = Changes::default();
        let milano = Some(LatLng { lat: 45.4726, lng: 9.186 });
        let bergamo = Some(LatLng { lat: 45.6983, lng: 9.6773 });
        changes.note(&key("IT:lombardia", milano), milano, at(3));
        changes.note(&key("IT:lombardia", bergamo), bergamo, at(5));
        changes.note(&key("IT:lombardia", None), None, at(7));
        changes.note(&key("IT:lazio", milano), milano, at(9));
        for (territories, geometry, last) in [
            (&["IT:lombardia"][..], around(45.47, 9.19, 5.0), 3),
            (&["IT:lombardia"], around(45.69, 9.67, 5.0), 5),
            (&["IT:lombardia"], around(45.47, 9.19, 100.0), 5),
            (&["IT:lombardia"], None, 7),
            (&["IT:lazio"], None, 9),
            (&["IT:lombardia"], around(41.9, 12.5, 5.0), 0),
            (&["IT:veneto"], None, 0),
            (&[], None, 9),
        ] {
            let last_of = changes.last(&coverage(territories, geometry.clone()));
            assert_eq!(last_of.index, last, "{territories:?} {geometry:?}");
        }
        changes.note_all(at(10));
        assert_eq!(changes.last(&coverage(&["IT:veneto"], None)), at(10));
    }

    #[test]
    fn cells_are_bounded_and_those_forgotten_count_as_changed_later() {
        let mut changes = Changes::default();
        let place = |n: u64| {
            let (row, column) = (n / 80, n % 80);
            LatLng { lat: 30.0 + row as f64 * 0.4, lng: column as f64 * 0.5 }
        };
        for n in 0..=CELLS_MAX as u64 {
            let place = Some(place(n));
            changes.note(&key("IT:lombardia", place), place, at(n + 1));
        }
        assert!(changes.len <= CELLS_MAX * 3 / 4 + 1);
        assert_eq!(changes.cells.from(|_| false).count(), changes.len);
        let of = |n: u64| {
            let LatLng { lat, lng } = place(n);
            changes.last(&coverage(&["IT:lombardia"], around(lat, lng, 0.5))).index
        };
        assert_eq!(of(0), changes.floor.index);
        assert!(changes.floor.index >= CELLS_MAX as u64 / 4);
        assert_eq!(of(4000), 4001);
    }

    fn places() -> impl Strategy<Value = Option<LatLng>> {
        let near = (44.0..47.0, 8.0..12.0).prop_map(|(lat, lng)| LatLng { lat, lng });
        let edge = (-20.0..-15.0, 175.0..185.0_f64).prop_map(|(lat, lng)| LatLng {
            lat,
            lng: if lng > 180.0 { lng - 360.0 } else { lng },
        });
        prop_oneof![1 => Just(None), 6 => near.prop_map(Some), 2 => edge.prop_map(Some)]
    }

    fn geometries() -> impl Strategy<Value = Option<Geometry>> {
        let corner = |lat, lng| LatLng { lat, lng };
        prop_oneof![
            Just(None),
            (places(), 0.1..400.0).prop_map(|(center, radius_km)| {
                center.map(|center| Geometry::Radius { center, radius_km })
            }),
            (44.0..47.0, 8.0..12.0, 0.01..1.0).prop_map(move |(lat, lng, size)| {
                let (top_left, bottom_right) = (corner(lat, lng), corner(lat - size, lng + size));
                Some(Geometry::Bbox { top_left, bottom_right })
            }),
            Just(Some(Geometry::Bbox {
                top_left: corner(-15.0, 178.0),
                bottom_right: corner(-20.0, -179.0)
            })),
            (44.0..47.0, 8.0..12.0, 0.01..1.0).prop_map(move |(lat, lng, size)| {
                let points =
                    vec![corner(lat, lng), corner(lat + size, lng), corner(lat, lng + size)];
                Some(Geometry::Polygon { points })
            }),
        ]
    }

    const TERRITORIES: [&str; 3] = ["IT:lombardia", "IT:lazio", "FR:corse"];

    proptest! {
        #[test]
        fn no_change_within_is_later_than_the_last(
            notes in proptest::collection::vec((0_usize..3, places()), 1..60),
            asked in proptest::collection::vec(0_usize..3, 0..3),
            geometry in geometries(),
        ) {
            let mut changes = Changes::default();
            let territories: Vec<_> = asked.iter().map(|nth| TERRITORIES[*nth]).collect();
            let coverage = coverage(&territories, geometry.clone());
            let (mut expected, mut index) = (0, 0);
            for (territory, place) in &notes {
                index += 1;
                let territory = TERRITORIES[*territory];
                changes.note(&key(territory, *place), *place, at(index));
                let in_area = match (&geometry, place) {
                    (None, _) => true,
                    (Some(_), None) => false,
                    (Some(area), Some(place)) => area.contains(*place),
                };
                if in_area && (territories.is_empty() || territories.contains(&territory)) {
                    expected = index;
                }
                prop_assert!(changes.last(&coverage).index >= expected);
            }
            let (floor, cells) = changes.items();
            let mut restored = Changes::default();
            restored.restore(floor, cells.collect());
            prop_assert_eq!(restored.last(&coverage), changes.last(&coverage));
            prop_assert_eq!(restored.latest, changes.latest);
        }
    }
}

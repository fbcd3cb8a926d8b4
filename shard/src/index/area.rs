//! Areas prepared for many tests: boxes of a node's rows against an area, then row by row.
//!
//! A node's box is fitted to its rows, which are neighbours in the order of H3 cells, so that it says
//! what a cover of cells would say, and says it about where rows really are; it needs no cover to be
//! computed, and nothing is special at the poles or the antimeridian. Rows of a node whose box lies
//! inside the area need no test; the rest is tested exactly, by the arithmetic of [`Geometry`].

use super::{leaf::RowLeaf, mask::Mask, zone::Span};
use crate::geo::{Bounds, EARTH_RADIUS_KM, Geometry, LatLng, distance_km};

/// How a box lies to an area.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Relation {
    /// Nothing of it is inside.
    Outside,
    /// All of it is.
    Inside,
    /// Some may be.
    Border,
}

/// An area.
#[derive(Debug)]
pub(super) struct Area {
    bounds: Bounds,
    shape: Shape,
}

#[derive(Debug)]
enum Shape {
    Box,
    Cap(Cap),
    Polygon(Polygon),
}

/// Distances are taken for equal within this part of themselves: far more than rounding makes.
const MARGIN: f64 = 1e-9;

impl Area {
    pub(super) fn new(geometry: &Geometry) -> Self {
        let shape = match geometry {
            Geometry::Bbox { .. } => Shape::Box,
            Geometry::Radius { center, radius_km } => Shape::Cap(Cap::new(*center, *radius_km)),
            Geometry::Polygon { points } => Shape::Polygon(Polygon::new(points)),
        };
        Self { bounds: geometry.bounds(), shape }
    }

    pub(super) const fn of_bounds(bounds: Bounds) -> Self {
        Self { bounds, shape: Shape::Box }
    }

    /// How the box of some rows lies to the area. An empty box lies outside.
    pub(super) fn relation(&self, lat: Span, lng: Span) -> Relation {
        if lat.is_empty() || !lat.meets(self.bounds.south, self.bounds.north) {
            return Relation::Outside;
        }
        let (west, east) = (self.bounds.west, self.bounds.east);
        let meets =
            if west <= east { lng.meets(west, east) } else { lng.max >= west || lng.min <= east };
        if !meets {
            return Relation::Outside;
        }
        match &self.shape {
            Shape::Box => {
                let within = if west <= east {
                    lng.min >= west && lng.max <= east
                } else {
                    lng.min >= west || lng.max <= east
                };
                if within && lat.min >= self.bounds.south && lat.max <= self.bounds.north {
                    Relation::Inside
                } else {
                    Relation::Border
                }
            }
            Shape::Cap(cap) => cap.relation(lat, lng),
            Shape::Polygon(polygon) => polygon.relation(lat, lng),
        }
    }

    /// Keeps the rows that lie in the box around the area.
    pub(super) fn keep_bounds(&self, leaf: &RowLeaf, mask: &mut Mask) {
        leaf.lat.keep_within(self.bounds.south, self.bounds.north, mask);
        let (west, east) = (self.bounds.west, self.bounds.east);
        if west <= east {
            leaf.lng.keep_within(west, east, mask);
        } else {
            let mut western = *mask;
            leaf.lng.keep_within(f64::MIN, east, &mut western);
            leaf.lng.keep_within(west, f64::MAX, mask);
            mask.join(&western);
        }
    }

    /// Keeps the rows that lie in the area, out of those in the box around it.
    pub(super) fn keep_shape(&self, leaf: &RowLeaf, mask: &mut Mask) {
        let place = |at| LatLng { lat: leaf.lat.get(at), lng: leaf.lng.get(at) };
        match &self.shape {
            Shape::Box => {}
            Shape::Cap(cap) => mask.keep_places(|at| cap.contains(place(at))),
            Shape::Polygon(polygon) => mask.keep_places(|at| polygon.contains(place(at))),
        }
    }
}

/// Everything within a distance.
#[derive(Debug)]
struct Cap {
    center: LatLng,
    radius_km: f64,
    near: Option<Near>,
}

impl Cap {
    fn new(center: LatLng, radius_km: f64) -> Self {
        Self { center, radius_km, near: Near::new(center, radius_km) }
    }

    fn contains(&self, place: LatLng) -> bool {
        match self.near.as_ref().and_then(|near| near.decides(place)) {
            Some(inside) => inside,
            None => distance_km(self.center, place) <= self.radius_km,
        }
    }

    fn relation(&self, lat: Span, lng: Span) -> Relation {
        if let Some((near, (least, most))) =
            self.near.as_ref().and_then(|near| Some((near, near.series.haversines(lat, lng)?)))
        {
            return if least > near.outside_above {
                Relation::Outside
            } else if most < near.inside_below {
                Relation::Inside
            } else {
                Relation::Border
            };
        }
        if nearest_km(self.center, lat, lng) * (1.0 - MARGIN) > self.radius_km {
            return Relation::Outside;
        }
        let farthest = (lng.min - self.center.lng).abs().max((lng.max - self.center.lng).abs());
        // Along a meridian at most a quarter turn away the distance has no maximum but at its ends.
        if farthest > 90.0 {
            return Relation::Border;
        }
        let inside =
            [(lat.min, lng.min), (lat.min, lng.max), (lat.max, lng.min), (lat.max, lng.max)]
                .into_iter()
                .all(|(lat, lng)| {
                    distance_km(self.center, LatLng { lat, lng }) * (1.0 + MARGIN) < self.radius_km
                });
        if inside { Relation::Inside } else { Relation::Border }
    }
}

/// Decides about distances without trigonometry, where that is certain: what lies within
/// [`UNDECIDED`] of the limit is left open.
#[derive(Debug)]
struct Near {
    series: Series,
    inside_below: f64,
    outside_above: f64,
}

/// A part of a haversine that is more than the series lack.
const UNDECIDED: f64 = 1e-6;

impl Near {
    /// Rows farther away lie beyond what the series hold for.
    const RADIUS_KM_MAX: f64 = 200.0;

    fn new(center: LatLng, radius_km: f64) -> Option<Self> {
        if radius_km > Self::RADIUS_KM_MAX {
            return None;
        }
        let half = (radius_km / EARTH_RADIUS_KM / 2.0).sin();
        let limit = half * half;
        let inside_below = limit * (1.0 - UNDECIDED);
        let outside_above = limit * (1.0 + UNDECIDED);
        Some(Self { series: Series::new(center)?, inside_below, outside_above })
    }

    fn decides(&self, place: LatLng) -> Option<bool> {
        let haversine = self.series.haversine(place)?;
        if haversine < self.inside_below {
            Some(true)
        } else if haversine > self.outside_above {
            Some(false)
        } else {
            None
        }
    }
}

/// Haversines of angles to a place, expanded around it in Taylor series whose remainder, below two
/// degrees of latitude, ten of longitude, and the 75th parallel, is under 10^-8 of the value.
#[derive(Debug)]
struct Series {
    center: LatLng,
    sin_lat: f64,
    cos_lat: f64,
}

impl Series {
    const LAT_MAX: f64 = 75.0;
    const LAT_OFF_MAX: f64 = 2.0;
    const LNG_OFF_MAX: f64 = 10.0;

    fn new(center: LatLng) -> Option<Self> {
        let (sin_lat, cos_lat) = center.lat.to_radians().sin_cos();
        (center.lat.abs() <= Self::LAT_MAX).then_some(Self { center, sin_lat, cos_lat })
    }

    /// The cosine of the latitude that lies an angle off the centre's.
    fn cos_at(&self, off: f64) -> f64 {
        let square = off * off;
        let cos_off = 1.0 - square / 2.0 + square * square / 24.0;
        let sin_off = off * (1.0 - square / 6.0 + square * square / 120.0);
        self.cos_lat * cos_off - self.sin_lat * sin_off
    }

    /// The haversine of the angle to a place, nearly; `None` where the series do not hold.
    fn haversine(&self, place: LatLng) -> Option<f64> {
        let (lat_off, lng_off) = (place.lat - self.center.lat, place.lng - self.center.lng);
        if lng_off.abs() > Self::LNG_OFF_MAX || lat_off.abs() > Self::LAT_OFF_MAX {
            return None;
        }
        let (off, across) = (lat_off.to_radians(), lng_off.to_radians());
        let parallel = self.cos_lat * self.cos_at(off);
        Some(sin_square(off / 2.0) + parallel * sin_square(across / 2.0))
    }

    /// Bounds of the haversines of the angles to all places of a box, nearly.
    fn haversines(&self, lat: Span, lng: Span) -> Option<(f64, f64)> {
        let offs = |span: Span, at: f64| {
            let (low, high) = (span.min - at, span.max - at);
            (low, high, low.max(-high).max(0.0), high.max(-low))
        };
        let (south, north, lat_least, lat_most) = offs(lat, self.center.lat);
        let (_, _, lng_least, lng_most) = offs(lng, self.center.lng);
        if lng_most > Self::LNG_OFF_MAX || lat_most > Self::LAT_OFF_MAX {
            return None;
        }
        let ends = [south, north].map(|off| self.cos_at(off.to_radians()));
        let least = ends[0].min(ends[1]);
        // On the equator parallels are longest.
        let most = if lat.min <= 0.0 && lat.max >= 0.0 { 1.0 } else { ends[0].max(ends[1]) };
        let haversine = |off: f64, parallel: f64, across: f64| {
            sin_square(off.to_radians() / 2.0)
                + self.cos_lat * parallel * sin_square(across.to_radians() / 2.0)
        };
        Some((haversine(lat_least, least, lng_least), haversine(lat_most, most, lng_most)))
    }
}

/// More than rounding makes of a distance of next to nothing.
const ROUNDING_KM: f64 = 1e-9;

/// A place that distances are taken from.
#[derive(Debug)]
pub(super) struct Reference {
    place: LatLng,
    series: Option<Series>,
}

impl Reference {
    pub(super) fn new(place: LatLng) -> Self {
        Self { place, series: Series::new(place) }
    }

    /// Kilometres to a place.
    pub(super) fn distance_km(&self, place: LatLng) -> f64 {
        distance_km(self.place, place)
    }

    /// No more than the kilometres to any place of a box.
    pub(super) fn least_km(&self, lat: Span, lng: Span) -> f64 {
        match self.series.as_ref().and_then(|series| series.haversines(lat, lng)) {
            Some((least, _)) => at_least_km(least),
            None => nearest_km(self.place, lat, lng) * (1.0 - MARGIN),
        }
    }

    /// No more than the kilometres to a place, without trigonometry; `None` if it lies far off.
    pub(super) fn at_least_km(&self, place: LatLng) -> Option<f64> {
        let haversine = self.series.as_ref()?.haversine(place)?;
        // What is left of places that are all but one is rounding.
        Some((at_least_km(haversine) - ROUNDING_KM).max(0.0))
    }

    /// No less than the kilometres to a place of which [`at_least_km`](Self::at_least_km) said so much:
    /// where the series hold, an arc is at most 0.14 % longer than its chord.
    pub(super) fn at_most_km(at_least_km: f64) -> f64 {
        (at_least_km + 2.0 * ROUNDING_KM) * 1.002
    }
}

/// The kilometres of a haversine that is nearly known, or less: an arc is longer than its sine.
fn at_least_km(haversine: f64) -> f64 {
    2.0 * EARTH_RADIUS_KM * (haversine * (1.0 - UNDECIDED)).sqrt()
}

/// A lower bound of the distance of a place to a box that does not cross the antimeridian, exact but for
/// rounding.
fn nearest_km(place: LatLng, lat: Span, lng: Span) -> f64 {
    if lng.min <= place.lng && place.lng <= lng.max {
        let off = (lat.min - place.lat).max(place.lat - lat.max).max(0.0);
        return off.to_radians() * EARTH_RADIUS_KM;
    }
    let to_meridian = |edge: f64| {
        // The latitude at which the great circle through that meridian comes nearest.
        let across = (edge - place.lng).to_radians();
        let (sin, cos) = place.lat.to_radians().sin_cos();
        let nearest = sin.atan2(cos * across.cos()).to_degrees();
        [nearest.clamp(lat.min, lat.max), lat.min, lat.max]
            .into_iter()
            .map(|lat| distance_km(place, LatLng { lat, lng: edge }))
            .fold(f64::INFINITY, f64::min)
    };
    to_meridian(lng.min).min(to_meridian(lng.max))
}

/// The square of the sine of a small angle.
fn sin_square(angle: f64) -> f64 {
    let square = angle * angle;
    square * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 45.0 - square / 315.0)))
}

/// Bands of latitude at most.
const BANDS_MAX: usize = 64;

/// A polygon whose edges are sorted into bands of latitude, so that a test looks at few of them.
#[derive(Debug)]
struct Polygon {
    south: f64,
    per_degree: f64,
    bands: Vec<Vec<(LatLng, LatLng)>>,
    edges: Vec<(LatLng, LatLng)>,
}

impl Polygon {
    fn new(points: &[LatLng]) -> Self {
        let ends = points.iter().skip(1).chain(points.first());
        let edges: Vec<_> = points.iter().zip(ends).map(|(a, b)| (*a, *b)).collect();
        let lats = || points.iter().map(|point| point.lat);
        let (south, north) =
            (lats().fold(f64::INFINITY, f64::min), lats().fold(f64::NEG_INFINITY, f64::max));
        let count = BANDS_MAX.min(points.len() * 2);
        let height = (north - south).max(f64::MIN_POSITIVE);
        #[expect(clippy::cast_precision_loss, reason = "at most 64")]
        let per_degree = (count as f64 / height).min(f64::MAX);
        let mut polygon =
            Self { south, per_degree, bands: vec![Vec::new(); count], edges: edges.clone() };
        for (a, b) in edges {
            let (first, last) = (polygon.band(a.lat.min(b.lat)), polygon.band(a.lat.max(b.lat)));
            for band in polygon.bands.iter_mut().take(last + 1).skip(first) {
                band.push((a, b));
            }
        }
        polygon
    }

    /// The band of a latitude; equal latitudes have the same one, greater ones no lesser.
    #[expect(clippy::cast_possible_truncation, reason = "the cast saturates, then it is bounded")]
    #[expect(clippy::cast_sign_loss, reason = "the cast saturates at 0")]
    fn band(&self, lat: f64) -> usize {
        (((lat - self.south) * self.per_degree) as usize).min(self.bands.len().saturating_sub(1))
    }

    /// As [`Geometry::contains`]: an edge that the latitude of the place does not reach has no say.
    fn contains(&self, place: LatLng) -> bool {
        let Some(edges) = self.bands.get(self.band(place.lat)) else {
            return false;
        };
        crate::geo::edges_contain(edges.iter().copied(), place)
    }

    fn relation(&self, lat: Span, lng: Span) -> Relation {
        if self.edges.iter().any(|(a, b)| may_touch(*a, *b, lat, lng)) {
            return Relation::Border;
        }
        let corner = LatLng { lat: lat.min, lng: lng.min };
        if self.contains(corner) { Relation::Inside } else { Relation::Outside }
    }
}

/// Whether an edge may touch a box.
fn may_touch(a: LatLng, b: LatLng, lat: Span, lng: Span) -> bool {
    let apart = a.lat.max(b.lat) < lat.min
        || a.lat.min(b.lat) > lat.max
        || a.lng.max(b.lng) < lng.min
        || a.lng.min(b.lng) > lng.max;
    if apart {
        return false;
    }
    // All corners clearly on one side of the line through the edge.
    let turn =
        |lat: f64, lng: f64| (b.lng - a.lng) * (lat - a.lat) - (b.lat - a.lat) * (lng - a.lng);
    let corners = [
        turn(lat.min, lng.min),
        turn(lat.min, lng.max),
        turn(lat.max, lng.min),
        turn(lat.max, lng.max),
    ];
    const CLEAR: f64 = 1e-10;
    !(corners.iter().all(|it| *it > CLEAR) || corners.iter().all(|it| *it < -CLEAR))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn place() -> impl Strategy<Value = LatLng> {
        let near = (-3.0..3.0_f64, -3.0..3.0_f64);
        let anywhere = (-90.0..=90.0_f64, -180.0..=180.0_f64);
        prop_oneof![near, anywhere].prop_map(|(lat, lng)| LatLng { lat, lng })
    }

    fn boxed() -> impl Strategy<Value = (Span, Span)> {
        (place(), 0.0..2.0_f64, 0.0..2.0_f64).prop_map(|(at, high, wide)| {
            let lat = Span { min: at.lat, max: (at.lat + high).min(90.0) };
            (lat, Span { min: at.lng, max: (at.lng + wide).min(180.0) })
        })
    }

    fn inside_of((lat, lng): (Span, Span), (a, b): (f64, f64)) -> LatLng {
        LatLng { lat: lat.min + a * (lat.max - lat.min), lng: lng.min + b * (lng.max - lng.min) }
    }

    fn shape() -> impl Strategy<Value = Geometry> {
        let radius = (place(), prop_oneof![0.01..300.0, 300.0..20_000.0])
            .prop_map(|(center, radius_km): (LatLng, f64)| Geometry::Radius { center, radius_km });
        let bbox = (place(), place()).prop_map(|(a, b)| Geometry::Bbox {
            top_left: LatLng { lat: a.lat.max(b.lat), lng: a.lng },
            bottom_right: LatLng { lat: a.lat.min(b.lat), lng: b.lng },
        });
        let polygon =
            (place(), prop::collection::vec(0.2_f64..4.0, 3..24)).prop_map(|(at, reach)| {
                let count = reach.len() as f64;
                let points: Vec<_> = reach
                    .iter()
                    .enumerate()
                    .map(|(i, reach): (usize, &f64)| {
                        let angle = i as f64 / count * std::f64::consts::TAU;
                        LatLng {
                            lat: (at.lat + reach * angle.sin()).clamp(-90.0, 90.0),
                            lng: (at.lng + reach * angle.cos()).clamp(-180.0, 180.0),
                        }
                    })
                    .collect();
                Geometry::Polygon { points }
            });
        prop_oneof![radius, bbox, polygon]
    }

    proptest! {
        #[test]
        fn what_is_said_of_a_box_holds_for_every_place_in_it(
            geometry in shape(), area in boxed(),
            at in prop::collection::vec((0.0..=1.0, 0.0..=1.0), 30),
        ) {
            let relation = Area::new(&geometry).relation(area.0, area.1);
            for at in at {
                let inside = geometry.contains(inside_of(area, at));
                match relation {
                    Relation::Inside => prop_assert!(inside),
                    Relation::Outside => prop_assert!(!inside),
                    Relation::Border => {}
                }
            }
        }

        #[test]
        fn nothing_in_a_box_is_nearer_than_its_bound(
            from in place(), area in boxed(), at in (0.0..=1.0, 0.0..=1.0),
        ) {
            let near = nearest_km(from, area.0, area.1);
            let place = inside_of(area, at);
            let there = distance_km(from, place);
            let reference = Reference::new(from);
            prop_assert!(reference.least_km(area.0, area.1) <= there + 1e-9);
            if let Some(least) = reference.at_least_km(place) {
                prop_assert!(least <= there && there <= Reference::at_most_km(least));
            }
            prop_assert!(near * (1.0 - MARGIN) <= there + 1e-9, "{} {}", near, there);
        }

        #[test]
        fn a_prepared_area_contains_what_the_geometry_does(
            geometry in shape(), places in prop::collection::vec(place(), 30),
            along in prop::collection::vec((0_usize..24, 0.0..=1.0), 10),
        ) {
            let mut places = places;
            if let Geometry::Polygon { points } = &geometry {
                // Corners, and places on edges.
                places.extend(points);
                for (i, part) in along {
                    let (a, b) = (points[i % points.len()], points[(i + 1) % points.len()]);
                    let (lat, lng) = (a.lat + part * (b.lat - a.lat), a.lng + part * (b.lng - a.lng));
                    places.push(LatLng { lat, lng });
                }
            }
            let area = Area::new(&geometry);
            for place in places {
                let inside = match &area.shape {
                    Shape::Box => area.bounds.contains(place),
                    Shape::Cap(cap) => area.bounds.contains(place) && cap.contains(place),
                    Shape::Polygon(polygon) => {
                        area.bounds.contains(place) && polygon.contains(place)
                    }
                };
                prop_assert_eq!(inside, geometry.contains(place), "{:?}", place);
            }
        }

        #[test]
        fn the_near_haversine_is_near_enough(
            (lat, lng) in (-75.0..75.0_f64, -180.0..180.0_f64), bearing in 0.0..360.0_f64, km in 0.001..199.0_f64,
        ) {
            let center = LatLng { lat, lng };
            let off = km / 111.2;
            let place = LatLng {
                lat: lat + off * bearing.to_radians().cos(),
                lng: lng + off * bearing.to_radians().sin() / lat.to_radians().cos(),
            };
            let series = Series::new(center).unwrap();
            let half = (distance_km(center, place) / EARTH_RADIUS_KM / 2.0).sin();
            let exact = half * half;
            let nearly = series.haversine(place).unwrap();
            prop_assert!((nearly - exact).abs() <= exact * 1e-8, "{} {}", nearly, exact);
        }
    }
}

//! Areas prepared for many tests: boxes of a node's rows against an area, then row by row.
//!
//! A node's box is fitted to its rows, which are neighbours in the order of H3 cells, so that it says
//! what a cover of cells would say, and says it about where rows really are; it needs no cover to be
//! computed, and nothing is special at the poles or the antimeridian. Rows of a node whose box lies
//! inside the area need no test; the rest is tested exactly, by the arithmetic of [`Geometry`].

use super::{leaf::RowLeaf, zone::Span};
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

    /// Keeps the rows wanted that lie in the area.
    pub(super) fn keep(&self, leaf: &RowLeaf, mask: &mut [u8]) {
        leaf.lat.keep_within(self.bounds.south, self.bounds.north, mask);
        let (west, east) = (self.bounds.west, self.bounds.east);
        if west <= east {
            leaf.lng.keep_within(west, east, mask);
        } else {
            let mut western = mask.to_vec();
            leaf.lng.keep_within(f64::MIN, east, &mut western);
            leaf.lng.keep_within(west, f64::MAX, mask);
            for (wanted, western) in mask.iter_mut().zip(western) {
                *wanted |= western;
            }
        }
        let test: &dyn Fn(LatLng) -> bool = match &self.shape {
            Shape::Box => return,
            Shape::Cap(cap) => &|place| cap.contains(place),
            Shape::Polygon(polygon) => &|place| polygon.contains(place),
        };
        for (at, wanted) in mask.iter_mut().enumerate().filter(|(_, wanted)| **wanted != 0) {
            let place = LatLng { lat: leaf.lat.get(at), lng: leaf.lng.get(at) };
            *wanted = u8::from(test(place));
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

/// A lower bound of the distance of a place to a box that does not cross the antimeridian, exact but for
/// rounding.
pub(super) fn nearest_km(place: LatLng, lat: Span, lng: Span) -> f64 {
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

/// Decides about distances without trigonometry, where that is certain.
///
/// The haversine is expanded around the centre in Taylor series, whose remainder below 200 km and 75
/// degrees is under 10^-9 of the value; what lies within 10^-6 of the limit is left undecided.
#[derive(Debug)]
struct Near {
    center: LatLng,
    sin_lat: f64,
    cos_lat: f64,
    inside_below: f64,
    outside_above: f64,
}

impl Near {
    const RADIUS_KM_MAX: f64 = 200.0;
    const LAT_MAX: f64 = 75.0;
    /// Longitudes farther away are left to the exact formula: beyond the antimeridian, say.
    const LNG_OFF_MAX: f64 = 10.0;
    const UNDECIDED: f64 = 1e-6;

    fn new(center: LatLng, radius_km: f64) -> Option<Self> {
        if radius_km > Self::RADIUS_KM_MAX || center.lat.abs() > Self::LAT_MAX {
            return None;
        }
        let (sin_lat, cos_lat) = center.lat.to_radians().sin_cos();
        let half = (radius_km / EARTH_RADIUS_KM / 2.0).sin();
        let limit = half * half;
        let inside_below = limit * (1.0 - Self::UNDECIDED);
        let outside_above = limit * (1.0 + Self::UNDECIDED);
        Some(Self { center, sin_lat, cos_lat, inside_below, outside_above })
    }

    /// The haversine of the angle to a place, nearly; `None` where the series do not hold.
    fn haversine(&self, place: LatLng) -> Option<f64> {
        let (lat_off, lng_off) = (place.lat - self.center.lat, place.lng - self.center.lng);
        if lng_off.abs() > Self::LNG_OFF_MAX || lat_off.abs() > 2.0 {
            return None;
        }
        let (off, across) = (lat_off.to_radians(), lng_off.to_radians());
        let square = off * off;
        let cos_off = 1.0 - square / 2.0 + square * square / 24.0;
        let sin_off = off * (1.0 - square / 6.0 + square * square / 120.0);
        let cos_place = self.cos_lat * cos_off - self.sin_lat * sin_off;
        Some(sin_square(off / 2.0) + self.cos_lat * cos_place * sin_square(across / 2.0))
    }

    fn decides(&self, place: LatLng) -> Option<bool> {
        let haversine = self.haversine(place)?;
        if haversine < self.inside_below {
            Some(true)
        } else if haversine > self.outside_above {
            Some(false)
        } else {
            None
        }
    }
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
            let there = distance_km(from, inside_of(area, at));
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
            let near = Near::new(center, 200.0).unwrap();
            let half = (distance_km(center, place) / EARTH_RADIUS_KM / 2.0).sin();
            let exact = half * half;
            let nearly = near.haversine(place).unwrap();
            prop_assert!((nearly - exact).abs() <= exact * 1e-8, "{} {}", nearly, exact);
        }
    }
}

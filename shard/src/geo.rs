//! Places and areas on the globe: great-circle distance, boxes that may cross the antimeridian,
//! and polygons that are planar in longitude and latitude.
//!
//! All of it computes with the very `f64` that the JSON number gives: an answer must equal that of
//! a scan of the documents, which fixed-point columns could not promise.

use serde::{Deserialize, Serialize};

/// The mean radius that all distances are measured with.
pub const EARTH_RADIUS_KM: f64 = 6371.0088;

/// Half the girth of the Earth, rounded up: no two places are farther apart.
pub const RADIUS_KM_MAX: f64 = 20_040.0;

/// A polygon has at most this many points.
pub const POLYGON_POINTS_MAX: usize = 1000;

/// Kept between a bounding box and what it bounds, in degrees (0.1 m): far more than rounding does.
const MARGIN_DEGREES: f64 = 1e-6;

/// A place in WGS84 degrees: latitude −90..=90, longitude −180..=180.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LatLng {
    /// Degrees north.
    pub lat: f64,
    /// Degrees east.
    pub lng: f64,
}

/// The great-circle distance of two places (haversine), in kilometres.
#[must_use]
pub fn distance_km(a: LatLng, b: LatLng) -> f64 {
    let (lat_a, lat_b) = (a.lat.to_radians(), b.lat.to_radians());
    let half_lat = ((b.lat - a.lat).to_radians() / 2.0).sin();
    let half_lng = ((b.lng - a.lng).to_radians() / 2.0).sin();
    let chord = half_lat * half_lat + lat_a.cos() * lat_b.cos() * half_lng * half_lng;
    2.0 * EARTH_RADIUS_KM * chord.sqrt().min(1.0).asin()
}

/// An area that a search is limited to. Borders belong to it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Geometry {
    /// Everything within a distance.
    Radius {
        /// The centre.
        center: LatLng,
        /// Above 0, at most [`RADIUS_KM_MAX`].
        radius_km: f64,
    },
    /// A box; it crosses the antimeridian when its left edge lies east of its right one.
    Bbox {
        /// The north-western corner.
        top_left: LatLng,
        /// The south-eastern corner.
        bottom_right: LatLng,
    },
    /// A simple polygon, closed implicitly.
    Polygon {
        /// Its corners, without a repetition of the first; made by [`polygon`].
        points: Vec<LatLng>,
    },
}

impl Geometry {
    /// Whether a place lies in the area.
    #[must_use]
    pub fn contains(&self, place: LatLng) -> bool {
        match self {
            Self::Radius { center, radius_km } => distance_km(*center, place) <= *radius_km,
            Self::Bbox { .. } => self.bounds().contains(place),
            Self::Polygon { points } => polygon_contains(points, place),
        }
    }

    /// A box around the area, and the very area if that is a box.
    #[must_use]
    pub fn bounds(&self) -> Bounds {
        match self {
            Self::Radius { center, radius_km } => radius_bounds(*center, *radius_km),
            Self::Bbox { top_left, bottom_right } => Bounds {
                south: bottom_right.lat,
                north: top_left.lat,
                west: top_left.lng,
                east: bottom_right.lng,
            },
            Self::Polygon { points } => {
                let mut bounds = Bounds { south: 90.0, north: -90.0, west: 180.0, east: -180.0 };
                for point in points {
                    bounds.south = bounds.south.min(point.lat);
                    bounds.north = bounds.north.max(point.lat);
                    bounds.west = bounds.west.min(point.lng);
                    bounds.east = bounds.east.max(point.lng);
                }
                bounds
            }
        }
    }
}

/// A box in degrees; `west > east` means that it crosses the antimeridian.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bounds {
    /// Lowest latitude.
    pub south: f64,
    /// Highest latitude.
    pub north: f64,
    /// Western edge.
    pub west: f64,
    /// Eastern edge.
    pub east: f64,
}

impl Bounds {
    /// Whether a place lies in the box or on its border; false for coordinates that are NaN.
    #[must_use]
    pub fn contains(&self, place: LatLng) -> bool {
        if !(place.lat >= self.south && place.lat <= self.north) {
            return false;
        }
        if self.west <= self.east {
            place.lng >= self.west && place.lng <= self.east
        } else {
            place.lng >= self.west || place.lng <= self.east
        }
    }
}

/// All longitudes whose circle of latitude the cap reaches: the classic bounding box of a
/// spherical cap, widened by [`MARGIN_DEGREES`].
fn radius_bounds(center: LatLng, radius_km: f64) -> Bounds {
    let angle = radius_km / EARTH_RADIUS_KM;
    let reach = angle.to_degrees() + MARGIN_DEGREES;
    let (south, north) = (center.lat - reach, center.lat + reach);
    if south <= -90.0 || north >= 90.0 {
        return Bounds { south, north, west: -180.0, east: 180.0 };
    }
    let half_width =
        (angle.sin() / center.lat.to_radians().cos()).clamp(-1.0, 1.0).asin().to_degrees()
            + MARGIN_DEGREES;
    let (west, east) = (center.lng - half_width, center.lng + half_width);
    if half_width >= 180.0 {
        Bounds { south, north, west: -180.0, east: 180.0 }
    } else if west < -180.0 {
        Bounds { south, north, west: west + 360.0, east }
    } else if east > 180.0 {
        Bounds { south, north, west, east: east - 360.0 }
    } else {
        Bounds { south, north, west, east }
    }
}

/// Why points are no polygon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolygonError {
    /// Fewer than three different points.
    #[error("a polygon needs at least 3 different points")]
    TooFewPoints,
    /// More than [`POLYGON_POINTS_MAX`].
    #[error("a polygon has at most 1000 points")]
    TooManyPoints,
    /// Two of its edges cross or touch, or all points lie on one line.
    #[error("the edges that begin at points {first} and {second} cross or touch each other")]
    SelfIntersecting {
        /// Index of the point one edge begins at.
        first: usize,
        /// Index of the point the other begins at.
        second: usize,
    },
}

/// A simple polygon of `points`; repeated neighbours and a last point equal to the first are left
/// out.
///
/// # Errors
/// [`PolygonError`] when they are none.
pub fn polygon(points: &[LatLng]) -> Result<Geometry, PolygonError> {
    if points.len() > POLYGON_POINTS_MAX + 1 {
        return Err(PolygonError::TooManyPoints);
    }
    let mut kept: Vec<LatLng> = Vec::with_capacity(points.len());
    for point in points {
        if kept.last() != Some(point) {
            kept.push(*point);
        }
    }
    if kept.len() > 1 && kept.first() == kept.last() {
        kept.pop();
    }
    if kept.len() > POLYGON_POINTS_MAX {
        return Err(PolygonError::TooManyPoints);
    }
    if kept.len() < 3 {
        return Err(PolygonError::TooFewPoints);
    }
    match first_contact(&kept) {
        Some((first, second)) => Err(PolygonError::SelfIntersecting { first, second }),
        None => Ok(Geometry::Polygon { points: kept }),
    }
}

/// The edges of a closed ring, each with the index of the point it begins at.
fn edges(points: &[LatLng]) -> impl Iterator<Item = (usize, LatLng, LatLng)> + '_ {
    let ends = points.iter().skip(1).chain(points.first());
    points.iter().zip(ends).enumerate().map(|(at, (a, b))| (at, *a, *b))
}

/// The first two edges that share more than the corner they meet at. Quadratic, which
/// [`POLYGON_POINTS_MAX`] bounds at half a million pairs.
fn first_contact(points: &[LatLng]) -> Option<(usize, usize)> {
    let count = points.len();
    for (i, a, b) in edges(points) {
        for (j, c, d) in edges(points).skip(i + 1) {
            let contact = if j == i + 1 {
                // They meet in b = c; more than that only if d folds back onto a-b.
                folds_back(a, b, d)
            } else if i == 0 && j + 1 == count {
                folds_back(c, d, b)
            } else {
                segments_touch(a, b, c, d)
            };
            if contact {
                return Some((i, j));
            }
        }
    }
    None
}

/// Twice the signed area of a triangle: its sign is the turn from a-b towards c.
fn turn(a: LatLng, b: LatLng, c: LatLng) -> f64 {
    (b.lng - a.lng) * (c.lat - a.lat) - (b.lat - a.lat) * (c.lng - a.lng)
}

/// Whether the edge from `corner` to `next` runs back along the one from `before` to `corner`.
fn folds_back(before: LatLng, corner: LatLng, next: LatLng) -> bool {
    let along = (corner.lng - before.lng) * (next.lng - corner.lng)
        + (corner.lat - before.lat) * (next.lat - corner.lat);
    turn(before, corner, next) == 0.0 && along < 0.0
}

/// Whether `c`, which lies on the line through a-b, lies on the segment itself.
fn within(a: LatLng, b: LatLng, c: LatLng) -> bool {
    c.lng >= a.lng.min(b.lng)
        && c.lng <= a.lng.max(b.lng)
        && c.lat >= a.lat.min(b.lat)
        && c.lat <= a.lat.max(b.lat)
}

fn segments_touch(a: LatLng, b: LatLng, c: LatLng, d: LatLng) -> bool {
    let (abc, abd, cda, cdb) = (turn(a, b, c), turn(a, b, d), turn(c, d, a), turn(c, d, b));
    if ((abc > 0.0 && abd < 0.0) || (abc < 0.0 && abd > 0.0))
        && ((cda > 0.0 && cdb < 0.0) || (cda < 0.0 && cdb > 0.0))
    {
        return true;
    }
    (abc == 0.0 && within(a, b, c))
        || (abd == 0.0 && within(a, b, d))
        || (cda == 0.0 && within(c, d, a))
        || (cdb == 0.0 && within(c, d, b))
}

/// Even-odd rule with the border counted in.
fn polygon_contains(points: &[LatLng], place: LatLng) -> bool {
    edges_contain(edges(points).map(|(_, a, b)| (a, b)), place)
}

/// The same of a polygon's edges. Edges that do not reach the latitude of the place may be left out.
pub(crate) fn edges_contain(edges: impl Iterator<Item = (LatLng, LatLng)>, place: LatLng) -> bool {
    let mut inside = false;
    for (a, b) in edges {
        if turn(a, b, place) == 0.0 && within(a, b, place) {
            return true;
        }
        if (a.lat > place.lat) != (b.lat > place.lat) {
            let crossing = a.lng + (place.lat - a.lat) / (b.lat - a.lat) * (b.lng - a.lng);
            if place.lng < crossing {
                inside = !inside;
            }
        }
    }
    inside
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lng: f64) -> LatLng {
        LatLng { lat, lng }
    }

    #[test]
    fn distances_are_great_circles() {
        let quarter = distance_km(at(0.0, 0.0), at(0.0, 90.0));
        assert!((quarter - EARTH_RADIUS_KM * std::f64::consts::FRAC_PI_2).abs() < 1e-9);
        assert!((distance_km(at(90.0, 0.0), at(-90.0, 17.0)) - 20_015.114_442).abs() < 1e-3);
        assert!(distance_km(at(90.0, 0.0), at(-90.0, 0.0)) < RADIUS_KM_MAX);
        assert!((distance_km(at(0.0, 179.5), at(0.0, -179.5)) - 111.195_08).abs() < 1e-3);
        assert_eq!(distance_km(at(45.0, 9.0), at(45.0, 9.0)), 0.0);
    }

    #[test]
    fn a_box_may_cross_the_antimeridian() {
        let fiji = Geometry::Bbox { top_left: at(-15.0, 176.0), bottom_right: at(-20.0, -178.0) };
        for (lng, inside) in [
            (176.0, true),
            (179.9, true),
            (180.0, true),
            (-180.0, true),
            (-178.0, true),
            (-177.9, false),
            (175.9, false),
            (0.0, false),
        ] {
            assert_eq!(fiji.contains(at(-17.0, lng)), inside, "{lng}");
        }
        assert!(!fiji.contains(at(-14.9, 178.0)) && !fiji.contains(at(f64::NAN, 178.0)));
    }

    #[test]
    fn the_bounds_of_a_radius_leave_nothing_out() {
        for center in
            [at(0.0, 179.9), at(0.0, -179.9), at(89.0, 10.0), at(-89.9, 0.0), at(60.0, 25.0)]
        {
            for radius_km in [0.5, 50.0, 150.0, 5_000.0, 10_007.0, 15_000.0, 20_040.0] {
                let area = Geometry::Radius { center, radius_km };
                let bounds = area.bounds();
                for lat in -18..=18 {
                    for lng in -72..=72 {
                        let place = at(f64::from(lat) * 5.0, f64::from(lng) * 2.5);
                        assert!(
                            !area.contains(place) || bounds.contains(place),
                            "{area:?} {place:?}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_border_of_a_polygon_belongs_to_it() {
        let concave = polygon(&[
            at(0.0, 0.0),
            at(0.0, 4.0),
            at(4.0, 4.0),
            at(1.0, 2.0),
            at(4.0, 0.0),
            at(0.0, 0.0),
        ])
        .unwrap();
        for (place, inside) in [
            (at(0.5, 2.0), true),
            (at(3.0, 2.0), false),
            (at(0.0, 2.0), true),
            (at(1.0, 2.0), true),
            (at(4.0, 4.0), true),
            (at(2.0, 0.0), true),
            (at(2.0, 4.1), false),
            (at(-0.1, 2.0), false),
        ] {
            assert_eq!(concave.contains(place), inside, "{place:?}");
        }
    }

    #[test]
    fn what_is_no_simple_polygon_is_refused() {
        let bow_tie = [at(0.0, 0.0), at(2.0, 2.0), at(0.0, 2.0), at(2.0, 0.0)];
        assert_eq!(polygon(&bow_tie), Err(PolygonError::SelfIntersecting { first: 0, second: 2 }));
        let line = [at(0.0, 0.0), at(1.0, 1.0), at(2.0, 2.0)];
        assert!(matches!(polygon(&line), Err(PolygonError::SelfIntersecting { .. })));
        let spike = [at(0.0, 0.0), at(0.0, 4.0), at(4.0, 4.0), at(4.0, 6.0), at(4.0, 2.0)];
        assert!(matches!(polygon(&spike), Err(PolygonError::SelfIntersecting { .. })));
        let touching = [at(0.0, 0.0), at(0.0, 4.0), at(4.0, 4.0), at(0.0, 2.0), at(4.0, 0.0)];
        assert!(matches!(polygon(&touching), Err(PolygonError::SelfIntersecting { .. })));
        let same = [at(1.0, 1.0), at(1.0, 1.0), at(2.0, 1.0), at(1.0, 1.0)];
        assert_eq!(polygon(&same), Err(PolygonError::TooFewPoints));
        let many: Vec<_> = (0..1002).map(|i| at(f64::from(i) / 100.0, f64::from(i % 7))).collect();
        assert_eq!(polygon(&many), Err(PolygonError::TooManyPoints));
    }
}

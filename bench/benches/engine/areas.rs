//! Random places and areas around where people search.

use hexpop_bench::dataset::Rng;
use hexpop_shard::{LatLng, ListingType};
use serde_json::{Value, json};

use crate::{market::Anchor, scan::Scan};

const DEGREE_KM: f64 = 111.195;
/// How far from an anchor searches are, as a standard deviation.
const SPREAD_KM: f64 = 1.5;
/// Listings that stand for a market that names no places.
const ANCHORS: usize = 2_000;

/// Draws them; always the same for the same seed.
pub(crate) struct Areas {
    rng: Rng,
    anchors: Vec<Anchor>,
}

impl Areas {
    /// Around `anchors`, or around listings for sale when there are none.
    pub(crate) fn new(seed: u64, mut anchors: Vec<Anchor>, scan: &Scan) -> Self {
        let mut rng = Rng::new(seed);
        let mut tries = 0;
        while anchors.len() < ANCHORS && tries < 100 * ANCHORS && (tries > 0 || anchors.is_empty())
        {
            tries += 1;
            let row = u32::try_from(rng.below(scan.len() as u64)).unwrap();
            if scan.finds(row, ListingType::Sale) {
                anchors.extend(scan.location(row).map(|place| (place, 1)));
            }
        }
        Self { rng, anchors }
    }

    /// The randomness itself, for what is not a place.
    pub(crate) const fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// A place to search around.
    pub(crate) fn center(&mut self) -> LatLng {
        let (anchor, _) = *self.rng.weighted(&self.anchors, |anchor| anchor.1).unwrap();
        let (north, east) = (self.rng.normal() * SPREAD_KM, self.rng.normal() * SPREAD_KM);
        offset(anchor, north, east)
    }

    /// Everything within that many kilometres of a place.
    pub(crate) fn radius(&mut self, radius_km: f64) -> Value {
        let center = self.center();
        json!({"type": "radius", "center": point(center), "radiusKm": radius_km})
    }

    /// A box around a place.
    pub(crate) fn viewport(&mut self, width_km: f64, height_km: f64) -> Value {
        let center = self.center();
        json!({
            "type": "bbox",
            "topLeft": point(offset(center, height_km / 2.0, -width_km / 2.0)),
            "bottomRight": point(offset(center, -height_km / 2.0, width_km / 2.0)),
        })
    }

    /// A polygon around a place: corners at growing angles, at 0.6 to 1.3 times `radius_km`.
    pub(crate) fn polygon(&mut self, corners: u32, radius_km: f64) -> Value {
        let center = self.center();
        let points: Vec<Value> = (0..corners)
            .map(|corner| {
                let turn = (f64::from(corner) + 0.7 * self.rng.unit()) / f64::from(corners);
                let reach = radius_km * (0.6 + 0.7 * self.rng.unit());
                let (sin, cos) = (turn * std::f64::consts::TAU).sin_cos();
                point(offset(center, reach * sin, reach * cos))
            })
            .collect();
        json!({"type": "polygon", "points": points})
    }
}

fn point(place: LatLng) -> Value {
    json!({"lat": place.lat, "lng": place.lng})
}

fn offset(place: LatLng, north_km: f64, east_km: f64) -> LatLng {
    let lat = place.lat + north_km / DEGREE_KM;
    LatLng { lat, lng: place.lng + east_km / (DEGREE_KM * place.lat.to_radians().cos()) }
}

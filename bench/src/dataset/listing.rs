//! One listing, from a sequence of random draws.

use serde_json::{Map, Value, json};

use super::{
    city::{City, Neighborhood, sample_city},
    generator::listing_id,
    property::{
        AMENITIES, DEALS, Deal, ENERGY_RATINGS, PROPERTIES, Period, Property, RENT_PERIODS, SOURCES,
    },
    rng::{Rng, cos_degrees, round_to, whole},
    words::language,
};

/// The market's present, 2026-11-01T00:00:00Z, in seconds since the Unix epoch: fixed, so that the
/// bytes do not depend on the day.
const MARKET_NOW: i64 = 1_793_491_200;
/// How long ago the oldest listing was published.
const MARKET_AGE_SECONDS: u64 = 700 * 86_400;
/// Metres in a degree of latitude.
const DEGREE_METERS: f64 = 111_195.0;
/// Where a listing can have a view of the sea.
const COASTAL: [&str; 6] = ["Barcelona", "València", "Alacant", "Marseille", "Nice", "Lisboa"];

/// What is drawn first, since the other fields follow from it.
struct Offer {
    city: &'static City,
    neighborhood: Option<&'static Neighborhood>,
    deal: Deal,
    property: &'static Property,
    sq_meters: f64,
    rooms: u64,
    amenities: Vec<&'static str>,
}

/// Listing number `index`.
///
/// The order of draws is part of the format: another order means other bytes for every seed.
pub(super) fn make(index: u64, rng: &mut Rng) -> Value {
    let offer = Offer::draw(rng);
    let id = listing_id(index);
    let mut listing = Map::new();
    identity(&mut listing, &id, rng);
    let (status, _weight) =
        rng.weighted(&offer.deal.statuses(), |status| status.1).copied().unwrap_or(("active", 1));
    listing.insert("listingType".into(), offer.deal.name().into());
    listing.insert("propertyType".into(), offer.property.name.into());
    listing.insert("status".into(), status.into());
    listing.insert("price".into(), offer.price(rng));
    place(&mut listing, &offer, rng);
    building(&mut listing, &offer, rng);
    texts(&mut listing, &offer, rng);
    people(&mut listing, &offer, rng);
    history(&mut listing, rng);
    extras(&mut listing, &id, &offer, rng);
    Value::Object(listing)
}

impl Offer {
    fn draw(rng: &mut Rng) -> Self {
        let city = sample_city(rng);
        let neighborhood = if rng.chance(870) { rng.pick(city.neighborhoods) } else { None };
        let (deal, _weight) =
            rng.weighted(&DEALS, |deal| deal.1).copied().unwrap_or((Deal::Sale, 1));
        let property =
            rng.weighted(&PROPERTIES, |property| deal.weight(property)).unwrap_or(&PROPERTIES[0]);
        let sq_meters = (property.sq_meters * rng.log_normal(property.spread)).round().max(9.0);
        let rooms = match (property.dwelling, property.name) {
            (false, _) => 0,
            (true, "studio") => 1,
            (true, _) => {
                // Rooms of large homes are larger.
                let counted = sq_meters.min(120.0) / 30.0 + (sq_meters - 120.0).max(0.0) / 75.0;
                whole(counted + rng.normal() * 0.5).clamp(1, 14)
            }
        };
        let amenities = AMENITIES
            .iter()
            .filter(|(name, permille)| {
                let has = rng.chance(*permille);
                has && property.dwelling && (*name != "sea_view" || COASTAL.contains(&city.name))
            })
            .map(|(name, _permille)| *name)
            .collect();
        Self { city, neighborhood, deal, property, sq_meters, rooms, amenities }
    }

    fn price(&self, rng: &mut Rng) -> Value {
        let area = f64::from(self.neighborhood.map_or(90, |hood| hood.price_percent)) / 100.0;
        let level = self.property.price * area * rng.log_normal(0.24);
        let currency = self.city.currency;
        if self.deal == Deal::Rent {
            let month = self.sq_meters * self.city.rent_per_sq_meter * level;
            let period: &Period =
                rng.weighted(&RENT_PERIODS, |period| period.weight).unwrap_or(&RENT_PERIODS[0]);
            let steps = (month * period.of_month / period.step).round().max(1.0);
            let amount = number_json(round_to(steps * period.step, 2));
            return json!({"amount": amount, "currency": currency, "period": period.name});
        }
        let discount = if self.deal == Deal::Auction { 0.62 } else { 1.0 };
        let full = self.sq_meters * self.city.sale_per_sq_meter * level * discount;
        let step = if full < 100_000.0 { 500.0 } else { 1_000.0 };
        let amount = whole(full / step).max(1) * whole(step);
        json!({"amount": amount, "currency": currency})
    }
}

/// A whole number is written without decimals, as platforms do.
fn number_json(amount: f64) -> Value {
    if amount.fract() == 0.0 { whole(amount).into() } else { amount.into() }
}

fn identity(listing: &mut Map<String, Value>, id: &str, rng: &mut Rng) {
    let (source, _weight) =
        rng.weighted(&SOURCES, |source| source.1).copied().unwrap_or(("portal", 1));
    listing.insert("id".into(), id.into());
    listing.insert("source".into(), source.into());
    let external = rng.between(100_000, 9_999_999);
    if source != "owner" {
        listing.insert("externalId".into(), format!("X{external}").into());
    }
}

fn place(listing: &mut Map<String, Value>, offer: &Offer, rng: &mut Rng) {
    let city = offer.city;
    let (lat, lng, spread_meters) = match offer.neighborhood {
        Some(hood) => (hood.lat, hood.lng, 420.0),
        None => (city.lat, city.lng, 2_100.0),
    };
    let north = rng.normal().clamp(-3.0, 3.0) * spread_meters;
    let east = rng.normal().clamp(-3.0, 3.0) * spread_meters;
    let located = rng.chance(995);
    if located {
        let lat_point = round_to(lat + north / DEGREE_METERS, 6);
        let lng_point = round_to(lng + east / (DEGREE_METERS * cos_degrees(lat)), 6);
        listing.insert("location".into(), json!({"lat": lat_point, "lng": lng_point}));
    }
    listing.insert("country".into(), city.country.into());
    listing.insert("region".into(), city.region.into());
    listing.insert("city".into(), city.name.into());
    let with_postal_code = rng.chance(920);
    if let Some(hood) = offer.neighborhood {
        listing.insert("neighborhood".into(), hood.name.into());
        if with_postal_code {
            listing.insert("postalCode".into(), hood.postal_code.into());
        }
    }
}

fn building(listing: &mut Map<String, Value>, offer: &Offer, rng: &mut Rng) {
    let mut optional = |permille: u64, name: &str, value: Value| {
        if rng.chance(permille) {
            listing.insert(name.into(), value);
        }
    };
    optional(970, "sqMeters", whole(offer.sq_meters).into());
    if offer.property.dwelling {
        let bedrooms = offer.rooms.saturating_sub(1);
        optional(930, "rooms", offer.rooms.into());
        optional(960, "bedrooms", bedrooms.into());
    }
    let halves = 2 * (1 + offer.rooms / 4) + u64::from(rng.chance(120));
    if offer.property.dwelling && rng.chance(940) {
        listing.insert("bathrooms".into(), number_json(halves as f64 / 2.0));
    }
    let top = rng.between(2, 9);
    let floor = if rng.chance(20) { -1 } else { i64::try_from(rng.below(top + 1)).unwrap_or(0) };
    if offer.property.on_floor && rng.chance(800) {
        listing.insert("floor".into(), floor.into());
    }
    let age = rng.unit() * rng.unit() * 150.0;
    if offer.property.name != "land" && rng.chance(720) {
        listing.insert("yearBuilt".into(), 2026_u64.saturating_sub(whole(age)).into());
    }
    let (rating, _weight) =
        rng.weighted(&ENERGY_RATINGS, |rating| rating.1).copied().unwrap_or(("G", 1));
    if !matches!(offer.property.name, "land" | "garage") && rng.chance(740) {
        listing.insert("energyRating".into(), rating.into());
    }
    if !offer.amenities.is_empty() && rng.chance(960) {
        listing.insert("amenities".into(), offer.amenities.clone().into());
    }
}

fn texts(listing: &mut Map<String, Value>, offer: &Offer, rng: &mut Rng) {
    let place = offer.neighborhood.map_or(offer.city.name, |hood| hood.name);
    let pick = rng.below(60);
    let mut titles = Map::new();
    let mut descriptions = Map::new();
    let local = offer.city.language;
    let shown = [(local, 1000), ("en", 600), ("de", 90)];
    for (code, permille) in shown {
        let wanted = rng.chance(permille);
        let described = rng.chance(930);
        if !wanted || titles.contains_key(code) {
            continue;
        }
        let words = language(code);
        let title = words.title(offer.property.word, &offer.amenities, pick, place);
        titles.insert(code.into(), title.into());
        if described {
            let fact = |name: &str| listing.get(name).and_then(Value::as_u64);
            let facts = [fact("sqMeters"), fact("rooms"), fact("floor"), fact("yearBuilt")];
            descriptions.insert(code.into(), words.description(facts, pick).into());
        }
    }
    listing.insert("title".into(), titles.into());
    if !descriptions.is_empty() {
        listing.insert("description".into(), descriptions.into());
    }
}

fn people(listing: &mut Map<String, Value>, offer: &Offer, rng: &mut Rng) {
    let agents = 3 + offer.city.weight / 2;
    // The square makes a few agents hold most of the listings.
    let rank = whole(rng.unit() * rng.unit() * agents as f64);
    if !rng.chance(860) {
        return;
    }
    let key = format!("{}-{}", offer.city.country, offer.city.name);
    let salt = key.bytes().fold(7_u64, |hash, byte| hash.wrapping_mul(31) ^ u64::from(byte)) % 90;
    listing.insert("agentId".into(), format!("agt_{:02}{rank:03}", salt + 10).into());
    listing.insert("agencyId".into(), format!("agy_{:02}{:02}", salt + 10, rank % 17).into());
}

fn history(listing: &mut Map<String, Value>, rng: &mut Rng) {
    let age = whole(rng.unit() * rng.unit() * MARKET_AGE_SECONDS as f64);
    let since = whole(rng.unit() * age as f64);
    let version = 1 + whole(rng.unit() * rng.unit() * rng.unit() * 14.0);
    listing.insert("publishedAt".into(), time(age).into());
    listing.insert("updatedAt".into(), time(if version == 1 { age } else { since }).into());
    listing.insert("version".into(), version.into());
}

/// The time that many seconds before [`MARKET_NOW`] as RFC 3339.
fn time(seconds_ago: u64) -> String {
    let seconds = MARKET_NOW - i64::try_from(seconds_ago).unwrap_or(0);
    jiff::Timestamp::from_second(seconds).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string()
}

fn extras(listing: &mut Map<String, Value>, id: &str, offer: &Offer, rng: &mut Rng) {
    let images = rng.below(9);
    if images > 0 {
        let media: Vec<Value> = (1..=images)
            .map(|n| json!({"type": "image", "url": format!("/listings/{id}/images/{n}")}))
            .collect();
        listing.insert("media".into(), media.into());
    }
    // Fields that the interface does not name: they must come back as they went in.
    if rng.chance(80) {
        listing.insert("virtualTour".into(), true.into());
    }
    let lot = whole(offer.sq_meters * (1.5 + 4.0 * rng.unit()));
    if matches!(offer.property.name, "house" | "villa") {
        listing.insert("lotSqMeters".into(), lot.into());
    }
    let day = rng.between(1, 28);
    if offer.deal == Deal::Auction {
        let auction = json!({"date": format!("2026-12-{day:02}"), "court": offer.city.name});
        listing.insert("auction".into(), auction);
    }
}

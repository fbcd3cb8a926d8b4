//! From a record to the native listing.

use super::{
    Native, area, features, media, place,
    record::{Number, Record},
    words,
};
use crate::listing::{FieldError, ListingType, Status, Word, parse::ObjectWriter};

/// What brokers keep among themselves.
const CONFIDENTIAL: &[&str] = &[
    "AccessCode",
    "LockBoxLocation",
    "LockBoxSerialNumber",
    "LockBoxType",
    "OccupantName",
    "OccupantPhone",
    "OwnerName",
    "OwnerPhone",
    "PrivateOfficeRemarks",
    "PrivateRemarks",
    "ShowingContactName",
    "ShowingContactPhone",
    "ShowingContactPhoneExt",
    "ShowingInstructions",
];

/// The names of native fields that the mapping gives. Others (`title`, `energyRating`, `version`,
/// ...) have no counterpart in the standard, so a record may carry them.
const OURS: &[&str] = &[
    "agencyId",
    "agentId",
    "amenities",
    "bathrooms",
    "bedrooms",
    "city",
    "country",
    "county",
    "description",
    "externalId",
    "id",
    "listingType",
    "location",
    "lotSqMeters",
    "media",
    "neighborhood",
    "postalCode",
    "price",
    "propertyType",
    "publishedAt",
    "region",
    "rooms",
    "source",
    "sqMeters",
    "status",
    "totalFloors",
    "updatedAt",
    "yearBuilt",
];

/// Where the currency of prices may stand: the standard has no field for it.
const CURRENCIES: &[&str] = &["ListPriceCurrency", "CurrencyCode", "Currency"];

/// The native listing while it is made.
#[derive(Debug, Default)]
pub(super) struct Draft {
    out: ObjectWriter,
    origins: Vec<(&'static str, &'static str)>,
}

impl Draft {
    pub(super) fn json(
        &mut self,
        native: &'static str,
        pointer: &'static str,
        json: &str,
        from: &'static str,
    ) {
        self.out.member(native, json);
        self.origins.push((pointer, from));
    }

    fn text(
        &mut self,
        native: &'static str,
        pointer: &'static str,
        text: &str,
        from: &'static str,
    ) {
        self.json(native, pointer, &quoted(text), from);
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The native listing, or everything that cannot be read.
pub(super) fn native(record: &mut Record<'_>) -> Result<Native, Vec<FieldError>> {
    let mut draft = Draft::default();
    if record.word("StandardStatus").as_deref() == Some("delete") {
        deletion(record, &mut draft);
    } else {
        identity(record, &mut draft);
        let offer = offer(record, &mut draft);
        let country = territory(record, &mut draft);
        price(record, &mut draft, &offer, country.as_deref());
        location(record, &mut draft);
        area::areas(record, &mut draft, country.as_deref());
        counts(record, &mut draft);
        texts(record, &mut draft);
        times(record, &mut draft);
        let amenities = features::amenities(record);
        if !amenities.is_empty() {
            draft.out.member("amenities", &serde_json::Value::from(amenities).to_string());
        }
        if let Some(media) = media::media(record) {
            draft.json("media", "/media", &media, "Media");
            record.carried("Media");
        }
        for (name, value) in record.rest() {
            let left_out =
                name.contains('@') || OURS.contains(&name) || CONFIDENTIAL.contains(&name);
            if !left_out {
                draft.out.member(name, value);
            }
        }
    }
    if record.errors.is_empty() {
        Ok(Native { json: draft.out.finish(), origins: draft.origins })
    } else {
        Err(std::mem::take(&mut record.errors))
    }
}

/// The listing's id, and the field that it stands in.
fn id(record: &mut Record<'_>) -> Option<(&'static str, String)> {
    let id = record.first_text(&["ListingKey", "ListingKeyNumeric", "ListingId"]);
    if id.is_none() {
        record.fail("ListingKey", "is required: the key of the listing in its system");
    }
    id
}

fn deletion(record: &mut Record<'_>, draft: &mut Draft) {
    if let Some((field, id)) = id(record) {
        draft.text("delete", "/delete", &id, field);
    }
    if let Some(time) = record.time("ModificationTimestamp") {
        draft.text("updatedAt", "/updatedAt", &time, "ModificationTimestamp");
    }
    if let Some(version) = record.raw("version") {
        draft.out.member("version", version);
    }
}

fn identity(record: &mut Record<'_>, draft: &mut Draft) {
    if let Some((field, id)) = id(record) {
        draft.text("id", "/id", &id, field);
        record.carried(field);
    }
    for (names, native, pointer) in [
        (["ListingId"].as_slice(), "externalId", "/externalId"),
        (&["OriginatingSystemName", "SourceSystemName"], "source", "/source"),
        (&["ListAgentKey", "ListAgentKeyNumeric"], "agentId", "/agentId"),
        (&["ListOfficeKey", "ListOfficeKeyNumeric"], "agencyId", "/agencyId"),
    ] {
        if let Some((field, text)) = record.first_text(names) {
            draft.text(native, pointer, &text, field);
            record.carried(field);
        }
    }
}

/// What is offered, and where that stands.
struct Offer {
    is_rent: bool,
    is_closed: bool,
}

fn offer(record: &mut Record<'_>, draft: &mut Draft) -> Offer {
    let class = record.word("PropertyType");
    let is_rent = match &class {
        Some(class) => class.contains("lease") || class.contains("rent"),
        None => record.raw("LeaseAmount").is_some() && record.raw("ListPrice").is_none(),
    };
    let conditions = record.list("SpecialListingConditions");
    let listing_type = if is_rent {
        ListingType::Rent
    } else if conditions.iter().any(|value| words::key(value) == "auction") {
        ListingType::Auction
    } else {
        ListingType::Sale
    };
    draft.text("listingType", "/listingType", listing_type.as_str(), "PropertyType");
    let property_type = ["PropertySubType", "StructureType"]
        .into_iter()
        .find_map(|name| {
            record.list(name).iter().find_map(|value| words::property_type(&words::key(value)))
        })
        .or_else(|| class.as_deref().and_then(words::property_class));
    if let Some(kind) = property_type {
        draft.text("propertyType", "/propertyType", kind.as_str(), "PropertySubType");
    }
    let given = ["StandardStatus", "MlsStatus"].map(|name| record.word(name));
    let status = given.iter().flatten().find_map(|word| words::status(word, is_rent));
    match status {
        Some(status) => draft.text("status", "/status", status.as_str(), "StandardStatus"),
        None => {
            let what =
                if given.iter().all(Option::is_none) { "is required" } else { "is not known" };
            record.fail(
                "StandardStatus",
                format!(
                    "{what}: one of Active, Active Under Contract, Canceled, Closed, Coming Soon, \
                     Delete, Expired, Hold, Incomplete, Pending, Withdrawn"
                ),
            );
        }
    }
    let is_closed = matches!(status, Some(Status::Sold | Status::Rented));
    Offer { is_rent, is_closed }
}

/// The country and the region; gives the country.
fn territory(record: &mut Record<'_>, draft: &mut Draft) -> Option<String> {
    let state = record.text("StateOrProvince");
    let country = match record.text("Country") {
        Some(text) => {
            let country = place::country(&text);
            if country.is_none() {
                record.fail("Country", "must be an ISO 3166-1 alpha-2 code such as US");
            }
            country
        }
        None => {
            let country = state.as_deref().and_then(place::country_of_state);
            if country.is_none() {
                record.fail(
                    "Country",
                    "is required unless StateOrProvince is one of the US or of Canada",
                );
            }
            country.map(ToOwned::to_owned)
        }
    };
    if let Some(country) = &country {
        draft.text("country", "/country", country, "Country");
        record.carried("Country");
    }
    match (&country, &state) {
        (_, None) => record.fail("StateOrProvince", "is required: the region of the territory"),
        (Some(country), Some(state)) => match place::region(country, state) {
            Some(region) => {
                draft.text("region", "/region", &region, "StateOrProvince");
                record.carried("StateOrProvince");
            }
            None => record.fail(
                "StateOrProvince",
                format!("must be a region of {country}, as a code such as WA or by its name"),
            ),
        },
        (None, Some(_)) => {}
    }
    country
}

/// The price, its currency, and of a rent its period.
fn price(record: &mut Record<'_>, draft: &mut Draft, offer: &Offer, country: Option<&str>) {
    let fields: &[&'static str] = match (offer.is_closed, offer.is_rent) {
        (true, true) => &["ClosePrice", "LeaseAmount", "ListPrice"],
        (true, false) => &["ClosePrice", "ListPrice"],
        (false, true) => &["LeaseAmount", "ListPrice"],
        (false, false) => &["ListPrice"],
    };
    let found = fields.iter().find_map(|name| Some((*name, record.number(name)?)));
    let Some((field, amount)) = found else { return };
    let period = record
        .word("LeaseAmountFrequency")
        .filter(|_| offer.is_rent)
        .and_then(|word| words::period(&word));
    let factor = period.map_or(1.0, |(_, factor)| factor);
    let amount = if factor == 1.0 {
        record.carried(field);
        amount
    } else {
        Number::of((amount.value * factor * 100.0).round() / 100.0)
    };
    let currency = match record.first_text(CURRENCIES) {
        Some((field, code)) => {
            draft.origins.push(("/price/currency", field));
            record.carried(field);
            Some(code.to_ascii_uppercase())
        }
        None => country.and_then(place::currency).map(ToOwned::to_owned),
    };
    let Some(currency) = currency else {
        if let Some(country) = country {
            record.fail(
                "ListPriceCurrency",
                format!("is required: what prices in {country} are in is not known here"),
            );
        }
        return;
    };
    let mut price = ObjectWriter::default();
    price.member("amount", &amount.json);
    price.member("currency", &quoted(&currency));
    if let Some((period, _)) = period {
        price.member("period", &quoted(period));
    }
    draft.json("price", "/price", &price.finish(), field);
}

/// Where it stands, if both coordinates are known.
fn location(record: &mut Record<'_>, draft: &mut Draft) {
    let pair = match (record.number("Latitude"), record.number("Longitude")) {
        (Some(lat), Some(lng)) => {
            draft.origins.push(("/location/lat", "Latitude"));
            draft.origins.push(("/location/lng", "Longitude"));
            record.carried("Latitude");
            record.carried("Longitude");
            Some((lat, lng))
        }
        _ => point(record),
    };
    let Some((lat, lng)) = pair else { return };
    if lat.value == 0.0 && lng.value == 0.0 {
        return;
    }
    let mut place = ObjectWriter::default();
    place.member("lat", &lat.json);
    place.member("lng", &lng.json);
    draft.json("location", "/location", &place.finish(), "Coordinates");
}

/// Latitude and longitude of a GeoJSON point, or of the list of its coordinates.
fn point(record: &mut Record<'_>) -> Option<(Number, Number)> {
    #[derive(serde::Deserialize)]
    #[serde(untagged)]
    enum Point {
        List(Vec<Option<f64>>),
        GeoJson { coordinates: Vec<Option<f64>> },
    }

    let raw = record.raw("Coordinates")?;
    let Ok(Point::List(list) | Point::GeoJson { coordinates: list }) = serde_json::from_str(raw)
    else {
        record.fail("Coordinates", "must be a point, [longitude, latitude]");
        return None;
    };
    let (lng, lat) = ((*list.first()?)?, (*list.get(1)?)?);
    record.carried("Coordinates");
    Some((Number::of(lat), Number::of(lng)))
}

/// Numbers of things.
fn counts(record: &mut Record<'_>, draft: &mut Draft) {
    for (fields, native, pointer) in [
        (["RoomsTotal"].as_slice(), "rooms", "/rooms"),
        (&["BedroomsTotal"], "bedrooms", "/bedrooms"),
        (&["StoriesTotal", "Stories"], "totalFloors", "/totalFloors"),
    ] {
        let found = fields.iter().find_map(|name| Some((*name, record.number(name)?)));
        if let Some((field, count)) = found {
            draft.json(native, pointer, &count.json, field);
            record.carried(field);
        }
    }
    if let Some(year) = record.number("YearBuilt").filter(|year| year.value != 0.0) {
        let whole = year.value.fract() == 0.0 && year.value.abs() < 1e6;
        let json = if whole { format!("{:.0}", year.value) } else { year.json };
        draft.json("yearBuilt", "/yearBuilt", &json, "YearBuilt");
        record.carried("YearBuilt");
    }
    if let Some((field, count)) = bathrooms(record) {
        draft.json("bathrooms", "/bathrooms", &count.json, field);
    }
}

/// Bathrooms as the market counts them, a half one as 0.5. The parts count if they are as many as
/// the total says; a total without parts stands as it is.
fn bathrooms(record: &mut Record<'_>) -> Option<(&'static str, Number)> {
    const PARTS: [(&str, f64); 5] = [
        ("BathroomsFull", 1.0),
        ("BathroomsThreeQuarter", 0.75),
        ("BathroomsHalf", 0.5),
        ("BathroomsPartial", 0.5),
        ("BathroomsOneQuarter", 0.25),
    ];
    if let Some(count) = record.number("BathroomsTotalDecimal") {
        record.carried("BathroomsTotalDecimal");
        return Some(("BathroomsTotalDecimal", count));
    }
    let (mut rooms, mut weighted, mut any) = (0.0, 0.0, false);
    for (field, weight) in PARTS {
        if let Some(count) = record.number(field) {
            any = true;
            rooms += count.value;
            weighted += count.value * weight;
        }
    }
    match record.number("BathroomsTotalInteger") {
        Some(total) if !any || total.value != rooms => {
            record.carried("BathroomsTotalInteger");
            Some(("BathroomsTotalInteger", total))
        }
        _ if any => Some(("BathroomsFull", Number::of(weighted))),
        _ => None,
    }
}

fn texts(record: &mut Record<'_>, draft: &mut Draft) {
    for (field, native, pointer) in [
        ("CountyOrParish", "county", "/county"),
        ("City", "city", "/city"),
        ("PostalCode", "postalCode", "/postalCode"),
        ("PublicRemarks", "description", "/description"),
    ] {
        if let Some(text) = record.text(field) {
            draft.text(native, pointer, &text, field);
            record.carried(field);
        }
    }
    for field in ["SubdivisionName", "MLSAreaMajor"] {
        let text = record.text(field).filter(|text| !words::says_nothing(&words::key(text)));
        if let Some(text) = text {
            draft.text("neighborhood", "/neighborhood", &text, field);
            record.carried(field);
            break;
        }
    }
}

fn times(record: &mut Record<'_>, draft: &mut Draft) {
    for field in ["OnMarketTimestamp", "OnMarketDate", "ListingContractDate"] {
        if let Some(time) = record.time(field) {
            draft.text("publishedAt", "/publishedAt", &time, field);
            record.carried(field);
            break;
        }
    }
    if let Some(time) = record.time("ModificationTimestamp") {
        draft.text("updatedAt", "/updatedAt", &time, "ModificationTimestamp");
        record.carried("ModificationTimestamp");
    }
}

//! What people look at: list pages, agents, pictures, estimates. All of it may be cached, and
//! carries validators and tags.

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;
use hexpop_shard::{Currency, ListingType, Period, PropertyType, Status, Word};
use http::{HeaderValue, Response, header};
use serde_json::{Value, json};

use super::{
    picture,
    platform::Platform,
    record::{Record, entity_tag, percent_encoded, slug},
    reply::{self, SURROGATE_KEY},
    request::{Request, wrong_parameter},
    routes::Outcome,
};
use crate::http::{body::Body, problem::Problem};

const HTML: &str = "text/html; charset=utf-8";
/// Listings on a page.
const SHOWN: usize = 20;
/// An estimate needs at least this many comparable listings.
const COMPARABLE_MIN: usize = 5;

/// Languages of the list pages with their words for sale, rent and auction.
const LANGUAGES: [(&str, [&str; 3]); 5] = [
    ("it", ["vendita", "affitto", "aste"]),
    ("en", ["sale", "rent", "auctions"]),
    ("es", ["venta", "alquiler", "subastas"]),
    ("de", ["kaufen", "mieten", "auktionen"]),
    ("fr", ["vente", "location", "encheres"]),
];
/// The listing types in the order of those words.
const DEALS: [ListingType; 3] = [ListingType::Sale, ListingType::Rent, ListingType::Auction];

/// `GET` of a page.
pub(super) fn answer(platform: &Platform, request: &Request) -> Outcome {
    match *request.segments() {
        [""] => Ok(home(platform)),
        ["agents", id] => agent(platform, id),
        ["listings", id, "images", number] => picture(platform, request, id, number),
        ["valuations", "estimate"] => estimate(platform, request),
        [language, deal, city] => list(platform, language, deal, city),
        _ => Err(reply::not_found("such page")),
    }
}

fn home(platform: &Platform) -> Response<Body> {
    let mut html = head("en", "Property platform");
    for city in platform.store.read().cities() {
        for (language, [sale, rent, _auction]) in LANGUAGES {
            for deal in [sale, rent] {
                let path = escaped(&format!("/{language}/{deal}/{city}"));
                // Writing to a string cannot fail.
                let _written = writeln!(html, "<a href=\"{path}\">{path}</a>");
            }
        }
    }
    page(html, platform.started, "page:home")
}

/// `GET /it/vendita/milano`: the newest listings of a city.
fn list(platform: &Platform, language: &str, deal: &str, city: &str) -> Outcome {
    let unknown = || reply::not_found("such page");
    let (code, words) =
        LANGUAGES.iter().find(|(code, _words)| *code == language).ok_or_else(unknown)?;
    let (_word, deal) =
        words.iter().zip(DEALS).find(|(word, _)| **word == deal).ok_or_else(unknown)?;
    let mut shown: Vec<Arc<Record>> = {
        let store = platform.store.read();
        let records = store.in_city(city).ok_or_else(unknown)?;
        let on_offer = |record: &&Arc<Record>| {
            record.facts().listing_type == deal && record.facts().status == Status::Active
        };
        records.filter(on_offer).cloned().collect()
    };
    let total = shown.len();
    let newest_first =
        |record: &Arc<Record>| (std::cmp::Reverse(record.updated_at()), Arc::clone(record.id()));
    shown.sort_by_cached_key(newest_first);
    shown.truncate(SHOWN);

    let mut html = head(code, &format!("{city}: {total}"));
    let mut tags = format!("page:list city:{city}");
    let mut modified = None;
    for record in &shown {
        let title = escaped(&title(record, code));
        let price = record.facts().price.map_or_else(String::new, |price| {
            let period = price.period.map(|period| format!(" / {}", period.as_str()));
            format!("{} {}{}", price.amount, price.currency.as_str(), period.unwrap_or_default())
        });
        let id = percent_encoded(record.id());
        let path = escaped(&format!("/api/v1/listings/{id}"));
        let price = escaped(&price);
        let _written = writeln!(html, "<article><a href=\"{path}\">{title}</a> {price}</article>");
        let _written = write!(tags, " listing:{id}");
        modified = modified.max(record.updated_at());
    }
    Ok(page(html, modified.unwrap_or(platform.started), &tags))
}

/// The title in a language, else in any.
fn title(record: &Record, language: &str) -> String {
    let document: Value = serde_json::from_slice(record.body()).unwrap_or_default();
    match document.get("title") {
        Some(Value::String(title)) => title.clone(),
        Some(Value::Object(titles)) => titles
            .get(language)
            .or_else(|| titles.values().next())
            .and_then(Value::as_str)
            .unwrap_or_else(|| record.id())
            .to_owned(),
        _ => record.id().to_string(),
    }
}

fn head(language: &str, title: &str) -> String {
    let title = escaped(title);
    format!(
        "<!doctype html>\n<html lang=\"{language}\"><meta charset=\"utf-8\"><title>{title}</title>\n\
         <h1>{title}</h1>\n"
    )
}

fn page(html: String, modified: jiff::Timestamp, tags: &str) -> Response<Body> {
    let etag = entity_tag(html.as_bytes());
    let mut response = reply::reply(HTML, html);
    let caching = HeaderValue::from_static("max-age=60, stale-while-revalidate=30");
    reply::set(&mut response, header::CACHE_CONTROL, caching);
    reply::set(&mut response, header::ETAG, etag);
    reply::set_modified(&mut response, modified);
    reply::set_text(&mut response, SURROGATE_KEY, tags);
    response
}

fn escaped(text: &str) -> String {
    text.chars().fold(String::with_capacity(text.len()), |mut safe, letter| {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
        safe
    })
}

/// `GET /agents/{id}`
fn agent(platform: &Platform, id: &str) -> Outcome {
    let (listings, cities) = {
        let store = platform.store.read();
        let records = store.of_agent(id).ok_or_else(|| reply::not_found("such agent"))?;
        let (mut listings, mut cities) = (0_u64, std::collections::BTreeSet::new());
        for record in records {
            listings += 1;
            cities.extend(record.facts().city.clone());
        }
        (listings, cities)
    };
    let agent = json!({"id": id, "listings": listings, "cities": cities});
    Ok(cacheable(
        &agent,
        "public, max-age=300, stale-if-error=3600",
        &format!("agent:{}", percent_encoded(id)),
    ))
}

fn cacheable(value: &Value, caching: &'static str, tags: &str) -> Response<Body> {
    let body = value.to_string();
    let etag = entity_tag(body.as_bytes());
    let mut response = reply::reply("application/json", body);
    reply::set(&mut response, header::CACHE_CONTROL, HeaderValue::from_static(caching));
    reply::set(&mut response, header::ETAG, etag);
    reply::set_text(&mut response, SURROGATE_KEY, tags);
    response
}

/// `GET /listings/{id}/images/{n}`: a picture that never changes.
fn picture(platform: &Platform, request: &Request, id: &str, number: &str) -> Outcome {
    let unknown = || reply::not_found("such picture");
    let number: u8 = number.parse().ok().filter(|n| (1..=20).contains(n)).ok_or_else(unknown)?;
    platform.record(id).filter(|record| record.is_public()).ok_or_else(unknown)?;
    let image = Bytes::from(picture::bitmap(&format!("{id}/{number}")));
    let mut response = reply::reply("image/bmp", Bytes::new());
    reply::set(&mut response, header::ETAG, entity_tag(&image));
    reply::set_modified(&mut response, jiff::Timestamp::UNIX_EPOCH);
    let caching = HeaderValue::from_static("public, max-age=31536000, immutable");
    reply::set(&mut response, header::CACHE_CONTROL, caching);
    reply::set_text(
        &mut response,
        SURROGATE_KEY,
        &format!("image listing:{}", percent_encoded(id)),
    );
    Ok(reply::ranged(request.headers(), response, image))
}

/// `GET /valuations/estimate?city=&sqMeters=&propertyType=&listingType=`: what a property is worth,
/// by the median price per square metre of comparable ones.
fn estimate(platform: &Platform, request: &Request) -> Outcome {
    let city = request.parameter("city").ok_or_else(|| wrong_parameter("city", "is needed"))?;
    let sq_meters: f64 = request
        .parsed("sqMeters", "must be a number")?
        .filter(|sq_meters| (1.0..=100_000.0).contains(sq_meters))
        .ok_or_else(|| wrong_parameter("sqMeters", "must be a number from 1 to 100000"))?;
    let property_type = word(request, "propertyType", PropertyType::Apartment)?;
    let listing_type = word(request, "listingType", ListingType::Sale)?;
    let slug = slug(city);
    let mut prices: Vec<(f64, Currency)> = {
        let store = platform.store.read();
        let records = store.in_city(&slug).ok_or_else(|| reply::not_found("such city"))?;
        records
            .map(|record| record.facts())
            .filter(|facts| {
                facts.listing_type == listing_type && facts.property_type == Some(property_type)
            })
            .filter_map(|facts| {
                let (price, area) = (facts.price?, facts.sq_meters.filter(|area| *area > 0.0)?);
                let comparable = matches!(price.period, None | Some(Period::Month));
                comparable.then_some((price.amount / area, price.currency))
            })
            .collect()
    };
    let currency = prices.first().map(|(_price, currency)| *currency);
    prices.retain(|(_price, other)| Some(*other) == currency);
    prices.sort_by(|a, b| a.0.total_cmp(&b.0));
    let count = prices.len();
    let at = |quarter: usize| prices.get(count * quarter / 4).map(|(price, _)| price * sq_meters);
    let (true, Some(low), Some(middle), Some(high)) =
        (count >= COMPARABLE_MIN, at(1), at(2), at(3))
    else {
        return Err(reply::not_found("comparable property"));
    };
    let estimate = json!({
        "city": city, "listingType": listing_type.as_str(), "propertyType": property_type.as_str(),
        "sqMeters": sq_meters, "currency": currency.as_ref().map(Currency::as_str), "estimate": middle.round(),
        "low": low.round(), "high": high.round(), "comparable": count,
    });
    let tags = format!("valuation city:{slug}");
    Ok(cacheable(&estimate, "public, max-age=300", &tags))
}

/// A query parameter that is one of a closed set of words.
fn word<W: Word>(request: &Request, name: &str, default: W) -> Result<W, Problem> {
    let Some(text) = request.parameter(name) else { return Ok(default) };
    W::from_word(text).ok_or_else(|| {
        let words: Vec<&str> = W::ALL.iter().map(|word| word.as_str()).collect();
        wrong_parameter(name, &format!("must be one of {}", words.join(", ")))
    })
}

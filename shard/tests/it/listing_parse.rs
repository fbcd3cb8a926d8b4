//! What is a listing, what is given back of it, and what is said about one that is none.

use hexpop_shard::{
    Cell, FieldError, IngestLine, LatLng, Listing, ListingVersion, Period, ShardKey, Shown, Space,
    summary,
};
use serde_json::{Value, json};

fn sample() -> Value {
    json!({"id": "lst_1", "listingType": "rent", "status": "active", "country": "IT",
        "region": "lombardia", "price": {"amount": 1200.5, "currency": "EUR", "period": "month"},
        "location": {"lat": 45.4726, "lng": 9.186}})
}

fn parse(json: &str) -> Listing {
    Listing::parse(json.as_bytes()).unwrap()
}

/// The errors of the sample with one field changed.
fn errors(name: &str, value: Value) -> Vec<FieldError> {
    let mut json = sample();
    json[name] = value;
    Listing::parse(json.to_string().as_bytes()).unwrap_err()
}

#[test]
fn the_document_is_what_came() {
    let listing = parse(
        r#"{ "zeta" : 1.50 , "id":"lst_1","listingType":"sale","status":"active","country":"IT",
            "region":"lombardia","sqMeters":1e2,"title":"Città \"alta\" \\","city":null,"mystery":null,
            "h3Index":"lies","location":{"lat":45.4726,"lng":9.1860},"description":{"it":"x  y","en":null},
            "price":{"amount":385000.00,"currency":"EUR","period":null},"big":123456789012345678901234567890 }"#,
    );
    let cell = Cell::at(LatLng { lat: 45.4726, lng: 9.186 }).unwrap();
    assert_eq!(
        listing.document,
        format!(
            "{}{cell}\"}}",
            concat!(
                r#"{"zeta":1.50,"id":"lst_1","listingType":"sale","status":"active","country":"IT","#,
                r#""region":"lombardia","sqMeters":1e2,"title":{"und":"Città \"alta\" \\"},"mystery":null,"#,
                r#""location":{"lat":45.4726,"lng":9.1860},"description":{"it":"x  y"},"#,
                r#""price":{"amount":385000.00,"currency":"EUR"},"big":123456789012345678901234567890,"#,
                r#""h3Index":""#
            )
        )
    );
    // A stored document is itself a listing, and the same one.
    assert_eq!(parse(&listing.document), listing);
}

#[test]
fn columns_key_and_version_are_those_of_the_fields() {
    let mut json = sample();
    json["version"] = json!(7);
    json["updatedAt"] = json!("2026-03-08T10:30:00.000001Z");
    json["bathrooms"] = json!(2.25);
    json["floor"] = json!(-1);
    let listing = parse(&json.to_string());
    let cell = Cell::at(LatLng { lat: 45.4726, lng: 9.186 }).unwrap();
    let territory = "IT:lombardia".parse().unwrap();
    assert_eq!(listing.key, ShardKey::new(Space::Listings, &territory, cell.raw()));
    assert_eq!(
        listing.version,
        ListingVersion { version: Some(7), updated_at_us: Some(1_772_965_800_000_001) }
    );
    let price = listing.columns.price.unwrap();
    assert_eq!((price.amount, price.period), (1200.5, Some(Period::Month)));
    assert_eq!((listing.columns.bathrooms, listing.columns.floor), (Some(2.25), Some(-1.0)));
}

#[test]
fn everything_but_five_fields_may_be_absent() {
    let least = json!({"id": "a", "listingType": "auction", "status": "draft", "country": "ES",
        "region": "madrid-comunidad-de"});
    let listing = parse(&least.to_string());
    assert_eq!(listing.key.point, 0);
    assert_eq!(listing.version, ListingVersion::default());
    assert_eq!(listing.document, least.to_string());
    for required in ["id", "listingType", "status", "country", "region"] {
        for value in [None, Some(Value::Null)] {
            let mut json = least.clone();
            match value {
                None => drop(json.as_object_mut().unwrap().shift_remove(required)),
                Some(null) => json[required] = null,
            }
            let errors = Listing::parse(json.to_string().as_bytes()).unwrap_err();
            assert_eq!(errors.len(), 1, "{errors:?}");
            assert_eq!(errors[0].pointer, format!("/{required}"));
            assert_eq!(errors[0].detail, "is required");
        }
    }
}

#[test]
fn wrong_fields_are_named() {
    let cases = [
        ("id", json!(""), "/id"),
        ("id", json!("x".repeat(129)), "/id"),
        ("id", json!("a\nb"), "/id"),
        ("id", json!(5), "/id"),
        ("listingType", json!("lease"), "/listingType"),
        ("status", json!("ACTIVE"), "/status"),
        ("country", json!("Italy"), "/country"),
        ("country", json!("ZZ"), "/country"),
        ("region", json!("Lombardia"), "/region"),
        ("propertyType", json!("castle"), "/propertyType"),
        ("price", json!(5), "/price"),
        ("price", json!({"amount": -1, "currency": "EUR"}), "/price/amount"),
        ("price", json!({"amount": 1, "currency": "euro"}), "/price/currency"),
        ("price", json!({"amount": 1}), "/price/currency"),
        ("price", json!({"currency": "EUR"}), "/price/amount"),
        ("price", json!({"amount": 1, "currency": "EUR", "period": "day"}), "/price/period"),
        ("location", json!({"lat": 91, "lng": 0}), "/location/lat"),
        ("location", json!({"lat": 1, "lng": -180.5}), "/location/lng"),
        ("location", json!({"lat": 1}), "/location/lng"),
        ("location", json!({"lat": "1", "lng": 1}), "/location/lat"),
        ("sqMeters", json!("95"), "/sqMeters"),
        ("bedrooms", json!(-1), "/bedrooms"),
        ("yearBuilt", json!(1930.5), "/yearBuilt"),
        ("amenities", json!("wifi"), "/amenities"),
        ("amenities", json!([1]), "/amenities"),
        ("title", json!(["a"]), "/title"),
        ("description", json!({"it": 5}), "/description"),
        ("publishedAt", json!("2026-03"), "/publishedAt"),
        ("updatedAt", json!(5), "/updatedAt"),
        ("version", json!(-1), "/version"),
        ("version", json!(1.5), "/version"),
        ("media", json!({}), "/media"),
        ("postalCode", json!(20121), "/postalCode"),
    ];
    for (name, value, pointer) in cases {
        let errors = errors(name, value.clone());
        assert_eq!(errors.len(), 1, "{name} = {value}: {errors:?}");
        assert_eq!(errors[0].pointer, pointer, "{value}: {errors:?}");
    }
}

#[test]
fn all_errors_come_at_once() {
    let json = r#"{"id":"","listingType":"x","country":"it","region":"A","sqMeters":1e999,
        "price":{"amount":1e999,"currency":1},"location":{"lat":1e999,"lng":0}}"#;
    let errors = Listing::parse(json.as_bytes()).unwrap_err();
    let mut pointers: Vec<_> = errors.iter().map(|error| error.pointer.as_str()).collect();
    pointers.sort_unstable();
    assert_eq!(
        pointers,
        [
            "/country",
            "/id",
            "/listingType",
            "/location/lat",
            "/price/amount",
            "/price/currency",
            "/region",
            "/sqMeters",
            "/status"
        ]
    );
}

#[test]
fn the_price_of_a_sale_has_no_period() {
    let mut json = sample();
    json["listingType"] = json!("sale");
    let errors = Listing::parse(json.to_string().as_bytes()).unwrap_err();
    assert_eq!(errors[0].pointer, "/price/period");
}

#[test]
fn what_is_no_object_is_said_to_be_none() {
    let twice = r#"{"id":"a","id":"b"}"#;
    let huge = format!("{{\"id\":\"{}\"}}", "x".repeat(300 << 10));
    for wrong in ["", "[]", "null", "{", "{\"id\":}", "{\"id\":\"a\"} x", twice, &huge] {
        let errors = Listing::parse(wrong.as_bytes()).unwrap_err();
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert_eq!(errors[0].pointer, "");
    }
    assert!(Listing::parse(b"{\"id\":\"\xff\"}").is_err());
}

#[test]
fn a_line_may_be_a_deletion() {
    let IngestLine::Delete(deletion) =
        IngestLine::parse(br#"{"delete":"lst_1","version":8}"#).unwrap()
    else {
        panic!("no deletion");
    };
    assert_eq!(deletion.id, "lst_1");
    assert_eq!(deletion.version.version, Some(8));
    for (wrong, pointer) in
        [(r#"{"delete":""}"#, "/delete"), (r#"{"delete":"a","version":"8"}"#, "/version")]
    {
        assert_eq!(IngestLine::parse(wrong.as_bytes()).unwrap_err()[0].pointer, pointer);
    }
    assert!(matches!(
        IngestLine::parse(sample().to_string().as_bytes()),
        Ok(IngestLine::Upsert(_))
    ));
}

#[test]
fn a_summary_shows_what_a_list_needs() {
    let mut json = sample();
    json["description"] = json!("long");
    json["mystery"] = json!(1);
    json["title"] = json!("Loft");
    json["media"] = json!([{"url": "https://img/1.jpg", "w": 5}, "https://img/2.jpg"]);
    let document = parse(&json.to_string()).document;
    let shown = Shown { distance_km: Some(1.234_567_890_1), score: Some(5), ..Shown::default() };
    let hit: Value = serde_json::from_str(&summary(document.as_bytes(), &shown).unwrap()).unwrap();
    assert_eq!(hit["thumbnail"], "https://img/1.jpg");
    assert_eq!(hit["distanceKm"], json!(1.234_568));
    assert_eq!(hit["title"], "Loft");
    assert_eq!(hit["score"], 5);
    assert_eq!(hit["h3Index"].as_str().unwrap().len(), 15);
    for hidden in ["description", "media", "mystery"] {
        assert!(hit.get(hidden).is_none(), "{hidden}");
    }
    assert!(summary(b"no", &Shown::default()).is_none());
}

#[test]
fn a_summary_has_one_title() {
    let title = |titles: Value, languages: &str| {
        let mut json = sample();
        json["title"] = titles;
        let document = parse(&json.to_string()).document;
        let languages: Vec<String> = languages.split(' ').map(str::to_owned).collect();
        let shown = Shown { languages: &languages, ..Shown::default() };
        let hit: Value =
            serde_json::from_str(&summary(document.as_bytes(), &shown).unwrap()).unwrap();
        hit.get("title").cloned().unwrap_or_default()
    };
    let titles = || json!({"it": "I", "de-AT": "D", "fr": "F", "zh_Hant": "Z", "pt-br": "P"});
    for (languages, expected) in [
        ("it en", "I"),
        ("fr-ca it", "F"),
        ("es fr", "F"),
        ("DE-at", "D"),
        // What was asked for exactly comes before a variety of what was wanted more.
        ("de fr", "F"),
        ("pt en", "P"),
        ("pt-pt de", "D"),
        ("zh-hant-tw", "Z"),
        ("de-1996-x-y fr", "F"),
        // None of them: the first by language.
        ("en", "D"),
        ("", "D"),
    ] {
        let languages = languages.to_lowercase();
        assert_eq!(title(titles(), &languages), expected, "{languages}");
    }
    assert_eq!(title(json!("plain \"text\""), "it"), "plain \"text\"");
    assert_eq!(title(json!({}), "it"), Value::Null);
    assert_eq!(title(Value::Null, "it"), Value::Null);
    assert_eq!(title(json!({"it": null, "en": "E"}), "it"), "E");
}

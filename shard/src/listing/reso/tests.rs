//! What is tolerated, what becomes of it, and what is said about the rest.

use serde_json::{Value, json};

use super::parse;
use crate::listing::{FieldError, IngestLine, Listing};

/// The least that is a listing.
fn least() -> Value {
    json!({"ListingKey": "k1", "StandardStatus": "Active", "PropertyType": "Residential",
        "StateOrProvince": "WA"})
}

/// The least with other fields, each in place of what was there.
fn with(fields: Value) -> Value {
    let mut record = least();
    for (name, value) in fields.as_object().unwrap() {
        record[name] = value.clone();
    }
    record
}

fn read(fields: Value) -> Result<IngestLine, Vec<FieldError>> {
    parse(with(fields).to_string().as_bytes())
}

fn listing(fields: Value) -> Listing {
    match read(fields) {
        Ok(IngestLine::Upsert(listing)) => listing,
        other => panic!("{other:?}"),
    }
}

/// The document of the least with other fields.
fn document(fields: Value) -> Value {
    serde_json::from_str(&listing(fields).document).unwrap()
}

/// One native field of the least with other fields.
fn field(native: &str, fields: Value) -> Value {
    document(fields).pointer(native).cloned().unwrap_or_default()
}

/// The fields that are named as wrong.
fn wrong(fields: Value) -> Vec<String> {
    read(fields).unwrap_err().into_iter().map(|error| error.pointer).collect()
}

#[test]
fn the_least_record_is_a_listing() {
    assert_eq!(
        document(json!({})),
        json!({"id": "k1", "listingType": "sale", "status": "active", "country": "US",
            "region": "washington", "StandardStatus": "Active", "PropertyType": "Residential"})
    );
}

#[test]
fn nulls_and_empty_texts_are_absent_everywhere() {
    let nothing = [
        "ListingId",
        "Country",
        "ListPrice",
        "Latitude",
        "Longitude",
        "Coordinates",
        "City",
        "Media",
        "LivingArea",
        "LivingAreaUnits",
        "BedroomsTotal",
        "YearBuilt",
        "PoolFeatures",
        "GarageYN",
        "ModificationTimestamp",
        "OnMarketDate",
        "SubdivisionName",
        "PublicRemarks",
        "MlsStatus",
        "BathroomsTotalInteger",
        "LeaseAmount",
        "LeaseAmountFrequency",
        "PropertySubType",
        "Zoning",
    ];
    let (mut nulls, mut empty) = (json!({}), json!({}));
    for name in nothing {
        nulls[name] = Value::Null;
        if name != "Media" && name != "Coordinates" && name != "Zoning" {
            empty[name] = json!(" ");
        }
    }
    assert_eq!(document(nulls), document(json!({})));
    let native = |it: Value| Listing::parse(it.to_string().as_bytes()).unwrap().columns;
    assert_eq!(native(document(empty)), native(document(json!({}))));
}

#[test]
fn a_record_may_name_every_field_of_the_standard() {
    let mut nulls = json!({});
    for number in 0..1_000 {
        nulls[format!("Field{number}")] = Value::Null;
    }
    assert_eq!(document(nulls.clone()), document(json!({})));
    for number in 1_000..3_000 {
        nulls[format!("Field{number}")] = Value::Null;
    }
    assert!(read(nulls).unwrap_err()[0].detail.contains("2048 fields"));
}

#[test]
fn both_spellings_of_lookups_are_read_in_any_case() {
    for (spelling, native) in [
        ("Single Family Residence", "house"),
        ("SingleFamilyResidence", "house"),
        ("singleFamilyResidence", "house"),
        ("SINGLE FAMILY RESIDENCE", "house"),
        ("Condominium", "apartment"),
        ("Stock Cooperative", "apartment"),
        ("MultiFamily", "house"),
        ("Hotel/Motel", "commercial"),
        ("Deeded Parking", "garage"),
        ("UnimprovedLand", "land"),
    ] {
        let got = field("/propertyType", json!({"PropertySubType": spelling}));
        assert_eq!(got, native, "{spelling}");
    }
    let local = json!({"PropertySubType": "Yurt", "StructureType": ["None", "House"]});
    assert_eq!(field("/propertyType", local), "house");
    assert_eq!(field("/propertyType", json!({"PropertySubType": "Timeshare"})), Value::Null);
    for class in ["Commercial Sale", "CommercialSale", "BusinessOpportunity"] {
        assert_eq!(field("/propertyType", json!({"PropertyType": class})), "commercial");
    }
}

#[test]
fn the_status_is_the_standards_or_the_local_one() {
    for (spelling, native) in [
        ("Active Under Contract", "under_offer"),
        ("ActiveUnderContract", "under_offer"),
        ("Pending", "under_offer"),
        ("Closed", "sold"),
        ("Canceled", "withdrawn"),
        ("Coming Soon", "pending_review"),
        ("Incomplete", "draft"),
        ("Expired", "expired"),
    ] {
        assert_eq!(field("/status", json!({"StandardStatus": spelling})), native, "{spelling}");
    }
    let local = json!({"StandardStatus": null, "MlsStatus": "Back On Market"});
    assert_eq!(field("/status", local), "active");
    let unknown = json!({"StandardStatus": "Odd", "MlsStatus": "Sold"});
    assert_eq!(field("/status", unknown), "sold");
    assert_eq!(wrong(json!({"StandardStatus": "Odd"})), ["/StandardStatus"]);
    assert_eq!(wrong(json!({"StandardStatus": null})), ["/StandardStatus"]);
}

#[test]
fn what_was_never_valid_is_deleted() {
    let line = json!({"StandardStatus": "Delete", "ModificationTimestamp": "2026-03-08T10:30:00Z"});
    let Ok(IngestLine::Delete(deletion)) = read(line) else { panic!() };
    assert_eq!(deletion.id, "k1");
    assert_eq!(deletion.version.updated_at_us, Some(1_772_965_800_000_000));
    let Ok(IngestLine::Delete(native)) = parse(br#"{"delete":"k1","version":8}"#) else { panic!() };
    assert_eq!((native.id.as_str(), native.version.version), ("k1", Some(8)));
}

#[test]
fn a_closed_sale_has_its_closing_price() {
    let both = json!({"ListPrice": 500_000, "ClosePrice": "475000.50"});
    assert_eq!(field("/price", both.clone()), json!({"amount": 500_000, "currency": "USD"}));
    let mut closed = both;
    closed["StandardStatus"] = json!("Closed");
    let document = document(closed);
    assert_eq!(document["price"], json!({"amount": 475_000.5, "currency": "USD"}));
    // The asking price stays, under its own name.
    assert_eq!(document["ListPrice"], 500_000);
}

#[test]
fn rents_have_the_period_of_their_frequency() {
    for (frequency, amount, period) in [
        (json!("Monthly"), 2_400.0, json!("month")),
        (json!("Weekly"), 2_400.0, json!("week")),
        (json!("Daily"), 2_400.0, json!("night")),
        (json!("Annually"), 200.0, json!("month")),
        (json!("Bi-Weekly"), 5_200.0, json!("month")),
        (json!("SemiMonthly"), 4_800.0, json!("month")),
        (json!("One Time"), 2_400.0, Value::Null),
        (Value::Null, 2_400.0, Value::Null),
    ] {
        let rent = json!({"PropertyType": "Residential Lease", "LeaseAmount": 2_400,
            "LeaseAmountFrequency": frequency});
        let document = document(rent);
        assert_eq!(document["listingType"], "rent");
        assert_eq!(document["price"]["amount"].as_f64(), Some(amount), "{frequency}");
        assert_eq!(document["price"].get("period").unwrap_or(&Value::Null), &period);
    }
    let closed = json!({"PropertyType": "ResidentialLease", "StandardStatus": "Closed",
        "ListPrice": 1_900, "LeaseAmountFrequency": "Monthly"});
    let document = document(closed);
    assert_eq!(
        (&document["status"], &document["price"]["amount"]),
        (&json!("rented"), &json!(1_900))
    );
}

#[test]
fn what_is_offered_follows_from_the_type_or_the_price() {
    let unclear = json!({"PropertyType": null, "LeaseAmount": 900});
    assert_eq!(field("/listingType", unclear), "rent");
    let sale = json!({"PropertyType": null, "LeaseAmount": 900, "ListPrice": 100_000});
    assert_eq!(field("/listingType", sale), "sale");
    let auction = json!({"SpecialListingConditions": "Short Sale,Auction"});
    assert_eq!(field("/listingType", auction), "auction");
}

#[test]
fn currencies_are_named_or_the_countrys() {
    let of = |fields: Value| field("/price/currency", fields);
    assert_eq!(of(json!({"ListPrice": 1, "StateOrProvince": "ON"})), "CAD");
    let italy = json!({"ListPrice": 1, "Country": "IT", "StateOrProvince": "Lombardia"});
    assert_eq!(of(italy), "EUR");
    assert_eq!(of(json!({"ListPrice": 1, "ListPriceCurrency": "mxn"})), "MXN");
    let unknown = json!({"ListPrice": 1, "Country": "AQ", "StateOrProvince": "Base"});
    assert_eq!(wrong(unknown), ["/ListPriceCurrency"]);
    let odd = json!({"ListPrice": 1, "ListPriceCurrency": "$"});
    assert_eq!(wrong(odd), ["/ListPriceCurrency"]);
}

#[test]
fn areas_are_in_square_metres() {
    for (area, units, metres) in [
        (json!(1_180), json!("Square Feet"), json!(109.6)),
        (json!("1180.0"), json!("SquareFeet"), json!(109.6)),
        (json!(1_180), Value::Null, json!(109.6)),
        (json!(109.66), json!("Square Meters"), json!(109.66)),
        (json!(109.66), json!("squareMeters"), json!(109.66)),
        (json!(0), json!("Square Feet"), Value::Null),
    ] {
        let home = json!({"LivingArea": area, "LivingAreaUnits": units});
        assert_eq!(field("/sqMeters", home), metres, "{area} {units}");
    }
    let abroad = json!({"Country": "DE", "StateOrProvince": "Berlin", "LivingArea": 80});
    assert_eq!(field("/sqMeters", abroad), 80);
    assert_eq!(field("/sqMeters", json!({"BuildingAreaTotal": 1_000})), 92.9);
    let odd = json!({"LivingArea": 80, "LivingAreaUnits": "Tatami"});
    assert_eq!(wrong(odd), ["/LivingAreaUnits"]);
    assert_eq!(
        wrong(json!({"LivingArea": -1, "LivingAreaUnits": "Square Meters"})),
        ["/LivingArea"]
    );
    let acres = json!({"LotSizeArea": 2, "LotSizeUnits": "Acres"});
    assert_eq!(field("/lotSqMeters", acres), 8_093.7);
    assert_eq!(field("/lotSqMeters", json!({"LotSizeArea": 2})), Value::Null);
}

#[test]
fn bathrooms_are_counted_as_the_market_does() {
    for (fields, bathrooms) in [
        (json!({"BathroomsTotalInteger": 3}), 3.0),
        (json!({"BathroomsTotalInteger": "3"}), 3.0),
        (json!({"BathroomsTotalDecimal": 2.25, "BathroomsTotalInteger": 3}), 2.25),
        (json!({"BathroomsFull": 2, "BathroomsHalf": 1, "BathroomsTotalInteger": 3}), 2.5),
        (json!({"BathroomsFull": 2, "BathroomsHalf": 1}), 2.5),
        // One room is not accounted for.
        (json!({"BathroomsFull": 2, "BathroomsTotalInteger": 3}), 3.0),
    ] {
        assert_eq!(listing(fields.clone()).columns.bathrooms, Some(bathrooms), "{fields}");
    }
}

#[test]
fn numbers_may_be_texts() {
    let listing =
        listing(json!({"ListPrice": " 450000.00 ", "BedroomsTotal": "3", "YearBuilt": "1955.0",
        "RoomsTotal": "7", "Latitude": "47.5112", "Longitude": "-122.257", "StoriesTotal": "1.5"}));
    let columns = listing.columns;
    assert_eq!(columns.price.unwrap().amount, 450_000.0);
    assert_eq!(
        (columns.bedrooms, columns.year_built, columns.rooms),
        (Some(3.0), Some(1955), Some(7.0))
    );
    assert_eq!(columns.location.map(|it| (it.lat, it.lng)), Some((47.5112, -122.257)));
    assert!(listing.document.contains(r#""amount":450000.00,"#), "{}", listing.document);
    for odd in ["three", "1,250", "NaN", "inf", "1e999"] {
        assert_eq!(wrong(json!({"BedroomsTotal": odd})), ["/BedroomsTotal"], "{odd}");
    }
    assert_eq!(wrong(json!({"ListPrice": [1]})), ["/ListPrice"]);
}

#[test]
fn a_place_needs_both_coordinates() {
    for fields in [
        json!({"Latitude": 47.5}),
        json!({"Latitude": null, "Longitude": -122.2}),
        json!({"Latitude": 0, "Longitude": 0}),
        json!({"Coordinates": [null, null]}),
        json!({"Coordinates": []}),
    ] {
        assert_eq!(field("/location", fields.clone()), Value::Null, "{fields}");
    }
    let place = json!({"lat": 47.5, "lng": -122.2});
    for point in [json!([-122.2, 47.5]), json!({"type": "Point", "coordinates": [-122.2, 47.5]})] {
        assert_eq!(field("/location", json!({"Coordinates": point})), place);
    }
    assert_eq!(wrong(json!({"Latitude": 147.5, "Longitude": 1})), ["/Latitude"]);
    assert_eq!(wrong(json!({"Coordinates": "here"})), ["/Coordinates"]);
}

#[test]
fn territories_come_from_country_and_state() {
    let of = |fields: Value| {
        let document = document(fields);
        format!(
            "{}:{}",
            document["country"].as_str().unwrap(),
            document["region"].as_str().unwrap()
        )
    };
    assert_eq!(of(json!({"Country": "USA", "StateOrProvince": "California"})), "US:california");
    assert_eq!(of(json!({"StateOrProvince": "QC"})), "CA:quebec");
    let spain = json!({"Country": "es", "StateOrProvince": "Cataluña"});
    assert_eq!(of(spain), "ES:cataluna");
    assert_eq!(wrong(json!({"StateOrProvince": "Lombardia"})), ["/Country"]);
    assert_eq!(wrong(json!({"Country": "US", "StateOrProvince": "ON"})), ["/StateOrProvince"]);
    assert_eq!(wrong(json!({"StateOrProvince": null, "Country": "US"})), ["/StateOrProvince"]);
    let greek = json!({"Country": "GR", "StateOrProvince": "Αττική"});
    assert_eq!(wrong(greek), ["/StateOrProvince"]);
}

#[test]
fn neighbourhoods_are_subdivisions_unless_these_say_nothing() {
    let of = |fields: Value| field("/neighborhood", fields);
    let both = json!({"SubdivisionName": "Ballard", "MLSAreaMajor": "140 - West Seattle"});
    assert_eq!(of(both), "Ballard");
    let none = json!({"SubdivisionName": "N/A", "MLSAreaMajor": "140 - West Seattle"});
    assert_eq!(of(none), "140 - West Seattle");
    assert_eq!(of(json!({"SubdivisionName": "Κολωνάκι"})), "Κολωνάκι");
}

#[test]
fn keys_names_and_texts_have_their_places() {
    let document = document(json!({"ListingKey": 123_456, "ListingId": "A-1", "City": " Seattle ",
        "PostalCode": 98_101, "OriginatingSystemName": "NWMLS", "SourceSystemName": "Feed",
        "PublicRemarks": "Sunny.", "ListAgentKey": "ag1", "ListOfficeKey": "of1"}));
    for (name, value) in [
        ("id", json!("123456")),
        ("externalId", json!("A-1")),
        ("city", json!("Seattle")),
        ("postalCode", json!("98101")),
        ("source", json!("NWMLS")),
        ("SourceSystemName", json!("Feed")),
        ("description", json!({"und": "Sunny."})),
        ("agentId", json!("ag1")),
        ("agencyId", json!("of1")),
        ("ListingKey", Value::Null),
        ("City", Value::Null),
    ] {
        assert_eq!(document[name], value, "{name}");
    }
    let keyless = json!({"ListingKey": null, "ListingId": "A-1"});
    assert_eq!(field("/id", keyless), "A-1");
    assert_eq!(wrong(json!({"ListingKey": null})), ["/ListingKey"]);
    assert_eq!(wrong(json!({"ListingKey": "x".repeat(129)})), ["/ListingKey"]);
}

#[test]
fn dates_are_their_first_moment() {
    let of = |fields: Value| field("/publishedAt", fields);
    assert_eq!(of(json!({"OnMarketDate": "2026-03-08"})), "2026-03-08T00:00:00Z");
    assert_eq!(of(json!({"ListingContractDate": "2026-03-07"})), "2026-03-07T00:00:00Z");
    let exact =
        json!({"OnMarketDate": "2026-03-08", "OnMarketTimestamp": "2026-03-08T10:30:00.5+01:00"});
    assert_eq!(of(exact), "2026-03-08T10:30:00.5+01:00");
    let zoneless = json!({"ModificationTimestamp": "2026-03-08 10:30:00"});
    assert_eq!(listing(zoneless).version.updated_at_us, Some(1_772_965_800_000_000));
    assert_eq!(wrong(json!({"OnMarketDate": "3/8/2026"})), ["/OnMarketDate"]);
}

#[test]
fn features_are_amenities_however_they_are_listed() {
    let lists = [
        json!(["InGround", "Heated"]),
        json!("InGround,Heated"),
        json!("In Ground, Heated"),
        json!({"In Ground": true, "Heated": true, "Gunite": false}),
        json!(["In Ground", null, "Heated", "See Remarks"]),
    ];
    for list in lists {
        let got = field("/amenities", json!({"PoolFeatures": list}));
        assert_eq!(got, json!(["pool", "pool_heated", "pool_in_ground"]), "{list}");
    }
    let got = field(
        "/amenities",
        json!({"PoolPrivateYN": "Y", "GarageYN": true, "FireplaceYN": false,
        "Cooling": "Ceiling Fan(s)", "Heating": ["None"], "View": ["Ocean"], "PetsAllowed": ["CatsOk"],
        "Appliances": ["EnergyStarQualifiedWasher", "ENERGY STAR Qualified Dryer"],
        "ParkingFeatures": ["GarageDoorOpener"], "AssociationAmenities": "Fitness Center"}),
    );
    assert_eq!(
        got,
        json!([
            "cooling_ceiling_fan_s",
            "dryer",
            "energy_star_qualified_dryer",
            "energy_star_qualified_washer",
            "fitness_center",
            "garage",
            "gym",
            "ocean_view",
            "parking",
            "parking_garage_door_opener",
            "pets_allowed",
            "pool",
            "sea_view",
            "washer"
        ])
    );
    assert_eq!(
        field("/amenities", json!({"Cooling": ["CentralAir"]})),
        json!(["air_conditioning", "cooling_central_air"])
    );
    // What is no list has no values, and is given back.
    assert_eq!(field("/Heating", json!({"Heating": 7.5})), 7.5);
    let many: Vec<String> = (0..400).map(|number| format!("Thing{number}")).collect();
    assert_eq!(listing(json!({"Appliances": many})).columns.amenities.len(), 256);
}

#[test]
fn media_come_in_their_order_with_their_address() {
    let media = json!([
        {"MediaURL": "https://x/2.jpg", "Order": 2, "MediaCategory": "Photo", "LongDescription": null},
        {"MediaURL": null, "Order": 0},
        {"MediaURL": "https://x/private.jpg", "Order": 0, "Permission": ["Private"]},
        {"MediaURL": "https://x/1.jpg", "Order": "1", "Permission": "Public,IDX"},
        "https://x/last.jpg",
        null,
    ]);
    assert_eq!(
        field("/media", json!({"Media": media, "Media@odata.count": 6})),
        json!([
            {"url": "https://x/1.jpg", "Order": "1", "Permission": "Public,IDX"},
            {"url": "https://x/2.jpg", "Order": 2, "MediaCategory": "Photo"},
            "https://x/last.jpg",
        ])
    );
    assert_eq!(wrong(json!({"Media": {}})), ["/Media"]);
    assert_eq!(wrong(json!({"Media": [{"MediaURL": "x"}, 7]})), ["/Media/1"]);
}

#[test]
fn other_fields_are_kept_but_for_confidential_ones() {
    let document = document(
        json!({"Zoning": "R5", "X_Local": {"a": [1, 2]}, "WalkScore": 88, "Roof": null,
        "@odata.id": "Property('k1')", "city": "clash", "status": "clash", "version": 7, "title": "Home",
        "PrivateRemarks": "Sellers are desperate.", "AccessCode": "1234", "City": "Seattle"}),
    );
    for (name, value) in [
        ("Zoning", json!("R5")),
        ("X_Local", json!({"a": [1, 2]})),
        ("WalkScore", json!(88)),
        ("Roof", Value::Null),
        ("@odata.id", Value::Null),
        ("city", json!("Seattle")),
        ("status", json!("active")),
        ("version", json!(7)),
        ("title", json!({"und": "Home"})),
        ("PrivateRemarks", Value::Null),
        ("AccessCode", Value::Null),
    ] {
        assert_eq!(document[name], value, "{name}");
    }
}

#[test]
fn all_that_is_wrong_is_told_at_once_by_the_names_of_the_record() {
    let got = wrong(json!({"ListingKey": null, "StandardStatus": "?", "Country": "Atlantis",
        "BedroomsTotal": "many", "ModificationTimestamp": "yesterday"}));
    assert_eq!(
        got,
        ["/ListingKey", "/StandardStatus", "/Country", "/BedroomsTotal", "/ModificationTimestamp"]
    );
    let late = wrong(json!({"ListPrice": -1, "YearBuilt": 1955.5, "City": "x".repeat(201)}));
    assert_eq!(late, ["/ListPrice", "/City", "/YearBuilt"]);
    for odd in ["", "[]", "7", "{", r#"{"ListingKey":"a","ListingKey":"b"}"#] {
        let errors = parse(odd.as_bytes()).unwrap_err();
        assert_eq!((errors.len(), errors[0].pointer.as_str()), (1, ""), "{odd}");
    }
    assert!(parse(&vec![b' '; 300 << 10]).unwrap_err()[0].detail.contains("longer than"));
    assert!(parse(b"\xff").unwrap_err()[0].detail.contains("UTF-8"));
}

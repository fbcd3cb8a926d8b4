//! RESO records: those of `HEXPOP_TEST_DATA` (a folder with `reso/*.json`, written from records of
//! `listings/us-*.ndjson.gz`) against the native listings that they were written from, and anything
//! at all.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
};

use flate2::bufread::MultiGzDecoder;
use hexpop_shard::{IngestLine, Listing, ListingFormat};
use proptest::prelude::*;
use serde_json::{Value, json};

fn reso(line: &[u8]) -> Option<Listing> {
    match IngestLine::parse_as(ListingFormat::Reso, line) {
        Ok(IngestLine::Upsert(listing)) => Some(listing),
        Ok(IngestLine::Delete(_)) | Err(_) => None,
    }
}

fn natives(path: &Path) -> BTreeMap<String, Value> {
    let file = BufReader::new(File::open(path).unwrap());
    BufReader::new(MultiGzDecoder::new(file))
        .lines()
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .map(|native: Value| (native["id"].as_str().unwrap().to_owned(), native))
        .collect()
}

/// What the records do not say: who collected them, and which building it is.
const NOT_SAID: [&str; 2] = ["source", "propertyId"];

#[test]
fn records_written_from_listings_become_these_listings() {
    let Some(folder) = std::env::var_os("HEXPOP_TEST_DATA") else { return };
    let folder = Path::new(&folder);
    for (records, listings, count) in [
        ("derived-king-county-closed.json", "us-king-county-sale.ndjson.gz", 150),
        ("derived-sacramento-closed.json", "us-sacramento-sale.ndjson.gz", 50),
    ] {
        let text = std::fs::read_to_string(folder.join("reso").join(records)).unwrap();
        let collection: Value = serde_json::from_str(&text).unwrap();
        let natives = natives(&folder.join("listings").join(listings));
        let records = collection["value"].as_array().unwrap();
        assert_eq!(records.len(), count);
        for record in records {
            let listing = reso(record.to_string().as_bytes()).unwrap();
            let got: Value = serde_json::from_str(&listing.document).unwrap();
            let native = &natives[record["ListingKey"].as_str().unwrap()];
            for (name, value) in native.as_object().unwrap() {
                let is_said = !NOT_SAID.contains(&name.as_str())
                    // The standard's total is whole: 2.25 bathrooms were left out.
                    && (name != "bathrooms" || record.get("BathroomsTotalInteger").is_some());
                if is_said {
                    assert_eq!(&got[name], value, "{name} of {record}");
                }
            }
            assert_eq!(got["externalId"], native["id"]);
            // The columns that are searched follow from the native fields alone.
            let mut known = native.clone();
            known["bathrooms"] = got.get("bathrooms").cloned().unwrap_or_default();
            let known = Listing::parse(known.to_string().as_bytes()).unwrap();
            assert_eq!((listing.columns, listing.key), (known.columns, known.key));
        }
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        "(Active|Closed|US|WA|Monthly|Square Feet|Y|2026-03-08|1e400|-0|,,|[A-Za-z ]{0,9})"
            .prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("(MediaURL|Order|coordinates|[a-z]{1,3})", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Names that mean something, and others.
const NAMES: &str = "(ListingKey|ListingId|StandardStatus|MlsStatus|PropertyType|PropertySubType|\
    StructureType|ListPrice|ClosePrice|LeaseAmount|LeaseAmountFrequency|ListPriceCurrency|Country|\
    StateOrProvince|Latitude|Longitude|Coordinates|LivingArea|LivingAreaUnits|LotSizeArea|LotSizeUnits|\
    BathroomsTotalInteger|BathroomsFull|BathroomsHalf|BedroomsTotal|YearBuilt|StoriesTotal|City|\
    SubdivisionName|PublicRemarks|OnMarketDate|ModificationTimestamp|Media|PoolFeatures|Cooling|GarageYN|\
    PetsAllowed|SpecialListingConditions|title|version|delete|[A-Za-z]{1,6})";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn anything_at_all_is_a_listing_or_an_error(
        fields in prop::collection::btree_map(NAMES, any_json(), 0..12),
        is_whole in any::<bool>(),
    ) {
        let mut record = Value::Object(fields.into_iter().collect());
        if is_whole {
            for (name, value) in [("ListingKey", "k"), ("StandardStatus", "Active"), ("Country", "US"),
                ("StateOrProvince", "WA")] {
                record[name] = json!(value);
            }
        }
        if let Some(listing) = reso(record.to_string().as_bytes()) {
            // What is given back is a native listing that says the same.
            let again = Listing::parse(listing.document.as_bytes()).unwrap();
            prop_assert_eq!(again.columns, listing.columns);
        }
    }

    #[test]
    fn no_bytes_are_too_odd(bytes in prop::collection::vec(any::<u8>(), 0..64), text in "\\PC{0,64}") {
        reso(&bytes);
        reso(text.as_bytes());
    }
}

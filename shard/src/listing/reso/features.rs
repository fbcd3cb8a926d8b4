//! The many lists of features of a RESO record as one list of amenities.
//!
//! A list says what it is about by its name, and its values alone often say nothing: `Heated` is a
//! pool or a garage, `Electric` heats or cools. So each list has a word of its own, where ours has
//! one, and its values carry its name: `PoolFeatures: ["InGround", "Heated"]` is `pool`,
//! `pool_heated` and `pool_in_ground`.

use std::collections::BTreeSet;

use super::{
    record::Record,
    words::{key, says_nothing, slug},
};
use crate::listing::parse::AMENITIES_MAX;

/// How the values of a list are called.
enum Values {
    /// As they are.
    Plain,
    /// With a word before, unless they have it.
    Before(&'static str),
    /// With a word after, unless they have it.
    After(&'static str),
    /// Not at all.
    Unnamed,
}

use Values::{After, Before, Plain, Unnamed};

/// A list, the amenity that it says whatever its values are, and how these are called.
const LISTS: &[(&str, Option<&str>, Values)] = &[
    ("AccessibilityFeatures", None, Before("accessible")),
    ("Appliances", None, Plain),
    ("AssociationAmenities", None, Plain),
    ("Basement", Some("basement"), Unnamed),
    ("BuildingFeatures", None, Plain),
    ("CommunityFeatures", None, Plain),
    ("Cooling", None, Before("cooling")),
    ("ExteriorFeatures", None, Plain),
    ("FireplaceFeatures", Some("fireplace"), Before("fireplace")),
    ("Heating", Some("heating"), Before("heating")),
    ("InteriorFeatures", None, Plain),
    ("LaundryFeatures", None, Before("laundry")),
    ("ParkingFeatures", Some("parking"), Before("parking")),
    ("PatioAndPorchFeatures", None, Before("patio")),
    ("PoolFeatures", Some("pool"), Before("pool")),
    ("SecurityFeatures", Some("security"), Before("security")),
    ("SpaFeatures", Some("hot_tub"), Before("spa")),
    ("View", None, After("view")),
    ("WaterfrontFeatures", Some("waterfront"), Plain),
];

/// What a yes says.
const FLAGS: &[(&str, &[&str])] = &[
    ("AttachedGarageYN", &["garage", "parking"]),
    ("BasementYN", &["basement"]),
    ("CarportYN", &["carport", "parking"]),
    ("CoolingYN", &["air_conditioning"]),
    ("FireplaceYN", &["fireplace"]),
    ("GarageYN", &["garage", "parking"]),
    ("HeatingYN", &["heating"]),
    ("OpenParkingYN", &["parking"]),
    ("PoolPrivateYN", &["pool"]),
    ("SpaYN", &["hot_tub"]),
    ("ViewYN", &["view"]),
    ("WaterfrontYN", &["waterfront"]),
];

/// What some values say besides, in the words that filters use.
fn also(list: &str, key: &str) -> &'static [&'static str] {
    match (list, key) {
        ("Cooling", fan) if fan.contains("fan") || fan == "roofturbines" => &[],
        ("Cooling", _) => &["air_conditioning"],
        ("ParkingFeatures", "carport" | "attachedcarport" | "detachedcarport") => &["carport"],
        ("ParkingFeatures", "electricvehiclechargingstations" | "evcharger") => &["ev_charger"],
        ("ParkingFeatures", garage) if garage.starts_with("garage") => &["garage"],
        ("PatioAndPorchFeatures", "terrace") => &["terrace"],
        ("PatioAndPorchFeatures" | "ExteriorFeatures", "balcony") => &["balcony"],
        ("View", "ocean" | "bay" | "beach") => &["sea_view"],
        (_, "elevators") => &["elevator"],
        (_, "fitnesscenter" | "exerciseroom") => &["gym"],
        (_, "indoorpool" | "communitypool") => &["pool"],
        (_, "washerdryer" | "washerdryerstacked") => &["washer", "dryer"],
        (_, "energystarqualifiedwasher") => &["washer"],
        (_, "energystarqualifieddryer") => &["dryer"],
        (_, "energystarqualifieddishwasher" | "portabledishwasher") => &["dishwasher"],
        (_, "storage") => &["storage_room"],
        _ => &[],
    }
}

/// The amenities of a record: lower-case words joined by `_`, sorted, each once.
pub(super) fn amenities(record: &Record<'_>) -> Vec<String> {
    let mut found = BTreeSet::new();
    for (list, says, values) in LISTS {
        for value in record.list(list) {
            let key = key(&value);
            if says_nothing(&key) {
                continue;
            }
            found.extend(says.iter().map(|word| (*word).to_owned()));
            found.extend(also(list, &key).iter().map(|word| (*word).to_owned()));
            found.extend(called(&value, values));
        }
    }
    for (flag, says) in FLAGS {
        if record.flag(flag) == Some(true) {
            found.extend(says.iter().map(|word| (*word).to_owned()));
        }
    }
    let allowed = ["yes", "catsok", "dogsok", "true"];
    if record.list("PetsAllowed").iter().any(|value| allowed.contains(&key(value).as_str())) {
        found.insert("pets_allowed".to_owned());
    }
    if record.word("Furnished").as_deref() == Some("furnished") {
        found.insert("furnished".to_owned());
    }
    found.into_iter().take(AMENITIES_MAX).collect()
}

/// What a value is called as an amenity.
fn called(value: &str, values: &Values) -> Option<String> {
    let word = slug(value, "_");
    if word.is_empty() {
        return None;
    }
    let has = |name: &str| word.split('_').any(|part| part == name);
    match values {
        Plain => Some(word),
        Before(name) if !has(name) => Some(format!("{name}_{word}")),
        After(name) if !has(name) => Some(format!("{word}_{name}")),
        Before(_) | After(_) => Some(word),
        Unnamed => None,
    }
}

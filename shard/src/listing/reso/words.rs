//! RESO's lookups and how ours are called. Both spellings of the standard, `Single Family
//! Residence` and `SingleFamilyResidence`, have one [key].

use super::super::{PropertyType, Status};
use crate::fold_words;

/// The letters and digits of a word, in lower case.
pub(super) fn key(word: &str) -> String {
    word.chars().filter(char::is_ascii_alphanumeric).map(|it| it.to_ascii_lowercase()).collect()
}

/// The words of a text, folded and joined. `EVCharger`, `EvCharger` and `EV charger` have the same.
pub(super) fn slug(text: &str, joint: &str) -> String {
    let letters: Vec<char> = text.chars().collect();
    let mut spaced = String::with_capacity(text.len() + 8);
    for (at, letter) in letters.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| letters.get(at));
        let begins = letter.is_uppercase()
            && before.is_some_and(|before| {
                let after = letters.get(at + 1);
                before.is_lowercase()
                    || before.is_numeric()
                    || (before.is_uppercase() && after.is_some_and(|it| it.is_lowercase()))
            });
        if begins {
            spaced.push(' ');
        }
        spaced.push(*letter);
    }
    fold_words(&spaced).join(joint)
}

/// Whether a value of a lookup says that there is nothing to say.
pub(super) fn says_nothing(key: &str) -> bool {
    matches!(
        key,
        "none"
            | "no"
            | "na"
            | "notapplicable"
            | "other"
            | "unknown"
            | "seeremarks"
            | "call"
            | "nogarage"
            | "variesbyunit"
            | "notinsubdivision"
    )
}

/// The status of a listing that stands so.
///
/// Besides the standard's words these are the usual ones of local systems, which `MlsStatus` has.
pub(super) fn status(key: &str, is_rent: bool) -> Option<Status> {
    Some(match key {
        "active" | "new" | "backonmarket" | "pricechange" | "extended" | "forsale" | "forrent" => {
            Status::Active
        }
        "activeundercontract"
        | "pending"
        | "contingent"
        | "undercontract"
        | "underoffer"
        | "activecontingent"
        | "pendingcontinuetoshow"
        | "pendingtakingbackups" => Status::UnderOffer,
        "closed" if is_rent => Status::Rented,
        "closed" | "sold" => Status::Sold,
        "leased" | "rented" => Status::Rented,
        "canceled"
        | "cancelled"
        | "withdrawn"
        | "hold"
        | "terminated"
        | "offmarket"
        | "temporarilyoffmarket" => Status::Withdrawn,
        "expired" => Status::Expired,
        "incomplete" => Status::Draft,
        "comingsoon" => Status::PendingReview,
        _ => return None,
    })
}

/// The kind of property of a `PropertySubType`, a `StructureType` or a usual word of local systems.
/// Forms of ownership that say nothing of the building have none.
pub(super) fn property_type(key: &str) -> Option<PropertyType> {
    Some(match key {
        "apartment" | "condominium" | "condo" | "stockcooperative" | "ownyourown" | "flat" => {
            PropertyType::Apartment
        }
        "singlefamilyresidence"
        | "singlefamily"
        | "house"
        | "townhouse"
        | "cabin"
        | "ranch"
        | "duplex"
        | "triplex"
        | "quadruplex"
        | "multifamily"
        | "manufacturedhome"
        | "manufacturedhouse"
        | "manufacturedonland"
        | "mobilehome"
        | "detached"
        | "semidetached" => PropertyType::House,
        "villa" => PropertyType::Villa,
        "penthouse" => PropertyType::Penthouse,
        "studio" => PropertyType::Studio,
        "loft" => PropertyType::Loft,
        "unimprovedland" | "land" | "lot" | "agriculture" | "farm" => PropertyType::Land,
        "deededparking" | "garage" => PropertyType::Garage,
        "office" => PropertyType::Office,
        "warehouse" | "industrial" => PropertyType::Warehouse,
        "retail" | "business" | "hotelmotel" | "mixeduse" | "mobilehomepark" | "flex" => {
            PropertyType::Commercial
        }
        _ => return None,
    })
}

/// The kind of property of a `PropertyType` without a sub-type.
pub(super) fn property_class(key: &str) -> Option<PropertyType> {
    Some(match key {
        "land" | "farm" => PropertyType::Land,
        "commerciallease" | "commercialsale" | "businessopportunity" => PropertyType::Commercial,
        "manufacturedinpark" => PropertyType::House,
        _ => return None,
    })
}

/// Of what a rent is paid, as ours has it, and how many of RESO's make one of ours.
pub(super) fn period(frequency: &str) -> Option<(&'static str, f64)> {
    Some(match frequency {
        "daily" | "nightly" => ("night", 1.0),
        "weekly" => ("week", 1.0),
        "monthly" => ("month", 1.0),
        "biweekly" => ("month", 26.0 / 12.0),
        "semimonthly" => ("month", 2.0),
        "bimonthly" => ("month", 1.0 / 2.0),
        "quarterly" => ("month", 1.0 / 3.0),
        "semiannually" => ("month", 1.0 / 6.0),
        "annually" | "yearly" => ("month", 1.0 / 12.0),
        _ => return None,
    })
}

/// Square metres of one unit of area.
pub(super) fn square_metres(unit: &str) -> Option<f64> {
    Some(match unit {
        "squarefeet" | "squarefoot" | "sqft" | "sqfeet" | "sf" | "ft2" => SQUARE_FOOT,
        "squaremeters" | "squaremetres" | "squaremeter" | "squaremetre" | "sqm" | "m2" => 1.0,
        "acres" | "acre" => 43_560.0 * SQUARE_FOOT,
        _ => return None,
    })
}

/// A square foot in square metres, exactly.
const SQUARE_FOOT: f64 = 0.092_903_04;

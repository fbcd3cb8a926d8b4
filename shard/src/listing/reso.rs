//! Records of the RESO Data Dictionary 2.0 (resource Property, as `OData` writes them) as native
//! listings.
//!
//! A record becomes the JSON text of a native listing, which the one parser then checks; what that
//! finds wrong is told by the name of the record's field. Lookups are read in both spellings of the
//! standard and in any case, lists with commas or as JSON lists, numbers also as texts; null and
//! empty are absent. Nothing is guessed: a rent without a frequency has no period, and a place
//! without both coordinates has no location.
//!
//! | RESO | native |
//! |---|---|
//! | `ListingKey`, `ListingId` | `id` (the first there is), `externalId` |
//! | `OriginatingSystemName`, `SourceSystemName` | `source` |
//! | `StandardStatus`, else `MlsStatus` | `status`; `Delete` is a deletion |
//! | `PropertyType`, `SpecialListingConditions` | `listingType` |
//! | `PropertySubType`, `StructureType`, `PropertyType` | `propertyType` |
//! | `ClosePrice` once closed, `LeaseAmount` of a rent, `ListPrice` | `price.amount` |
//! | `LeaseAmountFrequency` | `price.period`; what ours has no word for is converted to months |
//! | `ListPriceCurrency`, else by country | `price.currency` |
//! | `Latitude`, `Longitude`, else `Coordinates` | `location`; 0, 0 is none |
//! | `Country`, `StateOrProvince`, `CountyOrParish`, `City`, `PostalCode` | `country`, `region`, `county`, `city`, `postalCode` |
//! | `SubdivisionName`, else `MLSAreaMajor` | `neighborhood` |
//! | `LivingArea`, else `BuildingAreaTotal`, with their units | `sqMeters` |
//! | `LotSizeSquareFeet`, `LotSizeAcres`, `LotSizeArea` with its units | `lotSqMeters` |
//! | `RoomsTotal`, `BedroomsTotal`, `YearBuilt` | `rooms`, `bedrooms`, `yearBuilt` |
//! | `BathroomsTotalDecimal`, the parts, `BathroomsTotalInteger` | `bathrooms` |
//! | `StoriesTotal`, else `Stories` | `totalFloors` |
//! | lists of features, `…YN` | `amenities` |
//! | `PublicRemarks`, `Media`, `ListAgentKey`, `ListOfficeKey` | `description`, `media`, `agentId`, `agencyId` |
//! | `OnMarketTimestamp`, `OnMarketDate`, `ListingContractDate` | `publishedAt` |
//! | `ModificationTimestamp` | `updatedAt` |
//!
//! Every other field that is not null is kept under its own name, and so are those whose native
//! counterpart says less (`PropertySubType`, `LivingArea`, ...). Left out are `OData`'s
//! annotations, names that the mapping gives a native meaning (`city` beside `City`), and what the
//! standard keeps among brokers (`PrivateRemarks`, `AccessCode`, `OwnerName`, ...), since listings
//! are public.

mod area;
mod features;
mod map;
mod media;
mod place;
mod record;
#[cfg(test)]
mod tests;
mod words;

use super::{DOCUMENT_BYTES_MAX, FieldError, IngestLine};

/// A native line, and which field of the record each part of it comes from.
#[derive(Debug)]
struct Native {
    json: String,
    /// Native pointers and RESO fields.
    origins: Vec<(&'static str, &'static str)>,
}

/// Understands one RESO record, or a native deletion.
pub(super) fn parse(line: &[u8]) -> Result<IngestLine, Vec<FieldError>> {
    let whole = |detail: String| vec![FieldError::new("", detail)];
    if line.len() > DOCUMENT_BYTES_MAX {
        return Err(whole(format!("is longer than {DOCUMENT_BYTES_MAX} bytes")));
    }
    let text =
        std::str::from_utf8(line).map_err(|error| whole(format!("is not UTF-8: {error}")))?;
    let mut record = record::Record::parse(text)
        .map_err(|error| whole(format!("is not a JSON object: {error}")))?;
    if record.raw("delete").is_some() {
        return IngestLine::parse(line);
    }
    let native = map::native(&mut record)?;
    IngestLine::parse(native.json.as_bytes())
        .map_err(|errors| errors.into_iter().map(|error| native.told(error)).collect())
}

impl Native {
    /// What is wrong, by the name that the record has for it.
    fn told(&self, error: FieldError) -> FieldError {
        let origin = self
            .origins
            .iter()
            .filter(|(native, _)| {
                error
                    .pointer
                    .strip_prefix(native)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
            .max_by_key(|(native, _)| native.len());
        match origin {
            Some((_, field)) => FieldError::new(format!("/{field}"), error.detail),
            None => error,
        }
    }
}

//! One listing as the platform keeps it: the bytes it came in, and what the platform's own pages
//! and checks need to know of it.

use std::{fmt::Write as _, sync::Arc};

use bytes::Bytes;
use hexpop_edge_config::Territory;
use hexpop_shard::{
    FieldError, Listing, ListingColumns, ListingType, ListingVersion, Precedence, Price,
    PropertyType, Status,
};
use http::HeaderValue;

/// Why some bytes are no listing: everything that is wrong with them.
#[derive(Debug, thiserror::Error)]
#[error("{}", sentence(.0))]
pub(super) struct RecordError(pub(super) Vec<FieldError>);

fn sentence(errors: &[FieldError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// A listing.
#[derive(Debug)]
pub(super) struct Record {
    id: Arc<str>,
    body: Bytes,
    etag: HeaderValue,
    territory: Territory,
    version: ListingVersion,
    facts: Facts,
}

/// What pages and estimates are made from.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) listing_type: ListingType,
    pub(super) property_type: Option<PropertyType>,
    pub(super) status: Status,
    pub(super) city: Option<Box<str>>,
    pub(super) agent: Option<Box<str>>,
    pub(super) price: Option<Price>,
    pub(super) sq_meters: Option<f64>,
}

/// A listing that was just read, with what the search index takes of it.
#[derive(Debug)]
pub(super) struct Parsed {
    pub(super) record: Record,
    pub(super) columns: ListingColumns,
}

impl Record {
    /// Takes in one JSON object. What a mesh would refuse is refused here already.
    pub(super) fn parse(body: Bytes) -> Result<Parsed, RecordError> {
        let listing = Listing::parse(&body).map_err(RecordError)?;
        let columns = listing.columns;
        let record = Self {
            id: columns.id.as_str().into(),
            etag: entity_tag(&body),
            territory: columns.territory(),
            version: listing.version,
            facts: Facts {
                listing_type: columns.listing_type,
                property_type: columns.property_type,
                status: columns.status,
                city: columns.city.as_deref().map(Into::into),
                agent: columns.agent_id.as_deref().map(Into::into),
                price: columns.price,
                sq_meters: columns.sq_meters,
            },
            body,
        };
        Ok(Parsed { record, columns })
    }

    pub(super) const fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// The JSON object, byte for byte as it came.
    pub(super) const fn body(&self) -> &Bytes {
        &self.body
    }

    pub(super) const fn etag(&self) -> &HeaderValue {
        &self.etag
    }

    pub(super) const fn territory(&self) -> &Territory {
        &self.territory
    }

    /// The version; 0 when the listing has none.
    pub(super) fn version(&self) -> u64 {
        self.version.version.unwrap_or(0)
    }

    pub(super) fn updated_at(&self) -> Option<jiff::Timestamp> {
        self.version.updated_at_us.and_then(|us| jiff::Timestamp::from_microsecond(us).ok())
    }

    /// Whether it takes the place of `old`: the newer one does, and the later of two whose age
    /// cannot be told apart.
    pub(super) fn replaces(&self, old: &Self) -> bool {
        self.version.against(&old.version) != Precedence::Older
    }

    pub(super) const fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether the public may see it by its id.
    pub(super) const fn is_public(&self) -> bool {
        self.facts.status.is_public()
    }

    /// The last part of the city's page addresses.
    pub(super) fn city_slug(&self) -> Option<String> {
        self.facts.city.as_deref().map(slug).filter(|slug| !slug.is_empty())
    }
}

/// A text as a part of a path (RFC 3986 §3.3), which is also safe in a header field.
pub(super) fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _written = write!(encoded, "%{byte:02X}");
        }
        encoded
    })
}

/// A strong validator made of the content (RFC 9110 §8.8.3).
pub(super) fn entity_tag(content: &[u8]) -> HeaderValue {
    let hash = fingerprint(content);
    // Hexadecimal digits and quotes are always a valid header value.
    HeaderValue::from_str(&format!("\"{hash:016x}\""))
        .unwrap_or_else(|_invalid| HeaderValue::from_static("\"0\""))
}

/// FNV-1a, 64 bits.
pub(super) fn fingerprint(content: &[u8]) -> u64 {
    content.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// A name as part of an address: lower case, without accents, words joined by dashes.
pub(super) fn slug(name: &str) -> String {
    let mut slug = String::new();
    for letter in name.chars().flat_map(char::to_lowercase) {
        match unaccented(letter) {
            Some(plain) => slug.push_str(plain),
            None if letter.is_alphanumeric() => {
                // Writing to a string cannot fail.
                let _written = write!(slug, "{letter}");
            }
            None if slug.ends_with('-') || slug.is_empty() => {}
            None => slug.push('-'),
        }
    }
    slug.truncate(slug.trim_end_matches('-').len());
    slug
}

/// The plain form of an accented Latin letter.
const fn unaccented(letter: char) -> Option<&'static str> {
    Some(match letter {
        'à' | 'á' | 'â' | 'ã' | 'å' | 'ą' | 'ä' => "a",
        'ç' | 'ć' | 'č' => "c",
        'è' | 'é' | 'ê' | 'ë' | 'ę' => "e",
        'ì' | 'í' | 'î' | 'ï' => "i",
        'ł' => "l",
        'ñ' | 'ń' => "n",
        'ò' | 'ó' | 'ô' | 'õ' | 'ö' | 'ø' => "o",
        'ś' | 'š' => "s",
        'ß' => "ss",
        'ù' | 'ú' | 'û' | 'ü' => "u",
        'ź' | 'ż' | 'ž' => "z",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTING: &str = r#"{"id":"a","listingType":"sale","status":"active","price":{"amount":5,"currency":"EUR"},"country":"IT","region":"lazio","city":"Roma","own":[1]}"#;

    #[test]
    fn a_listing_keeps_its_bytes() {
        let parsed = Record::parse(Bytes::from_static(LISTING.as_bytes())).unwrap();
        let record = parsed.record;
        assert_eq!(record.body(), LISTING);
        assert_eq!(record.territory().to_string(), "IT:lazio");
        assert_eq!((record.version(), record.is_public()), (0, true));
        assert_eq!(record.city_slug().as_deref(), Some("roma"));
    }

    #[test]
    fn everything_that_is_wrong_is_named() {
        let text = LISTING.replace("sale", "swap").replace("lazio", "Lazio");
        let error = Record::parse(Bytes::from(text)).unwrap_err().to_string();
        assert!(error.contains("/listingType") && error.contains("/region"), "{error}");
    }

    #[test]
    fn any_text_can_be_a_part_of_a_path() {
        assert_eq!(percent_encoded("lst_000042"), "lst_000042");
        assert_eq!(percent_encoded("a/b é"), "a%2Fb%20%C3%A9");
    }

    #[test]
    fn slugs_are_plain() {
        assert_eq!(slug("València"), "valencia");
        assert_eq!(slug("Alcalá de Henares"), "alcala-de-henares");
        assert_eq!(slug(" Łódź / Śródmieście "), "lodz-srodmiescie");
        assert_eq!(slug("Αθήνα"), "αθήνα");
    }
}

//! Countries, their regions and their currencies.

use super::words::{key, slug};

/// The states of the US by postal code, and what it administers and RESO counts among them.
const US: &[(&str, &str)] = &[
    ("al", "alabama"),
    ("ak", "alaska"),
    ("az", "arizona"),
    ("ar", "arkansas"),
    ("ca", "california"),
    ("co", "colorado"),
    ("ct", "connecticut"),
    ("de", "delaware"),
    ("dc", "district-of-columbia"),
    ("fl", "florida"),
    ("ga", "georgia"),
    ("hi", "hawaii"),
    ("id", "idaho"),
    ("il", "illinois"),
    ("in", "indiana"),
    ("ia", "iowa"),
    ("ks", "kansas"),
    ("ky", "kentucky"),
    ("la", "louisiana"),
    ("me", "maine"),
    ("md", "maryland"),
    ("ma", "massachusetts"),
    ("mi", "michigan"),
    ("mn", "minnesota"),
    ("ms", "mississippi"),
    ("mo", "missouri"),
    ("mt", "montana"),
    ("ne", "nebraska"),
    ("nv", "nevada"),
    ("nh", "new-hampshire"),
    ("nj", "new-jersey"),
    ("nm", "new-mexico"),
    ("ny", "new-york"),
    ("nc", "north-carolina"),
    ("nd", "north-dakota"),
    ("oh", "ohio"),
    ("ok", "oklahoma"),
    ("or", "oregon"),
    ("pa", "pennsylvania"),
    ("ri", "rhode-island"),
    ("sc", "south-carolina"),
    ("sd", "south-dakota"),
    ("tn", "tennessee"),
    ("tx", "texas"),
    ("ut", "utah"),
    ("vt", "vermont"),
    ("va", "virginia"),
    ("wa", "washington"),
    ("wv", "west-virginia"),
    ("wi", "wisconsin"),
    ("wy", "wyoming"),
    ("gu", "guam"),
    ("pr", "puerto-rico"),
    ("vi", "virgin-islands"),
];

/// The provinces and territories of Canada by postal code, RESO's older one of Newfoundland
/// included.
const CANADA: &[(&str, &str)] = &[
    ("ab", "alberta"),
    ("bc", "british-columbia"),
    ("mb", "manitoba"),
    ("nb", "new-brunswick"),
    ("nl", "newfoundland-and-labrador"),
    ("nf", "newfoundland-and-labrador"),
    ("ns", "nova-scotia"),
    ("nt", "northwest-territories"),
    ("nu", "nunavut"),
    ("on", "ontario"),
    ("pe", "prince-edward-island"),
    ("qc", "quebec"),
    ("sk", "saskatchewan"),
    ("yt", "yukon"),
];

/// Countries that feeds spell out.
const COUNTRIES: &[(&str, &str)] = &[
    ("usa", "US"),
    ("unitedstates", "US"),
    ("unitedstatesofamerica", "US"),
    ("can", "CA"),
    ("canada", "CA"),
    ("mex", "MX"),
    ("mexico", "MX"),
    ("uk", "GB"),
    ("gbr", "GB"),
    ("unitedkingdom", "GB"),
    ("greatbritain", "GB"),
];

/// The country of a code or a name, upper case, whether or not it exists.
pub(super) fn country(text: &str) -> Option<String> {
    let key = key(text);
    let known = COUNTRIES.iter().find(|(name, _)| *name == key).map(|(_, code)| *code);
    match known {
        Some(code) => Some(code.to_owned()),
        None if key.len() == 2 && key.bytes().all(|it| it.is_ascii_lowercase()) => {
            Some(key.to_ascii_uppercase())
        }
        None => None,
    }
}

/// The country that has a state or province of this code or name, if it is one of North America.
pub(super) fn country_of_state(state: &str) -> Option<&'static str> {
    ["US", "CA"].into_iter().find(|country| region(country, state).is_some())
}

/// The slug of a region. Of the US and Canada only the known ones have one.
pub(super) fn region(country: &str, state: &str) -> Option<String> {
    // As ISO 3166-2 writes it: `US-WA`.
    let prefix = format!("{country}-");
    let state = match state.get(..prefix.len()) {
        Some(begin) if begin.eq_ignore_ascii_case(&prefix) => state.get(prefix.len()..)?,
        _ => state,
    };
    let states = match country {
        "US" => US,
        "CA" => CANADA,
        _ => {
            let words = crate::fold_words(&state.replace('\u{2019}', ""));
            return (!words.is_empty()).then(|| words.join("-"));
        }
    };
    let (key, slug) = (key(state), slug(state, "-"));
    states
        .iter()
        .find(|(code, name)| *code == key || *name == slug)
        .map(|(_, name)| (*name).to_owned())
}

/// The currency that homes are usually priced in. `None` where that is not the country's own, or
/// not known here.
pub(super) fn currency(country: &str) -> Option<&'static str> {
    Some(match country {
        "US" | "PR" | "VI" | "GU" | "EC" => "USD",
        "CA" => "CAD",
        "GB" => "GBP",
        "AD" | "AT" | "BE" | "BG" | "CY" | "DE" | "EE" | "ES" | "FI" | "FR" | "GR" | "HR"
        | "IE" | "IT" | "LT" | "LU" | "LV" | "MC" | "ME" | "MT" | "NL" | "PT" | "SI" | "SK"
        | "SM" | "VA" | "XK" => "EUR",
        "CH" | "LI" => "CHF",
        "PL" => "PLN",
        "CZ" => "CZK",
        "HU" => "HUF",
        "RO" => "RON",
        "SE" => "SEK",
        "NO" => "NOK",
        "DK" => "DKK",
        "IS" => "ISK",
        "AU" => "AUD",
        "NZ" => "NZD",
        "JP" => "JPY",
        "MX" => "MXN",
        "BR" => "BRL",
        "AE" => "AED",
        "IN" => "INR",
        "ZA" => "ZAR",
        "IL" => "ILS",
        "SG" => "SGD",
        "HK" => "HKD",
        "KR" => "KRW",
        "CN" => "CNY",
        "TH" => "THB",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_known_by_code_name_and_iso_code() {
        for state in ["WA", "wa", "Washington", "US-WA", "WASHINGTON"] {
            assert_eq!(region("US", state).as_deref(), Some("washington"), "{state}");
        }
        assert_eq!(region("US", "D.C.").as_deref(), Some("district-of-columbia"));
        assert_eq!(region("CA", "Québec").as_deref(), Some("quebec"));
        assert_eq!(region("US", "ON"), None);
        assert_eq!((country_of_state("ON"), country_of_state("Ohio")), (Some("CA"), Some("US")));
        assert_eq!(country_of_state("Lombardia"), None);
    }

    #[test]
    fn regions_elsewhere_are_slugs_of_their_names() {
        for (country, state, slug) in [
            ("IT", "Valle d'Aosta", "valle-d-aosta"),
            ("FR", "Provence-Alpes-Côte-d’Azur", "provence-alpes-cote-dazur"),
            ("DE", "Baden-Württemberg", "baden-wurttemberg"),
            ("ES", "ES-Madrid", "madrid"),
        ] {
            assert_eq!(region(country, state).as_deref(), Some(slug));
        }
        assert_eq!(region("IT", " - "), None);
        assert_eq!(region("IT", "ø").as_deref(), Some("o"));
    }

    #[test]
    fn countries_are_codes_or_well_known_names() {
        for text in ["US", "us", "USA", "U.S.", "United States"] {
            assert_eq!(country(text).as_deref(), Some("US"), "{text}");
        }
        assert_eq!(country("UK").as_deref(), Some("GB"));
        assert_eq!((country("Atlantis"), country("7")), (None, None));
    }
}

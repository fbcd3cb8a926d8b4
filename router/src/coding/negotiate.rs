//! `Accept-Encoding` (RFC 9110 §12.5.3). Pure.

use http::{HeaderMap, header};

/// A content coding that a node makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Coding {
    /// RFC 7932.
    Brotli,
    /// RFC 8878, with a window of at most 8 MiB (RFC 9659).
    Zstd,
    /// RFC 1952.
    Gzip,
}

impl Coding {
    /// All of them, the one that makes the smallest text first.
    pub const ALL: [Self; 3] = [Self::Brotli, Self::Zstd, Self::Gzip];

    /// Its name in header fields.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Brotli => "br",
            Self::Zstd => "zstd",
            Self::Gzip => "gzip",
        }
    }

    /// The coding with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|coding| coding.as_str() == name)
    }
}

/// What a client takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acceptable {
    /// The coding it gets, if that can be made; `None` = none.
    pub coding: Option<Coding>,
}

/// Weights in thousandths.
const WEIGHT_MAX: u16 = 1000;

/// What a client takes, of the codings `offered`, the preferred first: the one it likes best, if it likes
/// it no less than none at all. A client that says nothing takes anything, and gets none: many that say
/// nothing know none. A member that cannot be read counts as absent.
#[must_use]
pub fn acceptable(headers: &HeaderMap, offered: &[Coding]) -> Acceptable {
    let lines = headers.get_all(header::ACCEPT_ENCODING);
    if lines.iter().next().is_none() {
        return Acceptable { coding: None };
    }
    let mut named: [Option<u16>; Coding::ALL.len()] = [None; Coding::ALL.len()];
    let (mut identity, mut any) = (None, None);
    let members = lines.iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    for member in members {
        let Some((name, weight)) = weighted(member) else { continue };
        let slot = match name.as_str() {
            "identity" => Some(&mut identity),
            "*" => Some(&mut any),
            // RFC 9110 §8.4.1.3.
            "x-gzip" => named.get_mut(Coding::Gzip as usize),
            name => Coding::from_name(name).and_then(|coding| named.get_mut(coding as usize)),
        };
        // One that is named twice counts by its first weight.
        if let Some(slot) = slot {
            slot.get_or_insert(weight);
        }
    }
    let weight = |coding: Coding| named.get(coding as usize).copied().flatten().or(any);
    let mut best: Option<(Coding, u16)> = None;
    for coding in offered {
        let weight = weight(*coding).unwrap_or(0);
        if weight > best.map_or(0, |(_, best)| best) {
            best = Some((*coding, weight));
        }
    }
    // Without a word about it, it is acceptable, but less than what is named (§12.5.3, 2).
    let liked = identity.map_or(1, |weight: u16| weight);
    let coding = best.filter(|(_, weight)| *weight >= liked).map(|(coding, _)| coding);
    Acceptable { coding }
}

/// A member: its name in lower case, and its weight in thousandths.
fn weighted(member: &[u8]) -> Option<(String, u16)> {
    let text = std::str::from_utf8(member).ok()?;
    let mut parts = text.split(';').map(str::trim);
    let name = parts.next().filter(|name| !name.is_empty())?.to_ascii_lowercase();
    let mut weight = WEIGHT_MAX;
    for parameter in parts {
        let (key, value) = parameter.split_once('=')?;
        if key.trim().eq_ignore_ascii_case("q") {
            weight = qvalue(value.trim())?;
        }
    }
    Some((name, weight))
}

/// RFC 9110 §12.4.2: at most three digits behind the point.
fn qvalue(text: &str) -> Option<u16> {
    let (whole, rest) = text.split_once('.').unwrap_or((text, ""));
    let digits = rest.bytes().all(|digit| digit.is_ascii_digit());
    if !digits || rest.len() > 3 {
        return None;
    }
    let thousandths: u16 = format!("{rest:0<3}").parse().ok()?;
    match whole {
        "0" => Some(thousandths),
        "1" if thousandths == 0 => Some(WEIGHT_MAX),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn of(lines: &[&str], offered: &[Coding]) -> Acceptable {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_str(line).unwrap());
        }
        acceptable(&headers, offered)
    }

    #[test]
    fn rfc9110_12_5_3_accept_encoding() {
        let (br, zstd, gzip) = (Some(Coding::Brotli), Some(Coding::Zstd), Some(Coding::Gzip));
        for (lines, coding) in [
            (&[][..], None),
            (&[""], None),
            (&["gzip"], gzip),
            (&["GZIP"], gzip),
            (&["x-gzip"], gzip),
            (&["gzip, deflate, br, zstd"], br),
            (&["gzip", "zstd"], zstd),
            (&["gzip;q=1.0, br;q=0.9"], gzip),
            (&["gzip ; q=0.5 , br; Q=0.501"], br),
            (&["gzip;q=0"], None),
            (&["gzip;q=0, *"], br),
            (&["*"], br),
            (&["*;q=0"], None),
            (&["*;q=0, gzip"], gzip),
            (&["identity"], None),
            (&["identity;q=0"], None),
            (&["identity;q=0, gzip;q=0.1"], gzip),
            (&["identity, gzip;q=0.5"], None),
            (&["identity;q=0.5, gzip;q=0.5"], gzip),
            (&["identity;q=0.5, *;q=0"], None),
            (&["compress, x-other"], None),
            // What cannot be read counts as absent.
            (&["gzip;q=2, br;q=0.0001, zstd;q=x"], None),
            (&["gzip;q=1.001"], None),
            (&["gzip;level"], None),
            (&[", ,gzip,,"], gzip),
        ] {
            let taken = of(lines, &Coding::ALL);
            assert_eq!(taken.coding, coding, "{lines:?}");
        }
        assert_eq!(of(&["br, gzip"], &[Coding::Gzip, Coding::Brotli]).coding, gzip);
        assert_eq!(of(&["br, gzip"], &[Coding::Gzip]).coding, gzip);
        assert_eq!(of(&["br"], &[Coding::Gzip]).coding, None);
        assert_eq!(of(&["br"], &[]), Acceptable { coding: None });
    }

    fn names() -> impl Strategy<Value = &'static str> {
        prop_oneof![Just("br"), Just("zstd"), Just("gzip"), Just("identity"), Just("*")]
    }

    proptest! {
        /// The oracle reads the rules of the RFC one by one, for one representation at a time.
        #[test]
        fn it_gives_what_the_client_likes_best(
            list in proptest::collection::btree_map(names(), 0_u16..=10, 1..5),
        ) {
            let line: Vec<_> = list
                .iter()
                .map(|(name, tenths)| format!("{name};q={}.{}", tenths / 10, tenths % 10))
                .collect();
            let taken = of(&[&line.join(", ")], &Coding::ALL);
            let weight = |name: &str| {
                let fallback = if name == "identity" { None } else { Some(0) };
                list.get(name).or_else(|| list.get("*")).copied().or(fallback)
            };
            match taken.coding {
                Some(coding) => {
                    let own = weight(coding.as_str()).unwrap();
                    prop_assert!(own > 0);
                    for other in Coding::ALL {
                        prop_assert!(weight(other.as_str()) <= Some(own));
                    }
                    prop_assert!(list.get("identity").is_none_or(|liked| *liked <= own));
                }
                None => {
                    let liked = list.get("identity").copied().unwrap_or(0);
                    for other in Coding::ALL {
                        let own = weight(other.as_str()).unwrap();
                        prop_assert!(own == 0 || own < liked);
                    }
                }
            }
        }

        #[test]
        fn no_text_breaks_it(line in "[ -~]{0,40}") {
            of(&[&line], &Coding::ALL);
        }
    }
}

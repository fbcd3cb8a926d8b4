//! `If-Match` and `If-None-Match` on sessions (RFC 9110 §13.1). Pure.

use hexpop_edge_config::ShardId;
use hexpop_shard::{Condition, RecordVersion};
use http::{HeaderMap, HeaderName, header};

use crate::error::{FieldPlace, Problem, RouteError};

/// No log entry has this version, so that a condition on it never holds.
const NEVER: RecordVersion = RecordVersion { shard: ShardId(u64::MAX), term: 0, index: 0 };

/// The condition that a request's header fields put on a write.
///
/// An entity tag that is well-formed but none of ours, or a weak one, matches nothing: the write
/// then ends in 412 with the current version.
///
/// # Errors
/// 400 for a value that is not one entity tag or `*`, and for what a session cannot be asked:
/// several tags, `If-None-Match` with a tag, or both fields.
pub fn condition_of(headers: &HeaderMap) -> Result<Option<Condition>, RouteError> {
    let if_match = only_value(headers, &header::IF_MATCH)?;
    let if_none_match = only_value(headers, &header::IF_NONE_MATCH)?;
    match (if_match, if_none_match) {
        (None, None) => Ok(None),
        (Some("*"), None) => Ok(Some(Condition::IfExists)),
        (Some(tag), None) => tag_version(tag).map(Condition::IfMatch).map(Some),
        (None, Some("*")) => Ok(Some(Condition::IfAbsent)),
        (None, Some(_)) => Err(wrong("If-None-Match", "only * can be asked of a session")),
        (Some(_), Some(_)) => {
            Err(wrong("If-None-Match", "cannot be combined with If-Match on a session"))
        }
    }
}

fn only_value<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, RouteError> {
    let mut lines = headers.get_all(name).iter();
    let Some(line) = lines.next() else { return Ok(None) };
    if lines.next().is_some() {
        return Err(wrong(name.as_str(), "must be given once"));
    }
    let text = line.to_str().map_err(|_not_text| wrong(name.as_str(), "must be text"))?;
    Ok(Some(text.trim()))
}

fn tag_version(tag: &str) -> Result<RecordVersion, RouteError> {
    let malformed = || wrong("If-Match", "must be one entity tag in double quotes, or *");
    let (weak, quoted) = match tag.strip_prefix("W/") {
        Some(rest) => (true, rest),
        None => (false, tag),
    };
    let opaque = quoted
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .filter(|opaque| !opaque.contains('"'))
        .ok_or_else(malformed)?;
    // If-Match compares strongly, so a weak tag never matches.
    Ok(opaque.parse().ok().filter(|_version| !weak).unwrap_or(NEVER))
}

fn wrong(name: &str, detail: &str) -> RouteError {
    RouteError::new(Problem::InvalidRequest, format!("{name} {detail}"))
        .with_status(400)
        .with_field(FieldPlace::Header(name.to_owned()), detail)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn of(lines: &[(HeaderName, &str)]) -> Result<Option<Condition>, u16> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        condition_of(&headers).map_err(|error| error.status)
    }

    #[test]
    fn conditions_are_read() {
        let version = RecordVersion { shard: ShardId(17), term: 3, index: 9120 };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(
            of(&[(header::IF_MATCH, "\"17-3-9120\"")]),
            Ok(Some(Condition::IfMatch(version)))
        );
        assert_eq!(of(&[(header::IF_MATCH, "*")]), Ok(Some(Condition::IfExists)));
        assert_eq!(of(&[(header::IF_NONE_MATCH, "*")]), Ok(Some(Condition::IfAbsent)));
        for never in ["\"other\"", "\"\"", "W/\"17-3-9120\"", "\"017-3-9120\""] {
            assert_eq!(
                of(&[(header::IF_MATCH, never)]),
                Ok(Some(Condition::IfMatch(NEVER))),
                "{never}"
            );
        }
    }

    #[test]
    fn what_cannot_be_asked_is_refused() {
        for wrong in ["17-3-9120", "\"a\", \"b\"", "", "\""] {
            assert_eq!(of(&[(header::IF_MATCH, wrong)]), Err(400), "{wrong}");
        }
        assert_eq!(of(&[(header::IF_NONE_MATCH, "\"1-1-1\"")]), Err(400));
        assert_eq!(of(&[(header::IF_MATCH, "*"), (header::IF_MATCH, "*")]), Err(400));
        assert_eq!(of(&[(header::IF_MATCH, "*"), (header::IF_NONE_MATCH, "*")]), Err(400));
    }
}

//! Leaving out fields of listings that are not for the public (`data.drop_fields`).
//!
//! All other fields are given on as they came: their text is not read.

use std::{fmt, time::Duration};

use hexpop_router::Problem as ProblemType;
use http::{HeaderMap, HeaderName, Response, StatusCode, header};
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::Answer;
use crate::http::{
    body::{Body, full, read_bounded},
    problem::Problem,
};

/// A longer answer of the origin is not looked through.
const ORIGIN_BYTES_MAX: usize = 16 << 20;
/// How long the body of such an answer may take.
const ORIGIN_BODY_TIME: Duration = Duration::from_secs(10);

/// Where the listings of an answer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// It is one.
    Listing,
    /// In the list `data`.
    Hits,
}

/// An object whose values are not read.
struct Fields(Vec<(String, Box<RawValue>)>);

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields, M::Error> {
                let mut fields = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    fields.push(entry);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

impl Fields {
    fn to_json(&self) -> Result<String, serde_json::Error> {
        let mut text = String::from("{");
        for (nth, (name, value)) in self.0.iter().enumerate() {
            if nth > 0 {
                text.push(',');
            }
            text.push_str(&serde_json::to_string(name)?);
            text.push(':');
            text.push_str(value.get());
        }
        text.push('}');
        Ok(text)
    }
}

/// A listing without the fields in `drop`.
///
/// # Errors
/// When it is no JSON object.
pub(super) fn without(listing: &[u8], drop: &[String]) -> Result<String, serde_json::Error> {
    let mut fields: Fields = serde_json::from_slice(listing)?;
    fields.0.retain(|(name, _value)| !drop.contains(name));
    fields.to_json()
}

/// [`without`] of each of the hits of a search.
///
/// # Errors
/// When one of them is no JSON object.
pub(super) fn hits_without(
    hits: &[Box<RawValue>],
    drop: &[String],
) -> Result<Vec<Box<RawValue>>, serde_json::Error> {
    hits.iter().map(|hit| RawValue::from_string(without(hit.get().as_bytes(), drop)?)).collect()
}

fn answer_without(
    answer: &[u8],
    shape: Shape,
    drop: &[String],
) -> Result<String, serde_json::Error> {
    if shape == Shape::Listing {
        return without(answer, drop);
    }
    let mut fields: Fields = serde_json::from_slice(answer)?;
    for (_name, value) in fields.0.iter_mut().filter(|(name, _value)| name == "data") {
        let hits: Vec<Box<RawValue>> = serde_json::from_str(value.get())?;
        *value = serde_json::value::to_raw_value(&hits_without(&hits, drop)?)?;
    }
    fields.to_json()
}

/// Takes out of a request for the origin what would make its answer one that cannot be looked through.
pub(super) fn ask_for_plain(headers: &mut HeaderMap) {
    const NAMES: [HeaderName; 6] = [
        header::ACCEPT_ENCODING,
        header::IF_NONE_MATCH,
        header::IF_MODIFIED_SINCE,
        header::RANGE,
        header::IF_RANGE,
        header::TE,
    ];
    for name in NAMES {
        headers.remove(name);
    }
}

/// The origin's answer in the mesh's place, without the fields in `drop`.
///
/// # Errors
/// 502 when it cannot be looked through: what may hold such a field is not passed on.
pub(super) async fn origin_without(
    response: Response<Body>,
    shape: Shape,
    drop: &[String],
) -> Answer {
    // What is no success is no listing.
    if drop.is_empty() || !response.status().is_success() {
        return Ok(response);
    }
    let refused = |why: String| {
        let detail = format!(
            "the origin's answer cannot be looked through for fields that must not leave: {why}"
        );
        Problem::new(ProblemType::OriginUnavailable, detail).status(StatusCode::BAD_GATEWAY)
    };
    let (mut parts, body) = response.into_parts();
    if let Some(coding) = parts.headers.get(header::CONTENT_ENCODING) {
        return Err(refused(format!("it is encoded as {coding:?}")));
    }
    let reading = read_bounded(body, ORIGIN_BYTES_MAX, ORIGIN_BODY_TIME);
    let body = match tokio::time::timeout(ORIGIN_BODY_TIME, reading).await {
        Ok(Ok(body)) => body,
        Ok(Err(problem)) => return Err(refused(problem.error.detail)),
        Err(_elapsed) => return Err(refused(format!("it took over {ORIGIN_BODY_TIME:?}"))),
    };
    let text = answer_without(&body, shape, drop).map_err(|error| refused(error.to_string()))?;
    // These are of the answer as it was.
    for name in ["etag", "content-length", "content-digest", "repr-digest", "accept-ranges"] {
        parts.headers.remove(name);
    }
    Ok(Response::from_parts(parts, full(text)))
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    fn drop_views() -> Vec<String> {
        vec!["views".to_owned(), "stats".to_owned()]
    }

    #[test]
    fn listed_fields_go_and_the_rest_stays_as_it_came() {
        let listing = r#"{"id":"a", "views": 7, "big":1.00000000000000000001,
            "stats":{"x":[1]},"media":[{"views":3}],"na\u006de":"n"}"#;
        let kept = without(listing.as_bytes(), &drop_views()).unwrap();
        let expected =
            r#"{"id":"a","big":1.00000000000000000001,"media":[{"views":3}],"name":"n"}"#;
        assert_eq!(kept, expected);
        // Written otherwise it is the same name.
        assert_eq!(without(br#"{"vi\u0065ws":1}"#, &drop_views()).unwrap(), "{}");
        for wrong in [&b"[]"[..], b"", b"{", b"7"] {
            assert!(without(wrong, &drop_views()).is_err());
        }
    }

    #[test]
    fn hits_are_looked_through_and_the_answer_around_them_is_not() {
        let answer =
            r#"{"data":[{"id":"a","views":1},{"id":"b"}],"pagination":{"total":2},"views":3}"#;
        let kept = answer_without(answer.as_bytes(), Shape::Hits, &drop_views()).unwrap();
        let expected = r#"{"data":[{"id":"a"},{"id":"b"}],"pagination":{"total":2},"views":3}"#;
        assert_eq!(kept, expected);
    }

    #[tokio::test]
    async fn what_cannot_be_looked_through_does_not_pass() {
        let pass = async |status: u16, coding: Option<&str>, body: &str| {
            let mut response = Response::builder().status(status).header("etag", "\"x\"");
            if let Some(coding) = coding {
                response = response.header("content-encoding", coding);
            }
            let response = response.body(full(body.to_owned())).unwrap();
            let passed = origin_without(response, Shape::Listing, &drop_views()).await;
            match passed {
                Ok(response) => {
                    let has_etag = response.headers().contains_key("etag");
                    let body = response.into_body().collect().await.unwrap().to_bytes();
                    Ok((has_etag, String::from_utf8(body.to_vec()).unwrap()))
                }
                Err(problem) => Err(problem.error.status),
            }
        };
        let views = r#"{"views":1}"#;
        assert_eq!(pass(200, None, views).await, Ok((false, "{}".to_owned())));
        assert_eq!(pass(200, None, "<html>").await, Err(502));
        assert_eq!(pass(200, Some("gzip"), views).await, Err(502));
        assert_eq!(pass(404, None, "<html>").await, Ok((true, "<html>".to_owned())));
    }
}

//! The mesh's own answers as responses: entity tag, how long they may be kept, what they vary by,
//! conditions, content coding.

use std::time::Duration;

use bytes::Bytes;
use hexpop_router::{
    Answer as Answered, Coder, Coding, CodingSource, Context as Ask, Given, Level, ShardTime,
    quoted, tagged,
};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};

use super::headers::{describe, none_match_hits, set};
use crate::http::{
    body::{Body, empty, full},
    language::describe_language,
};

/// A cache that has one answer may not give it to who asks for another level, or with a token.
pub(super) const VARIES_BY: &str = "Hexpop-Consistency, Hexpop-Token";

/// An answer, and what is said about it.
#[derive(Debug)]
pub(super) struct Said<'a> {
    /// JSON.
    pub(super) body: Bytes,
    /// Quotes included; `None` = it is not certain that another node would answer this.
    pub(super) tag: Option<String>,
    /// For how long clients and caches may keep it; `None` = not at all.
    pub(super) lifetime: Option<Duration>,
    pub(super) given: &'a Given,
    pub(super) cache_status: &'a str,
    pub(super) times: &'a [ShardTime],
    /// The languages that titles are in, where they differ by those.
    pub(super) languages: Option<&'a [String]>,
    /// What equal questions have in common, for who debugs.
    pub(super) key: String,
}

/// Who is answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct To<'a> {
    /// `GET` where it was `HEAD`.
    pub(super) method: &'a Method,
    pub(super) headers: &'a HeaderMap,
    /// Whether more is shown.
    pub(super) debugged: bool,
}

/// The tag of a gathered answer. It is a weak one: `shards` in the body says how old the replicas that
/// answered are, which differs from one answer to the next although nothing else does, and a strong tag
/// may not stay the same then (RFC 9110 §8.8.1).
pub(super) fn gathered_tag<T>(answered: &Answered<T>, shown: u64, salt: u32) -> Option<String> {
    answered.validator.map(|number| format!("W/\"{:016x}.{salt:08x}\"", number ^ shown))
}

/// The tag of one listing as the mesh says it: with what tells the mesh from one that was founded before it.
pub(super) fn listing_tag(tag: &str, salt: u32) -> String {
    format!("{}.{salt:08x}\"", tag.trim_end_matches('"'))
}

/// For how long an answer may be kept, if it is not a partial one: not at all if it was asked for at a
/// level or with a token, since whoever has it meanwhile asks for neither.
pub(super) fn lifetime_of(context: &Ask, lifetime: Duration, partial: bool) -> Option<Duration> {
    let as_usual = context.token.is_none() && matches!(context.level, None | Some(Level::Eventual));
    (as_usual && !partial).then_some(lifetime)
}

fn cache_control(lifetime: Option<Duration>) -> String {
    match lifetime {
        None => "no-store".to_owned(),
        Some(Duration::ZERO) => "public, no-cache".to_owned(),
        Some(lifetime) => format!("public, max-age={}", lifetime.as_secs()),
    }
}

/// The response to a question that the mesh answered.
pub(super) async fn respond(to: To<'_>, said: Said<'_>, coder: &Coder) -> Response<Body> {
    let mut response = Response::new(empty());
    let length = said.body.len() as u64;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    set(headers, "cache-control", &cache_control(said.lifetime));
    let codes = coder.may_code(StatusCode::OK, headers, Some(length));
    let by = VARIES_BY;
    let vary = if codes { format!("Accept-Encoding, {by}") } else { by.to_owned() };
    set(headers, "vary", &vary);
    describe(headers, Some(said.given), Some(&status_of(to, &said)));
    if to.debugged {
        set(headers, "server-timing", &timing(said.times));
    }
    if let Some(languages) = said.languages {
        describe_language(headers, languages);
    }
    let coding = if codes { coder.acceptable(to.headers).coding } else { None };
    let coded_tag = |coding| said.tag.as_deref().and_then(|tag| tagged(tag, coding));
    // RFC 9110 §13.1.2 lets conditions choose 304 for methods that only read.
    let reads = *to.method == Method::GET || to.method.as_str() == "QUERY";
    if let Some(held) = said.tag.as_deref().filter(|_| reads).and_then(|tag| {
        let tags = [Some(tag.to_owned()), coding.and_then(coded_tag)];
        tags.into_iter().flatten().find(|tag| none_match_hits(to.headers, tag))
    }) {
        headers.remove(header::CONTENT_TYPE);
        set(headers, "etag", &held);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    let coded = match coding {
        Some(coding) => code(coder, &said, coding).await,
        None => None,
    };
    let headers = response.headers_mut();
    let tag = match &coded {
        Some((coding, _)) => coded_tag(*coding),
        None => said.tag.clone(),
    };
    if let Some(tag) = tag {
        set(headers, "etag", &tag);
    }
    if let Some((coding, _)) = &coded {
        set(headers, "content-encoding", coding.as_str());
    }
    *response.body_mut() = full(coded.map_or(said.body, |(_, body)| body));
    response
}

/// The body of an answer in a coding. That of a listing is made once for all who ask; those of gathered
/// answers are all different, since they say how old the replicas are.
async fn code(coder: &Coder, said: &Said<'_>, coding: Coding) -> Option<(Coding, Bytes)> {
    let strong = said.tag.as_deref().filter(|tag| tag.starts_with('"'));
    let coded = match strong {
        Some(tag) => {
            let source = CodingSource::Named(format!("{} {tag}", said.key).into());
            coder.code(source, &said.body, coding).await
        }
        None => coder.code_once(&said.body, coding).await,
    };
    Some((coding, coded?))
}

fn status_of(to: To<'_>, said: &Said<'_>) -> String {
    let key = if to.debugged { format!("; key={}", quoted(&said.key)) } else { String::new() };
    format!("{}{key}", said.cache_status)
}

/// `Server-Timing` of the shards that were asked (W3C Server Timing): milliseconds, and which shard at
/// which node.
fn timing(times: &[ShardTime]) -> String {
    let shard = |time: &ShardTime| {
        let ms = time.took.as_secs_f64() * 1000.0;
        format!("shard;dur={ms:.3};desc=\"{}@{}\"", time.shard, time.node)
    };
    times.iter().map(shard).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use hexpop_edge_config::{NodeId, ShardId};

    use super::*;

    #[test]
    fn what_is_asked_at_a_level_or_with_a_token_is_not_kept() {
        let minute = Duration::from_secs(60);
        let at = |level| Ask { level, ..Ask::default() };
        for (level, partial, kept) in [
            (None, false, Some(minute)),
            (Some(Level::Eventual), false, Some(minute)),
            (Some(Level::Strong), false, None),
            (Some(Level::Bounded { max_staleness_ms: 1 }), false, None),
            (None, true, None),
        ] {
            assert_eq!(lifetime_of(&at(level), minute, partial), kept, "{level:?} {partial}");
        }
        assert_eq!(cache_control(None), "no-store");
        assert_eq!(cache_control(Some(Duration::ZERO)), "public, no-cache");
        assert_eq!(cache_control(Some(minute)), "public, max-age=60");
    }

    #[test]
    fn a_mesh_that_was_founded_anew_repeats_no_tag() {
        assert_eq!(listing_tag("\"17-2.44\"", 0xab), "\"17-2.44.000000ab\"");
        assert_ne!(listing_tag("\"17-2.44\"", 1), listing_tag("\"17-2.44\"", 2));
    }

    #[test]
    fn times_are_those_of_the_shards() {
        let time = |shard, took| ShardTime {
            shard: ShardId(shard),
            node: NodeId(2),
            took: Duration::from_micros(took),
        };
        let text = timing(&[time(17, 420), time(18, 1_500)]);
        assert_eq!(text, "shard;dur=0.420;desc=\"17@2\", shard;dur=1.500;desc=\"18@2\"");
    }
}

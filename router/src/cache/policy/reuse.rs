//! What a request gets: a stored response, or the origin's answer (RFC 9111 §4, §5.2.1). Pure.

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, HeaderName, Method, header};

use super::{
    control::RequestControl,
    freshness::Freshness,
    precondition::{self, Outcome, range_applies},
    range::{self, RangeSpec, Ranges},
};
use crate::{
    cache::stored::{Payload, Stored},
    status::Bypass,
};

/// What a request asks of this cache.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) control: RequestControl,
    pub(crate) authorized: bool,
    pub(crate) ranges: Option<Vec<RangeSpec>>,
    /// Whether this node may use what is stored without asking the origin: not while it may have missed
    /// a purge.
    pub(crate) trusts_store: bool,
}

impl Asked {
    /// Reads a request.
    ///
    /// # Errors
    /// The reason why it is not for the cache.
    pub(crate) fn of(method: &Method, headers: &HeaderMap) -> Result<Self, Bypass> {
        let control = RequestControl::of(headers);
        if *method != Method::GET && *method != Method::HEAD {
            return Err(Bypass::Rule("method"));
        }
        if control.no_store {
            return Err(Bypass::NoStore);
        }
        let authorized = headers.contains_key(header::AUTHORIZATION);
        Ok(Self { control, authorized, ranges: range::asked(method, headers), trusts_store: true })
    }
}

/// Why a request goes to the origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    UriMiss,
    VaryMiss,
    Stale,
    Request,
    /// Its conditions are about the current state, which only the origin knows.
    Condition,
    /// What is stored is only a part of what is asked for.
    Partial,
}

/// How a stored response is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// As it is; seconds of freshness left, negative where the client takes stale ones.
    Hit(i64),
    /// As it is, and it is refreshed in the background; seconds of freshness left, negative.
    WhileRevalidate(i64),
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum Decision {
    /// Answer with a stored response.
    Answer(Arc<Stored>, Use),
    /// Ask the origin; with the stored response that it may confirm or complete.
    Forward(Why, Option<Arc<Stored>>),
    /// 504: the client takes only what is stored, and nothing is (RFC 9111 §5.2.1.7).
    Nothing,
}

/// Decides about a request for which these responses are stored.
pub(crate) fn decide(
    method: &Method,
    headers: &HeaderMap,
    asked: &Asked,
    variants: &[Arc<Stored>],
    now: Duration,
    now_ms: i64,
) -> Decision {
    let decision = match most_recent(headers, asked, variants) {
        None if variants.is_empty() => Decision::Forward(Why::UriMiss, None),
        None => Decision::Forward(Why::VaryMiss, None),
        Some(stored) => {
            let outcome = if !has_what_is_asked(method, headers, asked, stored, now_ms) {
                Err(Why::Partial)
            } else if is_for_the_origin(method, headers, stored, now_ms) {
                Err(Why::Condition)
            } else if !asked.trusts_store {
                Err(Why::Stale)
            } else {
                usable(&stored.freshness, &asked.control, stored.resident(now))
            };
            match outcome {
                Ok(how) => Decision::Answer(Arc::clone(stored), how),
                Err(why) => Decision::Forward(why, Some(Arc::clone(stored))),
            }
        }
    };
    match decision {
        Decision::Forward(..) if asked.control.only_if_cached => Decision::Nothing,
        Decision::Forward(..) if precondition::asks_for_current(headers) => {
            Decision::Forward(Why::Condition, None)
        }
        decided => decided,
    }
}

/// Of those that a request selects, the most recent (RFC 9111 §4.1). Who brings credentials gets only
/// what was declared fit for that: RFC 9111 would allow more, but a page that differs for who is
/// logged in often does not say so.
pub(crate) fn most_recent<'a>(
    headers: &HeaderMap,
    asked: &Asked,
    variants: &'a [Arc<Stored>],
) -> Option<&'a Arc<Stored>> {
    variants
        .iter()
        .filter(|stored| !asked.authorized || stored.freshness.for_authorized)
        .filter(|stored| stored.matches(headers))
        .max_by_key(|stored| (stored.date_ms, stored.arrived))
}

/// The headers that the stored responses of a URI vary by, for telling apart who waits for which.
pub(crate) fn varies_by(variants: &[Arc<Stored>]) -> Vec<HeaderName> {
    let mut names: Vec<HeaderName> =
        variants.iter().flat_map(|stored| stored.vary.iter().cloned()).collect();
    names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
    names.dedup();
    names
}

/// RFC 9111 §3.3: parts of a body answer only for ranges within them.
fn has_what_is_asked(
    method: &Method,
    headers: &HeaderMap,
    asked: &Asked,
    stored: &Stored,
    now_ms: i64,
) -> bool {
    let Payload::Pieces(pieces) = &stored.payload else { return true };
    let Some(specs) = &asked.ranges else { return false };
    if *method != Method::GET || !range_applies(headers, &stored.headers, now_ms) {
        return false;
    }
    match range::resolve(specs, pieces.length()) {
        Ranges::Parts(parts) => parts.into_iter().all(|part| pieces.slice(part).is_some()),
        Ranges::Unsatisfiable => true,
        Ranges::Whole => false,
    }
}

/// Whether the conditions of a request fail by what is stored: the origin may have what they name.
fn is_for_the_origin(method: &Method, headers: &HeaderMap, stored: &Stored, now_ms: i64) -> bool {
    precondition::asks_for_current(headers)
        && precondition::evaluate(method, headers, &stored.headers, now_ms) == Outcome::Failed
}

/// Whether a response stored `resident` ago may answer a request, and why not.
fn usable(freshness: &Freshness, control: &RequestControl, resident: Duration) -> Result<Use, Why> {
    if freshness.no_cache {
        return Err(Why::Stale);
    }
    if control.no_cache {
        return Err(Why::Request);
    }
    let (age, ttl) = (freshness.age(resident), freshness.ttl(resident));
    if freshness.is_fresh(resident) {
        // RFC 8246 §2: a reload does not ask about what does not change.
        let young = freshness.immutable || control.max_age.is_none_or(|max| age <= max);
        let fresh_for = control.min_fresh.unwrap_or_default();
        let stays_fresh = age.saturating_add(fresh_for) <= freshness.lifetime;
        return if young && stays_fresh { Ok(Use::Hit(ttl)) } else { Err(Why::Request) };
    }
    let staleness = freshness.staleness(resident);
    let young = control.max_age.is_none_or(|max| age <= max);
    if freshness.never_stale || control.min_fresh.is_some() || !young {
        return Err(Why::Stale);
    }
    let while_revalidate = staleness < freshness.stale_while_revalidate;
    match control.max_stale {
        Some(max) if staleness <= max && while_revalidate => Ok(Use::WhileRevalidate(ttl)),
        Some(max) if staleness <= max => Ok(Use::Hit(ttl)),
        Some(_) => Err(Why::Stale),
        // RFC 9111 §5.2.1.1: who sets a greatest age takes nothing stale.
        None if while_revalidate && control.max_age.is_none() => Ok(Use::WhileRevalidate(ttl)),
        None => Err(Why::Stale),
    }
}

/// Whether a stored response may stand in for an origin that failed (RFC 5861 §4, RFC 9111 §4.2.4).
/// `stale_max` is what the operator allows beyond what the response does.
pub(crate) fn usable_if_error(
    freshness: &Freshness,
    control: &RequestControl,
    resident: Duration,
    stale_max: Duration,
) -> bool {
    if freshness.no_cache || control.no_cache {
        return false;
    }
    if freshness.is_fresh(resident) {
        return true;
    }
    let wants_fresh = control.max_age.is_some() || control.min_fresh.is_some();
    if freshness.never_stale || (wants_fresh && control.max_stale.is_none()) {
        return false;
    }
    let allowed = freshness.stale_if_error.max(stale_max);
    let allowed = allowed.max(control.stale_if_error.unwrap_or_default().min(stale_max));
    freshness.staleness(resident) < allowed
}

#[cfg(test)]
#[path = "reuse_tests.rs"]
mod tests;

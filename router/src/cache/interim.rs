//! Interim responses (RFC 9110 §15.2, RFC 8297) on their way from the origin to all who wait for the
//! response behind them. They are never stored.
//!
//! ```text
//! origin ─> one fetch ─┬─ whose request it is: as they come, but for what is about a connection
//!                      └─ who waits for the same: `Link` of hints, if nobody is named in the request,
//!                         and something is stored under its URI
//! ```
//!
//! Whether what follows is for all is not known yet when they come. So others get no more of them than
//! what is there to be fetched early, and nothing at all of an answer to credentials or cookies. Nor do
//! they where nothing is stored: what the URI varies by is not known then, and he who asked may have
//! said who he is in any field.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use http::{HeaderMap, StatusCode, Version, header};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{
    exchange::Exchange,
    headers::{add_via, strip_hop_by_hop},
    policy::tags::is_for_caches_only,
};

/// Interim responses that are passed on before one response; more are dropped. Too low: hints of an origin
/// that gives them one by one are lost. Too high: an origin makes a client read for nothing.
pub const INTERIMS_MAX: usize = 16;

/// Bytes of their fields, all together.
pub const INTERIM_BYTES_MAX: usize = 32 << 10;

/// A response before the response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interim {
    /// Its status, of the class 1xx.
    pub status: StatusCode,
    /// Its fields.
    pub headers: HeaderMap,
}

impl Interim {
    /// As it goes further; `None` if it does not. 100 and 101 are about one connection: whoever speaks
    /// it answers an expectation, and upgrades are not offered.
    fn forwarded(mut self, name: &str) -> Option<Self> {
        if !matches!(self.status.as_u16(), 102..=199) {
            return None;
        }
        strip_hop_by_hop(&mut self.headers);
        let for_caches: Vec<_> =
            self.headers.keys().filter(|name| is_for_caches_only(name)).cloned().collect();
        // RFC 9110 §8.6: there is no content, whatever it says.
        for name in for_caches.iter().chain([&header::CONTENT_LENGTH]) {
            self.headers.remove(name);
        }
        add_via(&mut self.headers, Version::HTTP_11, name);
        Some(self)
    }

    /// What of it others get who wait for the same response; `None` = nothing.
    fn for_others(&self) -> Option<Self> {
        let mut headers = HeaderMap::new();
        if self.status == StatusCode::EARLY_HINTS {
            let links = self.headers.get_all(header::LINK);
            headers.extend(links.iter().map(|link| (header::LINK, link.clone())));
            if headers.is_empty() {
                return None;
            }
        }
        Some(Self { status: self.status, headers })
    }

    fn bytes(&self) -> usize {
        self.headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
    }
}

type Take = dyn Fn(Interim) + Send + Sync;

/// Takes interim responses. In the extensions of a request: whoever sent it takes them, at once and
/// without waiting. Clones lead to the same.
#[derive(Clone)]
pub struct InterimSink(Arc<Take>);

impl fmt::Debug for InterimSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InterimSink").finish_non_exhaustive()
    }
}

impl InterimSink {
    /// One that gives them to a function.
    pub fn new(take: impl Fn(Interim) + Send + Sync + 'static) -> Self {
        Self(Arc::new(take))
    }

    /// One that keeps so many of them as there may be until they are received.
    #[must_use]
    pub fn channel() -> (Self, mpsc::Receiver<Interim>) {
        let (sender, receiver) = mpsc::channel(INTERIMS_MAX);
        // There are no more than that, and who does not receive them may have gone.
        (Self::new(move |interim| drop(sender.try_send(interim))), receiver)
    }

    /// Gives it one.
    pub fn send(&self, interim: Interim) {
        (self.0)(interim);
    }
}

/// The interim responses of one fetch. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Interims(Arc<Mutex<Heard>>);

#[derive(Default)]
struct Heard {
    /// Nothing comes any more.
    is_over: bool,
    count: usize,
    bytes: usize,
    /// Whose request it is.
    own: Option<InterimSink>,
    /// Whether others get something of them.
    is_shared: bool,
    /// What others have got.
    shared: Vec<Interim>,
    others: Vec<Weak<Take>>,
}

impl fmt::Debug for Heard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Heard").field("count", &self.count).finish_non_exhaustive()
    }
}

impl Interims {
    /// Of a fetch that nobody waits for but the one who asks.
    pub(crate) fn of(exchange: &Exchange) -> Self {
        let interims = Self::default();
        interims.lead(exchange, false);
        interims
    }

    /// Says whose request it is that is sent. `is_selected`: those who wait for the same agree with it in what
    /// the responses stored under its URI vary by, and there are some.
    pub(crate) fn lead(&self, exchange: &Exchange, is_selected: bool) {
        let names_nobody = !exchange.headers.contains_key(header::AUTHORIZATION)
            && !exchange.headers.contains_key(header::COOKIE);
        let mut heard = self.0.lock();
        heard.own.clone_from(&exchange.interims);
        heard.is_shared = is_selected && names_nobody;
    }

    /// Another waits for the same response, for as long as the sink is there.
    pub(crate) fn join(&self, sink: &InterimSink) {
        let mut heard = self.0.lock();
        if heard.is_over {
            return;
        }
        if heard.others.len() == heard.others.capacity() {
            // Those who have gone make room before more is taken.
            heard.others.retain(|other| other.strong_count() > 0);
        }
        heard.others.push(Arc::downgrade(&sink.0));
        let so_far = heard.shared.clone();
        drop(heard);
        so_far.into_iter().for_each(|interim| sink.send(interim));
    }

    /// The response itself is there: what comes now comes too late.
    pub(crate) fn end(&self) {
        let mut heard = self.0.lock();
        *heard = Heard { is_over: true, ..Heard::default() };
    }

    /// One came.
    pub(crate) fn push(&self, interim: Interim, name: &str) {
        let Some(interim) = interim.forwarded(name) else { return };
        let mut heard = self.0.lock();
        heard.count += 1;
        heard.bytes = heard.bytes.saturating_add(interim.bytes());
        if heard.is_over || heard.count > INTERIMS_MAX || heard.bytes > INTERIM_BYTES_MAX {
            return;
        }
        let own = heard.own.clone();
        let shared = interim.for_others().filter(|_| heard.is_shared);
        let others: Vec<Arc<Take>> = match &shared {
            Some(_) => heard.others.iter().filter_map(Weak::upgrade).collect(),
            None => Vec::new(),
        };
        heard.shared.extend(shared.clone());
        drop(heard);
        if let Some(own) = own {
            own.send(interim);
        }
        for (other, shared) in others.iter().zip(std::iter::repeat(shared).flatten()) {
            other(shared);
        }
    }

    /// Where the origin's are to go; `name` is this node's.
    pub(crate) fn sink(&self, name: &str) -> InterimSink {
        let (interims, name) = (self.clone(), name.to_owned());
        InterimSink::new(move |interim| interims.push(interim, &name))
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderName, HeaderValue, Request};

    use super::*;
    use crate::cache::options::CacheOptions;

    fn interim(status: u16, fields: &[(&'static str, &'static str)]) -> Interim {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        Interim { status: StatusCode::from_u16(status).unwrap(), headers }
    }

    fn exchange(field: Option<(&'static str, &'static str)>, sink: &InterimSink) -> Exchange {
        let mut request = Request::new(());
        request.extensions_mut().insert(sink.clone());
        if let Some((name, value)) = field {
            request.headers_mut().insert(name, HeaderValue::from_static(value));
        }
        let client = crate::port::Client {
            address: "10.0.0.1".parse().unwrap(),
            scheme: "http",
            authority: "a".to_owned(),
        };
        Exchange::new(request.into_parts().0, client, &CacheOptions::default())
    }

    fn got(receiver: &mut mpsc::Receiver<Interim>) -> Vec<(u16, Vec<String>)> {
        let mut all = Vec::new();
        while let Ok(Interim { status, headers }) = receiver.try_recv() {
            let names = headers.keys().map(ToString::to_string).collect();
            all.push((status.as_u16(), names));
        }
        all
    }

    fn hint() -> Interim {
        let fields =
            [("link", "</a.css>; rel=preload"), ("set-cookie", "a=b"), ("connection", "x-a")];
        interim(103, &[&fields[..], &[("x-a", "1"), ("surrogate-key", "k")]].concat())
    }

    #[test]
    fn rfc9110_15_2_who_asked_gets_all_but_what_is_about_a_connection() {
        let (sink, mut own) = InterimSink::channel();
        let interims = Interims::of(&exchange(Some(("cookie", "a=b")), &sink));
        for one in [interim(100, &[]), interim(101, &[]), interim(102, &[]), hint()] {
            interims.push(one, "hexpop-mil-1");
        }
        let names = |names: &[&str]| names.iter().map(ToString::to_string).collect();
        let via = names(&["via"]);
        let all = names(&["link", "set-cookie", "via"]);
        assert_eq!(got(&mut own), [(102, via), (103, all)]);
    }

    #[test]
    fn who_waits_gets_links_of_what_names_nobody_whenever_it_comes() {
        for (field, is_selected, shared) in [
            (None, true, true),
            (None, false, false),
            (Some(("x-api-key", "k")), false, false),
            (Some(("cookie", "a=b")), true, false),
            (Some(("authorization", "x")), true, false),
        ] {
            let interims = Interims::default();
            let (own, _own) = InterimSink::channel();
            let (early, mut first) = InterimSink::channel();
            interims.join(&early);
            interims.lead(&exchange(field, &own), is_selected);
            interims.push(hint(), "n");
            interims.push(interim(103, &[("x-a", "1")]), "n");
            let (late, mut second) = InterimSink::channel();
            interims.join(&late);
            let expected: &[_] = if shared { &[(103, vec!["link".to_owned()])] } else { &[] };
            assert_eq!(got(&mut first), expected, "{field:?}");
            assert_eq!(got(&mut second), expected, "{field:?}");
            drop(early);
            interims.end();
            interims.push(hint(), "n");
            assert_eq!(got(&mut second), [], "too late");
        }
    }

    #[test]
    fn they_are_bounded_in_number_and_in_size() {
        let (sink, mut own) = InterimSink::channel();
        let interims = Interims::of(&exchange(None, &sink));
        for _ in 0..INTERIMS_MAX + 5 {
            interims.push(interim(102, &[]), "n");
        }
        assert_eq!(got(&mut own).len(), INTERIMS_MAX);
        let interims = Interims::of(&exchange(None, &sink));
        let mut large = interim(103, &[]);
        let value = "x".repeat(INTERIM_BYTES_MAX / 2);
        large.headers.insert(header::LINK, HeaderValue::from_str(&value).unwrap());
        for _ in 0..4 {
            interims.push(large.clone(), "n");
        }
        assert_eq!(got(&mut own).len(), 1);
    }

    #[test]
    fn who_has_gone_takes_no_room() {
        let interims = Interims::default();
        for _ in 0..1_000 {
            let (sink, _receiver) = InterimSink::channel();
            interims.join(&sink);
        }
        assert!(interims.0.lock().others.len() < 10);
    }
}

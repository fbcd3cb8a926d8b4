//! Codes bodies, each once for all who ask, and keeps them.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, StatusCode, header};
use moka::future::Cache;

use super::{Acceptable, Coding, acceptable, is_transformable};
use crate::{cache::has_token, metrics::Metrics, port::Compress};

/// What an entry costs besides its bytes.
const ENTRY_OVERHEAD_BYTES: usize = 256;

/// For how long a coded body is kept that nobody asks for: what it was made of may be long gone.
const IDLE_MAX: Duration = Duration::from_secs(600);

/// What an operator can set about content codings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodingOptions {
    /// Those that are made, the preferred first; empty = none. Default all.
    pub codings: Vec<Coding>,
    /// A shorter body is not coded. Default 1 KiB.
    pub bytes_min: usize,
    /// A longer body is not coded. Default 4 MiB.
    pub bytes_max: usize,
    /// Bytes of coded bodies that are kept. Default 64 MiB.
    pub kept_bytes_max: u64,
}

impl Default for CodingOptions {
    fn default() -> Self {
        Self {
            codings: Coding::ALL.to_vec(),
            bytes_min: 1 << 10,
            bytes_max: 4 << 20,
            kept_bytes_max: 64 << 20,
        }
    }
}

/// Which body.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Source {
    /// A body that was stored under this number, which no other has.
    Stored(u64),
    /// What has this name: whatever is part of it, its version too.
    Named(Arc<str>),
}

/// Codes bodies.
#[derive(Clone)]
pub struct Coder {
    options: CodingOptions,
    compress: Arc<dyn Compress>,
    kept: Cache<(Source, Coding), Bytes>,
    numbers: Arc<AtomicU64>,
    metrics: Metrics,
}

impl Coder {
    /// Nothing kept yet.
    pub(crate) fn new(
        options: CodingOptions,
        compress: Arc<dyn Compress>,
        metrics: Metrics,
    ) -> Self {
        let weigh = |(source, _): &(Source, Coding), body: &Bytes| {
            let name = if let Source::Named(name) = source { name.len() } else { 0 };
            u32::try_from(body.len() + name + ENTRY_OVERHEAD_BYTES).unwrap_or(u32::MAX)
        };
        let kept = Cache::builder()
            .max_capacity(options.kept_bytes_max)
            .weigher(weigh)
            .time_to_idle(IDLE_MAX)
            .build();
        Self { options, compress, kept, numbers: Arc::default(), metrics }
    }

    /// A number for a body that is stored.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a response differs by what clients take: then it says `Vary: Accept-Encoding`. `length` as
    /// far as known.
    #[must_use]
    pub fn may_code(&self, status: StatusCode, headers: &HeaderMap, length: Option<u64>) -> bool {
        let fits = |length: u64| {
            length >= self.options.bytes_min as u64 && length <= self.options.bytes_max as u64
        };
        !self.options.codings.is_empty()
            && length.is_none_or(fits)
            && is_transformable(status, headers)
    }

    /// What a client takes of a response that [may be coded](Self::may_code).
    #[must_use]
    pub fn acceptable(&self, request: &HeaderMap) -> Acceptable {
        let taken = acceptable(request, &self.options.codings);
        // RFC 9111 §5.2.1.6.
        let coding =
            taken.coding.filter(|_| !has_token(request, &header::CACHE_CONTROL, "no-transform"));
        Acceptable { coding }
    }

    /// A body in a coding; made once, however many ask. `None` = not now: it is sent as it is.
    ///
    /// # Cancel safety
    /// Who else waits for it takes over.
    pub async fn code(&self, source: Source, body: &Bytes, coding: Coding) -> Option<Bytes> {
        let compress = async { self.code_once(body, coding).await.ok_or(()) };
        self.kept.try_get_with((source, coding), compress).await.ok()
    }

    /// As [`code`](Self::code), for a body that nobody else asks for.
    pub async fn code_once(&self, body: &Bytes, coding: Coding) -> Option<Bytes> {
        let coded = self.compress.compress(coding, body.clone()).await;
        self.metrics.compressed(coding, coded.is_some());
        coded
    }

    /// Bytes of coded bodies that are kept.
    pub(crate) fn kept_bytes(&self) -> u64 {
        self.kept.weighted_size()
    }
}

impl fmt::Debug for Coder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Coder").field("options", &self.options).finish_non_exhaustive()
    }
}

/// The names of fields that a coded response is chosen by.
pub(crate) fn vary_by_coding(headers: &mut HeaderMap) {
    let names = headers.get_all(header::VARY).iter().filter_map(|line| line.to_str().ok());
    let has = names
        .flat_map(|line| line.split(','))
        .any(|name| name.trim() == "*" || name.trim().eq_ignore_ascii_case("accept-encoding"));
    if !has {
        headers.append(header::VARY, http::HeaderValue::from_static("Accept-Encoding"));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use futures::future::BoxFuture;
    use openraft_rt::AsyncRuntime as _;
    use openraft_rt_tokio::TokioRuntime;

    use super::*;

    /// Takes a while, and counts.
    #[derive(Default)]
    struct Slow {
        done: AtomicUsize,
        refuses: bool,
    }

    impl Compress for Slow {
        fn compress(&self, coding: Coding, body: Bytes) -> BoxFuture<'static, Option<Bytes>> {
            self.done.fetch_add(1, Ordering::Relaxed);
            let refuses = self.refuses;
            Box::pin(async move {
                TokioRuntime::sleep(Duration::from_millis(50)).await;
                let coded = [coding.as_str().as_bytes(), &body[..1]].concat();
                (!refuses).then(|| coded.into())
            })
        }
    }

    fn coder(slow: &Arc<Slow>) -> Coder {
        let compress: Arc<dyn Compress> = Arc::<Slow>::clone(slow);
        Coder::new(CodingOptions::default(), compress, Metrics::unregistered())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_is_coded_once_for_all_who_ask() {
        let slow = Arc::new(Slow::default());
        let coder = coder(&slow);
        let body = Bytes::from_static(b"abc");
        let asked = (0..100).map(|_| coder.code(Source::Stored(1), &body, Coding::Gzip));
        for coded in futures::future::join_all(asked).await {
            assert_eq!(coded.unwrap(), "gzipa");
        }
        assert_eq!(slow.done.load(Ordering::Relaxed), 1);
        coder.code(Source::Stored(1), &body, Coding::Zstd).await.unwrap();
        coder.code(Source::Stored(2), &body, Coding::Gzip).await.unwrap();
        assert_eq!(slow.done.load(Ordering::Relaxed), 3);
        assert_eq!(coder.kept.policy().time_to_idle(), Some(IDLE_MAX));
    }

    #[tokio::test(start_paused = true)]
    async fn who_goes_away_leaves_nobody_waiting_and_a_refusal_is_not_kept() {
        let slow = Arc::new(Slow::default());
        let coding = coder(&slow);
        let body = Bytes::from_static(b"abc");
        let mut first = Box::pin(coding.code(Source::Stored(1), &body, Coding::Gzip));
        assert!(futures::poll!(&mut first).is_pending());
        drop(first);
        assert!(coding.code(Source::Stored(1), &body, Coding::Gzip).await.is_some());
        let busy = Arc::new(Slow { refuses: true, ..Slow::default() });
        let coding = coder(&busy);
        for tries in 1..=2 {
            assert!(coding.code(Source::Stored(1), &body, Coding::Gzip).await.is_none());
            assert_eq!(busy.done.load(Ordering::Relaxed), tries);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_is_bounded() {
        struct Same;
        impl Compress for Same {
            fn compress(&self, _coding: Coding, body: Bytes) -> BoxFuture<'static, Option<Bytes>> {
                Box::pin(std::future::ready(Some(body)))
            }
        }
        let options = CodingOptions { kept_bytes_max: 64 << 10, ..CodingOptions::default() };
        let coder = Coder::new(options, Arc::new(Same), Metrics::unregistered());
        for number in 0..100 {
            let body = Bytes::from(vec![7; 8 << 10]);
            coder.code(Source::Stored(number), &body, Coding::Gzip).await.unwrap();
        }
        coder.kept.run_pending_tasks().await;
        assert!(coder.kept_bytes() <= 64 << 10);
    }

    #[test]
    fn a_response_that_varies_says_so_once() {
        let mut headers = HeaderMap::new();
        vary_by_coding(&mut headers);
        vary_by_coding(&mut headers);
        assert_eq!(headers.get_all(header::VARY).iter().count(), 1);
        let mut star = HeaderMap::new();
        star.insert(header::VARY, http::HeaderValue::from_static("*"));
        vary_by_coding(&mut star);
        assert_eq!(star.get_all(header::VARY).iter().count(), 1);
    }
}

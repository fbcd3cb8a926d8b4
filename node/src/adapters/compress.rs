//! Compresses bodies on blocking threads, a few at a time.

use std::{io, io::Write as _, sync::Arc, thread::available_parallelism, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use hexpop_edge_config::config::CacheCompression;
use hexpop_router::{Coding, Compress};
use tokio::{sync::Semaphore, time::timeout};

/// Bodies that wait for a thread or have one, for each thread; further ones go as they are: a client is
/// better off with a longer body than with a longer wait.
const WAITING_MAX: usize = 64;

/// How long a body waits for a thread.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Sliding window of brotli, as a power of two: 4 MiB, the largest body that is coded by default.
const BROTLI_WINDOW: u32 = 22;

/// Compresses bodies.
#[derive(Debug)]
pub struct Compressors {
    levels: Levels,
    /// For half of the processors: requests that need no compression go on beside.
    threads: Arc<Semaphore>,
    places: Arc<Semaphore>,
}

/// How hard each coding tries.
#[derive(Debug, Clone, Copy)]
struct Levels {
    brotli: u32,
    zstd: u32,
    gzip: u32,
}

impl Compressors {
    /// As the configuration says.
    #[must_use]
    pub fn new(config: &CacheCompression) -> Self {
        let threads = available_parallelism().map_or(1, |all| (all.get() / 2).max(1));
        let CacheCompression { br_level, zstd_level, gzip_level, .. } = *config;
        Self {
            levels: Levels { brotli: br_level, zstd: zstd_level, gzip: gzip_level },
            threads: Arc::new(Semaphore::new(threads)),
            places: Arc::new(Semaphore::new(threads * WAITING_MAX)),
        }
    }
}

impl Compress for Compressors {
    fn compress(&self, coding: Coding, body: Bytes) -> BoxFuture<'static, Option<Bytes>> {
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return Box::pin(std::future::ready(None));
        };
        let (threads, levels) = (Arc::clone(&self.threads), self.levels);
        Box::pin(async move {
            let thread = timeout(WAIT_MAX, threads.acquire_owned()).await.ok()?.ok()?;
            let work = move || {
                // What is kept is weighed by its length: encoders leave room for the whole body.
                let coded = levels.encode(coding, &body).map(|mut coded| {
                    coded.shrink_to_fit();
                    coded
                });
                // Whoever asked may be gone: they are given back when the work is done, not before.
                drop((place, thread));
                coded
            };
            match tokio::task::spawn_blocking(work).await {
                Ok(Ok(coded)) => Some(coded.into()),
                Ok(Err(error)) => {
                    tracing::warn!(%error, coding = coding.as_str(), "a body was not compressed");
                    None
                }
                Err(_ended) => None,
            }
        })
    }
}

impl Levels {
    fn encode(self, coding: Coding, body: &[u8]) -> io::Result<Vec<u8>> {
        match coding {
            Coding::Brotli => {
                let params = brotli::enc::BrotliEncoderParams {
                    quality: i32::try_from(self.brotli).unwrap_or(i32::MAX),
                    lgwin: i32::try_from(BROTLI_WINDOW).unwrap_or(i32::MAX),
                    size_hint: body.len(),
                    ..Default::default()
                };
                let mut coded = Vec::new();
                brotli::BrotliCompress(&mut &*body, &mut coded, &params)?;
                Ok(coded)
            }
            Coding::Zstd => {
                zstd::bulk::compress(body, i32::try_from(self.zstd).unwrap_or(i32::MAX))
            }
            Coding::Gzip => {
                let level = flate2::Compression::new(self.gzip);
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(body)?;
                encoder.finish()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    fn decode(coding: Coding, coded: &[u8]) -> Vec<u8> {
        let mut plain = Vec::new();
        match coding {
            Coding::Brotli => brotli::BrotliDecompress(&mut &*coded, &mut plain).unwrap(),
            Coding::Zstd => plain = zstd::decode_all(coded).unwrap(),
            Coding::Gzip => {
                flate2::read::GzDecoder::new(coded).read_to_end(&mut plain).unwrap();
            }
        }
        plain
    }

    fn levels() -> Levels {
        let CacheCompression { br_level, zstd_level, gzip_level, .. } = CacheCompression::default();
        Levels { brotli: br_level, zstd: zstd_level, gzip: gzip_level }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn what_is_coded_comes_out_again(body in proptest::collection::vec(any::<u8>(), 0..5_000)) {
            for coding in Coding::ALL {
                let coded = levels().encode(coding, &body).unwrap();
                prop_assert_eq!(&decode(coding, &coded), &body);
            }
        }
    }

    #[tokio::test]
    async fn texts_get_smaller_and_what_is_too_much_is_refused() {
        let compressors = Compressors::new(&CacheCompression::default());
        let body = Bytes::from("{\"price\":385000,\"city\":\"Milano\"},".repeat(500));
        for coding in Coding::ALL {
            let coded = compressors.compress(coding, body.clone()).await.unwrap();
            assert!(coded.len() * 10 < body.len(), "{coding:?} {}", coded.len());
            assert_eq!(decode(coding, &coded), body);
        }
        let places = compressors.places.available_permits();
        let waiting: Vec<_> =
            (0..places).map(|_| compressors.compress(Coding::Gzip, body.clone())).collect();
        assert!(compressors.compress(Coding::Gzip, body.clone()).await.is_none());
        drop(waiting);
        assert!(compressors.compress(Coding::Gzip, body).await.is_some());
    }
}

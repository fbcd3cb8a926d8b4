//! An origin that is slow, failing or gone on demand.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::future::BoxFuture;
use hexpop_router::{Body, Origin, OriginError};
use http_body_util::{BodyExt as _, Empty};

use crate::{
    registry::{Registry, Target},
    rule::{Effect, Hook},
};

/// An [`Origin`] whose requests ask the registry first.
pub struct FaultyOrigin {
    inner: Arc<dyn Origin>,
    registry: Arc<Registry>,
}

impl std::fmt::Debug for FaultyOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FaultyOrigin").finish_non_exhaustive()
    }
}

impl FaultyOrigin {
    /// Wraps an origin.
    #[must_use]
    pub fn new(inner: Arc<dyn Origin>, registry: Arc<Registry>) -> Self {
        Self { inner, registry }
    }
}

impl Origin for FaultyOrigin {
    fn fetch(
        &self,
        request: http::Request<Body>,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<http::Response<Body>, OriginError>> {
        if !self.registry.is_armed() {
            return self.inner.fetch(request, deadline);
        }
        #[expect(clippy::disallowed_methods, reason = "rules end in real time")]
        let now = Instant::now();
        let Some(decision) = self.registry.decide(Hook::Origin, Target::default(), now) else {
            return self.inner.fetch(request, deadline);
        };
        match decision.effect {
            Effect::Delay => {
                let inner = Arc::clone(&self.inner);
                Box::pin(async move {
                    if decision.delay >= deadline {
                        tokio::time::sleep(deadline).await;
                        return Err(OriginError::TimedOut);
                    }
                    tokio::time::sleep(decision.delay).await;
                    inner.fetch(request, deadline - decision.delay).await
                })
            }
            Effect::Error => {
                let empty = Empty::<Bytes>::new().map_err(|never| match never {});
                let mut response = http::Response::new(Body::new(empty));
                *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
                Box::pin(std::future::ready(Ok(response)))
            }
            Effect::Drop | Effect::Cut => Box::pin(std::future::ready(Err(OriginError::NotSent(
                "a fault rule says that the origin is gone".into(),
            )))),
        }
    }
}

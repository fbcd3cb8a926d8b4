//! Requests to the origin, through its breakers.

use std::{marker::PhantomData, sync::Arc, time::Duration};

use http::{Request, Response};
use openraft_rt::{AsyncRuntime, Instant};

use crate::{
    breakers::{Breakers, Class, Target},
    deadline::Deadline,
    error::{Problem, RouteError, WriteOutcome},
    metrics::{FetchOutcome, Metrics},
    port::{Body, Origin, OriginError},
};

/// The time since the router was made: what its pure parts take as `now`.
#[derive(Debug)]
pub(crate) struct Uptime<R: AsyncRuntime> {
    start: R::Instant,
}

impl<R: AsyncRuntime> Clone for Uptime<R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R: AsyncRuntime> Copy for Uptime<R> {}

impl<R: AsyncRuntime> Uptime<R> {
    pub(crate) fn start() -> Self {
        Self { start: R::Instant::now() }
    }

    pub(crate) fn now(self) -> Duration {
        self.start.elapsed()
    }
}

/// Why there is no response of the origin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum OriginFailure {
    #[error("too many requests to it failed in a row; it is tried again within two seconds")]
    BreakerOpen,
    #[error(transparent)]
    Call(#[from] OriginError),
}

impl OriginFailure {
    /// As what the client is told. `is_write`: the request may have changed something there.
    pub(crate) fn to_error(&self, is_write: bool) -> RouteError {
        let (problem, not_sent) = match self {
            Self::BreakerOpen | Self::Call(OriginError::NotSent(_)) => {
                (Problem::OriginUnavailable, true)
            }
            Self::Call(OriginError::Broken(_)) => (Problem::OriginUnavailable, false),
            Self::Call(OriginError::TimedOut) => (Problem::OriginTimeout, false),
        };
        let error =
            RouteError { origin_missed: not_sent, ..RouteError::new(problem, self.to_string()) };
        match (is_write, not_sent) {
            (false, _) => error,
            (true, true) => error.with_outcome(WriteOutcome::NotApplied),
            (true, false) => error.with_outcome(WriteOutcome::Unknown),
        }
    }
}

/// The origin with its breakers.
pub(crate) struct OriginClient<R: AsyncRuntime> {
    port: Arc<dyn Origin>,
    breakers: Arc<Breakers>,
    metrics: Metrics,
    uptime: Uptime<R>,
    runtime: PhantomData<fn() -> R>,
}

impl<R: AsyncRuntime> Clone for OriginClient<R> {
    fn clone(&self) -> Self {
        Self {
            port: Arc::clone(&self.port),
            breakers: Arc::clone(&self.breakers),
            metrics: self.metrics.clone(),
            uptime: self.uptime,
            runtime: PhantomData,
        }
    }
}

impl<R: AsyncRuntime> OriginClient<R> {
    pub(crate) const fn new(
        port: Arc<dyn Origin>,
        breakers: Arc<Breakers>,
        metrics: Metrics,
        uptime: Uptime<R>,
    ) -> Self {
        Self { port, breakers, metrics, uptime, runtime: PhantomData }
    }

    /// The clock that its breakers have.
    pub(crate) const fn uptime(&self) -> Uptime<R> {
        self.uptime
    }

    /// Sends one request; the deadline is for the head of the response.
    pub(crate) async fn fetch(
        &self,
        class: Class,
        request: Request<Body>,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, OriginFailure> {
        let Some(admitted) = self.breakers.admit(Target::Origin, class, self.uptime.now()) else {
            self.metrics.fetched(class, FetchOutcome::BreakerOpen);
            return Err(OriginFailure::BreakerOpen);
        };
        let result = deadline
            .bound(self.port.fetch(request, deadline.left()))
            .await
            .unwrap_or(Err(OriginError::TimedOut));
        let outcome = match &result {
            Ok(response) => match response.status().as_u16() {
                304 => FetchOutcome::NotModified,
                400..500 => FetchOutcome::ClientError,
                500.. => FetchOutcome::ServerError,
                _ => FetchOutcome::Ok,
            },
            Err(OriginError::TimedOut) => FetchOutcome::Timeout,
            Err(OriginError::NotSent(_) | OriginError::Broken(_)) => FetchOutcome::Unreachable,
        };
        self.metrics.fetched(class, outcome);
        let healthy = match &result {
            // A gateway's way of saying that nobody is behind it, and overload; any other status
            // is about the request.
            Ok(response) => !matches!(response.status().as_u16(), 502..=504),
            Err(_) => false,
        };
        admitted.report(healthy, self.uptime.now());
        Ok(result?)
    }

    /// Sends one request past the breakers: for the feed, which backs off on its own.
    pub(crate) async fn fetch_feed(
        &self,
        request: Request<Body>,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, OriginError> {
        deadline
            .bound(self.port.fetch(request, deadline.left()))
            .await
            .unwrap_or(Err(OriginError::TimedOut))
    }
}

//! The origin over HTTP.

use std::{error::Error as _, time::Duration};

use futures::future::BoxFuture;
use hexpop_router::{Body, Origin, OriginError};
use http::{Request, Response, Uri, uri::PathAndQuery};
use http_body_util::BodyExt as _;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};

/// How long an idle connection is kept for the next request.
const IDLE: Duration = Duration::from_secs(30);

/// The platform behind the mesh, reached over HTTP or HTTPS with pooled connections.
#[derive(Debug, Clone)]
pub struct HttpOrigin {
    base: Uri,
    client: Client<HttpsConnector<HttpConnector>, Body>,
}

/// The configured address of the origin is none.
#[derive(Debug, thiserror::Error)]
#[error("origin.url `{url}` is not an address such as http://127.0.0.1:8070")]
pub struct NotAnOrigin {
    url: String,
}

impl HttpOrigin {
    /// An origin at `url` (scheme, host and port; a path in it is refused).
    ///
    /// # Errors
    /// [`NotAnOrigin`].
    pub fn new(
        url: &str,
        connect_timeout: Duration,
        connections_idle_max: usize,
    ) -> Result<Self, NotAnOrigin> {
        let wrong = || NotAnOrigin { url: url.to_owned() };
        let base: Uri = url.parse().map_err(|_not_a_uri| wrong())?;
        if base.authority().is_none()
            || !matches!(base.scheme_str(), Some("http" | "https"))
            || !matches!(base.path(), "" | "/")
        {
            return Err(wrong());
        }
        let mut http = HttpConnector::new();
        http.set_connect_timeout(Some(connect_timeout));
        http.set_nodelay(true);
        http.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_webpki_roots()
            .https_or_http()
            .enable_http1()
            .wrap_connector(http);
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_timer(TokioTimer::new())
            .pool_max_idle_per_host(connections_idle_max)
            // A kept connection that the origin closed in this moment: the request was not read.
            .retry_canceled_requests(true)
            .build(connector);
        Ok(Self { base, client })
    }

    fn absolute(&self, target: Option<&PathAndQuery>) -> Result<Uri, OriginError> {
        let mut parts = self.base.clone().into_parts();
        parts.path_and_query =
            Some(target.cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
        Uri::from_parts(parts).map_err(|error| OriginError::NotSent(error.to_string()))
    }
}

impl Origin for HttpOrigin {
    fn fetch(
        &self,
        mut request: Request<Body>,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Response<Body>, OriginError>> {
        let uri = self.absolute(request.uri().path_and_query());
        let client = self.client.clone();
        Box::pin(async move {
            *request.uri_mut() = uri?;
            match tokio::time::timeout(deadline, client.request(request)).await {
                Err(_elapsed) => Err(OriginError::TimedOut),
                Ok(Err(error)) => Err(classify(&error)),
                Ok(Ok(response)) => Ok(response.map(|body| Body::new(body.map_err(Into::into)))),
            }
        })
    }
}

fn classify(error: &hyper_util::client::legacy::Error) -> OriginError {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    if error.is_connect() { OriginError::NotSent(text) } else { OriginError::Broken(text) }
}

/// No origin is configured: every request to it fails at once.
#[derive(Debug, Clone, Copy)]
pub struct NoOrigin;

impl Origin for NoOrigin {
    fn fetch(
        &self,
        _request: Request<Body>,
        _deadline: Duration,
    ) -> BoxFuture<'static, Result<Response<Body>, OriginError>> {
        let error = OriginError::NotSent("no origin is configured (origin.url)".to_owned());
        Box::pin(std::future::ready(Err(error)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_an_address_without_a_path() {
        let new = |url| HttpOrigin::new(url, Duration::from_secs(1), 4);
        assert!(new("http://127.0.0.1:8070").is_ok());
        assert!(new("https://platform.example/").is_ok());
        for wrong in ["", "127.0.0.1:8070", "ftp://a", "http://a/b", "/x"] {
            assert!(new(wrong).is_err(), "{wrong}");
        }
    }
}

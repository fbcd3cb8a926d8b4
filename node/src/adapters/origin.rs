//! The origin over HTTP.

use std::{error::Error as _, time::Duration};

use futures::future::BoxFuture;
use hexpop_router::{Body, Interim, InterimSink, Origin, OriginError};
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
            if let Some(sink) = request.extensions_mut().remove::<InterimSink>() {
                hyper::ext::on_informational(&mut request, move |interim| {
                    let (status, headers) = (interim.status(), interim.headers().clone());
                    sink.send(Interim { status, headers });
                });
            }
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
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    #[tokio::test]
    async fn rfc9110_15_2_interim_responses_are_there_before_the_answer() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let origin = HttpOrigin::new(&url, Duration::from_secs(10), 1).unwrap();
        let serve = async {
            let (mut tcp, _peer) = listener.accept().await.unwrap();
            let mut request = [0; 1];
            tcp.read_exact(&mut request).await.unwrap();
            let answer = "HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n\
                          HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
            tcp.write_all(answer.as_bytes()).await.unwrap();
            tcp
        };
        let (sink, mut interims) = InterimSink::channel();
        let mut request = Request::new(hexpop_router::empty());
        request.extensions_mut().insert(sink);
        let (response, _tcp) = tokio::join!(origin.fetch(request, Duration::from_secs(10)), serve);
        assert_eq!(response.unwrap().status(), 200);
        let first = interims.try_recv().unwrap();
        assert_eq!((first.status.as_u16(), first.headers.len()), (102, 0));
        assert_eq!(interims.try_recv().unwrap().headers["link"], "<a>");
        assert!(interims.try_recv().is_err());
    }

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

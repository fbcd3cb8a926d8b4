//! Requests that the origin answers and whose answers are not stored: writes, HEAD, what goes past the
//! cache, what the mesh cannot answer.

use std::sync::Arc;

use http::{Method, Request, Response, StatusCode};
use openraft_rt::AsyncRuntime;

use super::{
    body::{empty, full, not_stalling},
    exchange::Exchange,
    fetch::{bad_target, content_length},
    headers::strip_hop_by_hop,
    interim::Interims,
    policy::reuse::Why,
    proxy::HttpCache,
    store::Variants,
};
use crate::{
    breakers::Class, deadline::Deadline, error::RouteError, port::Body, router::Fallback,
    status::Source,
};

impl<R: AsyncRuntime> HttpCache<R> {
    /// Lets the origin answer in the mesh's place; the response is not stored.
    pub(crate) async fn fetch_fallback(
        &self,
        fallback: Fallback,
        class: Class,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        let Fallback { method, target, headers, body, client } = fallback;
        let mut request = Request::new(());
        *request.method_mut() = method;
        *request.uri_mut() = target.parse().map_err(|_invalid| bad_target())?;
        *request.headers_mut() = headers;
        let exchange = Exchange::new(request.into_parts().0, client, &self.options);
        let request = exchange.upstream(full(body), &self.name).ok_or_else(bad_target)?;
        let response = self
            .origin
            .fetch(class, request, deadline)
            .await
            .map_err(|failure| self.with_status(failure.to_error(false)))?;
        let source = Source::OriginFallback { status: response.status().as_u16() };
        Ok(self.passed(&exchange, response, source, None))
    }

    /// Passes a HEAD on that nothing stored answers, and lets it update what is stored.
    pub(super) async fn head(
        &self,
        exchange: &Exchange,
        variants: &Variants,
        why: Why,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        let began = self.store.moment();
        let sent = self.uptime.now();
        let response = self.send(exchange, empty(), deadline).await?;
        if response.status() == StatusCode::OK && !variants.is_empty() {
            self.update_by_head(exchange, response.headers(), began, sent);
        }
        let source = why.source(response.status().as_u16(), false);
        Ok(self.passed(exchange, response, source, None))
    }

    /// Passes a request on as it is; the response is not stored.
    pub(super) async fn pass(
        self: &Arc<Self>,
        exchange: &Exchange,
        body: Body,
        source: Source,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        let response = self.send(exchange, body, deadline).await?;
        let is_error = response.status().is_client_error() || response.status().is_server_error();
        if !is_safe(&exchange.method) && !is_error {
            self.invalidate_after_write(exchange, response.headers()).await;
        }
        Ok(self.passed(exchange, response, source, None))
    }

    async fn send(
        &self,
        exchange: &Exchange,
        body: Body,
        deadline: Deadline<R>,
    ) -> Result<Response<Body>, RouteError> {
        let mut request = exchange.upstream(body, &self.name).ok_or_else(bad_target)?;
        request.extensions_mut().insert(Interims::of(exchange).sink(&self.name));
        let deadline = deadline.at_most(self.options.origin_timeout);
        let is_write = !is_safe(&exchange.method);
        let response = self.origin.fetch(Class::Proxy, request, deadline).await;
        let response = response.map_err(|failure| failure.to_error(is_write))?;
        let (mut parts, body) = response.into_parts();
        let length = content_length(&parts.headers);
        strip_hop_by_hop(&mut parts.headers);
        let body = if length == Some(0) { body } else { self.patient(body) };
        Ok(Response::from_parts(parts, body))
    }

    fn patient(&self, body: Body) -> Body {
        not_stalling::<R>(body, self.options.origin_timeout)
    }
}

/// Whether a method is known to change nothing (RFC 9110 §9.2.1 and the IANA registry); any other may
/// change everything (RFC 9111 §4.4).
fn is_safe(method: &Method) -> bool {
    method.is_safe() || matches!(method.as_str(), "PROPFIND" | "QUERY" | "REPORT" | "SEARCH")
}

//! Answering another node of the PoP that asks for what this one keeps.

use std::{sync::Arc, task::Poll, time::Duration};

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream, stream::BoxStream};
use hexpop_edge_config::NodeId;
use http::{HeaderValue, Method, Request, Response, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use openraft_rt::AsyncRuntime;
use tokio::sync::mpsc;

use super::wire::{
    self, Declined, Failed, Fetch, Forget, Frame, Head, PIECE_BYTES_MAX, Question, fields_of,
    headers_of,
};
use crate::{
    cache::{
        exchange::Exchange,
        headers::is_loop,
        interim::{Interim, InterimSink},
        policy::reuse::Asked,
        proxy::HttpCache,
        respond::ForPeer,
    },
    deadline::Deadline,
    error::{Problem, RouteError},
    metrics::TierOutcome,
    port::Body,
};

impl<R: AsyncRuntime> HttpCache<R> {
    /// The frames of the answer to another node's question. Nothing is done before they are asked for.
    pub(crate) fn serve(self: &Arc<Self>, question: &[u8]) -> BoxStream<'static, Bytes> {
        let (fetch, takes_interims) = match wire::decode(question) {
            Some(Question::Fetch(fetch)) => (fetch, false),
            Some(Question::FetchWithInterims(fetch)) => (fetch, true),
            Some(Question::Forget(forget)) => {
                self.forget(&forget);
                return frames([Frame::Accepted]);
            }
            None => return self.decline(Declined::Malformed),
        };
        self.forget(&fetch.forget);
        let (mut exchange, asked) = match self.take(*fetch) {
            Ok(taken) => taken,
            Err(why) => return self.decline(why),
        };
        let this = Arc::clone(self);
        let (sink, interims) = InterimSink::channel();
        exchange.interims = takes_interims.then_some(sink);
        let answer = stream::once(async move { this.answer_peer(exchange, asked).await });
        let answer = before(interims, answer.flatten().boxed());
        frames([Frame::Accepted]).chain(answer).boxed()
    }

    fn forget(self: &Arc<Self>, forget: &Forget) {
        // Before it is forgotten here, or it could be fetched again from who has not heard yet.
        if !forget.also.is_empty() {
            let others = self.tier.others().into_iter().map(|(node, _reachable)| node);
            let missed: Vec<NodeId> = others.filter(|node| forget.also.contains(node)).collect();
            self.tier.unconfirmed.add(&missed, &forget.all);
            self.tell_again();
        }
        for one in &forget.all {
            self.purge(&one.purge(), false);
        }
    }

    fn decline(&self, why: Declined) -> BoxStream<'static, Bytes> {
        self.tier.metrics.tier_served(TierOutcome::Declined);
        frames([Frame::Declined(why)])
    }

    /// The request of another node, if this one may answer it.
    fn take(&self, fetch: Fetch) -> Result<(Exchange, Asked), Declined> {
        if !self.tier.on {
            return Err(Declined::Off);
        }
        // `None` is before all purges.
        if fetch.position > self.purge_position() {
            return Err(Declined::Behind);
        }
        if !self.followed.trusts_store(self.uptime.now()) {
            return Err(Declined::Silent);
        }
        let headers = headers_of(fetch.fields).ok_or(Declined::Malformed)?;
        if is_loop(&headers, &self.name) {
            return Err(Declined::Loop);
        }
        let mut asked =
            Asked::of(&Method::GET, &headers).map_err(|_bypass| Declined::Uncacheable)?;
        if fetch.fresh {
            asked.control.min_fresh.get_or_insert_default();
        }
        let mut request = Request::new(());
        *request.uri_mut() = fetch.target.parse().map_err(|_invalid| Declined::Malformed)?;
        *request.headers_mut() = headers;
        let client = fetch.client.into();
        let exchange = Exchange::new(request.into_parts().0, client, &self.options);
        Ok((Exchange { for_peer: true, ..exchange }, asked))
    }

    async fn answer_peer(
        self: Arc<Self>,
        exchange: Exchange,
        asked: Asked,
    ) -> BoxStream<'static, Bytes> {
        let accepted = self.uptime.now();
        let deadline = Deadline::after(self.options.origin_timeout);
        match self.cached(exchange, asked, deadline).await {
            Ok(mut response) => {
                if let Some(why) = response.extensions_mut().remove::<Declined>() {
                    return self.decline(why);
                }
                let worked = self.uptime.now().saturating_sub(accepted);
                let head = head_of(&mut response, worked);
                // One that is too long for a frame is left to the asker.
                let head = head.and_then(|head| wire::encode(&Frame::Head(Box::new(head))));
                let Some(head) = head else { return self.decline(Declined::Uncacheable) };
                self.tier.metrics.tier_served(TierOutcome::Served);
                let head = stream::once(std::future::ready(head));
                head.chain(pieces(response.into_body())).boxed()
            }
            Err(RouteError { problem: Problem::Overloaded, .. }) => {
                self.decline(Declined::Overloaded)
            }
            Err(error) => {
                self.tier.metrics.tier_served(TierOutcome::Failed);
                frames([Frame::Failed(Failed {
                    missed: error.origin_missed,
                    timed_out: error.problem == Problem::OriginTimeout,
                    detail: error.detail,
                })])
            }
        }
    }
}

/// A response that says to another node: nothing for you.
pub(in crate::cache) fn declined(why: Declined) -> Response<Body> {
    let mut response = Response::new(crate::cache::body::empty());
    response.extensions_mut().insert(why);
    response
}

/// These frames, as far as they can be encoded: whoever misses one takes the answer for broken off.
fn frames<const N: usize>(of: [Frame; N]) -> BoxStream<'static, Bytes> {
    let encoded: Option<Vec<Bytes>> = of.iter().map(wire::encode).collect();
    stream::iter(encoded.unwrap_or_default()).boxed()
}

/// The frames of an answer, and those of interim responses as they come before it.
fn before(
    mut interims: mpsc::Receiver<Interim>,
    mut answer: BoxStream<'static, Bytes>,
) -> impl Stream<Item = Bytes> + Send {
    let encoded = |Interim { status, headers }: Interim| {
        wire::encode(&Frame::Interim(status.as_u16(), fields_of(&headers)))
    };
    let mut first = None;
    let mut is_begun = false;
    stream::poll_fn(move |cx| {
        if is_begun {
            return answer.poll_next_unpin(cx);
        }
        // Those that came with it go before it.
        if first.is_none() {
            first = match answer.poll_next_unpin(cx) {
                Poll::Ready(frame) => Some(frame),
                Poll::Pending => None,
            };
        }
        while let Poll::Ready(Some(interim)) = interims.poll_recv(cx) {
            // What is too long for a frame is no loss.
            if let Some(frame) = encoded(interim) {
                return Poll::Ready(Some(frame));
            }
        }
        let Some(frame) = first.take() else { return Poll::Pending };
        is_begun = true;
        Poll::Ready(frame)
    })
}

/// The head of a response that took `worked`, for the way; `None` if it was not made for another node.
fn head_of(response: &mut Response<Body>, worked: Duration) -> Option<Head> {
    let ForPeer { member, age, lifetime, stands_in } = response.extensions_mut().remove()?;
    let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    let said = response.headers().get(header::CONTENT_LENGTH).map(HeaderValue::to_str);
    let said = said.and_then(|said| said.ok()?.parse().ok());
    Some(Head {
        status: response.status().as_u16(),
        fields: fields_of(response.headers()),
        length: response.body().size_hint().exact().or(said),
        member,
        age_us: age.map(micros),
        // What is passed through says how old it was when the origin, or what is before it, gave it.
        worked_us: age.map_or(0, |_age| micros(worked)),
        lifetime_us: lifetime.map(micros),
        stands_in,
    })
}

/// A body on its way.
struct Progress {
    /// `None` after its end.
    body: Option<Body>,
    /// What is left of a frame that is larger than a piece.
    rest: Bytes,
}

/// The frames of a body, none of them larger than a piece, each made when it is asked for.
fn pieces(body: Body) -> BoxStream<'static, Bytes> {
    let begin = Progress { body: Some(body), rest: Bytes::new() };
    let next = |mut progress: Progress| async move {
        let frame = loop {
            if !progress.rest.is_empty() {
                let bytes = progress.rest.len().min(PIECE_BYTES_MAX);
                break Frame::Data(progress.rest.split_to(bytes));
            }
            let Some(frame) = progress.body.as_mut()?.frame().await else {
                progress.body = None;
                break Frame::End;
            };
            match frame.map(http_body::Frame::into_data) {
                Ok(Ok(data)) => progress.rest = data,
                Ok(Err(frame)) => {
                    if let Ok(trailers) = frame.into_trailers() {
                        break Frame::Trailers(fields_of(&trailers));
                    }
                }
                Err(error) => {
                    progress.body = None;
                    break Frame::BrokenOff(error.to_string());
                }
            }
        };
        Some((wire::encode(&frame)?, progress))
    };
    stream::unfold(begin, next).boxed()
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, StatusCode};

    use super::*;
    use crate::cache::body::{chunks, full};

    async fn sent(body: Body) -> Vec<Frame> {
        let frames: Vec<Bytes> = pieces(body).collect().await;
        frames.iter().map(|frame| wire::decode(frame).unwrap()).collect()
    }

    #[tokio::test]
    async fn a_body_goes_in_pieces_and_says_where_it_ends() {
        let long = Bytes::from(vec![7; PIECE_BYTES_MAX * 2 + 1]);
        let sizes: Vec<Option<usize>> = sent(chunks(vec![long, "ab".into()]))
            .await
            .iter()
            .map(|frame| if let Frame::Data(piece) = frame { Some(piece.len()) } else { None })
            .collect();
        let piece = Some(PIECE_BYTES_MAX);
        assert_eq!(sizes, [piece, piece, Some(1), Some(2), None]);
        assert_eq!(sent(full(Bytes::new())).await, [Frame::End]);
    }

    #[tokio::test]
    async fn what_comes_with_the_answer_goes_before_it_and_nothing_goes_behind() {
        let hint = || Interim { status: StatusCode::EARLY_HINTS, headers: HeaderMap::new() };
        let (sink, interims) = InterimSink::channel();
        let late = sink.clone();
        let head = stream::once(async move {
            sink.send(hint());
            Bytes::from("head")
        });
        let rest = stream::once(async move {
            late.send(hint());
            Bytes::from("rest")
        });
        let frames: Vec<Bytes> = before(interims, head.chain(rest).boxed()).collect().await;
        let interim = wire::encode(&Frame::Interim(103, Vec::new())).unwrap();
        assert_eq!(frames, [interim, "head".into(), "rest".into()]);
    }

    #[tokio::test]
    async fn a_body_that_breaks_off_says_so() {
        let broken: Vec<Result<http_body::Frame<Bytes>, crate::port::BodyError>> =
            vec![Ok(http_body::Frame::data("ab".into())), Err("reset".into())];
        let body = http_body_util::StreamBody::new(stream::iter(broken)).boxed_unsync();
        let expected = [Frame::Data("ab".into()), Frame::BrokenOff("reset".into())];
        assert_eq!(sent(body).await, expected);
    }
}

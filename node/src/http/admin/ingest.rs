//! `POST /admin/v1/ingest`: NDJSON of listings and deletions into the mesh.

use std::{
    collections::BTreeMap,
    io::Write as _,
    pin::Pin,
    sync::Arc,
    task::{Context as TaskContext, Poll, ready},
};

use bytes::Bytes;
use flate2::write::MultiGzDecoder;
use hexpop_router::{Body as RouterBody, BodyError, Context as Ask, Problem as ProblemType};
use hexpop_shard::{ListingFormat, Word as _};
use http::{HeaderMap, Request, header};
use http_body::{Body as HttpBody, Frame, SizeHint};
use serde_json::json;

use super::{Answer, json};
use crate::{
    context::Context,
    http::{problem::Problem, server::RequestBody, trace::TraceContext},
};

/// Compressed bytes that are unpacked at once: what they unpack to is held in memory, a thousand
/// times as much at most.
const INFLATE_STEP: usize = 4 << 10;

/// Takes in the lines of the body, written as `?format=` says. `?complete=true`: then the mesh has all listings there are, and
/// answers searches without the origin.
pub(super) async fn ingest(
    context: &Context,
    query: &BTreeMap<String, String>,
    request: Request<RequestBody>,
    trace: TraceContext,
) -> Answer {
    if let Some(unknown) = query.keys().find(|name| !matches!(name.as_str(), "complete" | "format"))
    {
        return Err(Problem::new(ProblemType::InvalidRequest, "an unknown parameter").at(
            hexpop_router::FieldPlace::Parameter(unknown.clone()),
            "there are format and complete",
        ));
    }
    let format = query.get("format").map_or(Ok(ListingFormat::Native), |word| format(word))?;
    let live = context.live();
    let gzipped = is_gzipped(request.headers())?;
    let body = Bounded {
        inner: request.into_body(),
        inflate: gzipped.then(|| MultiGzDecoder::new(Vec::new())),
        pending: Bytes::new(),
        left: live.ingest_bytes_max,
        bytes_max: live.ingest_bytes_max,
        ended: false,
    };
    let ask = Ask { traceparent: Some(Arc::from(trace.to_string())), ..Ask::default() };
    let line_bytes_max = live.ingest_line_bytes_max;
    let body = RouterBody::new(body);
    let report = context.router.ingest_as(format, body, line_bytes_max, &ask).await?;
    if query.get("complete").is_some_and(|value| value == "true") {
        if report.rejected_total > 0 {
            tracing::warn!(
                rejected = report.rejected_total,
                "a load is complete but for these lines"
            );
        }
        context.router.mark_complete(&ask).await?;
        let mut answer = serde_json::to_value(&report)
            .map_err(|error| Problem::new(ProblemType::Internal, error.to_string()))?;
        if let Some(answer) = answer.as_object_mut() {
            answer.insert("complete".to_owned(), json!(true));
        }
        return json(&answer);
    }
    json(&report)
}

fn format(word: &str) -> Result<ListingFormat, Problem> {
    ListingFormat::from_word(word).ok_or_else(|| {
        Problem::new(ProblemType::InvalidRequest, "an unknown format")
            .at(hexpop_router::FieldPlace::Parameter("format".into()), "must be native or reso")
    })
}

fn is_gzipped(headers: &HeaderMap) -> Result<bool, Problem> {
    match headers.get(header::CONTENT_ENCODING).map(|value| value.as_bytes()) {
        None | Some(b"identity") => Ok(false),
        Some(b"gzip" | b"x-gzip") => Ok(true),
        Some(_) => Err(Problem::new(
            ProblemType::UnsupportedMediaType,
            "of content codings, gzip is taken",
        )
        .at(
            hexpop_router::FieldPlace::Header("Content-Encoding".into()),
            "must be gzip or absent",
        )),
    }
}

/// A request's body, unpacked if need be, that breaks off beyond its bound.
struct Bounded {
    inner: RequestBody,
    inflate: Option<MultiGzDecoder<Vec<u8>>>,
    /// Compressed bytes that are not unpacked yet.
    pending: Bytes,
    left: usize,
    bytes_max: usize,
    ended: bool,
}

impl Bounded {
    fn count(&mut self, data: Bytes) -> Result<Bytes, BodyError> {
        match self.left.checked_sub(data.len()) {
            Some(left) => {
                self.left = left;
                Ok(data)
            }
            None => Err(format!("it is larger than {} bytes", self.bytes_max).into()),
        }
    }

    /// Unpacks a step of what is pending.
    fn unpack(&mut self) -> Result<Bytes, BodyError> {
        let step = self.pending.split_to(self.pending.len().min(INFLATE_STEP));
        let Some(inflate) = &mut self.inflate else { return self.count(step) };
        inflate.write_all(&step)?;
        let unpacked = std::mem::take(inflate.get_mut());
        self.count(unpacked.into())
    }

    /// What the decoder still held when the body ended.
    fn finish(&mut self) -> Result<Bytes, BodyError> {
        self.ended = true;
        match self.inflate.take() {
            None => Ok(Bytes::new()),
            Some(inflate) => {
                let rest = inflate.finish()?;
                self.count(rest.into())
            }
        }
    }
}

impl HttpBody for Bounded {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut TaskContext<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            if !self.pending.is_empty() {
                match self.unpack() {
                    Ok(data) if data.is_empty() => continue,
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                }
            }
            if self.ended {
                return Poll::Ready(None);
            }
            match ready!(Pin::new(&mut self.inner).poll_frame(cx)) {
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else { continue };
                    if self.inflate.is_some() {
                        self.pending = data;
                    } else {
                        return Poll::Ready(Some(self.count(data).map(Frame::data)));
                    }
                }
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => match self.finish() {
                    Ok(data) if data.is_empty() => return Poll::Ready(None),
                    Ok(data) => return Poll::Ready(Some(Ok(Frame::data(data)))),
                    Err(error) => return Poll::Ready(Some(Err(error))),
                },
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

//! Bodies: the one type all answers have, and reading a request's body within its bounds.

use std::{convert::Infallible, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt as _, Empty, Full, combinators::UnsyncBoxBody};

use super::problem::Problem;
use hexpop_router::Problem as ProblemType;

/// What went wrong while a body streamed.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;

/// The body of every answer.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;

/// A body held in memory.
#[must_use]
pub fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(never).boxed_unsync()
}

/// No body.
#[must_use]
pub fn empty() -> Body {
    Empty::new().map_err(never).boxed_unsync()
}

fn never(error: Infallible) -> BodyError {
    match error {}
}

/// Reads a request's body: at most `bytes_max`, and never waiting longer than `idle` for the next
/// part of it.
///
/// # Errors
/// A 413 problem when it is too large, 408 when the client stalls, 400 when it breaks off.
pub async fn read_bounded<B>(body: B, bytes_max: usize, idle: Duration) -> Result<Bytes, Problem>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let too_large = || {
        Problem::new(ProblemType::TooLarge, format!("the body is larger than {bytes_max} bytes"))
    };
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    let mut body = body;
    let mut first: Option<Bytes> = None;
    let mut rest = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(idle, body.frame()).await {
            Err(_elapsed) => {
                return Err(Problem::new(
                    ProblemType::MalformedRequest,
                    format!("no part of the body arrived for {} s", idle.as_secs()),
                )
                .status(http::StatusCode::REQUEST_TIMEOUT));
            }
            Ok(None) => break,
            Ok(Some(Err(error))) => {
                return Err(Problem::new(
                    ProblemType::MalformedRequest,
                    format!("the body broke off: {error}"),
                ));
            }
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        let so_far = first.as_ref().map_or(rest.len(), Bytes::len);
        if so_far + data.len() > bytes_max {
            return Err(too_large());
        }
        match first.take() {
            None if rest.is_empty() => first = Some(data),
            None => rest.extend_from_slice(&data),
            Some(head) => {
                rest.reserve(head.len() + data.len());
                rest.extend_from_slice(&head);
                rest.extend_from_slice(&data);
            }
        }
    }
    Ok(first.unwrap_or_else(|| rest.freeze()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_up_to_its_bound_and_not_beyond() {
        let idle = Duration::from_secs(1);
        let read = read_bounded(Full::new(Bytes::from_static(b"12345")), 5, idle).await.unwrap();
        assert_eq!(&read[..], b"12345");
        let refused = read_bounded(Full::new(Bytes::from_static(b"123456")), 5, idle).await;
        assert_eq!(refused.unwrap_err().error.problem, ProblemType::TooLarge);
    }
}

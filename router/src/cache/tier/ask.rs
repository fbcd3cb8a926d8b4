//! Asking the node that keeps a URI, before the origin is.

use std::time::Duration;

use futures::{
    StreamExt as _,
    future::{BoxFuture, Either, select},
    stream,
};
use hexpop_edge_config::NodeId;
use http::{Response, StatusCode, request};
use http_body_util::{BodyExt as _, StreamBody};
use openraft_rt::AsyncRuntime;

use super::{
    ACCEPT_WITHIN, TRANSIT,
    wire::{
        self, Declined, Failed, Fetch, Fields, Forget, Forgotten, Frame, Head, Question, fields_of,
        headers_of,
    },
};
use crate::{
    breakers::Admitted,
    cache::{body::empty, fetch::Task, interim::Interim, key::CacheKey, proxy::HttpCache},
    deadline::Deadline,
    error::{Problem, RouteError},
    metrics::TierOutcome,
    port::{Body, BodyError, PeerError, PeerFrames},
};

/// What became of asking the owner.
pub(in crate::cache) enum FromOwner {
    /// It answered.
    Answered(Response<Body>, Hop),
    /// The origin failed when the owner asked it.
    Failed(RouteError),
    /// Nothing: the origin is to be asked.
    Nothing,
}

/// What an owner says about its answer, beside the fields.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hop {
    /// Its member of `Cache-Status`.
    pub(crate) member: String,
    /// By how much the response is older than `Age` says: less than a second.
    pub(crate) age_rest: Duration,
    /// How much of the time that the answer took is in its age already.
    pub(crate) worked: Duration,
    /// How long the response is fresh at most, since it was made.
    pub(crate) lifetime: Option<Duration>,
    /// Whether it is stale and stands in for an origin that failed.
    pub(crate) stands_in: bool,
}

/// Why an owner gave nothing.
#[derive(Debug)]
enum Unserved {
    Declined(Declined),
    /// By the origin.
    Failed(Failed),
    /// It broke off, fell silent, or said something odd.
    Broken(String),
    /// It works on it for longer than the origin may take.
    TooLong,
}

impl<R: AsyncRuntime> HttpCache<R> {
    /// Asks a node for what the origin would be asked for with this request.
    ///
    /// Whatever is fetched must have begun before this is called: the answer is as of the purges that this
    /// node has applied by now, or of later ones.
    pub(in crate::cache) async fn ask_owner(
        &self,
        owner: NodeId,
        task: &Task,
        request: &request::Parts,
    ) -> FromOwner {
        let Some((owner, admitted)) = self.admitted(owner, &task.exchange.key) else {
            return FromOwner::Nothing;
        };
        let count = |outcome| self.tier.metrics.tier_asked(outcome);
        count(TierOutcome::Asked);
        let asked = self.exchange_frames(owner, task, request).await;
        let healthy = !matches!(asked, Err(Unserved::Broken(_) | Unserved::TooLong));
        admitted.report(healthy, self.uptime.now());
        match asked {
            Ok((response, hop)) => {
                count(TierOutcome::Served);
                FromOwner::Answered(response, hop)
            }
            Err(Unserved::Declined(why)) => {
                tracing::debug!(%owner, ?why, "the owner of a URI declined");
                count(TierOutcome::Declined);
                FromOwner::Nothing
            }
            Err(Unserved::Broken(why)) => {
                tracing::debug!(%owner, why, "the owner of a URI did not answer");
                count(TierOutcome::Failed);
                FromOwner::Nothing
            }
            Err(Unserved::Failed(failed)) => {
                count(TierOutcome::Failed);
                if failed.missed {
                    return FromOwner::Nothing;
                }
                let problem = if failed.timed_out {
                    Problem::OriginTimeout
                } else {
                    Problem::OriginUnavailable
                };
                FromOwner::Failed(RouteError::new(problem, failed.detail))
            }
            Err(Unserved::TooLong) => {
                count(TierOutcome::Failed);
                let detail = "the origin did not answer in time";
                FromOwner::Failed(RouteError::new(Problem::OriginTimeout, detail))
            }
        }
    }

    /// The node that is asked: the one that was chosen, or the next one, if that one's breaker has let others
    /// pass since and nobody more.
    fn admitted(&self, chosen: NodeId, key: &CacheKey) -> Option<(NodeId, Admitted)> {
        let now = self.uptime.now();
        if let Some(admitted) = self.tier.admit(chosen, now) {
            return Some((chosen, admitted));
        }
        let next = self.tier.owner(key, now)?;
        Some((next, self.tier.admit(next, now)?))
    }

    /// Asks with interim responses, and without where the owner does not know that: it may be of an earlier build,
    /// and is asked so for a while then.
    async fn exchange_frames(
        &self,
        owner: NodeId,
        task: &Task,
        request: &request::Parts,
    ) -> Result<(Response<Body>, Hop), Unserved> {
        if !self.tier.plain.has(owner, self.uptime.now()) {
            match self.exchange(Question::FetchWithInterims, owner, task, request).await {
                Err(Unserved::Declined(Declined::Malformed)) => {}
                outcome => return outcome,
            }
        }
        let outcome = self.exchange(Question::Fetch, owner, task, request).await;
        if !matches!(outcome, Err(Unserved::Declined(Declined::Malformed))) {
            self.tier.plain.note(owner, self.uptime.now());
        }
        outcome
    }

    async fn exchange(
        &self,
        question: fn(Box<Fetch>) -> Question,
        owner: NodeId,
        task: &Task,
        request: &request::Parts,
    ) -> Result<(Response<Body>, Hop), Unserved> {
        let pending = self.tier.unconfirmed.of(owner);
        let also = self.tier.unconfirmed.missed_too(owner, &pending);
        let fetch = Fetch {
            position: self.purge_position(),
            forget: Forget { all: pending.all.clone(), also },
            fresh: task.refreshes,
            client: (&task.exchange.client).into(),
            target: request.uri.to_string(),
            fields: fields_of(&request.headers),
        };
        let too_long = || Unserved::Declined(Declined::Uncacheable);
        let question = wire::encode(&question(Box::new(fetch))).ok_or_else(too_long)?;
        let mut frames = self.tier.port.ask(owner, question, ACCEPT_WITHIN);
        let mut lost = self.tier.local.lost(owner);
        let accept = Deadline::<R>::after(ACCEPT_WITHIN);
        match next(&mut frames, &mut lost, accept).await {
            Ok(Some(Frame::Accepted)) => self.tier.unconfirmed.confirm(owner, &pending),
            Ok(Some(Frame::Declined(why))) => {
                if why != Declined::Malformed {
                    self.tier.unconfirmed.confirm(owner, &pending);
                }
                return Err(Unserved::Declined(why));
            }
            Ok(Some(_other)) => return Err(Unserved::Broken(OUT_OF_PLACE.to_owned())),
            Ok(None) => return Err(Unserved::Broken("it did not answer in time".to_owned())),
            Err(unserved) => return Err(unserved),
        }
        // Whatever it does now, it does it within what the origin may take.
        let answer = Deadline::<R>::after(self.options.origin_timeout.saturating_add(TRANSIT));
        let pass_on = |interim| task.interims.push(interim, &self.name);
        answer_of(frames, &mut lost, answer, pass_on).await
    }

    /// Has a node forget all that it is to forget, and tells it who missed that: `None` = who is known here
    /// to have missed some of it. Answers whether it did.
    pub(super) async fn have_forgotten(
        &self,
        node: NodeId,
        missed: Option<&[NodeId]>,
        deadline: Deadline<R>,
    ) -> bool {
        let unconfirmed = &self.tier.unconfirmed;
        let pending = unconfirmed.of(node);
        if pending.all.is_empty() {
            return true;
        }
        let also =
            missed.map_or_else(|| unconfirmed.missed_too(node, &pending), <[NodeId]>::to_vec);
        let question = Question::Forget(Forget { all: pending.all.clone(), also });
        let Some(question) = wire::encode(&question) else {
            // Nothing that is pending is that long. But what cannot be said is never to be left unsaid.
            unconfirmed.add(&[node], &[Forgotten::All]);
            return false;
        };
        let mut frames = self.tier.port.tell(node, question, deadline.left());
        let mut lost = self.tier.local.lost(node);
        match next(&mut frames, &mut lost, deadline).await {
            Ok(Some(Frame::Accepted)) => {
                self.tier.unconfirmed.confirm(node, &pending);
                true
            }
            outcome => {
                tracing::debug!(%node, ?outcome, "a node did not confirm what it is to forget");
                false
            }
        }
    }
}

const OUT_OF_PLACE: &str = "it answered something that does not belong here";

/// The next frame; `None` if it does not come in time.
///
/// # Errors
/// Why there is none.
async fn next<R: AsyncRuntime>(
    frames: &mut PeerFrames,
    lost: &mut BoxFuture<'static, ()>,
    deadline: Deadline<R>,
) -> Result<Option<Frame>, Unserved> {
    let broken = |why: &str| Unserved::Broken(why.to_owned());
    let frame = match deadline.bound(select(frames.next(), lost)).await {
        Ok(Either::Left((frame, _lost))) => frame,
        Ok(Either::Right(((), _frame))) => return Err(broken("it fell silent")),
        Err(_elapsed) => return Ok(None),
    };
    match frame {
        Some(Ok(frame)) => {
            wire::decode(&frame).map(Some).ok_or_else(|| broken("a frame does not decode"))
        }
        // Not a word of the node's: it has not got the question.
        Some(Err(PeerError::Full { .. })) => Err(Unserved::Declined(Declined::Overloaded)),
        Some(Err(error)) => Err(Unserved::Broken(error.to_string())),
        None => Err(broken("it ended too early")),
    }
}

/// What an owner answers that has accepted; responses before the response are passed on. Those that are too
/// many for a client are dropped there, and here the deadline ends them: an owner that waited for another's fetch in
/// vain has those of two.
async fn answer_of<R: AsyncRuntime>(
    mut frames: PeerFrames,
    lost: &mut BoxFuture<'static, ()>,
    deadline: Deadline<R>,
    pass_on: impl Fn(Interim),
) -> Result<(Response<Body>, Hop), Unserved> {
    let out_of_place = || Unserved::Broken(OUT_OF_PLACE.to_owned());
    loop {
        return match next(&mut frames, lost, deadline).await {
            Ok(Some(Frame::Interim(status, fields))) => {
                pass_on(interim_of(status, fields).ok_or_else(out_of_place)?);
                continue;
            }
            Ok(Some(Frame::Head(head))) => answered(*head, frames).ok_or_else(out_of_place),
            Ok(Some(Frame::Declined(why))) => Err(Unserved::Declined(why)),
            Ok(Some(Frame::Failed(failed))) => Err(Unserved::Failed(failed)),
            Ok(Some(_other)) => Err(out_of_place()),
            Ok(None) => Err(Unserved::TooLong),
            Err(unserved) => Err(unserved),
        };
    }
}

/// The response before the response that a frame says; `None` if it is none.
fn interim_of(status: u16, fields: Fields) -> Option<Interim> {
    let status = StatusCode::from_u16(status).ok().filter(StatusCode::is_informational)?;
    Some(Interim { status, headers: headers_of(fields)? })
}

/// The response that begins with a head; `None` if it is none.
fn answered(head: Head, frames: PeerFrames) -> Option<(Response<Body>, Hop)> {
    let status = StatusCode::from_u16(head.status).ok().filter(|s| !s.is_informational())?;
    let age = head.age_us.map_or(Duration::ZERO, Duration::from_micros);
    let hop = Hop {
        member: head.member,
        age_rest: Duration::from_nanos(u64::from(age.subsec_nanos())),
        worked: Duration::from_micros(head.worked_us),
        lifetime: head.lifetime_us.map(Duration::from_micros),
        stands_in: head.stands_in,
    };
    let body = if head.length == Some(0) { empty() } else { body_of(frames) };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    *response.headers_mut() = headers_of(head.fields)?;
    Some((response, hop))
}

/// The body whose pieces these are.
fn body_of(frames: PeerFrames) -> Body {
    let pieces = stream::unfold(Some(frames), |frames| async move {
        let mut frames = frames?;
        let frame = match frames.next().await {
            Some(Ok(frame)) => wire::decode::<Frame>(&frame),
            Some(Err(error)) => return Some((Err(BodyError::from(error)), None)),
            None => None,
        };
        Some(match frame {
            Some(Frame::Data(piece)) => (Ok(http_body::Frame::data(piece)), Some(frames)),
            Some(Frame::Trailers(fields)) => match headers_of(fields) {
                Some(trailers) => (Ok(http_body::Frame::trailers(trailers)), Some(frames)),
                None => (Err(BodyError::from(OUT_OF_PLACE)), None),
            },
            Some(Frame::End) => return None,
            Some(Frame::BrokenOff(why)) => (Err(BodyError::from(why)), None),
            Some(_other) => (Err(BodyError::from(OUT_OF_PLACE)), None),
            None => (Err(BodyError::from("the owner's answer ended too early")), None),
        })
    });
    StreamBody::new(pieces).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use bytes::Bytes;
    use openraft_rt_tokio::TokioRuntime;

    use super::*;
    use crate::cache::interim::INTERIMS_MAX;

    fn frames(of: &[Frame]) -> PeerFrames {
        let frames: Vec<Bytes> = of.iter().map(|frame| wire::encode(frame).unwrap()).collect();
        Box::pin(stream::iter(frames.into_iter().map(Ok)))
    }

    fn head(status: u16, fields: &[(&str, &'static str)]) -> Head {
        let field = |(name, value): &(&str, &'static str)| ((*name).to_owned(), (*value).into());
        Head {
            status,
            fields: fields.iter().map(field).collect(),
            length: None,
            member: "a; hit".to_owned(),
            age_us: Some(2_400_000),
            worked_us: 700_000,
            lifetime_us: Some(60_000_000),
            stands_in: false,
        }
    }

    #[tokio::test]
    async fn a_body_is_whole_only_with_its_end() {
        let pieces = [Frame::Data("ab".into()), Frame::Data("c".into())];
        let whole = [&pieces[..], &[Frame::End]].concat();
        let body = body_of(frames(&whole)).collect().await.unwrap();
        assert_eq!(body.to_bytes(), "abc");
        for end in [None, Some(Frame::BrokenOff("reset".into())), Some(Frame::Accepted)] {
            let all: Vec<Frame> = pieces.iter().cloned().chain(end).collect();
            assert!(body_of(frames(&all)).collect().await.is_err());
        }
        let sum = Frame::Trailers(vec![("x-sum".to_owned(), "1".into())]);
        let body = body_of(frames(&[pieces[0].clone(), sum, Frame::End])).collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "1");
    }

    #[tokio::test]
    async fn however_many_come_before_the_answer_it_is_taken() {
        let mut all = vec![Frame::Interim(103, Vec::new()); 2 * INTERIMS_MAX];
        all.push(Frame::Head(Box::new(head(200, &[]))));
        let count = Cell::new(0);
        let deadline = Deadline::<TokioRuntime>::after(Duration::from_secs(5));
        let mut lost: BoxFuture<'static, ()> = Box::pin(std::future::pending());
        let pass_on = |_interim| count.set(count.get() + 1);
        let answer = answer_of(frames(&all), &mut lost, deadline, pass_on).await;
        assert_eq!(answer.ok().map(|(response, _hop)| response.status()), Some(StatusCode::OK));
        assert_eq!(count.get(), 2 * INTERIMS_MAX);
    }

    #[test]
    fn a_head_says_more_of_age_than_the_field_can() {
        let fields = [("age", "2"), ("etag", "\"a\"")];
        let (response, hop) = answered(head(200, &fields), frames(&[])).unwrap();
        assert_eq!(response.headers()["age"], "2");
        assert_eq!(hop.age_rest, Duration::from_millis(400));
        assert_eq!(hop.worked, Duration::from_millis(700));
        assert_eq!(hop.lifetime, Some(Duration::from_secs(60)));
        assert!(answered(head(101, &[]), frames(&[])).is_none());
        assert!(answered(head(99, &[]), frames(&[])).is_none());
        assert!(answered(head(200, &[("a b", "")]), frames(&[])).is_none());
    }
}

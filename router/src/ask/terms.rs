//! What a request to a shard is made of, and what comes back.

use std::{sync::Arc, time::Duration};

use hexpop_edge_config::NodeId;
use hexpop_shard::{LogPosition, ShardDescriptor, ShardKey, ShardMap};
use openraft_rt::AsyncRuntime;

use crate::{
    consistency::{Level, ReadPoint},
    deadline::Deadline,
    error::{Problem, RouteError},
};

/// What a request is about: how its shard is found again when the map has changed.
#[derive(Debug, Clone)]
pub(crate) enum Place {
    /// The shard that holds this key.
    Key(ShardKey),
    /// This shard, as long as its range is this.
    Shard(ShardDescriptor),
}

impl Place {
    pub(super) fn find(&self, map: &ShardMap) -> Result<ShardDescriptor, RouteError> {
        match self {
            Self::Key(key) => map.locate(key).cloned().ok_or_else(|| RouteError::no_shard(map)),
            // The map may be newer or older than where the descriptor is from.
            Self::Shard(asked) => match map.get(asked.id) {
                Some(known) if known.epoch > asked.epoch && known.range == asked.range => {
                    Ok(known.clone())
                }
                Some(_) | None => Ok(asked.clone()),
            },
        }
    }

    pub(super) fn holds(&self, descriptor: &ShardDescriptor) -> bool {
        match self {
            Self::Key(key) => descriptor.range.contains(key),
            Self::Shard(asked) => descriptor.id == asked.id && descriptor.range == asked.range,
        }
    }
}

/// How a read is made.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ReadTerms {
    pub(crate) level: Level,
    pub(crate) min_position: Option<LogPosition>,
}

impl ReadTerms {
    pub(crate) const fn at(level: Level) -> Self {
        Self { level, min_position: None }
    }
}

/// What all parts of one client's request share.
#[derive(Debug)]
pub(crate) struct Call<R: AsyncRuntime> {
    pub(crate) deadline: Deadline<R>,
    /// The W3C trace context.
    pub(crate) traceparent: Option<Arc<str>>,
    /// For one attempt at a leader; `None` = as the options say.
    pub(super) attempt_timeout: Option<Duration>,
}

impl<R: AsyncRuntime> Call<R> {
    pub(crate) const fn new(deadline: Deadline<R>, traceparent: Option<Arc<str>>) -> Self {
        Self { deadline, traceparent, attempt_timeout: None }
    }

    /// The same with more or less time for one attempt.
    pub(crate) const fn with_attempt_timeout(mut self, time: Duration) -> Self {
        self.attempt_timeout = Some(time);
        self
    }

    /// A call of the node itself.
    pub(crate) fn own(time: Duration) -> Self {
        Self::new(Deadline::after(time), None)
    }
}

impl<R: AsyncRuntime> Clone for Call<R> {
    fn clone(&self) -> Self {
        let (deadline, traceparent) = (self.deadline, self.traceparent.clone());
        Self { deadline, traceparent, attempt_timeout: self.attempt_timeout }
    }
}

/// An answer, and who gave it.
#[derive(Debug, Clone)]
pub(crate) struct Answered<T> {
    pub(crate) body: T,
    pub(crate) by: NodeId,
    pub(crate) level: Level,
    pub(crate) point: ReadPoint,
}

impl<T> Answered<T> {
    /// The same with the part of the body that was asked for; an answer of another kind is the
    /// shard's mistake.
    pub(crate) fn expect_body<U>(
        self,
        pick: impl FnOnce(T) -> Option<U>,
    ) -> Result<Answered<U>, RouteError> {
        let Self { body, by, level, point } = self;
        let body = pick(body).ok_or_else(|| {
            let detail = format!("shard {} gave an answer out of place", point.shard);
            RouteError::new(Problem::ShardUnavailable, detail)
        })?;
        Ok(Answered { body, by, level, point })
    }
}

//! Why a shard did not answer: what one attempt met, and what that means to the client.

use std::time::Duration;

use hexpop_edge_config::{
    NodeId, ShardId,
    planted::{self, Bug},
};
use hexpop_shard::{ReadAnswer, Refusal, Reply, ShardDescriptor};

use super::Answered;
use crate::{
    consistency::ReadPoint,
    error::{Problem, RouteError, WriteOutcome},
    port::PeerError,
    wire::{AnswerBody, ShardAnswer, ShardError},
};

/// One failed attempt.
#[derive(Debug)]
pub(super) enum Attempt {
    /// The breaker refused it.
    Refused,
    Peer(PeerError),
    Shard(ShardError),
    /// No answer in the time of the attempt.
    TimedOut,
    /// It fell silent while it was asked.
    Lost,
}

impl Attempt {
    /// Whether it is certain that a write was not applied.
    pub(super) const fn is_not_applied(&self) -> bool {
        match self {
            Self::Refused => true,
            Self::Peer(error) => error.is_not_executed(),
            Self::Shard(error) => error.is_not_applied(),
            Self::TimedOut | Self::Lost => false,
        }
    }

    pub(super) const fn label(&self) -> &'static str {
        match self {
            Self::Refused => "breaker_open",
            Self::Peer(_) => "unreachable",
            Self::TimedOut => "timeout",
            Self::Lost => "lost",
            Self::Shard(error) => match error {
                ShardError::StaleEpoch { .. } => "stale_epoch",
                ShardError::NotLeader { .. } => "not_leader",
                ShardError::NotHere => "not_here",
                ShardError::StalenessUnmet => "staleness_unmet",
                ShardError::Overloaded { .. } => "overloaded",
                ShardError::Unavailable { .. } => "unavailable",
                ShardError::Unknown { .. } => "unknown",
                ShardError::Invalid { .. } => "invalid",
            },
        }
    }

    pub(super) fn detail(&self) -> String {
        match self {
            Self::Refused => "its breaker is open".to_owned(),
            Self::Peer(error) => error.to_string(),
            Self::Shard(error) => error.to_string(),
            Self::TimedOut => "it did not answer in time".to_owned(),
            Self::Lost => "its node fell silent".to_owned(),
        }
    }
}

pub(super) const fn hint_was_followed(last: Option<&Attempt>) -> bool {
    matches!(last, Some(Attempt::Shard(ShardError::NotLeader { leader: Some(_) })))
}

/// Whether whoever leads may answer what the others did not. A shard that has just split off another may
/// not be anywhere yet: its leader is waited for like one that is being elected.
pub(super) const fn needs_leader(last: Option<&Attempt>) -> bool {
    matches!(
        last,
        Some(Attempt::Shard(
            ShardError::StalenessUnmet | ShardError::NotLeader { .. } | ShardError::NotHere
        ))
    )
}

/// What a leader answered.
#[derive(Debug)]
pub(super) struct Led {
    pub(super) answer: ShardAnswer,
    pub(super) by: NodeId,
    /// Whether an attempt before the one that was answered may have been applied.
    pub(super) unknown: bool,
}

impl Led {
    pub(super) fn answer(self) -> (ShardAnswer, NodeId) {
        (self.answer, self.by)
    }
}

/// Why a shard did not answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// The descriptor is out of date.
    Stale {
        /// What the shard says is newer.
        newer: Vec<ShardDescriptor>,
        /// Whether an attempt before that may have been applied. Its repeat under the same request is
        /// recognised wherever the key is by now.
        unknown: bool,
    },
    /// The state machine refused the command; nothing changed.
    Refused {
        /// Why.
        refusal: Refusal,
        /// Whether an attempt before that may yet be applied.
        unknown: bool,
    },
    /// Nobody answered.
    Nobody {
        /// What the last one said.
        last: Option<Attempt>,
        /// Whether a write may have been applied.
        unknown: bool,
    },
    /// The answer is of another kind than the question.
    Mismatch,
}

impl Failure {
    pub(super) const fn of(last: Option<Attempt>, unknown: bool) -> Self {
        Self::Nobody { last, unknown }
    }

    /// Whether the shard is about to be absorbed by its neighbour.
    pub(super) const fn is_sealed(&self) -> bool {
        matches!(self, Self::Refused { refusal: Refusal::Sealed { .. }, .. })
    }

    /// Whether an attempt may have been applied.
    pub(super) const fn is_unknown(&self) -> bool {
        match self {
            Self::Stale { unknown, .. }
            | Self::Refused { unknown, .. }
            | Self::Nobody { unknown, .. } => *unknown,
            Self::Mismatch => true,
        }
    }

    pub(super) fn to_error(&self, shard: &ShardDescriptor, is_write: bool) -> RouteError {
        let id = shard.id;
        let unavailable = |detail: String| RouteError::new(Problem::ShardUnavailable, detail);
        let (error, unknown) = match self {
            Self::Stale { unknown, .. } => {
                (unavailable(format!("shard {id} is changing its range")), *unknown)
            }
            Self::Refused { refusal, unknown } => (refused(refusal), *unknown),
            Self::Mismatch => {
                (unavailable(format!("shard {id} gave an answer out of place")), true)
            }
            Self::Nobody { last, unknown } => (nobody(id, last.as_ref()), *unknown),
        };
        match (is_write, unknown) {
            (false, _) => error,
            (true, false) => error.with_outcome(WriteOutcome::NotApplied),
            (true, true) => error.with_outcome(WriteOutcome::Unknown),
        }
    }
}

pub(crate) fn refused(refusal: &Refusal) -> RouteError {
    let problem = match refusal {
        Refusal::Limit(_) => Problem::Overloaded,
        Refusal::TooLarge { .. } => Problem::TooLarge,
        Refusal::UserQuota { .. } => Problem::TooManyRequests,
        Refusal::Invalid(_) => Problem::InvalidRequest,
        Refusal::StaleEpoch { .. }
        | Refusal::WrongKey { .. }
        | Refusal::WrongKind
        | Refusal::MembersChange { .. }
        | Refusal::Sealed { .. }
        | Refusal::Merging { .. }
        | Refusal::MergeOver { .. }
        | Refusal::Unfit(_)
        | Refusal::NotStaged { .. } => Problem::ShardUnavailable,
    };
    RouteError::new(problem, refusal.to_string())
}

fn nobody(shard: ShardId, last: Option<&Attempt>) -> RouteError {
    match last {
        Some(Attempt::Shard(ShardError::Overloaded { retry_after_ms })) => {
            let after = Duration::from_millis(u64::from(*retry_after_ms));
            RouteError::new(
                Problem::Overloaded,
                format!("the leader of shard {shard} is overloaded"),
            )
            .with_retry_after(after)
        }
        Some(Attempt::Shard(ShardError::StalenessUnmet)) => RouteError::new(
            Problem::StalenessUnmet,
            format!("no replica of shard {shard} can prove the bound on staleness"),
        ),
        Some(last) => RouteError::new(
            Problem::ShardUnavailable,
            format!("no replica of shard {shard} answered; the last one: {}", last.detail()),
        ),
        None => RouteError::new(
            Problem::ShardUnavailable,
            format!("no replica of shard {shard} can be asked"),
        ),
    }
}

fn point(shard: &ShardDescriptor, answer: &ShardAnswer) -> ReadPoint {
    ReadPoint {
        shard: shard.id,
        epoch: answer.epoch,
        position: answer.position,
        staleness_ms: answer.staleness_ms,
    }
}

pub(super) fn read_answer(
    shard: &ShardDescriptor,
    answer: ShardAnswer,
    by: NodeId,
) -> Result<Answered<ReadAnswer>, Failure> {
    let point = point(shard, &answer);
    match answer.body {
        AnswerBody::Read(ReadAnswer::Refused(
            Refusal::StaleEpoch { .. } | Refusal::WrongKey { .. },
        )) => Err(Failure::Stale { newer: Vec::new(), unknown: false }),
        AnswerBody::Read(ReadAnswer::Refused(refusal)) => {
            Err(Failure::Refused { refusal, unknown: false })
        }
        AnswerBody::Read(body) => Ok(Answered { body, by, level: answer.level_given, point }),
        AnswerBody::Written(_) => Err(Failure::Mismatch),
    }
}

pub(super) fn written(shard: &ShardDescriptor, led: Led) -> Result<Answered<Reply>, Failure> {
    let Led { answer, by, unknown } = led;
    let point = point(shard, &answer);
    match answer.body {
        // Not remembered under the request, unlike every other reply: what an attempt before it did may
        // have gone with its key.
        AnswerBody::Written(Reply::Refused(
            Refusal::StaleEpoch { .. } | Refusal::WrongKey { .. },
        )) => {
            let unknown = unknown && !planted::has(Bug::LostAttemptIsRefused);
            Err(Failure::Stale { newer: Vec::new(), unknown })
        }
        AnswerBody::Written(Reply::Refused(refusal)) => {
            // Any but a passing one is remembered under the request, so that nothing of it comes later.
            let unknown = unknown && refusal.is_passing();
            Err(Failure::Refused { refusal, unknown })
        }
        AnswerBody::Written(body) => Ok(Answered { body, by, level: answer.level_given, point }),
        AnswerBody::Read(_) => Err(Failure::Mismatch),
    }
}

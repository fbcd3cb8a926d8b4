//! Proposing to the meta group, wherever it is led; also what other groups without a range share of that.

use std::{sync::Arc, time::Duration};

use futures::future::BoxFuture;
use hexpop_edge_config::{Epoch, GroupId, NodeId};
use hexpop_shard::{MetaOp, MetaOutcome, Op, Reply};
use openraft::{AsyncRuntime, Instant as _};

use super::ASK;
use crate::{
    error::ProposeError,
    host::Inner,
    port::{Lane, TransportError},
    rpc::{Refused, Request, Response},
    wire::WireError,
};

/// How long a proposal may wait for the meta group's quorum.
pub(super) const COMMIT: Duration = Duration::from_secs(5);

/// How long before the next node is asked when nobody is known to lead.
const PAUSE: Duration = Duration::from_millis(100);

/// Proposes to the meta group if it is led here.
pub(crate) async fn propose_meta_here<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    op: MetaOp,
) -> Result<MetaOutcome, ProposeError> {
    let proposed = inner.propose(GroupId::META, Epoch::FIRST, None, Op::Meta(op), COMMIT).await?;
    match proposed.reply {
        Reply::Meta(outcome) => Ok(outcome),
        Reply::Refused(refusal) => Err(ProposeError::Invalid(refusal.to_string())),
        other => Err(ProposeError::Unknown(format!("an unexpected reply: {other:?}"))),
    }
}

/// Proposes to the meta group: here, or at whoever leads it, which is found by asking.
pub(crate) async fn propose_meta<R: AsyncRuntime>(
    inner: &Arc<Inner<R>>,
    op: MetaOp,
    deadline: Duration,
) -> Result<MetaOutcome, ProposeError> {
    let ask = |node| {
        let (inner, op) = (Arc::clone(inner), op.clone());
        Box::pin(async move {
            if node == inner.options.node {
                return propose_meta_here(&inner, op).await;
            }
            match there(&inner, node, Request::<R>::ProposeMeta { op }).await? {
                Response::Meta(outcome) => Ok(outcome),
                _ => Err(other_kind()),
            }
        }) as BoxFuture<'static, _>
    };
    at_leader(inner, GroupId::META, deadline, ask).await
}

/// Has whoever leads a group without a range do something that is harmless to repeat: asks around until
/// somebody does it, or the deadline.
pub(super) async fn at_leader<R: AsyncRuntime, T>(
    inner: &Inner<R>,
    group: GroupId,
    deadline: Duration,
    ask: impl Fn(NodeId) -> BoxFuture<'static, Result<T, ProposeError>>,
) -> Result<T, ProposeError> {
    let until = R::Instant::now() + deadline;
    let mut hint = None;
    let mut turn = inner.next_turn();
    // Whoever said last that it does not lead is not asked again on the word of the replica here.
    let mut refused = None;
    loop {
        let to = match hint.take().or_else(|| believed(inner, group, refused)) {
            Some(node) => Some(node),
            None => {
                let voters = inner.voters_without_range(group);
                turn = turn.wrapping_add(1);
                turn.checked_rem(voters.len()).and_then(|at| voters.get(at).copied())
            }
        };
        let answer = match to {
            None => Err(ProposeError::NotLeader { leader: None }),
            Some(node) => ask(node).await,
        };
        let error = match answer {
            Ok(outcome) => return Ok(outcome),
            Err(ProposeError::NotLeader { leader }) => {
                hint = leader.filter(|leader| Some(*leader) != to);
                refused = to;
                ProposeError::NotLeader { leader }
            }
            Err(ProposeError::NotHere) => {
                // The group may have moved on from whoever was asked.
                inner.wake_map.notify_one();
                refused = to;
                ProposeError::NotHere
            }
            Err(error @ ProposeError::Overloaded) => error,
            Err(error) => return Err(error),
        };
        if R::Instant::now() + PAUSE >= until {
            return Err(error);
        }
        if hint.is_none() {
            R::sleep(PAUSE).await;
        }
    }
}

/// Whom the replica here believes to lead, if that node is heard: one that is dead would be waited for in vain
/// while the others have elected another one.
fn believed<R: AsyncRuntime>(
    inner: &Inner<R>,
    group: GroupId,
    refused: Option<NodeId>,
) -> Option<NodeId> {
    let node = inner.group(group)?.leader_node()?;
    let is_heard = node == inner.options.node || inner.pairs.lock().hears(node);
    (is_heard && Some(node) != refused).then_some(node)
}

/// An answer that does not fit the question.
pub(super) fn other_kind() -> ProposeError {
    ProposeError::Unknown("an answer of another kind".to_owned())
}

/// Sends a proposal to another node.
pub(super) async fn there<R: AsyncRuntime>(
    inner: &Inner<R>,
    node: NodeId,
    request: Request<R>,
) -> Result<Response<R>, ProposeError> {
    match inner.wire.call(node, None, Lane::Bulk, request, COMMIT + ASK).await {
        Ok(answer) => Ok(answer),
        Err(WireError::Refused(Refused::NotLeader { leader })) => {
            Err(ProposeError::NotLeader { leader })
        }
        Err(WireError::Refused(Refused::NotYet | Refused::Halted)) => Err(ProposeError::NotHere),
        Err(WireError::Refused(Refused::Busy)) => Err(ProposeError::Overloaded),
        // Never sent, as far as one can tell; and what is proposed this way is harmless to repeat.
        Err(WireError::Transport(TransportError::Unreachable(_) | TransportError::Overloaded)) => {
            Err(ProposeError::NotHere)
        }
        Err(error) => Err(ProposeError::Unknown(error.to_string())),
    }
}

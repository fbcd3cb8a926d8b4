//! Following the shard map: pulled from a member when somebody mentions a newer one, and now and then.

use std::{sync::Arc, time::Duration};

use hexpop_edge_config::{GroupId, NodeId};
use openraft::AsyncRuntime;

use super::{ASK, decide};
use crate::{
    host::Inner,
    port::Lane,
    rpc::{Request, Response},
};

/// How often a node without a map asks.
const PAUSE_EMPTY: Duration = Duration::from_millis(500);

/// How often a node with a map asks.
const PAUSE: Duration = Duration::from_secs(5);

/// The least time between two questions, however often they are prompted.
const GAP: Duration = Duration::from_millis(100);

pub(super) async fn step<R: AsyncRuntime>(inner: Arc<Inner<R>>) -> Duration {
    if let Some(meta) = inner.group(GroupId::META) {
        inner.learn_from_meta(&meta);
    }
    let known = inner.map().version();
    let hint = inner.hint.lock().take().filter(|(version, _)| *version > known);
    let members = inner.membership.members();
    let voters = inner.voters_without_range(GroupId::META);
    let turn = inner.next_turn();
    let asked = decide::whom_to_ask(inner.options.node, hint, &voters, &members, turn);
    for node in asked {
        if pull(&inner, node, known).await {
            break;
        }
    }
    R::sleep(GAP).await;
    if inner.map().is_empty() { PAUSE_EMPTY } else { PAUSE }
}

/// Asks one node; answers whether it knew a map, newer or not.
async fn pull<R: AsyncRuntime>(inner: &Inner<R>, node: NodeId, known: u64) -> bool {
    let request = Request::<R>::PullMap { known };
    match inner.wire.call(node, None, Lane::Bulk, request, ASK).await {
        Ok(Response::Map(pulled)) => {
            let had_any = pulled.secret.is_some();
            let map = pulled.map.map_or_else(|| inner.map(), Arc::new);
            if let Err(error) = map.check()
                && !map.is_empty()
            {
                tracing::error!(%node, %error, "a pulled shard map is not one");
                return false;
            }
            inner.learn_map(map, pulled.secret, pulled.seats);
            had_any
        }
        Ok(_) => false,
        Err(error) => {
            tracing::debug!(%node, %error, "no shard map from there");
            false
        }
    }
}

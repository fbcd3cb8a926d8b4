//! Asks the members which groups they lead, for placement to even them out.

use std::{sync::Arc, time::Duration};

use futures::StreamExt;
use openraft::AsyncRuntime;

use super::{hello, place};
use crate::host::Inner;

/// How often members are asked.
const PAUSE: Duration = Duration::from_secs(3);

/// How many are asked at a time.
const ASKED_AT_ONCE: usize = 16;

pub(super) async fn step<R: AsyncRuntime>(inner: Arc<Inner<R>>) -> Duration {
    let members = inner.membership.members();
    inner.retain_leads(&members);
    let others = members.iter().filter(|member| member.alive && member.node != inner.options.node);
    futures::stream::iter(others.map(|member| member.node))
        .for_each_concurrent(ASKED_AT_ONCE, |node| {
            let inner = Arc::clone(&inner);
            async move {
                let found = hello(&inner, node).await;
                if let Some(found) = &found {
                    inner.on_map_hint(found.map_version, node);
                }
                inner.note_leads(node, found.map(|found| found.leads));
            }
        })
        .await;
    inner.surveyed();
    place::survey_loads(&inner).await;
    PAUSE
}

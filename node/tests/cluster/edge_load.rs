//! A thousand clients ask for one page that is not stored.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use crate::{client::RUNTIME, edge::Edge, mesh::PATIENCE, scripted::Reply, wait::until};

const CLIENTS: usize = 1000;

/// A counter of the node.
fn counter(edge: &Edge, name: &str) -> u64 {
    let text = edge.mesh.node(1).admin("/metrics").expect(200).text();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// What became of a thousand requests for a page whose first answer from the origin is this: how many
/// requests the origin got, and how many clients got which status.
fn thousand(edge: &Edge, path: &str, reply: Reply, opens: bool) -> (usize, Vec<(u16, usize)>) {
    edge.origin.open(false);
    edge.origin.answers(path, reply);
    let url: http::Uri = format!("{}{path}", edge.mesh.node(1).http).parse().unwrap();
    let waited = counter(edge, "hexpop_cache_coalesced_total");
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let broken = AtomicU64::new(0);
    let all = async {
        let asks = (0..CLIENTS).map(|_| async {
            let response = client.get(url.clone()).await.unwrap();
            let status = response.status().as_u16();
            if response.into_body().collect().await.is_err() {
                broken.fetch_add(1, Ordering::Relaxed);
            }
            status
        });
        join_all(asks).await
    };
    let statuses = std::thread::scope(|scope| {
        let asking = scope.spawn(|| RUNTIME.block_on(all));
        until("all but one wait", PATIENCE, || {
            let waiting = counter(edge, "hexpop_cache_coalesced_total") - waited;
            if waiting == CLIENTS as u64 - 1 { Ok(()) } else { Err(waiting) }
        });
        edge.origin.open(opens);
        asking.join().unwrap()
    });
    assert_eq!(broken.load(Ordering::Relaxed), 0);
    let mut counts: Vec<(u16, usize)> = Vec::new();
    for status in statuses {
        match counts.iter_mut().find(|(known, _count)| *known == status) {
            Some((_known, count)) => *count += 1,
            None => counts.push((status, 1)),
        }
    }
    (edge.origin.seen(path).len(), counts)
}

fn gated(status: u16, control: &str) -> Reply {
    Reply { gated: true, ..Reply::new(status, &[("cache-control", control)], "page") }
}

#[test]
fn a_thousand_requests_for_one_page_are_one_request_to_the_origin_whatever_comes() {
    let edge = Edge::start("edge-load", 1);
    let page = thousand(&edge, "/load/page", gated(200, "max-age=60"), true);
    assert_eq!(page, (1, vec![(200, CLIENTS)]));
    let missing = thousand(&edge, "/load/missing", gated(404, "max-age=60"), true);
    assert_eq!(missing, (1, vec![(404, CLIENTS)]));
    // An answer that is an error is one for all.
    let error = thousand(&edge, "/load/error", gated(503, "no-store"), true);
    assert_eq!(error.0, 1, "{error:?}");
    // One that is for one client only sends the others to the origin, at once and all together.
    let private = thousand(&edge, "/load/private", gated(200, "private"), true);
    assert_eq!(private, (CLIENTS, vec![(200, CLIENTS)]));
    // One that does not come is waited for once, and no longer than the deadline.
    let stalled = thousand(&edge, "/load/stalled", gated(200, "max-age=60"), false);
    assert_eq!(stalled, (1, vec![(504, CLIENTS)]));
}

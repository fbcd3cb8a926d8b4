//! A thousand clients ask for one page that is not stored.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use futures::future::join_all;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use crate::{client::RUNTIME, edge::Edge, mesh::PATIENCE, scripted::Reply, wait::until};

const CLIENTS: usize = 1000;

/// What became of a thousand requests, spread over all nodes, for a page whose first answer from the origin
/// is this: how many requests the origin got, and how many clients got which status.
fn thousand(edge: &Edge, path: &str, reply: Reply, opens: bool) -> (usize, Vec<(u16, usize)>) {
    edge.origin.open(false);
    edge.origin.answers(path, reply);
    let urls: Vec<http::Uri> = edge
        .mesh
        .nodes
        .iter()
        .map(|node| format!("{}{path}", node.http).parse().unwrap())
        .collect();
    let waited = edge.counter("hexpop_cache_coalesced_total");
    let client: Client<_, Empty<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let broken = AtomicU64::new(0);
    let all = async {
        let asks = (0..CLIENTS).map(|nth| {
            let url = urls[nth % urls.len()].clone();
            let (client, broken) = (&client, &broken);
            async move {
                // One name for all nodes.
                let request = http::Request::get(url).header("host", "www.example.com");
                let response = client.request(request.body(Empty::new()).unwrap()).await.unwrap();
                let status = response.status().as_u16();
                if response.into_body().collect().await.is_err() {
                    broken.fetch_add(1, Ordering::Relaxed);
                }
                status
            }
        });
        join_all(asks).await
    };
    let statuses = std::thread::scope(|scope| {
        let asking = scope.spawn(|| RUNTIME.block_on(all));
        // Whoever asks at a node that asks another waits there, and that node waits at the other.
        until("all but one wait", PATIENCE, || {
            let waiting = edge.counter("hexpop_cache_coalesced_total") - waited;
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
    whatever_comes(&Edge::start("edge-load", 1));
}

#[test]
fn they_are_one_request_as_well_when_they_are_spread_over_three_nodes_of_a_pop() {
    whatever_comes(&Edge::start_in("edge-load-pop", 3, Some("mil")));
}

fn whatever_comes(edge: &Edge) {
    let page = thousand(edge, "/load/page", gated(200, "max-age=60"), true);
    assert_eq!(page, (1, vec![(200, CLIENTS)]));
    let missing = thousand(edge, "/load/missing", gated(404, "max-age=60"), true);
    assert_eq!(missing, (1, vec![(404, CLIENTS)]));
    // An answer that is an error is one for all.
    let error = thousand(edge, "/load/error", gated(503, "no-store"), true);
    assert_eq!(error.0, 1, "{error:?}");
    // One that is for one client only sends the others to the origin, at once and all together.
    let private = thousand(edge, "/load/private", gated(200, "private"), true);
    assert_eq!(private, (CLIENTS, vec![(200, CLIENTS)]));
    // One that does not come is waited for once, and no longer than the deadline.
    let stalled = thousand(edge, "/load/stalled", gated(200, "max-age=60"), false);
    assert_eq!(stalled, (1, vec![(504, CLIENTS)]));
}

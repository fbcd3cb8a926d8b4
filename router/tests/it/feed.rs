use std::{sync::Arc, time::Duration};

use hexpop_router::RouterOptions;
use parking_lot::Mutex;

use crate::{
    mesh::{Mesh, listing, op_of},
    origin::{Got, TestOrigin, port, respond},
};

/// An origin's export and change feed, as lists that a test changes.
#[derive(Default)]
struct Platform {
    listings: Vec<String>,
    changes: Vec<String>,
    first_change: usize,
}

fn origin(platform: &Arc<Mutex<Platform>>) -> Arc<TestOrigin> {
    let platform = Arc::clone(platform);
    TestOrigin::new(move |got: &Got| {
        let platform = platform.lock();
        let value = |name: &str| {
            let query = got.target.split_once('?').unwrap().1;
            let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.find(|(found, _)| *found == name).map(|(_, value)| value.to_owned())
        };
        assert_eq!(value("territory").unwrap(), "IT%3Alazio");
        if got.target.starts_with("/edge/v1/listings?") {
            let after = value("after");
            let limit: usize = value("limit").unwrap().parse().unwrap();
            let id = |line: &&String| line.split('"').nth(3).unwrap().to_owned();
            let page = platform.listings.iter().filter(|line| Some(id(line)) > after).take(limit);
            let page: Vec<String> = page.cloned().collect();
            let cursor = (platform.first_change + platform.changes.len()).to_string();
            return respond(200, &[("hexpop-feed-cursor", &cursor)], &page.join("\n"));
        }
        let since: usize = value("since").unwrap().parse().unwrap();
        if since < platform.first_change {
            return respond(410, &[], "");
        }
        let lines: Vec<String> = (since + 1..)
            .zip(platform.changes.iter().skip(since - platform.first_change))
            .map(|(cursor, change)| format!(r#"{{"cursor":"{cursor}",{change}}}"#))
            .chain([format!(
                r#"{{"cursor":"{}","heartbeat":true}}"#,
                platform.first_change + platform.changes.len()
            )])
            .collect();
        respond(200, &[], &lines.join("\n"))
    })
}

fn follow(options: &mut RouterOptions) {
    options.feed.territories = vec!["IT:lazio".parse().unwrap()];
    options.feed.page_lines = 7;
}

fn platform(listings: usize) -> Arc<Mutex<Platform>> {
    let listings = (0..listings).map(|n| listing(&format!("l{n:03}"), "IT:lazio", 1, 1)).collect();
    Arc::new(Mutex::new(Platform { listings, ..Platform::default() }))
}

fn is_complete(mesh: &Mesh) -> bool {
    let requests = mesh.take_requests();
    requests.iter().filter_map(|(_, request)| op_of(request)).any(|op| {
        matches!(
            op,
            hexpop_shard::Op::Listings(hexpop_shard::ListingsOp::MarkComplete {
                complete: true,
                ..
            })
        )
    })
}

#[tokio::test(start_paused = true)]
async fn the_export_is_loaded_then_changes_follow_and_another_leader_goes_on() {
    let mesh = Mesh::new(3, &["IT:lazio"]);
    let platform = platform(40);
    let origin = origin(&platform);
    let routers: Vec<_> =
        (1..=3).map(|node| mesh.router_with(node, port(&origin), follow)).collect();
    let shard = mesh.shard_of("IT:lazio");
    mesh.lead(shard, 1);
    let handles: Vec<_> = routers.iter().map(|router| router.follow_feeds()).collect();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(mesh.found().len(), 40);
    assert!(is_complete(&mesh));
    platform.lock().changes.extend([
        format!(r#""listing":{}"#, listing("new", "IT:lazio", 1, 1)),
        r#""delete":"l000","version":2"#.to_owned(),
        r#""listing":{"id":"broken"}"#.to_owned(),
    ]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let found = mesh.found();
    assert!(found.contains_key("new") && !found.contains_key("l000"));
    let exports = |origin: &TestOrigin| {
        origin.got.lock().iter().filter(|got| got.target.contains("/listings?")).count()
    };
    let before = exports(&origin);
    mesh.lead(shard, 2);
    tokio::time::sleep(Duration::from_secs(5)).await;
    platform.lock().changes.push(r#""delete":"l001","version":2"#.to_owned());
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert!(!mesh.found().contains_key("l001"));
    // The cursor was in the log: nothing was loaded again.
    assert_eq!(exports(&origin), before);
    drop(handles);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let count = origin.count();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(origin.count(), count);
}

#[tokio::test(start_paused = true)]
async fn a_cursor_that_is_gone_leads_to_another_load() {
    let mesh = Mesh::new(1, &["IT:lazio"]);
    let platform = platform(3);
    let origin = origin(&platform);
    let router = mesh.router_with(1, port(&origin), follow);
    let _handle = router.follow_feeds();
    tokio::time::sleep(Duration::from_secs(5)).await;
    {
        let mut platform = platform.lock();
        platform.first_change = 100;
        platform.listings.push(listing("later", "IT:lazio", 1, 1));
    }
    tokio::time::sleep(Duration::from_secs(90)).await;
    assert!(mesh.found().contains_key("later"));
}

#[tokio::test(start_paused = true)]
async fn an_origin_without_a_feed_leaves_the_mesh_to_the_ingest_interface() {
    let mesh = Mesh::new(1, &["IT:lazio"]);
    let origin = TestOrigin::none();
    let router = mesh.router_with(1, port(&origin), follow);
    let _handle = router.follow_feeds();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(is_complete(&mesh));
    let count = origin.count();
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(origin.count(), count);
}

#[tokio::test(start_paused = true)]
async fn an_origin_that_comes_late_is_loaded_when_it_does() {
    let mesh = Mesh::new(1, &["IT:lazio"]);
    let platform = platform(3);
    let origin = origin(&platform);
    origin.down.store(true, std::sync::atomic::Ordering::Relaxed);
    let router = mesh.router_with(1, port(&origin), follow);
    let _handle = router.follow_feeds();
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(mesh.found().is_empty());
    origin.down.store(false, std::sync::atomic::Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(mesh.found().len(), 3);
}

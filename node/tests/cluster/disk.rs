//! The HTTP cache on disk: what memory has no room for, over a crash, over purges of meanwhile, and without it.

use std::fs;

use serde_json::json;

use crate::{
    client::Answer,
    edge::Edge,
    mesh::{Data, Mesh, Node, PATIENCE, turn},
    scripted::{Reply, Scripted},
    wait::{until, until_true},
};

/// Little memory, so that most of what is stored is on disk.
const ENV: &[(&str, &str)] = &[
    ("HEXPOP__CACHE__BYTES", "1MiB"),
    ("HEXPOP__CACHE__OBJECT_MAX", "256KiB"),
    ("HEXPOP__CACHE__DISK__BYTES", "64MiB"),
];

const FIELDS: [(&str, &str); 3] =
    [("cache-control", "max-age=3600"), ("etag", "\"v1\""), ("surrogate-key", "pages")];
const PAGES: usize = 40;
const PAGE_BYTES: usize = 100 << 10;
const LARGE_BYTES: u64 = 4 << 20;

fn path(page: usize) -> String {
    format!("/disk/{page}")
}

fn body(page: usize) -> String {
    let mut body = format!("page {page} ");
    body.push_str(&".".repeat(PAGE_BYTES));
    body
}

fn status(answer: &Answer) -> String {
    answer.header("cache-status").to_owned()
}

/// What the node says of its disk.
fn disk(node: &Node) -> serde_json::Value {
    node.admin("/admin/v1/status").expect(200).json()["cache"]["disk"].clone()
}

fn start() -> Edge {
    let origin = Scripted::start();
    let mesh = Mesh::start_in("disk", 3, Data::Behind(origin.url()), None, ENV);
    mesh.wait_until_purges_are_followed();
    for page in 0..PAGES {
        origin.answers(&path(page), Reply::new(200, &FIELDS, &body(page)));
    }
    let large = Reply { zeros: LARGE_BYTES, ..Reply::new(200, &FIELDS, "large") };
    origin.answers("/disk/large", large);
    Edge { origin, mesh }
}

fn large(node: &Node) -> u64 {
    node.get("/disk/large").expect(200).body.len() as u64
}

#[test]
fn what_memory_has_no_room_for_is_kept_on_disk_over_a_crash_and_obeys_purges() {
    let _turn = turn();
    let mut edge = start();
    is_kept(&edge);
    outlives_a_crash(&mut edge);
    assert_eq!(edge.mesh.defects_logged(), Vec::<String>::new());
    is_done_without(&mut edge);
}

fn is_kept(edge: &Edge) {
    let node = edge.mesh.node(3);
    for page in 0..PAGES {
        assert_eq!(node.get(&path(page)).expect(200).text(), body(page));
    }
    assert_eq!(large(node), LARGE_BYTES);
    until_true("most of it is on disk", PATIENCE, || {
        let entries = disk(node)["entries"].as_u64().unwrap();
        entries > (PAGES - 12) as u64 && edge.stored(3, "/disk/large")
    });
    for page in 0..PAGES {
        let again = node.get(&path(page)).expect(200);
        assert!(status(&again).contains("; hit"), "{page}: {}", status(&again));
        assert_eq!(again.text(), body(page));
        assert_eq!(edge.origin.seen(&path(page)).len(), 1);
    }
    assert_eq!(large(node), LARGE_BYTES);
    let part = node.send("GET", "/disk/large", &[("range", "bytes=3000000-3000009")], "");
    assert_eq!((part.status, part.body.as_ref()), (206, &[b'\0'; 10][..]));
    assert_eq!(edge.origin.seen("/disk/large").len(), 1);
    assert!(node.admin("/metrics").expect(200).text().contains("hexpop_cache_disk_up 1"));
}

/// While it is away half of the pages are purged.
fn outlives_a_crash(edge: &mut Edge) {
    let position = edge.mesh.node(3).data_dir.join("cache/position");
    until_true("its position is on disk", PATIENCE, || position.exists());
    edge.mesh.kill(3);
    let urls: Vec<String> = (0..PAGES / 2).map(path).collect();
    let purged = edge.mesh.node(1).admin_post("/admin/v1/purge", &json!({"urls": urls}));
    // 202 where it is given up to wait for the node that is away; the others have it either way.
    let purged = purged.unwrap().status;
    assert!(matches!(purged, 200 | 202), "{purged}");
    edge.mesh.restart(3);
    edge.mesh.wait_ready(3);
    let node = edge.mesh.node(3);
    until("it follows the purges again", PATIENCE, || {
        let text = node.admin("/metrics").expect(200).text();
        let silence = text.lines().find(|line| line.starts_with("hexpop_purge_silence_seconds"));
        let silence = silence.and_then(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        if silence.is_some_and(|silence| silence >= 0.0) { Ok(()) } else { Err(silence) }
    });
    assert!(disk(node)["entries"].as_u64().unwrap() > 0, "it is there still");
    let mut confirmed = 0;
    for page in 0..PAGES {
        let is_purged = page < PAGES / 2;
        if !is_purged {
            edge.origin.answers(&path(page), Reply::new(304, &FIELDS, ""));
        }
        let answer = node.send("GET", &path(page), &[], "");
        let asked = edge.origin.seen(&path(page));
        assert_eq!(asked.len(), 2, "{page}: what is of before is never used without asking");
        let is_conditional = asked[1].headers.contains_key("if-none-match");
        assert!(!(is_purged && is_conditional), "{page}: {}", status(&answer));
        if is_conditional {
            assert_eq!(answer.expect(200).text(), body(page));
            confirmed += 1;
        }
    }
    assert!(confirmed > PAGES / 4, "{confirmed}");
}

/// Where the disk cannot be used the node serves all the same, and says so.
fn is_done_without(edge: &mut Edge) {
    edge.mesh.kill(3);
    let dir = edge.mesh.node(3).data_dir.join("cache");
    fs::remove_dir_all(&dir).unwrap();
    fs::write(&dir, "in the way").unwrap();
    edge.mesh.restart(3);
    edge.mesh.wait_ready(3);
    let node = edge.mesh.node(3);
    let ready = node.admin("/readyz?verbose").expect(200).text();
    assert!(ready.contains("[!]cache-disk off until the next start"), "{ready}");
    assert!(node.admin("/metrics").expect(200).text().contains("hexpop_cache_disk_up 0"));
    assert!(disk(node)["off"].is_string());
    edge.origin.answers("/disk/0", Reply::new(200, &FIELDS, "again"));
    assert_eq!(node.get("/disk/0").expect(200).text(), "again");
    assert_eq!(large(node), LARGE_BYTES);
}

//! Sessions as the API promises them, each step at another node.

use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::{
    client::Answer,
    mesh::{Mesh, Node, PATIENCE},
    wait::until,
};

const SESSIONS: &str = "/api/v1/sessions";
const JSON: (&str, &str) = ("content-type", "application/json");

/// A session id that no other test uses.
fn fresh(territory: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{territory}.test-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

fn path(id: &str) -> String {
    format!("{SESSIONS}/{id}")
}

fn put(node: &Node, id: &str, headers: &[(&str, &str)], value: u64) -> Answer {
    let body =
        json!({"userId": format!("user of {id}"), "ttlSeconds": 600, "data": {"value": value}});
    let headers: Vec<(&str, &str)> = std::iter::once(JSON).chain(headers.iter().copied()).collect();
    node.send("PUT", &path(id), &headers, &body.to_string())
}

/// The entity tag: strong, and the version in quotes.
#[track_caller]
fn tag(answer: &Answer) -> String {
    let tag = answer.header("etag").to_owned();
    assert!(tag.starts_with('"') && tag.ends_with('"') && tag.len() > 2, "{tag}");
    tag
}

#[test]
fn a_created_session_is_read_everywhere_until_it_is_deleted() {
    let mesh = Mesh::shared();
    // A territory with listings, and one that nobody has heard of.
    for (territory, prefix) in [("IT:lombardia", "it-lombardia."), ("NZ:otago", "nz-otago.")] {
        let body = json!({
            "territory": territory, "userId": "u1", "ttlSeconds": 1_800,
            "data": {"cart": ["lst_000001"], "big": 12_345_678_901_u64},
        });
        let created = mesh.node(1).post(SESSIONS, &body).expect(201);
        let session = created.json();
        let id = session["id"].as_str().unwrap();
        assert!(id.starts_with(prefix), "{id}");
        assert!(created.header("location").ends_with(&path(id)), "{:?}", created.headers);
        assert_eq!(tag(&created), format!("\"{}\"", session["version"].as_str().unwrap()));
        assert!(!created.header("hexpop-token").is_empty(), "{:?}", created.headers);
        for node in &mesh.nodes {
            // Strong is the default for sessions.
            let read = node.get(&path(id)).expect(200);
            assert_eq!(read.json()["data"], body["data"]);
            assert_eq!(read.json()["userId"], "u1");
            assert_eq!(tag(&read), tag(&created));
            let consistency = read.header("hexpop-consistency");
            assert!(consistency.starts_with("strong"), "{consistency}");
            assert!(consistency.contains("epoch=\""), "{consistency}");
        }
        mesh.node(2).send("DELETE", &path(id), &[], "").expect(204);
        for node in &mesh.nodes {
            node.get(&path(id)).problem(404);
        }
        mesh.node(3).send("DELETE", &path(id), &[], "").problem(404);
    }
}

#[test]
fn put_creates_replaces_and_compares() {
    let mesh = Mesh::shared();
    let id = fresh("it-lazio");
    let first = put(mesh.node(1), &id, &[], 1).expect(201);
    let second = put(mesh.node(2), &id, &[], 2).expect(200);
    assert_ne!(tag(&first), tag(&second));
    assert_eq!(second.json()["data"]["value"], 2);

    let (old, new) = (tag(&first), tag(&second));
    put(mesh.node(3), &id, &[("if-match", &old)], 3).problem(412);
    let third = put(mesh.node(3), &id, &[("if-match", &new)], 3).expect(200);
    put(mesh.node(1), &id, &[("if-none-match", "*")], 4).problem(412);
    put(mesh.node(1), &fresh("it-lazio"), &[("if-match", &new)], 4).problem(412);
    put(mesh.node(1), &fresh("it-lazio"), &[("if-none-match", "*")], 4).expect(201);
    assert_eq!(mesh.node(2).strong(&id).json()["data"]["value"], 3);

    let tag_of_third = tag(&third);
    let delete = |headers: &[(&str, &str)]| mesh.node(2).send("DELETE", &path(&id), headers, "");
    delete(&[("if-match", &new)]).problem(412);
    delete(&[("if-match", &tag_of_third)]).expect(204);
    // A version is never used again, even after the session is gone.
    let again = put(mesh.node(1), &id, &[], 5).expect(201);
    for other in [&first, &second, &third] {
        assert_ne!(tag(&again), tag(other));
    }
}

#[test]
fn of_two_that_compare_with_one_version_one_wins() {
    let mesh = Mesh::shared();
    let id = fresh("es-madrid");
    let mut current = tag(&put(mesh.node(1), &id, &[], 0).expect(201));
    for round in 1..=10 {
        let statuses: Vec<Answer> = std::thread::scope(|scope| {
            let rivals: Vec<_> = mesh
                .nodes
                .iter()
                .map(|node| {
                    let (id, current) = (&id, &current);
                    scope.spawn(move || {
                        put(node, id, &[("if-match", current)], round * 10 + node.id)
                    })
                })
                .collect();
            rivals.into_iter().map(|rival| rival.join().unwrap()).collect()
        });
        let won: Vec<&Answer> = statuses.iter().filter(|answer| answer.status == 200).collect();
        assert_eq!(won.len(), 1, "{statuses:?}");
        for lost in statuses.iter().filter(|answer| answer.status != 200) {
            lost.problem(412);
        }
        current = tag(won[0]);
        for node in &mesh.nodes {
            assert_eq!(tag(&node.strong(&id).expect(200)), current);
        }
    }
}

#[test]
fn sessions_expire_unless_sliding_ones_are_touched_or_read() {
    let mesh = Mesh::shared();
    let user = "expiring";
    let create = |ttl: u64, sliding: bool| {
        let body = json!({
            "territory": "IT:lazio", "userId": user, "ttlSeconds": ttl, "sliding": sliding, "data": 1,
        });
        let session = mesh.node(1).post(SESSIONS, &body).expect(201).json();
        session["id"].as_str().unwrap().to_owned()
    };
    let (touched, read, fixed) = (create(5, true), create(5, true), create(6, false));
    let touch =
        |id: &str| mesh.node(2).send("POST", &format!("{}/touch", path(id)), &[JSON], "").status;
    let before = tag(&mesh.node(1).strong(&read).expect(200));
    // The sliding ones are used until the other one, which had longer to live, has expired.
    until("the session expires", PATIENCE, || {
        assert_eq!(touch(&touched), 204);
        mesh.node(3).get(&path(&read)).expect(200);
        // A touch is no error for a session that does not slide, and renews nothing.
        let status = touch(&fixed);
        if status == 404 { Ok(()) } else { Err(status) }
    });
    mesh.node(3).get(&path(&fixed)).problem(404);
    let after = mesh.node(1).strong(&read).expect(200);
    assert_eq!(tag(&after), before, "a renewal does not change the version");
    put(mesh.node(1), &fixed, &[("if-none-match", "*")], 1).expect(201);
    // An export reads no session.
    until("unused, they expire", PATIENCE, || {
        let export = mesh.node(1).get(&format!("/api/v1/users/{user}/export")).expect(200).json();
        if export["sessions"] == json!([]) { Ok(()) } else { Err(export.to_string()) }
    });
    for id in [&touched, &read] {
        assert_eq!(touch(id), 404);
        mesh.node(2).get(&path(id)).problem(404);
    }
}

#[test]
fn a_repeated_create_gives_the_first_answer() {
    let mesh = Mesh::shared();
    let body =
        |value: u64| json!({"territory": "FR:occitanie", "userId": "u1", "data": {"value": value}});
    let key = format!("\"{}\"", fresh("key"));
    let create = |node: u64, value: u64| {
        let headers = [JSON, ("idempotency-key", key.as_str())];
        mesh.node(node).send("POST", SESSIONS, &headers, &body(value).to_string())
    };
    let first = create(1, 1).expect(201);
    for node in 1..=3 {
        let again = create(node, 1).expect(201);
        assert_eq!(again.json()["id"], first.json()["id"]);
        assert_eq!(tag(&again), tag(&first));
        assert_eq!(again.header("hexpop-replayed"), "?1");
    }
    create(2, 2).problem(422);
}

#[test]
fn reads_that_carry_a_token_see_the_write() {
    let mesh = Mesh::shared();
    let id = fresh("es-madrid");
    for value in 0..20 {
        let writer = &mesh.nodes[value % 3];
        let written = put(writer, &id, &[], value as u64);
        let token = written.header("hexpop-token");
        for reader in &mesh.nodes {
            let headers = [("hexpop-consistency", "eventual"), ("hexpop-token", token)];
            let read = reader.send("GET", &path(&id), &headers, "").expect(200);
            assert_eq!(read.json()["data"]["value"], value, "node {}", reader.id);
        }
    }
}

#[test]
fn a_user_is_exported_and_erased_in_every_territory() {
    let mesh = Mesh::shared();
    let (user, other) = ("erase-me", "keep-me");
    let mut ids = Vec::new();
    for territory in ["IT:lombardia", "IT:lazio", "ES:madrid", "NZ:otago"] {
        for owner in [user, user, other] {
            let body = json!({"territory": territory, "userId": owner, "data": {"of": owner}});
            let session = mesh.node(1).post(SESSIONS, &body).expect(201).json();
            ids.push((owner, session["id"].as_str().unwrap().to_owned()));
        }
    }
    let export = mesh.node(2).get(&format!("/api/v1/users/{user}/export")).expect(200).json();
    assert_eq!(export["userId"], user);
    let sessions = export["sessions"].as_array().unwrap();
    assert_eq!(sessions.len(), 8, "{export}");
    assert!(sessions.iter().all(|session| session["data"]["of"] == user), "{export}");

    let erased = mesh.node(3).send("DELETE", &format!("/api/v1/users/{user}/data"), &[], "");
    let erasure = erased.expect(200).json();
    let territories = erasure["territories"].as_array().unwrap();
    assert!(territories.iter().all(|one| one["state"] == "erased"), "{erasure}");
    let sum: u64 = territories.iter().filter_map(|one| one["sessions"].as_u64()).sum();
    assert_eq!(sum, 8, "{erasure}");
    assert!(["told", "pending"].contains(&erasure["origin"].as_str().unwrap()), "{erasure}");
    for (owner, id) in &ids {
        let status = mesh.node(1).strong(id).status;
        assert_eq!(status, if *owner == user { 404 } else { 200 }, "{id} of {owner}");
    }
    let export: Value =
        mesh.node(1).get(&format!("/api/v1/users/{user}/export")).expect(200).json();
    assert_eq!(export["sessions"], json!([]));
}

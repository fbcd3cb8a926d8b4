//! A user is erased, and the disks are searched byte by byte: before for what must be there in no
//! form but a sealed one, afterwards for what must be there in none.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use ring::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    hkdf::{HKDF_SHA256, Salt},
};
use serde_json::{Value, json};

use crate::{
    mesh::{Data, Mesh, PATIENCE, turn},
    wait::until,
};

/// What the erased user's sessions hold.
const MARKER: &str = "plaintext-marker-5b1f0c";
const USER: &str = "erased-user-7d20";
const OTHER: &str = "other-user-91ac";

/// Bytes of a wrapped key: salt, nonce, key, tag.
const WRAPPED: usize = 16 + 12 + 32 + 16;

/// All files below a directory that have a byte other than zero, without their pages of zeros.
fn contents(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
            continue;
        }
        // Deleted meanwhile, by the node that runs on.
        let Ok(bytes) = fs::read(&path) else { continue };
        let pages = bytes.chunks(4096).filter(|page| page.iter().any(|byte| *byte != 0));
        found.push((path, pages.flatten().copied().collect()));
    }
    found
}

fn places<'a>(bytes: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    let first = wanted[0];
    let starts = bytes.iter().enumerate().filter(move |(_, byte)| **byte == first);
    starts.map(|(at, _)| at).filter(move |at| bytes[*at..].starts_with(wanted))
}

/// The files below the directories that hold any of these.
fn files_with(dirs: &[PathBuf], wanted: &BTreeSet<Vec<u8>>) -> Vec<PathBuf> {
    let all = dirs.iter().flat_map(|dir| contents(dir));
    all.filter(|(_, bytes)| wanted.iter().any(|one| places(bytes, one).next().is_some()))
        .map(|(path, _)| path)
        .collect()
}

/// A wrapped key as the log and snapshots have it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Key {
    id: u64,
    wrapped: Vec<u8>,
}

/// The keys that stand behind the user's id: the number, `demo` with its length, the key with its.
fn keys_of(dirs: &[PathBuf], user: &str) -> BTreeSet<Key> {
    let mark = [&[4], b"demo".as_slice(), &[u8::try_from(WRAPPED).unwrap()]].concat();
    let mut keys = BTreeSet::new();
    for (_, bytes) in dirs.iter().flat_map(|dir| contents(dir)) {
        for at in places(&bytes, user.as_bytes()) {
            let near = &bytes[at..bytes.len().min(at + 600)];
            let Some(mark_at) = places(near, &mark).next() else { continue };
            let from = mark_at + mark.len();
            let Some(wrapped) = near.get(from..from + WRAPPED) else { continue };
            let id = u64::from_le_bytes(near[mark_at - 8..mark_at].try_into().unwrap());
            keys.insert(Key { id, wrapped: wrapped.to_vec() });
        }
    }
    keys
}

/// The data key, opened with the key file of the demo: what no disk may ever hold.
fn opened(key: &Key, file: &Path, user: &str) -> Vec<u8> {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.starts_with("demo ")).unwrap();
    let hex = line.split(' ').nth(2).unwrap();
    let outer: Vec<u8> =
        (0..32).map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap()).collect();
    let (salt, sealed) = key.wrapped.split_at(16);
    let extracted = Salt::new(HKDF_SHA256, salt).extract(&outer);
    let expanded = extracted.expand(&[b"hexpop session key wrap"], &AES_256_GCM).unwrap();
    let mut bound = key.id.to_be_bytes().to_vec();
    for text in ["session key", "demo", user] {
        bound.extend_from_slice(&(text.len() as u64).to_be_bytes());
        bound.extend_from_slice(text.as_bytes());
    }
    let (nonce, inside) = sealed.split_at(NONCE_LEN);
    let nonce = Nonce::try_assume_unique_for_key(nonce).unwrap();
    let mut inside = inside.to_vec();
    let wrapping = LessSafeKey::new(UnboundKey::from(expanded));
    wrapping.open_in_place(nonce, Aad::from(bound), &mut inside).unwrap().to_vec()
}

fn create(mesh: &Mesh, node: u64, territory: &str, user: &str, value: &str) -> String {
    let body = json!({"territory": territory, "userId": user, "data": {"secret": value}});
    let session = mesh.node(node).post("/api/v1/sessions", &body).expect(201).json();
    session["id"].as_str().unwrap().to_owned()
}

/// Waits until the receipt says that the disks of these nodes are rid of it, and that some of each other
/// node are not. Where nothing of the user was, no disk has to be rid of anything.
fn wait_compacted(mesh: &Mesh, location: &str, nodes: &[u64]) -> Value {
    until("the disks are rid of what was erased", PATIENCE * 3, || {
        let receipt = mesh.node(1).get(location).expect(200).json();
        let territories = receipt["territories"].as_array().unwrap();
        let shards = territories.iter().flat_map(|one| one["shards"].as_array().unwrap());
        let replicas: Vec<&Value> =
            shards.flat_map(|shard| shard["replicas"].as_array().unwrap()).collect();
        let as_wanted = (1..=3).all(|node| {
            let mut own = replicas.iter().filter(|replica| replica["node"] == node);
            if nodes.contains(&node) {
                own.all(|replica| replica["disk"] == "compacted")
            } else {
                own.any(|replica| replica["disk"] == "pending")
            }
        });
        let erased = territories.iter().all(|one| one["state"] == "erased");
        if as_wanted && erased && receipt["origin"] == "told" {
            Ok(receipt)
        } else {
            Err(receipt.to_string())
        }
    })
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

#[test]
fn neither_plaintext_nor_key_of_an_erased_user_stays_on_any_disk() {
    let _turn = turn();
    let mut mesh = Mesh::start("erasure", 3, Data::Synthetic(300));
    let dirs: Vec<PathBuf> = mesh.nodes.iter().map(|node| node.data_dir.clone()).collect();
    let mut erased = Vec::new();
    for (node, territory) in [(1, "IT:lombardia"), (2, "ES:madrid"), (3, "NZ:otago")] {
        erased.push(create(&mesh, node, territory, USER, MARKER));
        erased.push(create(&mesh, 1, territory, USER, MARKER));
    }
    let kept = create(&mesh, 2, "IT:lombardia", OTHER, MARKER);
    for id in &erased {
        assert_eq!(mesh.node(3).strong(id).expect(200).json()["data"]["secret"], MARKER);
    }

    // Sealed, so that no disk has the plaintext, nor a key in clear; the search would find them.
    let plaintext = BTreeSet::from([MARKER.as_bytes().to_vec()]);
    assert_eq!(files_with(&dirs, &plaintext), Vec::<PathBuf>::new());
    let keys = keys_of(&dirs, USER);
    assert!(keys.len() >= 3, "a key in each of three shards: {keys:?}");
    let key_file = mesh.dir.join("demo/certs/session.keys");
    let clear: BTreeSet<Vec<u8>> = keys.iter().map(|key| opened(key, &key_file, USER)).collect();
    assert_eq!(files_with(&dirs, &clear), Vec::<PathBuf>::new());
    let wrapped: BTreeSet<Vec<u8>> = keys.into_iter().map(|key| key.wrapped).collect();
    assert!(!files_with(&dirs, &wrapped).is_empty());

    // One node is down while the user is erased: the receipt stays open for it alone.
    mesh.kill(3);
    let path = format!("/api/v1/users/{USER}/data");
    let answer = until("the erasure is taken", PATIENCE, || {
        let answer = mesh.node(1).send("DELETE", &path, &[], "");
        if [200, 202].contains(&answer.status) { Ok(answer) } else { Err(answer.text()) }
    });
    let location = answer.header("location").to_owned();
    wait_compacted(&mesh, &location, &[1, 2]);
    let gone: BTreeSet<Vec<u8>> =
        [&plaintext, &clear, &wrapped].into_iter().flatten().cloned().collect();
    let gone: BTreeSet<Vec<u8>> = gone.into_iter().chain([USER.as_bytes().to_vec()]).collect();
    assert_eq!(files_with(&dirs[..2], &gone), Vec::<PathBuf>::new());
    assert!(!files_with(&dirs[2..], &wrapped).is_empty(), "the dead node's disk has them still");

    mesh.restart(3);
    mesh.wait_ready(3);
    let receipt = wait_compacted(&mesh, &location, &[1, 2, 3]);
    assert_eq!(receipt["disk"], "compacted", "{receipt}");
    assert_eq!(files_with(&dirs, &gone), Vec::<PathBuf>::new());
    assert_eq!(mesh.node(1).strong(&kept).expect(200).json()["data"]["secret"], MARKER);

    // A copy of the directories, started as the mesh.
    let mut copies = Vec::new();
    for id in 1..=3 {
        mesh.kill(id);
    }
    for node in &mesh.nodes {
        let target = node.data_dir.with_file_name(format!("copy-{}", node.id));
        copy(&node.data_dir, &target);
        let text = fs::read_to_string(&node.config).unwrap();
        let (from, to) = (node.data_dir.display().to_string(), target.display().to_string());
        fs::write(&node.config, text.replace(&from, &to)).unwrap();
        copies.push(target);
    }
    for id in 1..=3 {
        mesh.restart(id);
    }
    for id in 1..=3 {
        mesh.wait_ready(id);
    }
    for id in &erased {
        mesh.node(2).strong(id).problem(404);
    }
    let export = mesh.node(1).get(&format!("/api/v1/users/{USER}/export")).expect(200).json();
    assert_eq!(export["sessions"], json!([]));
    assert_eq!(mesh.node(3).strong(&kept).expect(200).json()["data"]["secret"], MARKER);
    assert_eq!(files_with(&copies, &gone), Vec::<PathBuf>::new());
    assert!(keys_of(&copies, USER).is_empty() && !keys_of(&copies, OTHER).is_empty());
}

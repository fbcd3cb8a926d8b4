//! A node that reads its configuration again while it runs.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::{
    client::{get, secure_get},
    mesh::{Data, Mesh, PATIENCE, turn},
    wait::{until, until_true},
};

const TAKEN: &str = "hexpop_config_last_reload_successful";
const WHEN: &str = "hexpop_config_last_reload_success_timestamp_seconds";
const PENDING: &str = "hexpop_config_restart_pending_keys";

/// One node whose configuration is changed.
struct Subject {
    mesh: Mesh,
    text: String,
}

impl Subject {
    fn config(&self) -> &Path {
        &self.mesh.node(1).config
    }

    /// Writes the configuration with `more` behind it.
    fn write(&self, more: &str) {
        fs::write(self.config(), format!("{}{more}", self.text)).unwrap();
    }

    fn hang_up(&self) {
        let pid = i32::try_from(self.mesh.node(1).pid).unwrap();
        kill_process(Pid::from_raw(pid).unwrap(), Signal::HUP).unwrap();
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let text = get(&format!("{}/metrics", self.mesh.node(1).admin)).unwrap().text();
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name} ")))?;
        line.parse().ok()
    }

    fn wait_metric(&self, name: &str, wanted: f64) {
        until(name, PATIENCE, || match self.metric(name) {
            Some(found) if (found - wanted).abs() < 0.5 => Ok(()),
            other => Err(other),
        });
    }

    /// How long a body may be: what a search of this many bytes is answered with.
    fn status_of_body(&self, bytes: usize) -> u16 {
        let body = format!("{{\"listingType\":\"sale\"{}}}", " ".repeat(bytes));
        let json = ("content-type", "application/json");
        self.mesh.node(1).send("POST", "/api/v1/search", &[json], &body).status
    }

    fn log(&self) -> String {
        fs::read_to_string(self.mesh.dir.join("demo/logs/node-1.log")).unwrap()
    }
}

#[test]
fn a_node_follows_its_file_on_sighup_and_by_itself() {
    let _turn = turn();
    let mesh = Mesh::start("reload", 1, Data::Synthetic(50));
    let text = fs::read_to_string(&mesh.node(1).config).unwrap();
    let subject = Subject { mesh, text };
    let begin = subject.metric(WHEN).unwrap();
    assert!(begin > 1.7e9, "{begin}");
    assert_eq!(subject.metric(TAKEN), Some(1.0));
    assert_eq!(subject.status_of_body(5_000), 200);

    // What can be taken is, at once; what cannot is named.
    let listings = subject.mesh.data.listings();
    let active = listings.iter().find(|listing| listing["status"] == "active").unwrap();
    let listing = format!("/api/v1/listings/{}", active["id"].as_str().unwrap());
    let whole = subject.mesh.node(1).get(&listing).expect(200);
    assert_eq!(whole.json()["title"], active["title"]);
    assert!(!active["title"].is_null(), "{active}");
    let limits = "\n[limits]\nbody_bytes = \"4KiB\"\nsession_bytes = \"4KiB\"\n";
    let more = format!("{limits}[cache]\nbytes = \"32MiB\"\n");
    // The configuration of a demo has the section already.
    let dropping = subject.text.replace("[data]\n", "[data]\ndrop_fields = [\"title\"]\n");
    assert_ne!(dropping, subject.text);
    fs::write(subject.config(), format!("{dropping}{more}")).unwrap();
    subject.hang_up();
    until_true("bodies are bounded anew", PATIENCE, || subject.status_of_body(5_000) == 413);
    assert_eq!(subject.status_of_body(100), 200);
    subject.wait_metric(PENDING, 1.0);
    let less = subject.mesh.node(1).get(&listing).expect(200);
    assert!(less.json().get("title").is_none(), "{}", less.text());
    assert_eq!(less.json()["price"], whole.json()["price"]);
    assert_ne!(less.header("etag"), whole.header("etag"));
    let hits = subject.mesh.node(1).post("/api/v1/search", &json!({"listingType": "sale"}));
    let hits = hits.expect(200).json()["data"].as_array().unwrap().clone();
    assert!(!hits.is_empty() && hits.iter().all(|hit| hit.get("title").is_none()), "{hits:?}");
    let config = subject.mesh.node(1).admin("/admin/v1/config").expect(200).json();
    assert_eq!(config["limits"]["body_bytes"], "4KiB");
    assert_eq!(config["cache"]["bytes"], "256MiB", "in force until a restart");
    let status = subject.mesh.node(1).admin("/admin/v1/status").expect(200).json();
    assert_eq!(status["config"]["restartPending"], json!(["cache.bytes"]), "{status}");
    assert!(subject.log().contains("need a restart"), "{}", subject.log());

    // A bad file changes nothing, and the log says where it is wrong.
    let lines = subject.text.lines().count();
    subject.write("\n[limits]\nbody_bytes = \"none\"\n");
    subject.hang_up();
    subject.wait_metric(TAKEN, 0.0);
    assert_eq!(subject.status_of_body(5_000), 413, "as before");
    let place = format!("node-1.toml:{}:", lines + 3);
    assert!(subject.log().contains(&place), "{place}: {}", subject.log());
    let status = subject.mesh.node(1).admin("/admin/v1/status").expect(200).json();
    assert_eq!(status["config"]["lastReloadSuccessful"], false, "{status}");

    // Another certificate for clients is shown as soon as its files are there, without a signal.
    let ca = Path::new(subject.mesh.ready["ca"].as_str().unwrap());
    let https = subject.mesh.ready["nodes"][0]["https"].as_str().unwrap();
    let shown = || secure_get(https, ca, "/openapi.json").map(|(_answer, shown)| shown);
    let before = shown().unwrap();
    subject.write("");
    let certs = ca.parent().unwrap();
    let names = ["localhost".to_owned()];
    hexpop_node::certs::issue_server(certs, certs, "server", &names, 1, true).unwrap();
    until_true("the other certificate is shown", PATIENCE, || {
        shown().is_ok_and(|now| now != before)
    });

    // Without a signal: the file becomes a link, as mounted configurations are, and is turned.
    let good = versioned(&subject, "good", "");
    let better = versioned(&subject, "better", "\n[telemetry]\nlog = \"debug\"\n");
    turn_link(subject.config(), &good);
    subject.wait_metric(TAKEN, 1.0);
    assert_eq!(subject.status_of_body(5_000), 200, "the default again");
    assert!(subject.metric(WHEN).unwrap() >= begin);
    assert!(!subject.log().contains("DEBUG"));
    turn_link(subject.config(), &better);
    until_true("the log tells more", PATIENCE, || {
        subject.status_of_body(1);
        subject.log().contains("DEBUG")
    });
}

fn versioned(subject: &Subject, name: &str, more: &str) -> PathBuf {
    let path = subject.mesh.dir.join(format!("{name}.toml"));
    fs::write(&path, format!("{}{more}", subject.text)).unwrap();
    path
}

/// Points the link at another file, in one step.
fn turn_link(link: &Path, to: &Path) {
    let aside = link.with_extension("link");
    symlink(to, &aside).unwrap();
    fs::rename(&aside, link).unwrap();
}

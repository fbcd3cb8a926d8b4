//! Three nodes in three PoPs, as processes of their own, without data.

use std::{
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{clock, options::Options};

/// How long the mesh may take to start, and to end.
const PATIENCE: Duration = Duration::from_secs(120);

/// Ends with this value.
pub(crate) struct Mesh {
    demo: Child,
    /// Host and port of each node's data port.
    pub(crate) nodes: Vec<String>,
}

impl Mesh {
    /// Starts it, and waits until it is ready.
    pub(crate) fn start(options: &Options, dir: &Path) -> Self {
        let ready = dir.join("ready.json");
        let log = dir.join("demo.log");
        let out = File::create(&log).unwrap();
        let demo = Command::new(&options.hexpop)
            .args(["demo", "--nodes", "3", "--listings", "0", "--base-port", "0", "--dir"])
            .arg(dir.join("demo"))
            .arg("--ready-file")
            .arg(&ready)
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", options.hexpop.display()));
        let mut mesh = Self { demo, nodes: Vec::new() };
        let until = clock::now() + PATIENCE;
        let text = loop {
            if let Ok(text) = fs::read(&ready) {
                break text;
            }
            let said = || fs::read_to_string(&log).unwrap_or_default();
            assert!(mesh.demo.try_wait().unwrap().is_none(), "the demo ended: {}", said());
            assert!(clock::now() < until, "the demo does not get ready: {}", said());
            sleep(Duration::from_millis(50));
        };
        let ready: Value = serde_json::from_slice(&text).unwrap();
        let nodes = ready["nodes"].as_array().unwrap().iter();
        let host =
            |node: &Value| node["http"].as_str().unwrap().trim_start_matches("http://").to_owned();
        mesh.nodes = nodes.map(host).collect();
        mesh
    }
}

impl Drop for Mesh {
    fn drop(&mut self) {
        // It ends its nodes when it is told to; killed, they die with it.
        if let Some(pid) = Pid::from_raw(self.demo.id().cast_signed()) {
            // It may have ended by itself.
            let _gone = kill_process(pid, Signal::TERM);
        }
        let until = clock::now() + PATIENCE;
        while clock::now() < until && matches!(self.demo.try_wait(), Ok(None)) {
            sleep(Duration::from_millis(50));
        }
        drop(self.demo.kill());
        drop(self.demo.wait());
    }
}

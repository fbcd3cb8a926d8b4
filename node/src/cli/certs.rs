//! `hexpop certs`: the cluster's authority and its nodes' identities.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use hexpop_edge_config::{ClusterName, NodeId};

use super::{
    error::{CliError, CliResult},
    output::{print, println},
};
use crate::certs::{self, CertError, NewKey};

#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  hexpop certs init --cluster edge --dir certs\n  hexpop certs issue 1 --dir certs\n  hexpop certs server edge.example 192.0.2.7 --dir certs\n  hexpop certs show certs/node-1.pem\n  hexpop certs session-keys --name 2026-11"
)]
pub(super) struct CertsArgs {
    #[command(subcommand)]
    command: CertsCommand,
}

#[derive(Debug, Subcommand)]
enum CertsCommand {
    /// Make the cluster's certificate authority.
    Init {
        /// The cluster's name.
        #[arg(long, default_value = "hexpop")]
        cluster: ClusterName,
        /// Where to write ca.pem and ca.key.
        #[arg(long, default_value = "certs")]
        dir: PathBuf,
        /// Replace an authority that is there: no certificate it signed is valid any more.
        #[arg(long)]
        force: bool,
    },
    /// Make the identity of a node.
    Issue {
        /// The node's number.
        node: NodeId,
        /// Where the authority is.
        #[arg(long, default_value = "certs")]
        dir: PathBuf,
        /// Where to write node-N.pem and node-N.key; beside the authority if not given.
        #[arg(long)]
        out: Option<PathBuf>,
        /// Further DNS names and IP addresses.
        #[arg(long = "san")]
        sans: Vec<String>,
        /// How long it is valid.
        #[arg(long, default_value_t = 90)]
        days: u32,
        /// Replace the node's identity if it has one there.
        #[arg(long)]
        force: bool,
    },
    /// Make a certificate that the data port shows to clients (tls.certificates).
    Server {
        /// DNS names and IP addresses that it is for.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
        /// Where the authority is. Clients have to trust it.
        #[arg(long, default_value = "certs")]
        dir: PathBuf,
        /// Where to write server.pem and server.key; beside the authority if not given.
        #[arg(long)]
        out: Option<PathBuf>,
        /// How long it is valid.
        #[arg(long, default_value_t = 90)]
        days: u32,
        /// Replace one that is there.
        #[arg(long)]
        force: bool,
    },
    /// Add a key that session values are encrypted under to a file for `data.session_keys`.
    SessionKeys {
        /// The file; made if it is not there.
        #[arg(long, default_value = "certs/session.keys")]
        file: PathBuf,
        /// The key's name, such as the month; it stands beside each value.
        #[arg(long)]
        name: String,
        /// A residency label of the territories it serves, each one given; none: those without.
        #[arg(long = "label")]
        labels: Vec<String>,
        /// Let it open only, until all nodes have it; move its line to the end then.
        #[arg(long)]
        standby: bool,
    },
    /// What a certificate says.
    Show {
        /// The file.
        file: PathBuf,
    },
}

pub(super) fn run(args: &CertsArgs) -> CliResult {
    let failed = |what: &str| {
        let what = what.to_owned();
        move |error: CertError| CliError::failed(what).caused_by(&error)
    };
    match &args.command {
        CertsCommand::Init { cluster, dir, force } => {
            let authority = certs::init(dir, cluster, *force)
                .map_err(failed("cannot make the cluster's authority"))?;
            println(&format!(
                "authority of cluster {cluster}: {} (every node needs it), {} (keep it away from nodes)",
                authority.certificate.display(),
                authority.key.display()
            ))
        }
        CertsCommand::Issue { node, dir, out, sans, days, force } => {
            let out = out.as_ref().unwrap_or(dir);
            let issued = certs::issue(dir, out, *node, sans, *days, *force)
                .map_err(failed("cannot make the node's identity"))?;
            println(&format!(
                "{}: {}, {}, valid for {days} days",
                issued.identity,
                issued.certificate.display(),
                issued.key.display()
            ))
        }
        CertsCommand::Server { names, dir, out, days, force } => {
            let out = out.as_ref().unwrap_or(dir);
            let served = certs::issue_server(dir, out, "server", names, *days, *force)
                .map_err(failed("cannot make the certificate"))?;
            println(&format!(
                "{}: {}, {}, valid for {days} days",
                names.join(" "),
                served.certificate.display(),
                served.key.display()
            ))
        }
        CertsCommand::SessionKeys { file, name, labels, standby } => {
            let place = if *standby { NewKey::OnStandby } else { NewKey::InUse };
            certs::add_session_key(file, name, labels, place)
                .map_err(failed("cannot add a session key"))?;
            println(&format!(
                "{}: key {name} added; every node with the labels needs the file (data.session_keys), \
                 and a copy belongs in a safe place",
                file.display()
            ))
        }
        CertsCommand::Show { file } => {
            let shown = certs::show(file).map_err(failed("cannot read the certificate"))?;
            let text: Vec<String> = shown.iter().map(ToString::to_string).collect();
            print(&(text.join("\n\n").trim_end().to_owned() + "\n"))
        }
    }
}

//! `hexpop sessions`: what the platform's servers do over HTTP, by hand.

use clap::{Args, Subcommand};
use http::Method;
use serde_json::{Map, Value, json};

use super::{
    client::{AdminArgs, Answer, Client},
    error::{CliError, CliResult},
    listings::{data_port, encode},
    mesh::parse_duration,
    output::{OutputArgs, print_json, println},
};

/// How often the progress of an erasure is asked for.
const WAIT_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Debug, Args)]
pub(super) struct SessionsArgs {
    #[command(flatten)]
    admin: AdminArgs,
    #[command(flatten)]
    output: OutputArgs,
    /// A file with the bearer token of the sessions API; not needed on loopback without one.
    #[arg(long, env = "HEXPOP_DATA_TOKEN_FILE", global = true)]
    data_token_file: Option<std::path::PathBuf>,
    #[command(subcommand)]
    command: SessionsCommand,
}

#[derive(Debug, Subcommand)]
enum SessionsCommand {
    /// One session.
    Get {
        /// Its id.
        id: String,
    },
    /// Create a session.
    Create {
        /// Its territory, such as IT:lombardia.
        #[arg(long)]
        territory: String,
        #[command(flatten)]
        content: Content,
    },
    /// Create or replace a session under an id of your choice.
    Put {
        /// Its id, such as it-lombardia.abc.
        id: String,
        #[command(flatten)]
        content: Content,
        /// Only if it has this version.
        #[arg(long)]
        if_match: Option<String>,
    },
    /// Delete a session.
    Delete {
        /// Its id.
        id: String,
    },
    /// Erase everything of a user, in every territory.
    EraseUser {
        /// The user.
        user: String,
        /// Wait until all shards have confirmed and no live disk holds the data any more.
        #[arg(long)]
        wait: bool,
        /// How long to wait.
        #[arg(long, default_value = "10m", value_parser = parse_duration)]
        timeout: std::time::Duration,
    },
    /// Everything the edge holds of a user.
    ExportUser {
        /// The user.
        user: String,
    },
}

#[derive(Debug, Args)]
struct Content {
    /// The user.
    #[arg(long)]
    user: String,
    /// How long it lives.
    #[arg(long, default_value = "30m", value_parser = parse_duration)]
    ttl: std::time::Duration,
    /// Whether each read renews it.
    #[arg(long)]
    sliding: bool,
    /// Its value, as JSON.
    #[arg(long, default_value = "{}")]
    data: String,
}

impl Content {
    fn to_json(&self) -> CliResult<Map<String, Value>> {
        let data: Value = serde_json::from_str(&self.data)
            .map_err(|error| CliError::usage("--data is not JSON").caused_by(&error))?;
        let mut body = Map::new();
        body.insert("userId".into(), json!(self.user));
        body.insert("ttlSeconds".into(), json!(self.ttl.as_secs()));
        body.insert("data".into(), data);
        if self.sliding {
            body.insert("sliding".into(), json!(true));
        }
        Ok(body)
    }
}

pub(super) async fn run(args: SessionsArgs) -> CliResult {
    let url = data_port(&Client::admin(&args.admin)?).await?.base().to_owned();
    let token = AdminArgs { admin: url, token_file: args.data_token_file };
    let client = Client::admin(&token)?;
    match args.command {
        SessionsCommand::Get { id } => {
            print_json(&client.get::<Value>(&format!("/api/v1/sessions/{}", encode(&id))).await?)
        }
        SessionsCommand::Create { territory, content } => {
            let mut body = content.to_json()?;
            body.insert("territory".into(), json!(territory));
            let answer =
                client.call(Method::POST, "/api/v1/sessions", &Value::Object(body)).await?;
            print_json(&answer.json::<Value>()?)
        }
        SessionsCommand::Put { id, content, if_match } => {
            let path = format!("/api/v1/sessions/{}", encode(&id));
            let body = Value::Object(content.to_json()?).to_string();
            let etag = if_match.map(|version| format!("\"{}\"", version.trim_matches('"')));
            let mut headers = vec![("content-type", "application/json")];
            if let Some(etag) = &etag {
                headers.push(("if-match", etag));
            }
            let deadline = std::time::Duration::from_secs(30);
            let answer = client.send(Method::PUT, &path, &headers, body.into(), deadline).await?;
            print_json(&answer.json::<Value>()?)
        }
        SessionsCommand::Delete { id } => {
            let path = format!("/api/v1/sessions/{}", encode(&id));
            send_plain(&client, Method::DELETE, &path).await?;
            println("deleted")
        }
        SessionsCommand::EraseUser { user, wait, timeout } => {
            let path = format!("/api/v1/users/{}/data", encode(&user));
            let answer = send_plain(&client, Method::DELETE, &path).await?;
            let erasure = answer.json::<Value>()?;
            if !wait {
                return print_json(&erasure);
            }
            let id = erasure.get("erasureId").and_then(Value::as_str).unwrap_or_default();
            let path = format!("/api/v1/users/{}/erasures/{}", encode(&user), encode(id));
            wait_for_erasure(&client, &path, timeout).await
        }
        SessionsCommand::ExportUser { user } => print_json(
            &client.get::<Value>(&format!("/api/v1/users/{}/export", encode(&user))).await?,
        ),
    }
}

/// Asks for an erasure until nothing of it is pending.
async fn wait_for_erasure(client: &Client, path: &str, timeout: std::time::Duration) -> CliResult {
    let until = tokio::time::Instant::now() + timeout;
    loop {
        let asked = client.get::<Value>(path).await;
        let is_over = tokio::time::Instant::now() >= until;
        let erasure = match asked {
            Ok(erasure) => erasure,
            // Leaders change while the disks are rid of what was erased: that is no end of the wait.
            Err(_) if !is_over => {
                tokio::time::sleep(WAIT_PAUSE).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        let disk_is_rid = erasure.get("disk").is_some_and(|disk| disk == "compacted");
        // Refused is final: the mesh will not tell it again.
        let origin_answered =
            erasure.get("origin").is_some_and(|origin| origin == "told" || origin == "refused");
        if disk_is_rid && origin_answered {
            return print_json(&erasure);
        }
        if is_over {
            print_json(&erasure)?;
            let is_left = erasure.get("disk").is_some_and(|disk| disk == "unconfirmed");
            let help = if is_left && origin_answered {
                "replicas that left their shards have not said that nothing is there: start their \
                 nodes, or see to it that their disks are destroyed"
            } else {
                "the mesh goes on; the receipt above says which replicas are missing"
            };
            return Err(CliError::failed("the erasure is not complete yet").help(help));
        }
        tokio::time::sleep(WAIT_PAUSE).await;
    }
}

async fn send_plain(client: &Client, method: Method, path: &str) -> CliResult<Answer> {
    let deadline = std::time::Duration::from_secs(60);
    client.send(method, path, &[], bytes::Bytes::new(), deadline).await?.success()
}

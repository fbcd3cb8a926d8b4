//! Talking to a node's ports from the command line.

use std::time::Duration;

use bytes::Bytes;
use clap::Args;
use http::{Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::error::{CliError, CliResult};

/// An answer larger than this is refused.
const ANSWER_BYTES_MAX: usize = 256 << 20;

/// Where the mesh is asked.
#[derive(Debug, Clone, Args)]
pub(super) struct AdminArgs {
    /// The admin port of any node.
    #[arg(long, env = "HEXPOP_ADMIN", default_value = "http://127.0.0.1:9080", global = true)]
    pub admin: String,
    /// A file with the bearer token for the admin port.
    #[arg(long, env = "HEXPOP_ADMIN_TOKEN_FILE", global = true)]
    pub token_file: Option<std::path::PathBuf>,
}

/// A client of one base address.
#[derive(Debug, Clone)]
pub(super) struct Client {
    base: String,
    token: Option<String>,
    http: HyperClient<HttpConnector, Full<Bytes>>,
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub(super) struct Answer {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: Bytes,
}

impl Client {
    /// A client of `base`, such as `http://127.0.0.1:9080`.
    pub(super) fn new(base: &str, token: Option<String>) -> CliResult<Self> {
        let base = base.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|error| {
            CliError::usage(format!("`{base}` is not an address")).caused_by(&error)
        })?;
        if uri.scheme_str() != Some("http") || uri.authority().is_none() {
            return Err(CliError::usage(format!("`{base}` is not an address"))
                .help("give it as http://HOST:PORT"));
        }
        Ok(Self { base, token, http: HyperClient::builder(TokioExecutor::new()).build_http() })
    }

    /// A client of the admin port that the flags name.
    pub(super) fn admin(args: &AdminArgs) -> CliResult<Self> {
        let token = match &args.token_file {
            None => None,
            Some(path) => Some(
                std::fs::read_to_string(path)
                    .map_err(|error| {
                        CliError::failed(format!("cannot read the token in {}", path.display()))
                            .caused_by(&error)
                    })?
                    .trim()
                    .to_owned(),
            ),
        };
        Self::new(&args.admin, token)
    }

    /// The base address.
    pub(super) fn base(&self) -> &str {
        &self.base
    }

    /// Sends one request and reads the answer, whatever its status.
    pub(super) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Bytes,
        deadline: Duration,
    ) -> CliResult<Answer> {
        let unreachable = |cause: &dyn std::error::Error| {
            CliError::failed(format!("cannot read the mesh at {}", self.base))
                .caused_by(cause)
                .help(
                    "is a node running here? `hexpop demo` starts one; another address goes in \
                     --admin or HEXPOP_ADMIN",
                )
        };
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        let request = request.body(Full::new(body)).map_err(|error| {
            CliError::usage(format!("`{path}` is not a path")).caused_by(&error)
        })?;
        let exchange = async {
            let response = self.http.request(request).await.map_err(|error| unreachable(&error))?;
            let (parts, body) = response.into_parts();
            let body = Limited::new(body, ANSWER_BYTES_MAX)
                .collect()
                .await
                .map_err(|error| unreachable(error.as_ref()))?
                .to_bytes();
            Ok(Answer { status: parts.status, body })
        };
        tokio::time::timeout(deadline, exchange).await.unwrap_or_else(|_elapsed| {
            Err(CliError::failed(format!("no answer from {}", self.base))
                .cause(format!("it did not answer within {} s", deadline.as_secs_f32())))
        })
    }

    /// `GET` of a JSON document that is there with any status.
    pub(super) async fn get_whatever_status<T: DeserializeOwned>(
        &self,
        path: &str,
    ) -> CliResult<T> {
        let accept = [("accept", "application/json")];
        let answer =
            self.send(Method::GET, path, &accept, Bytes::new(), Duration::from_secs(15)).await?;
        match serde_json::from_slice(&answer.body) {
            Ok(document) => Ok(document),
            Err(_another) => Err(answer.problem()),
        }
    }

    /// `GET` of a JSON document.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> CliResult<T> {
        self.send(Method::GET, path, &[], Bytes::new(), Duration::from_secs(15)).await?.json()
    }

    /// An unsafe request with a JSON body.
    pub(super) async fn call(&self, method: Method, path: &str, body: &Value) -> CliResult<Answer> {
        let body = Bytes::from(body.to_string());
        let headers = [("content-type", "application/json")];
        self.send(method, path, &headers, body, Duration::from_secs(60)).await?.success()
    }
}

impl Answer {
    /// The answer itself if its status is 2xx.
    pub(super) fn success(self) -> CliResult<Self> {
        if self.status.is_success() { Ok(self) } else { Err(self.problem()) }
    }

    /// The body of a 2xx answer.
    pub(super) fn json<T: DeserializeOwned>(self) -> CliResult<T> {
        let answer = self.success()?;
        serde_json::from_slice(&answer.body).map_err(|error| {
            CliError::failed("the answer is not what this version of hexpop expects")
                .caused_by(&error)
                .help("do the node and this command have the same version?")
        })
    }

    /// The answer as an error: its problem's detail, or its status.
    pub(super) fn problem(&self) -> CliError {
        let Ok(problem) = serde_json::from_slice::<Value>(&self.body) else {
            return CliError::failed(format!("the node answered {}", self.status));
        };
        let text = |name: &str| problem.get(name).and_then(Value::as_str).unwrap_or_default();
        let mut error = CliError::failed(text("title").to_owned()).cause(text("detail"));
        for entry in problem.get("errors").and_then(Value::as_array).into_iter().flatten() {
            let place = ["pointer", "parameter", "header"]
                .into_iter()
                .find_map(|name| entry.get(name).and_then(Value::as_str))
                .unwrap_or_default();
            let detail = entry.get("detail").and_then(Value::as_str).unwrap_or_default();
            error = error.cause(format!("{place}: {detail}"));
        }
        match text("type").rsplit(':').next() {
            Some(slug) if !slug.is_empty() => {
                error.help(format!("`hexpop explain {slug}` says more"))
            }
            _ => error,
        }
    }
}

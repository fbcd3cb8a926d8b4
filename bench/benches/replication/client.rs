//! As much of HTTP/1.1 as it takes to ask one server again and again on one connection, at little
//! cost: what the clients spend, the nodes on the same machine have not.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long an answer may take: above every deadline inside the mesh.
const DEADLINE: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    stream: TcpStream,
    host: String,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) async fn connect(host: &str) -> Self {
        let stream = TcpStream::connect(host).await.unwrap();
        stream.set_nodelay(true).unwrap();
        Self { stream, host: host.to_owned(), buffer: Vec::with_capacity(8 << 10) }
    }

    /// The request in full, so that it can be sent many times.
    pub(crate) fn request(&self, method: &str, path: &str, headers: &str, body: &str) -> Vec<u8> {
        let host = &self.host;
        let length = body.len();
        format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n{headers}\r\n{body}"
        )
        .into_bytes()
    }

    /// Sends a request and reads the whole answer; its status, or what went wrong.
    pub(crate) async fn send(&mut self, request: &[u8]) -> Result<u16, String> {
        timeout(DEADLINE, self.exchange(request))
            .await
            .unwrap_or_else(|_elapsed| Err("no answer in time".to_owned()))
    }

    async fn exchange(&mut self, request: &[u8]) -> Result<u16, String> {
        self.stream.write_all(request).await.map_err(|error| error.to_string())?;
        self.buffer.clear();
        loop {
            if let Some(head) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&self.buffer[..head]).to_ascii_lowercase();
                let status = text.get(9..12).and_then(|status| status.parse().ok());
                let status = status.ok_or_else(|| format!("no status: {text}"))?;
                let body = text.lines().find_map(|line| line.strip_prefix("content-length:"));
                let body: usize = match body {
                    Some(length) => length.trim().parse().map_err(|_error| text.clone())?,
                    None if status == 204 => 0,
                    None => return Err(format!("no length: {text}")),
                };
                while self.buffer.len() < head + 4 + body {
                    self.read().await?;
                }
                return Ok(status);
            }
            self.read().await?;
        }
    }

    async fn read(&mut self) -> Result<(), String> {
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err("the connection was closed".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}

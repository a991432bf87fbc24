//! Asking a source for a key.

use super::Origin;
use crate::adapters::http::words;
use crate::ports::llm::Secret;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;

/// The largest key: a signed token is a few KiB.
const KEY_BYTES_MAX: u64 = 64 << 10;

pub const NO_VARIABLE: &str = "there is no such environment variable";

/// The key, or why there is none, without a word of what the source said.
pub async fn load(origin: &Origin, http: &reqwest::Client) -> Result<Secret, String> {
    let text = match origin {
        Origin::Environment(variable) => std::env::var(variable).map_err(|_| NO_VARIABLE.to_owned())?,
        Origin::File(path) => file(path).await?,
        Origin::Command(argv) => command(argv).await?,
        Origin::Http(url) => get(http, url).await?,
    };
    match text.trim() {
        "" => Err("its source gives nothing".to_owned()),
        text => Ok(Secret::new(text)),
    }
}

async fn read(from: impl AsyncRead + Unpin) -> Result<String, String> {
    let mut text = String::new();
    let mut from = from.take(KEY_BYTES_MAX + 1);
    from.read_to_string(&mut text).await.map_err(|error| format!("it cannot be read: {error}"))?;
    checked(text)
}

fn checked(text: String) -> Result<String, String> {
    let fits = text.len() as u64 <= KEY_BYTES_MAX;
    if fits { Ok(text) } else { Err(format!("its source gives more than {KEY_BYTES_MAX} bytes")) }
}

async fn file(path: &Path) -> Result<String, String> {
    let opened = tokio::fs::File::open(path).await;
    read(opened.map_err(|error| format!("{}: {error}", path.display()))?).await
}

async fn command(argv: &[String]) -> Result<String, String> {
    let (program, arguments) = argv.split_first().ok_or("the command is empty")?;
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{program} does not start: {error}"))?;
    let text = match child.stdout.take() {
        Some(output) => read(output).await?,
        None => String::new(),
    };
    let status = child.wait().await.map_err(|error| format!("{program}: {error}"))?;
    if status.success() { Ok(text) } else { Err(format!("{program} ended with {status}")) }
}

async fn get(http: &reqwest::Client, url: &str) -> Result<String, String> {
    let mut response = http.get(url).send().await.map_err(words)?;
    if response.status() != reqwest::StatusCode::OK {
        return Err(format!("its address answered with status {}", response.status().as_u16()));
    }
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(words)? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() as u64 > KEY_BYTES_MAX {
            return Err(format!("its source gives more than {KEY_BYTES_MAX} bytes"));
        }
    }
    String::from_utf8(bytes).map_err(|_| "its address answered with something that is no text".to_owned())
}

//! Bodies: bounded in size and time, and taken without a copy where they come in one piece.

use super::ApiSettings;
use super::problem::{BODY_TIMEOUT, BODY_TOO_LARGE, MALFORMED, Problem};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Body as _;

/// Reads a whole body.
///
/// # Errors
/// When it is larger or slower than the settings allow, or breaks off.
pub async fn read(body: Body, settings: &ApiSettings) -> Result<Bytes, Problem> {
    // Before the first read, which tells a client that waits for `100 Continue` to send it all.
    if body.size_hint().lower() > settings.body_bytes_max as u64 {
        return Err(too_large(settings));
    }
    tokio::time::timeout(settings.body_timeout, collect(body, settings)).await.unwrap_or_else(|_| {
        let seconds = settings.body_timeout.as_secs();
        Err(Problem::new(&BODY_TIMEOUT, format!("the body did not come within {seconds} s; send less, or faster")))
    })
}

async fn collect(mut body: Body, settings: &ApiSettings) -> Result<Bytes, Problem> {
    let expected = body.size_hint().exact().unwrap_or(0) as usize;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Problem::new(&MALFORMED, "the body broke off before its end; send it again"))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.is_empty() && rest.is_empty() {
            first = data;
        } else {
            if rest.is_empty() {
                rest.reserve(expected.max(first.len() + data.len()));
                rest.extend_from_slice(&std::mem::take(&mut first));
            }
            rest.extend_from_slice(&data);
        }
        if first.len().max(rest.len()) > settings.body_bytes_max {
            return Err(too_large(settings));
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

fn too_large(settings: &ApiSettings) -> Problem {
    let bytes_max = settings.body_bytes_max;
    Problem::new(&BODY_TOO_LARGE, format!("the body is larger than {bytes_max} bytes; send several smaller ones"))
}

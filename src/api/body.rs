//! Bodies: bounded in size and time, and taken without a copy where they come in one piece.
//!
//! A body that is too large is read on for a while and thrown away before it is refused: where a connection is closed over
//! bytes that nobody read, the kernel resets it, and the client sees that rather than the answer. One that announces its
//! size and waits for `100 Continue` is refused before it sends anything.

use super::ApiSettings;
use super::problem::{BODY_TIMEOUT, BODY_TOO_LARGE, MALFORMED, Problem};
use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use futures::stream::{self, BoxStream};
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::Body as _;
use hyper::header::EXPECT;
use std::io;
use std::time::Duration;
use tokio::time::Instant;

/// Of a body that is too large, so much more is read, and for so long.
const DRAINED_BYTES_MAX: usize = 64 << 20;
const DRAINED_FOR: Duration = Duration::from_secs(5);

/// Reads a whole body.
///
/// # Errors
/// When it is larger or slower than the settings allow, or breaks off.
pub async fn read(headers: &HeaderMap, mut body: Body, settings: &ApiSettings) -> Result<Bytes, Problem> {
    if body.size_hint().lower() > settings.body_bytes_max as u64 {
        // The first read tells a client that waits for it to send all.
        if !headers.contains_key(EXPECT) {
            drain(&mut body).await;
        }
        return Err(too_large(settings));
    }
    tokio::time::timeout(settings.body_timeout, collect(body, settings)).await.unwrap_or_else(|_| {
        let seconds = settings.body_timeout.as_secs();
        Err(Problem::new(&BODY_TIMEOUT, format!("the body did not come within {seconds} s; send less, or faster")))
    })
}

/// The pieces of a body as they come, as long as they keep coming: between two of them at most `between`, and all within
/// `whole`. Time that the reader itself takes does not count. The last is an error where the body broke off, or, of the
/// kind `TimedOut`, stood still.
pub fn timely(body: Body, between: Duration, whole: Duration) -> BoxStream<'static, io::Result<Bytes>> {
    let until = Instant::now() + whole;
    stream::unfold(Some(body.into_data_stream()), move |body| async move {
        let mut body = body?;
        let by = until.min(Instant::now() + between);
        match tokio::time::timeout_at(by, body.next()).await {
            Ok(None) => None,
            Ok(Some(Ok(bytes))) => Some((Ok(bytes), Some(body))),
            Ok(Some(Err(error))) => Some((Err(io::Error::other(error)), None)),
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), None)),
        }
    })
    .boxed()
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
            drain(&mut body).await;
            return Err(too_large(settings));
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// As [`drain`], of the pieces that are left.
pub async fn throw_away(mut body: BoxStream<'static, io::Result<Bytes>>) {
    let rest = async {
        let mut drained = 0;
        while drained < DRAINED_BYTES_MAX
            && let Some(Ok(piece)) = body.next().await
        {
            drained += piece.len();
        }
    };
    let _ = tokio::time::timeout(DRAINED_FOR, rest).await;
}

async fn drain(body: &mut Body) {
    let rest = async {
        let mut drained = 0;
        while drained < DRAINED_BYTES_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            drained += frame.data_ref().map_or(0, Bytes::len);
        }
    };
    let _ = tokio::time::timeout(DRAINED_FOR, rest).await;
}

fn too_large(settings: &ApiSettings) -> Problem {
    let bytes_max = settings.body_bytes_max;
    Problem::new(&BODY_TOO_LARGE, format!("the body is larger than {bytes_max} bytes; send several smaller ones"))
}

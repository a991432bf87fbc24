//! Connections in, bounded in number; at the end, what is under way gets a moment.
//!
//! Below axum's router, because a stand-in must be able to end a connection without an answer, and must not be what a load
//! test measures.

use super::exchange;
use super::state::Fake;
use axum::http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// Most connections at once; further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 16_384;
/// Longest time for a head to come in, also between two requests of a connection.
const HEADER_TIMEOUT: Duration = Duration::from_secs(300);
/// How long answers under way may take at the end.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(1);
/// Pause after an accept that failed (most often: too many open files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves HTTP/1.1 and HTTP/2 over plain TCP until it is told to stop.
pub async fn serve(listener: TcpListener, fake: Arc<Fake>) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT).pipeline_flush(true);
    builder.http2().timer(TokioTimer::new());
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let accepted = tokio::select! {
            biased;
            () = fake.stop.cancelled() => break,
            accepted = async { (Arc::clone(&room).acquire_owned().await, listener.accept().await) } => accepted,
        };
        let (permit, stream) = match accepted {
            (Ok(permit), Ok((stream, _))) => (permit, stream),
            (_, Err(error)) => {
                eprintln!("agentverse: a connection could not be accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
            (Err(_), _) => break,
        };
        // An answer is small and waited for.
        let _ = stream.set_nodelay(true);
        let shared = Arc::clone(&fake);
        let service = service_fn(move |request: Request<Incoming>| exchange::answer(Arc::clone(&shared), request));
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::spawn(async move {
            // Cut on purpose, or the client's own affair.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await;
}

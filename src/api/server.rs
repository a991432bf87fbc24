//! The HTTP server: connections in, bounded in number and patience; at shutdown, what is under way ends first.

use super::access::Loopback;
use super::events::Readers;
use super::follow::Followers;
use super::imports::Importers;
use super::routes::{operator_router, router};
use super::stalled::Impatient;
use super::{ApiSettings, Operator, Services};
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Pause after an accept that failed (most often: too many open files), so that the loop does not spin on it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Streams of one HTTP/2 connection that may be open at once.
const HTTP2_STREAMS_MAX: u32 = 256;

/// Serves HTTP/1.1 (pipelined too) and HTTP/2 over plain TCP until `shutdown`; then accepts nothing more, lets the
/// requests under way end, and gives up on those that take longer than the settings allow.
///
/// # Errors
/// When the listener has no address.
pub async fn serve(listener: TcpListener, services: Arc<Services>, shutdown: CancellationToken) -> io::Result<()> {
    let loopback = Loopback(listener.local_addr()?.ip().is_loopback());
    let followers = Followers::new(&services.settings, shutdown.clone());
    let importers = Importers::new(&services.settings, shutdown.clone());
    let readers = Readers::new(&services.settings, shutdown.clone());
    let router = router(&services, loopback).layer(Extension(followers)).layer(Extension(importers));
    let router = router.layer(Extension(readers));
    serve_router(listener, router, &services.settings, shutdown).await;
    Ok(())
}

/// As [`serve`], with what an operator asks and nothing else.
pub async fn serve_operator(
    listener: TcpListener,
    operator: Operator,
    settings: ApiSettings,
    shutdown: CancellationToken,
) {
    serve_router(listener, operator_router(operator), &settings, shutdown).await;
}

async fn serve_router(listener: TcpListener, router: Router, settings: &ApiSettings, shutdown: CancellationToken) {
    let (builder, stalled_max) = (builder(settings.header_timeout), settings.stalled_max);
    let server = Server { router, builder, stalled_max, graceful: GracefulShutdown::new() };
    let connections = Arc::new(Semaphore::new(settings.connections_max));
    while let Some((stream, permit)) = accept(&listener, &connections, &shutdown).await {
        server.connect(stream, permit);
    }
    drop(listener);
    if tokio::time::timeout(settings.drain_timeout, server.graceful.shutdown()).await.is_err() {
        tracing::warn!("requests were still under way when the time to end them was over");
    }
}

struct Server {
    router: Router,
    builder: auto::Builder<TokioExecutor>,
    stalled_max: Duration,
    graceful: GracefulShutdown,
}

impl Server {
    fn connect(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // An answer is small and waited for.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(self.router.clone());
        let connection =
            self.builder.serve_connection(TokioIo::new(Impatient::new(stream, self.stalled_max)), service).into_owned();
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            // Most often a client that went away or was too slow: its own affair.
            if let Err(error) = connection.await {
                tracing::debug!(error, "a connection ended early");
            }
            drop(permit);
        });
    }
}

/// The next connection, once there is room for one; `None` at shutdown.
async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
    shutdown: &CancellationToken,
) -> Option<(TcpStream, OwnedSemaphorePermit)> {
    let next = async {
        let permit = Arc::clone(connections).acquire_owned().await.ok()?;
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return Some((stream, permit)),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    };
    tokio::select! {
        biased;
        () = shutdown.cancelled() => None,
        next = next => next,
    }
}

fn builder(header_timeout: Duration) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(header_timeout).pipeline_flush(true);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(HTTP2_STREAMS_MAX);
    builder
}

//! What every long-running command does: settings, telemetry, a runtime, a listener, and an orderly end.

use super::config::SettingsArgs;
use super::exit::Error;
use crate::runtime::settings::Settings;
use crate::runtime::telemetry::Telemetry;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Between two turns of the metrics' buckets.
const UPKEEP: Duration = Duration::from_secs(5);

/// How long what blocks a thread may keep the process after its work has ended.
const LINGER_MAX: Duration = Duration::from_secs(1);

/// Loads the settings, installs the telemetry, and runs `work` on a runtime with as many threads as the settings say.
pub fn run<T, F>(
    args: &SettingsArgs,
    work: impl FnOnce(Settings, Telemetry, CancellationToken) -> F,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let settings = args.load().map_err(|error| Error::Usage(error.to_string()))?.settings;
    let telemetry = Telemetry::install(&settings).map_err(|error| Error::Usage(error.to_string()))?;
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if settings.worker_threads > 0 {
        runtime.worker_threads(settings.worker_threads);
    }
    let runtime = runtime
        .enable_all()
        .build()
        .map_err(|cause| Error::failed(format!("cannot start the asynchronous runtime: {cause}")))?;
    let result = runtime.block_on(async {
        let stop = CancellationToken::new();
        let signals = tokio::spawn(stop_on_signal(stop.clone())?);
        let upkeep = tokio::spawn(turn_buckets(telemetry.clone(), stop.clone()));
        let result = work(settings, telemetry, stop).await;
        signals.abort();
        upkeep.abort();
        result
    });
    // A question to a server that does not answer blocks its thread for as long as it may take.
    runtime.shutdown_timeout(LINGER_MAX);
    result
}

/// Listens for HTTP.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address)
        .await
        .map_err(|cause| Error::failed(format!("cannot serve on {address}: {cause}; choose another with --http")))
}

pub(super) fn stop_on_signal(stop: CancellationToken) -> Result<impl Future<Output = ()>, Error> {
    let failed = |cause: std::io::Error| Error::failed(format!("cannot listen for signals: {cause}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    })
}

async fn turn_buckets(telemetry: Telemetry, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(UPKEEP) => telemetry.upkeep(),
        }
    }
}

//! `agentverse process`, `project`, `work` and `serve`: one role of a cluster each.

use super::config::SettingsArgs;
use super::daemon;
use super::exit::{Error, Exit};
use crate::api::openai::Completions;
use crate::api::{Operator, Services, serve, serve_operator};
use crate::runtime::cluster::{self, Links, Member, Server};
use crate::runtime::node::fresh_id;
use crate::runtime::requests::Requests;
use crate::runtime::settings::{Exposure, Settings};
use crate::runtime::telemetry::Telemetry;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Where to serve HTTP: what an operator asks, and with `serve` what users ask
    #[arg(long, default_value = "127.0.0.1:7400", value_name = "ADDRESS")]
    pub http: SocketAddr,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// A role that owns logs in turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    Process,
    Project,
}

/// Runs `process` or `project` until SIGTERM or Ctrl-C.
pub fn own(owner: Owner, args: Args) -> Result<Exit, Error> {
    daemon::run(&args.settings, async |settings, telemetry, stop| {
        let listener = daemon::listen(args.http).await?;
        let member: Arc<OnceLock<Member>> = Arc::default();
        let readiness = Arc::new({
            let member = member.clone();
            move || member.get().map_or(Err("the servers are being reached".into()), Member::ready)
        });
        let operator = operator(&telemetry, readiness);
        let serving = tokio::spawn(serve_operator(listener, operator, settings.api(), stop.clone()));
        if let Some(links) = open(&settings, &stop).await? {
            let joined = match owner {
                Owner::Process => cluster::process(&links, &settings),
                Owner::Project => cluster::project(&links, &settings),
            };
            let joined = joined.map_err(|error| Error::failed(error.to_string()))?;
            let joined = member.get_or_init(|| joined);
            tracing::info!(address = %args.http, role = ?owner, "working");
            stop.cancelled().await;
            tracing::info!("stopping: finishing what is under way");
            within(&settings, joined.stop()).await?;
        }
        end(serving).await;
        Ok(Exit::Done)
    })
}

/// Runs `serve` until SIGTERM or Ctrl-C.
pub fn users(args: Args) -> Result<Exit, Error> {
    daemon::run(&args.settings, async |settings, telemetry, stop| {
        let listener = listen_to_users(&args, &settings).await?;
        let Some(links) = open(&settings, &stop).await? else { return Ok(Exit::Done) };
        let Some(server) = server(&links, &settings, &stop).await? else { return Ok(Exit::Done) };
        let operator = operator(&telemetry, Arc::new(|| Ok(())));
        tracing::info!(address = %args.http, role = "serve", "working");
        let served = serve(listener, services(&server, None, operator, &settings), stop.clone()).await;
        within(&settings, server.stop()).await?;
        served.map_err(|cause| Error::failed(format!("the HTTP server ended: {cause}")))?;
        Ok(Exit::Done)
    })
}

/// Runs `work` until SIGTERM or Ctrl-C: what `serve` does, and requests carried out.
pub fn work(args: Args) -> Result<Exit, Error> {
    daemon::run(&args.settings, async |settings, telemetry, stop| {
        let listener = listen_to_users(&args, &settings).await?;
        let Some(links) = open(&settings, &stop).await? else { return Ok(Exit::Done) };
        let Some(server) = server(&links, &settings, &stop).await? else { return Ok(Exit::Done) };
        let (member, requests) = cluster::work(&links, &settings).map_err(|error| Error::failed(error.to_string()))?;
        requests.iter().for_each(Requests::start);
        let member = Arc::new(member);
        let readiness = member.clone();
        let operator = operator(&telemetry, Arc::new(move || readiness.ready()));
        tracing::info!(address = %args.http, role = "work", "working");
        let services = services(&server, requests.as_ref().map(Requests::completions), operator, &settings);
        let served = serve(listener, services, stop.clone()).await;
        tracing::info!("stopping: finishing what is under way");
        // What calls came to is recorded in logs that are still this process's.
        within(&settings, async {
            if let Some(requests) = &requests {
                requests.stop().await;
            }
            member.stop().await;
            server.stop().await;
        })
        .await?;
        served.map_err(|cause| Error::failed(format!("the HTTP server ended: {cause}")))?;
        Ok(Exit::Done)
    })
}

async fn listen_to_users(args: &Args, settings: &Settings) -> Result<TcpListener, Error> {
    if !args.http.ip().is_loopback() && settings.http_exposure == Exposure::Loopback {
        let message = format!(
            "{} is not a loopback address, and callers are not authenticated here: put a gateway that does it in front, and set http_exposure = network",
            args.http
        );
        return Err(Error::Usage(message));
    }
    daemon::listen(args.http).await
}

/// What answers users, or nothing where the process is told to stop before it can.
async fn server(links: &Links, settings: &Settings, stop: &CancellationToken) -> Result<Option<Server>, Error> {
    tokio::select! {
        () = stop.cancelled() => Ok(None),
        server = cluster::serve(links, settings) => {
            server.map(Some).map_err(|error| Error::failed(error.to_string()))
        }
    }
}

fn services(
    server: &Server,
    completions: Option<Completions>,
    operator: Operator,
    settings: &Settings,
) -> Arc<Services> {
    Arc::new(Services {
        gateway: server.gateway.clone(),
        query: server.query.clone(),
        feed: server.feed.clone(),
        heartbeats: server.heartbeats.clone(),
        completions,
        operator,
        ids: Arc::new(fresh_id),
        settings: settings.api(),
    })
}

/// The servers, or nothing where the process is told to stop while it waits for them.
async fn open(settings: &Settings, stop: &CancellationToken) -> Result<Option<Links>, Error> {
    tokio::select! {
        () = stop.cancelled() => Ok(None),
        links = Links::open(settings) => links.map(Some).map_err(|error| Error::failed(format!("{error}{}", hint(settings)))),
    }
}

/// What may be wrong where nobody said which servers are meant.
fn hint(settings: &Settings) -> &'static str {
    let default = Settings::default();
    if (&settings.kafka_brokers, &settings.scylla_nodes) == (&default.kafka_brokers, &default.scylla_nodes) {
        "; kafka_brokers and scylla_nodes are at their defaults: name the servers in a settings file, with --config FILE"
    } else {
        ""
    }
}

fn operator(telemetry: &Telemetry, readiness: Arc<dyn Fn() -> Result<(), String> + Send + Sync>) -> Operator {
    let telemetry = telemetry.clone();
    Operator { readiness, metrics: Arc::new(move || telemetry.render()) }
}

async fn within(settings: &Settings, stopping: impl Future<Output = ()>) -> Result<(), Error> {
    let message = "the shutdown took longer than shutdown_ms_max; whoever takes over goes on from the log";
    tokio::time::timeout(Duration::from_millis(settings.shutdown_ms_max), stopping)
        .await
        .map_err(|_| Error::failed(message))
}

async fn end(serving: tokio::task::JoinHandle<()>) {
    if let Err(error) = serving.await {
        tracing::error!(%error, "the HTTP server ended with an error");
    }
}

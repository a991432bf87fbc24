//! `agentverse dev`: the whole system in one process, from one folder.

mod stand_in;

use super::config::SettingsArgs;
use super::daemon;
use super::exit::{Error, Exit};
use super::output;
use super::url::{BaseUrl, UrlError};
use crate::api::{Operator, Services, serve};
use crate::domain::Aggregate;
use crate::flow::gateway::Gateway;
use crate::runtime::catalog::Catalog;
use crate::runtime::demo;
use crate::runtime::node::{Node, fresh_id};
use crate::runtime::requests::Requests;
use crate::runtime::seed::{self, Tally};
use crate::runtime::settings::{Settings, Switch};
use crate::runtime::telemetry::Telemetry;
use indicatif::{ProgressBar, ProgressStyle};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio_util::sync::CancellationToken;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder that holds everything; made where there is none
    #[arg(long, default_value = "./agentverse-data", value_name = "DIR")]
    pub data: PathBuf,
    /// Where to serve HTTP: a loopback address
    #[arg(long, default_value = "127.0.0.1:7400", value_name = "ADDRESS")]
    pub http: SocketAddr,
    /// Load the built-in catalogue and a demo fleet (a second time changes nothing), and keep it busy with requests to a
    /// stand-in provider
    #[arg(long)]
    pub demo: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
}

/// Runs until SIGTERM or Ctrl-C.
pub fn run(args: Args) -> Result<Exit, Error> {
    if !args.http.ip().is_loopback() {
        let message = format!(
            "{} is not a loopback address: dev has no keys and no roles yet, so it serves this machine only; use --http 127.0.0.1:PORT",
            args.http
        );
        return Err(Error::Usage(message));
    }
    daemon::run(&args.settings, async |settings, telemetry, stop| dev(&args, settings, telemetry, stop).await)
}

async fn dev(args: &Args, settings: Settings, telemetry: Telemetry, stop: CancellationToken) -> Result<Exit, Error> {
    let listener = daemon::listen(args.http).await?;
    let address = listener.local_addr().unwrap_or(args.http);
    let node = Node::start(&args.data, &settings).await.map_err(|error| Error::failed(error.to_string()))?;
    let loaded = Arc::new(AtomicBool::new(false));
    let services = Arc::new(services(&node, &settings, &telemetry, loaded.clone()));
    let serving = tokio::spawn(serve(listener, services, stop.clone()));
    tracing::info!(%address, data = %args.data.display(), "serving");
    let demo = Demo::new(&settings, address, stop.clone());
    let seeded = tokio::select! {
        () = stop.cancelled() => Ok(()),
        seeded = load(&node.gateway, args, address, &demo) => seeded,
    };
    loaded.store(true, Ordering::Release);
    if let Err(error) = &seeded {
        tracing::error!(%error, "the catalogue could not be loaded");
        stop.cancel();
    }
    stop.cancelled().await;
    tracing::info!("stopping: finishing what is under way");
    if let Ok(Err(error)) = serving.await {
        tracing::error!(%error, "the HTTP server ended with an error");
    }
    let stopped = tokio::time::timeout(Duration::from_millis(settings.shutdown_ms_max), node.stop()).await;
    // Not before: calls under way had a provider to end with.
    demo.stop_provider.cancel();
    seeded?;
    match stopped {
        Ok(Ok(())) => Ok(Exit::Done),
        Ok(Err(error)) => Err(Error::failed(error.to_string())),
        Err(_) => Err(Error::failed(
            "the shutdown took longer than shutdown_ms_max; accepted commands are kept and are decided at the next start",
        )),
    }
}

fn services(node: &Node, settings: &Settings, telemetry: &Telemetry, loaded: Arc<AtomicBool>) -> Services {
    let telemetry = telemetry.clone();
    let up = node.readiness();
    Services {
        gateway: node.gateway.clone(),
        query: node.query.clone(),
        feed: node.feed.clone(),
        heartbeats: node.leases.clone(),
        completions: node.requests.as_ref().map(Requests::completions),
        operator: Operator {
            readiness: Arc::new(move || {
                up()?;
                match loaded.load(Ordering::Acquire) {
                    true => Ok(()),
                    false => Err("the catalogue is being loaded".into()),
                }
            }),
            metrics: Arc::new(move || telemetry.render()),
        },
        ids: Arc::new(fresh_id),
        settings: settings.api(),
    }
}

/// What keeps the demo busy.
struct Demo {
    per_minute: u64,
    node: SocketAddr,
    stop: CancellationToken,
    stop_provider: CancellationToken,
}

impl Demo {
    /// Where requests are not carried out, none are made.
    fn new(settings: &Settings, node: SocketAddr, stop: CancellationToken) -> Self {
        let per_minute = if settings.request_calls == Switch::On { settings.demo_requests_per_minute } else { 0 };
        Self { per_minute, node, stop, stop_provider: CancellationToken::new() }
    }

    /// Starts the stand-in, brings the fleet to it, and begins to make requests.
    async fn start(
        &self,
        gateway: &Gateway,
        catalog: &Catalog,
        mut send: impl AsyncFnMut(demo::Stage) -> Result<(), Error>,
    ) -> Result<(), Error> {
        if self.per_minute == 0 {
            return Ok(());
        }
        let node: BaseUrl =
            format!("http://{}", self.node).parse().map_err(|error: UrlError| Error::failed(error.to_string()))?;
        let mut fleet = demo::StandIn::new(catalog);
        let listening = stand_in::listen(&fleet, &node).await?;
        for stage in std::mem::take(&mut fleet.stages) {
            send(stage).await?;
        }
        let moved = fleet.move_to(&listening.endpoint, fresh_id);
        let sent = seed::send(gateway, moved, &mut Tally::default(), |_| {}).await;
        sent.map_err(|error| Error::failed(error.to_string()))?;
        tracing::info!(
            endpoint = listening.endpoint,
            per_minute = self.per_minute,
            "requests go to a stand-in provider"
        );
        tokio::spawn(stand_in::serve(listening, self.stop_provider.clone())?);
        tokio::spawn(stand_in::keep_busy(node, fleet.couplings, self.per_minute, self.stop.clone()));
        Ok(())
    }
}

/// Loads the templates, which everybody gets, or the whole demo.
async fn load(gateway: &Gateway, args: &Args, address: SocketAddr, busy: &Demo) -> Result<(), Error> {
    let catalog = Catalog::built_in().map_err(|error| Error::failed(error.to_string()))?;
    let failed = |error: crate::ports::topic::Error| Error::failed(error.to_string());
    if !args.demo {
        let templates = catalog
            .commands()
            .into_iter()
            .filter(|(envelope, _)| envelope.stream.aggregate == Aggregate::AgentTemplate)
            .collect();
        seed::send(gateway, templates, &mut Tally::default(), |_| {}).await.map_err(failed)?;
        eprintln!("AgentVerse serves http://{address} from {}. Ctrl-C ends it.", args.data.display());
        return Ok(());
    }
    let mut tallies = Vec::with_capacity(demo::STAGE_COUNT);
    let bar = ProgressBar::new(0).with_style(style());
    let mut send = async |stage: demo::Stage| {
        let mut tally = Tally::default();
        bar.set_message(stage.name);
        bar.inc_length(stage.commands.len() as u64);
        seed::send(gateway, stage.commands, &mut tally, |count| bar.inc(count as u64)).await.map_err(failed)?;
        tallies.push((stage.name, tally));
        Ok::<(), Error>(())
    };
    for stage in demo::stages(catalog) {
        send(stage).await?;
    }
    busy.start(gateway, catalog, send).await?;
    bar.finish_and_clear();
    summary(&tallies, args, address)
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{msg:32} {wide_bar} {pos}/{len} {per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// What the demo did, and what to look at next.
fn summary(tallies: &[(&'static str, Tally)], args: &Args, address: SocketAddr) -> Result<(), Error> {
    let mut table = output::table(["STAGE", "APPLIED", "REFUSED", "OTHER"]);
    let mut reasons = std::collections::BTreeMap::<&str, usize>::new();
    for (stage, tally) in tallies {
        let other = tally.dead_lettered + tally.undecided;
        table.add_row([stage.to_string(), tally.applied.to_string(), tally.refused.to_string(), other.to_string()]);
        for (code, count) in &tally.reasons {
            *reasons.entry(code).or_default() += count;
        }
    }
    output::line(&table)?;
    if !reasons.is_empty() {
        let mut table = output::table(["REFUSED BECAUSE", "COMMANDS"]);
        let mut reasons: Vec<_> = reasons.into_iter().collect();
        reasons.sort_by_key(|(code, count)| (std::cmp::Reverse(*count), *code));
        for (code, count) in reasons {
            table.add_row([code.to_owned(), count.to_string()]);
        }
        output::line(&table)?;
    }
    output::line(format!(
        "Serving http://{address} from {}. Ctrl-C ends it; a second start changes nothing.\n\n\
         Look around:\n  \
         curl -s http://{address}/v1/tenants | head -c 600\n  \
         agentverse top --url http://{address}\n  \
         agentverse list tenants\n  \
         agentverse list couplings --tenant <ID> --filter status=refused\n  \
         agentverse explain <COUPLING> --tenant <ID>",
        args.data.display()
    ))?;
    Ok(())
}

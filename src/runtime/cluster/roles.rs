//! The roles of a cluster: each a process of its own kind, any number of each, none of which keeps anything.

use super::turns::{Later, PerLog, Start};
use super::{Error, Links, start};
use crate::adapters::kafka::{Membership, OutcomeReader};
use crate::domain::{Aggregate, LogId};
use crate::flow::feed::Feed;
use crate::flow::gateway::Gateway;
use crate::flow::heartbeat::Heartbeats;
use crate::flow::keeper::Keeper;
use crate::flow::lease::Leases;
use crate::flow::outcome::OutcomeHub;
use crate::flow::process::{self, Parts};
use crate::flow::project;
use crate::flow::projected::Marks;
use crate::flow::query::Query;
use crate::flow::relay::Relay;
use crate::ports::clock::SystemClock;
use crate::ports::outcome::Word;
use crate::runtime::node::fresh_id;
use crate::runtime::replica::{KeptReplica, searching};
use crate::runtime::requests::{self, Requests};
use crate::runtime::settings::{Settings, Switch};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::Instant;

/// A role that owns logs while a consumer group says so.
pub struct Member {
    membership: Arc<Membership>,
    logs: Arc<PerLog>,
    /// How many of them are claimed and caught up.
    owned: Arc<AtomicUsize>,
    joined: Instant,
}

/// After this long without a log a member is a spare one, and as ready as it can be.
const SPARE_AFTER: Duration = Duration::from_secs(20);

impl Member {
    /// Why it cannot do all of its work now, if it cannot.
    pub fn ready(&self) -> Result<(), String> {
        if !self.membership.heard() && self.joined.elapsed() < SPARE_AFTER {
            return Err("the consumer group has not handed out its logs yet".into());
        }
        let (mine, owned) = (self.logs.count(), self.owned.load(Ordering::Acquire));
        if owned >= mine { Ok(()) } else { Err(format!("{} of {mine} logs are being claimed", mine - owned)) }
    }

    /// Ends what is under way and leaves the group, so that others take over at once.
    pub async fn stop(&self) {
        let membership = self.membership.clone();
        if tokio::task::spawn_blocking(move || membership.leave()).await.is_err() {
            tracing::error!("leaving the group panicked");
        }
    }
}

/// The aggregates whose commands a role of its own decides.
const WORKED: [Aggregate; 2] = [Aggregate::LlmRequest, Aggregate::LlmBatch];

/// The role `process`: decides commands and appends what follows, derives from it, and keeps the leases of agents. The
/// commands of requests and their batches are decided by the role `work` alone.
///
/// # Errors
/// When the group's settings cannot be used.
pub fn process(links: &Links, settings: &Settings) -> Result<Member, Error> {
    let (owned, later) = (Arc::new(AtomicUsize::new(0)), Arc::new(Later::default()));
    let partitions = settings.fleet_partitions();
    let (topics, index) = (links.topics.clone(), links.index.clone());
    let leases = Arc::new(Leases::new(topics, index, partitions, settings.lease_times(), fresh_id));
    let keeper = Keeper {
        leases: leases.clone(),
        beats: links.beats.clone(),
        views: links.views.clone(),
        assignment: later.clone(),
    };
    let parts = Parts {
        journal: links.journal.clone(),
        topics: links.topics.clone(),
        index: links.index.clone(),
        clock: Arc::new(SystemClock),
        outcomes: links.outcomes.clone(),
        assignment: later.clone(),
        notice: Arc::new(move |stream, event| leases.notice(stream, event)),
        watcher: None,
        owned: owned.clone(),
        partitions,
        limits: settings.cluster_limits(),
    };
    let start: Start = Box::new(move |log, stop| {
        let processing = process::run(log, parts.clone(), stop.clone());
        if log.aggregate != Aggregate::Agent {
            return tokio::spawn(processing);
        }
        let keeping = keeper.clone().run(log, stop);
        tokio::spawn(async {
            tokio::join!(processing, keeping);
        })
    });
    let logs = PerLog::new(start, partitions, drain_max(settings));
    let aggregates: Vec<_> = Aggregate::ALL.iter().copied().filter(|aggregate| !WORKED.contains(aggregate)).collect();
    let membership = join(links, settings, ("processors", "commands"), &aggregates, &logs)?;
    later.set(membership.clone());
    Ok(Member { membership, logs, owned, joined: Instant::now() })
}

/// The role `work`: decides the commands of requests and their batches, and carries them out. To be started once it can record what
/// calls come to, and stopped before its logs are given away.
///
/// # Errors
/// When the group's settings cannot be used, or what calls are made with cannot be set up.
pub fn work(links: &Links, settings: &Settings) -> Result<(Member, Option<Requests>), Error> {
    let (owned, later) = (Arc::new(AtomicUsize::new(0)), Arc::new(Later::default()));
    let (partitions, limits) = (settings.fleet_partitions(), settings.cluster_limits());
    let stores = requests::Stores {
        limits: links.limits.clone(),
        usage: links.usage.clone(),
        topics: links.topics.clone(),
        index: links.index.clone(),
        partitions,
        is_exclusive: false,
    };
    let requests = match settings.request_calls {
        Switch::On => Some(Requests::new(settings, stores, limits.command_bytes_max)?),
        Switch::Off => None,
    };
    let parts = Parts {
        journal: links.journal.clone(),
        topics: links.topics.clone(),
        index: links.index.clone(),
        clock: Arc::new(SystemClock),
        outcomes: links.outcomes.clone(),
        assignment: later.clone(),
        notice: Arc::new(|_, _| {}),
        watcher: requests.as_ref().map(Requests::watcher),
        owned: owned.clone(),
        partitions,
        limits,
    };
    let start: Start = Box::new(move |log, stop| tokio::spawn(process::run(log, parts.clone(), stop)));
    let logs = PerLog::new(start, partitions, drain_max(settings));
    let membership = join(links, settings, ("workers", "commands"), &WORKED, &logs)?;
    later.set(membership.clone());
    Ok((Member { membership, logs, owned, joined: Instant::now() }, requests))
}

/// The role `project`: turns published events into view rows.
///
/// # Errors
/// When the group's settings cannot be used.
pub fn project(links: &Links, settings: &Settings) -> Result<Member, Error> {
    let owned = Arc::new(AtomicUsize::new(0));
    let parts = project::Parts {
        topics: links.topics.clone(),
        views: links.views.clone(),
        usage: links.usage.clone(),
        clock: Arc::new(SystemClock),
    };
    let start: Start = Box::new({
        let owned = owned.clone();
        move |log, stop| {
            let (parts, owned) = (parts.clone(), owned.clone());
            tokio::spawn(async move {
                let (projected, _) = watch::channel(0);
                owned.fetch_add(1, Ordering::AcqRel);
                project::run(log, parts, projected, stop).await;
                owned.fetch_sub(1, Ordering::AcqRel);
            })
        }
    });
    let logs = PerLog::new(start, settings.fleet_partitions(), drain_max(settings));
    let membership = join(links, settings, ("projectors", "events"), Aggregate::ALL, &logs)?;
    Ok(Member { membership, logs, owned, joined: Instant::now() })
}

fn join(
    links: &Links,
    settings: &Settings,
    (group, kind): (&str, &str),
    aggregates: &[Aggregate],
    logs: &Arc<PerLog>,
) -> Result<Arc<Membership>, Error> {
    let prefix = &settings.topic_prefix;
    let topic = |aggregate: Aggregate| format!("{prefix}agentverse.{}.{kind}.v1", aggregate.name());
    let topics = aggregates.iter().map(|aggregate| (topic(*aggregate), *aggregate)).collect();
    let group = format!("{prefix}agentverse.{group}");
    Ok(Membership::join(&links.link, &group, topics, logs.clone())?)
}

fn drain_max(settings: &Settings) -> Duration {
    Duration::from_millis(settings.shutdown_ms_max)
}

/// The role `serve`: commands in, answers out.
pub struct Server {
    pub gateway: Arc<Gateway>,
    pub query: Arc<Query>,
    pub feed: Arc<Feed>,
    pub heartbeats: Arc<dyn Heartbeats>,
    replica: Option<KeptReplica>,
    _outcomes: OutcomeReader,
}

impl Server {
    /// Ends what goes on beside the answers. To be called once nobody is served any more.
    pub async fn stop(&self) {
        if let Some(replica) = &self.replica {
            replica.stop().await;
        }
    }
}

/// Starts the role `serve`, waiting up to `start_ms_max` for the outcomes topic to answer.
///
/// # Errors
/// When it does not.
pub async fn serve(links: &Links, settings: &Settings) -> Result<Server, Error> {
    let hub = Arc::new(OutcomeHub::default());
    let partitions = settings.fleet_partitions();
    let heartbeats = Arc::new(Relay::new(links.beats.clone(), links.index.clone(), partitions, settings.lease_times()));
    // A topic that was just made has no leader for a moment.
    let outcomes = start::patiently(settings, || async {
        let (told, relay) = (hub.clone(), heartbeats.clone());
        let hear = move |log: LogId, word: Word<'_>| {
            if log.aggregate == Aggregate::Agent {
                relay.forget(&word.stream);
            }
            told.tell_one(log, &word);
        };
        links.outcome_reader(hear).await.map_err(Error::Outcomes)
    });
    let outcomes = outcomes.await?;
    let marks = Arc::new(Marks::new(links.views.clone(), links.journal.clone()));
    let replica = KeptReplica::open(settings, None)?;
    let gateway = Gateway::new(links.topics.clone(), hub, marks, partitions);
    let gateway = searching(gateway, replica.as_ref(), Gateway::searching);
    let query = Query::new(
        links.views.clone(),
        links.index.clone(),
        links.topics.clone(),
        links.journal.clone(),
        links.usage.clone(),
        Arc::new(SystemClock),
    );
    let query = query.folding_at_most(settings.folded_records_max).tracing_at_most(settings.trace_commands_max);
    let query = searching(query, replica.as_ref(), Query::searching);
    let (gateway, query, feed) = (Arc::new(gateway), Arc::new(query), Arc::new(links.feed(settings)));
    if let Some(replica) = &replica {
        replica.start(links.views.clone(), links.journal.clone(), feed.clone());
    }
    Ok(Server { gateway, query, feed, heartbeats, replica, _outcomes: outcomes })
}

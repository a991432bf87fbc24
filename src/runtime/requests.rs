//! What carries requests out on a node: the engine, with the limits, the providers and the keys that it works with.

mod keys;

use crate::adapters::llm::keys::KeySources;
use crate::adapters::llm::{self, Client, SetupError};
use crate::api::openai::{AnswerIds, Completions};
use crate::domain::Partitions;
use crate::domain::limit::Tiers;
use crate::flow::batch;
use crate::flow::batch::runner::Runner;
use crate::flow::process::watch::Watcher;
use crate::flow::request::alerts::Alerted;
use crate::flow::request::engine::{self, Engine};
use crate::flow::request::join::{Indexed, Watched};
use crate::flow::request::limiter::Limiter;
use crate::flow::request::owners::{Counted, OwnedLimits};
use crate::flow::request::report::{self, Reporter};
use crate::flow::request::resolve::Resolver;
use crate::flow::request::{backoff, breaker, bulkhead, queue};
use crate::ports::clock::SystemClock;
use crate::ports::llm::Timeouts;
use crate::ports::{Clock, Index, Limits, Topics, Usage};
use crate::runtime::node::fresh_id;
use crate::runtime::settings::Settings;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Keys(#[from] keys::Error),
    #[error(transparent)]
    Client(#[from] SetupError),
}

/// The stores that requests are carried out over.
pub struct Stores {
    pub limits: Arc<dyn Limits>,
    pub usage: Arc<dyn Usage>,
    pub topics: Arc<dyn Topics>,
    pub index: Arc<dyn Index>,
    pub partitions: Partitions,
    /// Whether no other process can work over them.
    pub is_exclusive: bool,
}

/// See the module.
pub struct Requests {
    engine: Engine,
    batches: Runner,
    limiter: Limiter,
    index: Arc<dyn Index>,
    partitions: Partitions,
    command_bytes_max: usize,
    answers: Arc<AnswerIds>,
    reports: report::Parts,
    stop: CancellationToken,
    stop_limiter: CancellationToken,
    tasks: TaskTracker,
}

impl Requests {
    /// Reaches nobody yet.
    ///
    /// # Errors
    /// When the file of the keys' sources cannot be read, or TLS cannot be set up.
    pub fn new(settings: &Settings, stores: Stores, command_bytes_max: usize) -> Result<Self, Error> {
        let Stores { limits, usage, topics, index, partitions, is_exclusive } = stores;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let start = fresh_id().as_u64_pair();
        let spending = Arc::new(Counted { usage: usage.clone(), clock: clock.clone() });
        let limits = Arc::new(OwnedLimits::new(limits, index.clone(), partitions, spending.clone(), settings.tiers()));
        let limits = Arc::new(Alerted::new(limits, spending, topics.clone()));
        // A version 7 id: the low half is random.
        let limiter = Limiter::new(limits, start.1);
        let sources = KeySources::new(settings.llm_keys()?)?;
        let llm = Arc::new(Client::new(settings.llm_client(), Arc::new(sources), clock.clone())?);
        let open = Arc::new(Indexed { index: index.clone(), clock: clock.clone() });
        let batches = Runner::new(batch::runner::Parts {
            index: index.clone(),
            topics: topics.clone(),
            resolver: Resolver::new(index.clone(), partitions, clock.clone()),
            open: open.clone(),
            clock: clock.clone(),
            partitions,
            config: settings.batches(command_bytes_max),
        });
        let engine = Engine::new(engine::Parts {
            llm,
            limiter: limiter.clone(),
            topics: topics.clone(),
            index: index.clone(),
            open,
            clock: clock.clone(),
            partitions,
            seed: start.0 ^ start.1,
            config: engine::Config { is_alone: is_exclusive, ..settings.engine(&worker(start.1), command_bytes_max) },
        });
        let (stop, stop_limiter) = (CancellationToken::new(), CancellationToken::new());
        let (heard, config) = (engine.clone(), settings.reports());
        let ear = Arc::new(move || heard.heard());
        let reports = report::Parts { ear, usage, index: index.clone(), topics, clock, partitions, config };
        let (answers, tasks) = (Arc::default(), TaskTracker::new());
        Ok(Self {
            engine,
            batches,
            limiter,
            index,
            partitions,
            command_bytes_max,
            answers,
            reports,
            stop,
            stop_limiter,
            tasks,
        })
    }

    /// Who is to be told of the logs of requests and of their batches.
    pub fn watcher(&self) -> Arc<dyn Watcher> {
        let requests = Arc::new(Watched(self.engine.clone()));
        Arc::new(batch::join::All(vec![requests, Arc::new(batch::join::Watched(self.batches.clone()))]))
    }

    /// What the HTTP surface works with.
    pub fn completions(&self) -> Completions {
        let resolver = Resolver::new(self.index.clone(), self.partitions, Arc::new(SystemClock));
        let (engine, index, answers) = (self.engine.clone(), self.index.clone(), self.answers.clone());
        Completions {
            engine,
            resolver,
            index,
            partitions: self.partitions,
            answers,
            command_bytes_max: self.command_bytes_max,
        }
    }

    /// Begins to work.
    pub fn start(&self) {
        let (limiter, stop) = (self.limiter.clone(), self.stop_limiter.clone());
        self.tasks.spawn(async move { limiter.run(stop).await });
        let (engine, stop) = (self.engine.clone(), self.stop.clone());
        let (reporter, stop_reporter) = (Reporter::new(self.reports.clone()), self.stop.clone());
        self.tasks.spawn(reporter.run(stop_reporter));
        let stop_limiter = self.stop_limiter.clone();
        self.tasks.spawn(async move {
            engine.run(stop).await;
            // What calls came to is told to the limits first.
            stop_limiter.cancel();
        });
        self.tasks.close();
    }

    /// Takes nothing more, lets calls under way end for a while, and gives back what is held of the limits. The logs must
    /// be owned until it returns: what calls came to is recorded there.
    pub async fn stop(&self) {
        self.batches.stop().await;
        self.stop.cancel();
        self.tasks.wait().await;
    }
}

/// Names this start of this process in the events: in a container every process may have the same id.
fn worker(start: u64) -> String {
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "localhost".to_owned());
    format!("{}/{}/{:08x}", host.chars().take(64).collect::<String>(), std::process::id(), start >> 32)
}

impl Settings {
    fn llm_keys(&self) -> Result<llm::keys::Config, keys::Error> {
        let file = Some(self.llm_keys_file.as_str()).filter(|file| !file.is_empty());
        Ok(llm::keys::Config {
            sources: file.map(|file| keys::read(Path::new(file))).transpose()?.unwrap_or_default(),
            age_max: Duration::from_secs(self.llm_key_age_max_s),
            ..llm::keys::Config::default()
        })
    }

    fn llm_client(&self) -> llm::Config {
        llm::Config {
            connect_timeout: Duration::from_millis(self.llm_connect_ms_max),
            body_bytes_max: self.llm_answer_bytes_max,
            ..llm::Config::default()
        }
    }

    /// What each tier gives its tenants.
    fn tiers(&self) -> Tiers {
        Tiers {
            diamond: self.tier_diamond_requests_per_minute,
            emerald: self.tier_emerald_requests_per_minute,
            sapphire: self.tier_sapphire_requests_per_minute,
            opal: self.tier_opal_requests_per_minute,
            onyx: self.tier_onyx_requests_per_minute,
        }
    }

    fn reports(&self) -> report::Config {
        report::Config {
            statistics_every: Duration::from_secs(self.statistics_interval_s),
            calls_min: self.statistics_calls_min,
            down_after: Duration::from_secs(self.rebind_after_s),
            recheck_after: Duration::from_secs(self.model_down_recheck_s),
        }
    }

    fn batches(&self, command_bytes_max: usize) -> batch::runner::Config {
        batch::runner::Config {
            in_flight_max: self.batch_requests_in_flight_max,
            command_bytes_max,
            record_every: Duration::from_secs(10),
        }
    }

    fn engine(&self, worker: &str, command_bytes_max: usize) -> engine::Config {
        let ms = Duration::from_millis;
        engine::Config {
            queue: queue::Config {
                waiting_max: [
                    self.request_interactive_waiting_max,
                    self.request_normal_waiting_max,
                    self.request_batch_waiting_max,
                ],
                ..queue::Config::default()
            },
            breaker: breaker::Config {
                failures: self.request_breaker_failures,
                window: ms(self.request_breaker_window_ms),
                open_for: ms(self.request_breaker_open_ms),
            },
            bulkhead: bulkhead::Config {
                small_calls_max: self.request_small_tenants_calls_max,
                middle_calls_max: self.request_middle_tenants_calls_max,
                large_calls_max: self.request_large_tenants_calls_max,
            },
            backoff: backoff::Config {
                first: ms(self.request_backoff_first_ms),
                longest: ms(self.request_backoff_longest_ms),
            },
            timeouts: Timeouts {
                first_byte: ms(self.llm_first_byte_ms_max),
                between_chunks: ms(self.llm_between_chunks_ms_max),
                total: ms(self.llm_call_ms_max),
            },
            // The rest of the shutdown is for what came of them to be recorded, and for the logs to be given away.
            stop_for: ms(self.shutdown_ms_max) * 2 / 3,
            running_max: self.request_running_max,
            left_max: self.request_left_ids_max,
            attempts_max: i64::from(self.request_attempts_max),
            command_bytes_max,
            ..engine::Config::new(worker)
        }
    }
}

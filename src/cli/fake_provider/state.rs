//! What all requests share, and the account of each one that is under way.
//!
//! Two locks, each held for a few map look-ups and never across an await: the limiter's, then, apart from it, the statistics'.

use super::limiter::{Cost, Denial, Limiter, Standing, Ticket};
use super::series::Report;
use super::settings::{CountTokens, LimitBy, Settings};
use super::stats::Stats;
use crate::ports::clock::Clock;
use parking_lot::{Mutex, RwLock};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Longer names of keys and models are one with those that begin alike.
const NAME_BYTES_MAX: usize = 256;

/// What is fixed at the start.
pub struct Fixed {
    pub keys: Vec<String>,
    pub models: Vec<String>,
    pub body_bytes_max: usize,
    pub window_requests_max: usize,
}

/// What an outage does to requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Outage {
    None = 0,
    /// 503.
    Refuse = 1,
    /// The connection ends without an answer.
    Drop = 2,
}

pub struct Fake {
    pub fixed: Fixed,
    pub clock: Box<dyn Clock>,
    pub stop: CancellationToken,
    settings: RwLock<Arc<Settings>>,
    limiter: Mutex<Limiter>,
    stats: Mutex<Stats>,
    arrivals: AtomicU64,
    outage: AtomicU8,
    begin: Instant,
}

impl Fake {
    pub fn new(settings: Settings, fixed: Fixed, clock: Box<dyn Clock>, stop: CancellationToken) -> Self {
        Self {
            limiter: Mutex::new(Limiter::new(settings.limit_by, fixed.window_requests_max)),
            settings: RwLock::new(Arc::new(settings)),
            fixed,
            clock,
            stop,
            stats: Mutex::default(),
            arrivals: AtomicU64::new(0),
            outage: AtomicU8::new(Outage::None as u8),
            begin: Instant::now(),
        }
    }

    pub fn settings(&self) -> Arc<Settings> {
        Arc::clone(&self.settings.read())
    }

    /// Replaces settings by a change that `with` describes.
    ///
    /// # Errors
    /// A sentence that says what is wrong; then nothing is replaced.
    pub fn change(&self, change: &[u8]) -> Result<Arc<Settings>, String> {
        let mut settings = self.settings.write();
        *settings = Arc::new(settings.with(change)?);
        Ok(Arc::clone(&settings))
    }

    pub fn outage(&self) -> Outage {
        match self.outage.load(Ordering::Relaxed) {
            1 => Outage::Refuse,
            2 => Outage::Drop,
            _ => Outage::None,
        }
    }

    pub fn set_outage(&self, outage: Outage) {
        self.outage.store(outage as u8, Ordering::Relaxed);
    }

    /// Works on the statistics.
    pub fn stats<T>(&self, work: impl FnOnce(&mut Stats) -> T) -> T {
        work(&mut self.stats.lock())
    }

    pub fn report(&self) -> serde_json::Value {
        let mut limiter = self.limiter.lock();
        let now = self.nanos();
        self.stats.lock().report(limiter.watch(), now)
    }

    /// What passed in each second.
    pub fn series(&self) -> Report {
        let mut limiter = self.limiter.lock();
        let now = self.nanos();
        limiter.watch().series.report(now)
    }

    /// Forgets counts, windows and the number of arrivals, so that draws begin anew; settings stay.
    pub fn reset(&self) {
        self.limiter.lock().reset();
        self.stats.lock().reset();
        self.arrivals.store(0, Ordering::Relaxed);
    }

    /// Since the start. Read under the limiter's lock, so that arrivals are in order.
    fn nanos(&self) -> u64 {
        u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }
}

/// The account of one request; closed when dropped, however it ends.
pub struct Call {
    fake: Arc<Fake>,
    pub number: u64,
    pub kind: &'static str,
    id: Option<Box<str>>,
    /// Where to correct an estimate.
    ticket: Option<Ticket>,
    prompt: u64,
    completion: u64,
    is_answered: bool,
}

impl Call {
    pub fn begin(fake: &Arc<Fake>, kind: &'static str, id: Option<Box<str>>) -> Self {
        fake.stats(|stats| stats.begin(id.as_deref()));
        let number = fake.arrivals.fetch_add(1, Ordering::Relaxed);
        let fake = Arc::clone(fake);
        Self { fake, number, kind, id, ticket: None, prompt: 0, completion: 0, is_answered: false }
    }

    /// Asks the limits.
    pub fn admit(&mut self, settings: &Settings, key: &str, model: &str, cost: Cost) -> (Result<(), Denial>, Standing) {
        let name = match settings.limit_by {
            LimitBy::Global => "",
            LimitBy::Key => key,
            LimitBy::Model => model,
        };
        let name = &name[..name.floor_char_boundary(NAME_BYTES_MAX)];
        let mut limiter = self.fake.limiter.lock();
        let now = self.fake.nanos();
        let (result, standing) = limiter.admit(now, settings, name, cost);
        drop(limiter);
        let result = result.map(|ticket| {
            self.prompt = cost.prompt;
            self.ticket = Some(ticket).filter(|_| settings.count_tokens == CountTokens::Estimate);
            self.fake.stats(|stats| stats.pass(self.id.as_deref(), cost.prompt));
        });
        (result, standing)
    }

    /// So many tokens of the answer were sent in all.
    pub fn sent(&mut self, completion: u64) {
        self.completion = completion;
    }

    /// The answer is complete.
    pub fn answered(&mut self) {
        self.is_answered = true;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if let Some(ticket) = &self.ticket {
            self.fake.limiter.lock().correct(ticket, self.prompt + self.completion);
        }
        self.fake.stats(|stats| stats.end(self.id.as_deref(), self.is_answered, self.completion));
    }
}

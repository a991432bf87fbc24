//! What the engine is tested against: a provider that does as it is told, and limits in memory.

use crate::domain::Micros;
use crate::domain::limit::{Account, Ask, Limit, LimitKey, News, Reserved, Returned, Setting, Standing};
use crate::ports::limits::{self, Limits};
use crate::ports::llm::{
    Answer, Call, Chunk, Chunks, Complaint, End, Error, Head, Kind, Llm, Progress, RateLimits, Streamed, Usage, Whole,
};
use async_trait::async_trait;
use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a call comes to.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    Answer(Duration),
    /// An answer of so many bytes.
    Long(usize),
    Fail {
        after: Duration,
        kind: Kind,
        progress: Progress,
        retry_after: Option<Duration>,
    },
    Stream {
        chunks: usize,
        each: Duration,
        is_cut: bool,
    },
}

pub fn fails(kind: Kind) -> Plan {
    Plan::Fail { after: Duration::from_millis(20), kind, progress: Progress::Sent, retry_after: None }
}

#[derive(Clone, Debug)]
pub struct Made {
    pub model: String,
    pub prompt: String,
    pub at: Instant,
}

type Planner = Box<dyn FnMut(&Made, usize) -> Plan + Send>;

pub struct FakeLlm {
    plan: Mutex<Planner>,
    pub calls: Mutex<Vec<Made>>,
    /// How often each prompt was answered.
    pub answered: Mutex<HashMap<String, usize>>,
    /// Calls under way.
    pub open: Arc<Mutex<usize>>,
}

impl FakeLlm {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            plan: Mutex::new(Box::new(|_, _| Plan::Answer(Duration::from_millis(100)))),
            calls: Mutex::default(),
            answered: Mutex::default(),
            open: Arc::default(),
        })
    }

    /// By the call, and how many there were before it.
    pub fn plan(&self, plan: impl FnMut(&Made, usize) -> Plan + Send + 'static) {
        *self.plan.lock() = Box::new(plan);
    }

    pub fn models(&self) -> Vec<String> {
        self.calls.lock().iter().map(|made| made.model.clone()).collect()
    }
}

/// Counts a call as under way until it is dropped.
struct Under(Arc<Mutex<usize>>);

impl Drop for Under {
    fn drop(&mut self) {
        *self.0.lock() -= 1;
    }
}

fn usage() -> Usage {
    Usage { input_tokens: 10, output_tokens: 20, ..Usage::default() }
}

#[async_trait]
impl Llm for FakeLlm {
    async fn call(&self, call: Call) -> Result<Answer, Box<Error>> {
        let request: serde_json::Value = serde_json::from_slice(&call.request).expect("JSON");
        let prompt = request["messages"][0]["content"].as_str().expect("a prompt").to_owned();
        let made = Made { model: call.target.model.to_string(), prompt: prompt.clone(), at: Instant::now() };
        let before = {
            let mut calls = self.calls.lock();
            calls.push(made.clone());
            calls.len() - 1
        };
        *self.open.lock() += 1;
        let under = Under(self.open.clone());
        let plan = {
            let mut plan = self.plan.lock();
            (*plan)(&made, before)
        };
        match plan {
            Plan::Answer(after) => {
                tokio::time::sleep(after).await;
                *self.answered.lock().entry(prompt).or_default() += 1;
                let body = Bytes::from(format!("{{\"echo\":\"{}\"}}", made.prompt));
                Ok(Answer::Whole(Whole { head: Head::default(), body, end: end() }))
            }
            Plan::Long(bytes) => {
                *self.answered.lock().entry(prompt).or_default() += 1;
                let body = Bytes::from(format!("\"{}\"", "x".repeat(bytes)));
                Ok(Answer::Whole(Whole { head: Head::default(), body, end: end() }))
            }
            Plan::Fail { after, kind, progress, retry_after } => {
                tokio::time::sleep(after).await;
                Err(error(kind, progress, retry_after))
            }
            Plan::Stream { chunks, each, is_cut } => {
                assert!(call.stream, "nobody reads pieces of this one");
                tokio::time::sleep(each).await;
                let chunks = Pieces { left: chunks, each, is_cut, is_over: false, _under: under };
                Ok(Answer::Streamed(Streamed { head: Head::default(), chunks: Box::new(chunks) }))
            }
        }
    }
}

fn end() -> End {
    End { usage: Some(usage()), finish_reason: Some("stop".into()) }
}

fn error(kind: Kind, progress: Progress, retry_after: Option<Duration>) -> Box<Error> {
    let complaint = Complaint { message: "no".into(), kind: "error".into(), param: None, code: None };
    let head = Head { status: 0, headers: vec![], rates: RateLimits { retry_after, ..RateLimits::default() } };
    Box::new(Error { provider: "p".into(), kind, progress, head, complaint, cause: None, usage: None })
}

struct Pieces {
    left: usize,
    each: Duration,
    is_cut: bool,
    is_over: bool,
    _under: Under,
}

pub const CHUNK: &[u8] = b"{\"odd\":1,  \"choices\":[{\"index\":0,\"delta\":{\"content\":\"12345678\"}}]}";

#[async_trait]
impl Chunks for Pieces {
    async fn next(&mut self) -> Option<Result<Chunk, Box<Error>>> {
        if self.is_over {
            return None;
        }
        tokio::time::sleep(self.each).await;
        if self.left > 0 {
            self.left -= 1;
            return Some(Ok(Chunk::Data(Bytes::from_static(CHUNK))));
        }
        self.is_over = true;
        Some(if self.is_cut { Err(error(Kind::Cut, Progress::Receiving, None)) } else { Ok(Chunk::End(end())) })
    }
}

/// Accounts in memory. A key that was never set has no bounds.
pub struct FakeLimits {
    accounts: Mutex<HashMap<LimitKey, Account>>,
    started: Instant,
}

impl FakeLimits {
    pub fn new() -> Arc<Self> {
        Arc::new(Self { accounts: Mutex::default(), started: Instant::now() })
    }

    pub fn limit(&self, key: LimitKey, limit: Limit) {
        let setting = Setting { version: 1, limit, spent: None };
        self.accounts.lock().insert(key, Account::new(&setting));
    }

    pub fn standing(&self, key: &LimitKey) -> Option<Standing> {
        let now = self.now();
        self.accounts.lock().get(key).map(|account| account.standing(now))
    }

    fn now(&self) -> Micros {
        super::world::T0 + self.started.elapsed().as_micros() as Micros
    }

    fn with<T>(&self, key: &LimitKey, change: impl FnOnce(&mut Account, Micros) -> T) -> T {
        let setting = Setting { version: 0, limit: Limit::default(), spent: None };
        change(self.accounts.lock().entry_ref(key).or_insert_with(|| Account::new(&setting)), self.now())
    }
}

#[async_trait]
impl Limits for FakeLimits {
    async fn reserve(&self, key: &LimitKey, ask: &Ask) -> Result<Reserved, limits::Error> {
        tokio::time::sleep(Duration::from_millis(5)).await;
        Ok(self.with(key, |account, now| account.reserve(now, ask)))
    }

    async fn give_back(&self, key: &LimitKey, holder: u64, op: u64, returned: &Returned) -> Result<(), limits::Error> {
        self.with(key, |account, now| account.give_back(now, holder, op, returned));
        Ok(())
    }

    async fn set(&self, key: &LimitKey, setting: &Setting) -> Result<bool, limits::Error> {
        Ok(self.with(key, |account, _| account.set(setting)))
    }

    async fn throttle(&self, key: &LimitKey, news: &News) -> Result<(), limits::Error> {
        self.with(key, |account, now| account.throttle(now, news));
        Ok(())
    }

    async fn state(&self, key: &LimitKey) -> Result<Option<Standing>, limits::Error> {
        Ok(self.standing(key))
    }
}

//! The breakers of all models that this process calls.

use crate::domain::llm_request::ModelChoice;
use crate::flow::request::breaker::{Breaker, Config, Heard, Pass, State, Verdict};
use hashbrown::HashMap;
use parking_lot::Mutex;
use std::sync::Arc;
use tokio::time::Instant;

/// From so many on, those are forgotten that have nothing to say.
const BREAKERS_MAX: usize = 4096;

pub struct Breakers {
    config: Config,
    all: Mutex<HashMap<ModelChoice, Breaker>>,
}

impl Breakers {
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Self { config, all: Mutex::default() })
    }

    /// Lets a call to a model through, or says when to ask again.
    pub fn pass(self: &Arc<Self>, model: &ModelChoice, now: Instant) -> Result<Passed, Instant> {
        let mut all = self.all.lock();
        if all.len() >= BREAKERS_MAX {
            all.retain(|_, breaker| !breaker.is_idle(now));
        }
        let pass = all.entry_ref(model).or_insert_with(|| Breaker::new(self.config)).pass(now)?;
        Ok(Passed { breakers: self.clone(), model: model.clone(), pass: Some(pass) })
    }

    /// What all of them heard.
    pub fn heard(&self) -> Vec<(ModelChoice, Heard)> {
        self.all.lock().iter().map(|(model, breaker)| (model.clone(), breaker.heard())).collect()
    }

    /// Those that are not closed.
    pub fn open(&self, now: Instant) -> Vec<(ModelChoice, State)> {
        let all = self.all.lock();
        let states = all.iter().map(|(model, breaker)| (model.clone(), breaker.state(now)));
        states.filter(|(_, state)| *state != State::Closed).collect()
    }
}

/// A call that a breaker let through. Dropped, it says nothing of its model.
pub struct Passed {
    breakers: Arc<Breakers>,
    model: ModelChoice,
    pass: Option<Pass>,
}

impl Passed {
    pub fn tell(mut self, verdict: Verdict) {
        self.say(verdict);
    }

    fn say(&mut self, verdict: Verdict) {
        let Some(pass) = self.pass.take() else { return };
        let now = Instant::now();
        let mut all = self.breakers.all.lock();
        let Some(breaker) = all.get_mut(&self.model) else { return };
        let was_open = breaker.state(now) != State::Closed;
        breaker.tell(pass, verdict, now);
        let is_open = breaker.state(now) != State::Closed;
        if was_open != is_open {
            let ModelChoice { model_id, provider_id, .. } = &self.model;
            tracing::warn!(model = model_id, provider = %provider_id, is_open, "the breaker of a model turned");
        }
    }
}

impl Drop for Passed {
    fn drop(&mut self) {
        self.say(Verdict::Unknown);
    }
}

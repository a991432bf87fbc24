//! How fast it goes: a rate that is never exceeded, and as many requests at a time as the node bears.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Requests that go well before one more is tried at a time.
const WELL_BEFORE_MORE: usize = 20;

/// Commands per second; without a rate, as fast as the answers come.
pub struct Pace {
    each: Option<Duration>,
    next: Mutex<Instant>,
}

impl Pace {
    pub fn new(rate: Option<f64>) -> Self {
        Self { each: rate.map(|rate| Duration::from_secs_f64(1.0 / rate)), next: Mutex::new(Instant::now()) }
    }

    /// Waits until so many commands may go.
    pub async fn take(&self, commands: usize) {
        let Some(each) = self.each else { return };
        let due = {
            let mut next = self.next.lock();
            let due = (*next).max(Instant::now());
            *next = due + each * u32::try_from(commands).unwrap_or(u32::MAX);
            due
        };
        tokio::time::sleep_until(due).await;
    }
}

/// Lets so many requests through at a time as the node bears: half as many when it is busy or away, one more when
/// [`WELL_BEFORE_MORE`] went well.
pub struct Gate {
    most: usize,
    state: Mutex<State>,
    freed: Notify,
}

struct State {
    under_way: usize,
    allowed: usize,
    well: usize,
}

/// A request that is under way; it is over when this is dropped.
pub struct Pass<'a>(&'a Gate);

impl Gate {
    pub fn new(most: usize) -> Self {
        Self { most, state: Mutex::new(State { under_way: 0, allowed: most, well: 0 }), freed: Notify::new() }
    }

    pub async fn enter(&self) -> Pass<'_> {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.state.lock();
                if state.under_way < state.allowed {
                    state.under_way += 1;
                    return Pass(self);
                }
            }
            freed.await;
        }
    }

    /// Takes in how a request went.
    pub fn heard(&self, was_busy: bool) {
        let mut state = self.state.lock();
        if was_busy {
            state.allowed = (state.allowed / 2).max(1);
            state.well = 0;
            return;
        }
        state.well += 1;
        if state.well >= WELL_BEFORE_MORE && state.allowed < self.most {
            state.allowed += 1;
            state.well = 0;
            self.freed.notify_one();
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        self.0.state.lock().under_way -= 1;
        self.0.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;

    #[tokio::test(start_paused = true)]
    async fn a_rate_is_never_exceeded_whoever_takes() {
        let pace = Pace::new(Some(1_000.0));
        let start = Instant::now();
        for _ in 0..10 {
            tokio::join!(pace.take(100), pace.take(150));
        }
        // What was taken last may go; what came before took its time.
        let passed = start.elapsed();
        assert!((2_250..=2_400).contains(&passed.as_millis()), "{passed:?}");
        tokio::time::sleep(Duration::from_secs(60)).await;
        let start = Instant::now();
        pace.take(500).await;
        pace.take(1).await;
        assert!(start.elapsed() >= Duration::from_millis(500), "what was not used is not saved up");
    }

    #[tokio::test]
    async fn a_busy_node_gets_half_as_many_and_one_more_when_all_goes_well() {
        let gate = Gate::new(4);
        let mut passes = Vec::new();
        for _ in 0..4 {
            passes.push(gate.enter().await);
        }
        assert!(gate.enter().now_or_never().is_none());
        gate.heard(true);
        drop(passes.pop());
        drop(passes.pop());
        assert!(gate.enter().now_or_never().is_none(), "two are under way, and no more are let through");
        drop(passes.pop());
        let third = gate.enter().now_or_never();
        assert!(third.is_some() && gate.enter().now_or_never().is_none());
        (0..3).for_each(|_| gate.heard(true));
        drop((passes, third));
        let first = gate.enter().now_or_never();
        assert!(first.is_some() && gate.enter().now_or_never().is_none(), "one at a time is the least");
        (0..WELL_BEFORE_MORE).for_each(|_| gate.heard(false));
        let second = gate.enter().now_or_never();
        assert!(second.is_some() && gate.enter().now_or_never().is_none());
    }

    #[tokio::test]
    async fn who_waits_goes_when_another_is_over() {
        let gate = std::sync::Arc::new(Gate::new(1));
        let pass = gate.enter().await;
        let waiting = tokio::spawn({
            let gate = gate.clone();
            async move { drop(gate.enter().await) }
        });
        tokio::task::yield_now().await;
        drop(pass);
        waiting.await.unwrap();
    }
}

//! One turn of a request: its model is chosen, its attempt started, its call made, and what that came to recorded.

use super::choose::{Choice, Chosen};
use super::intake::lease_over;
use super::record::Told;
use super::reply::{Failure, How};
use super::work::{Caller, Request, Source, Why, Work, instant, state_of};
use super::{Place, Shared, say};
use crate::domain::llm_request::{COST_PICO_USD_MAX, LEASE_MS_MAX, ModelChoice, StartAttempt, TOKENS_MAX};
use crate::domain::{Micros, Rejection};
use crate::flow::request::queue::class_of;
use crate::flow::request::seam::{Answered, Lane, NotTaken};
use crate::metrics::handles;
use crate::ports::topic::Accepted;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Of a lease, what is meant for starting the attempt rather than for the call.
const START: Duration = Duration::from_secs(5);
/// How long after its deadline a lease may end.
const LATE: Duration = Duration::from_secs(1);
/// When a request is looked at again of which something is not known yet.
const AGAIN: Duration = Duration::from_secs(1);

/// What is to become of a request after its turn.
pub enum Next {
    /// Its turn comes again, now or later.
    Again(Option<Instant>),
    /// The same, read anew: what is known of it is out of date.
    Anew(Instant),
    /// All of its tenant wait.
    Hold(Instant),
    /// All at its gate wait.
    Pause(Instant),
    Fail(Failure),
    Expire,
    GiveUp(Why),
    /// Its log, or another claim, has it.
    Leave {
        is_unknown: bool,
    },
    /// Nothing is left to do, and nothing to say.
    Ended,
    /// Nothing is left to do.
    Done(How),
    Refused(Rejection),
}

/// A started attempt.
pub struct Started {
    pub attempt: i64,
    pub lease_until: Micros,
    /// By the monotonic clock: nothing of the call is done after.
    pub lease_ends: Instant,
}

impl Shared {
    pub(super) async fn carry_out(self: Arc<Self>, mut work: Box<Work>, place: Place) {
        let waited = Instant::now().saturating_duration_since(work.item.arrived);
        handles().request_wait.record(waited.as_secs_f64());
        let next = match self.prepare(&mut work).await {
            Ok(request) => self.turn(&mut work, &request, place).await,
            Err(next) => {
                drop(place);
                next
            }
        };
        self.go_on(work, next).await;
    }

    /// What is asked, and whether it can be carried out now.
    async fn prepare(&self, work: &mut Work) -> Result<Arc<Request>, Next> {
        let Source::Log { head, position } = &mut work.source else {
            return match &work.source {
                Source::Caller(caller) => Ok(caller.request.clone()),
                Source::Log { .. } => Err(Next::Leave { is_unknown: false }),
            };
        };
        let read = match head.take() {
            Some(head) => Some(head),
            None => match self.index.heads(work.log, &[work.item.stream]).await {
                Ok(mut heads) => heads.pop().flatten().filter(|head| head.position >= *position),
                Err(error) => {
                    tracing::warn!(%error, "a request cannot be read; it waits");
                    None
                }
            },
        };
        // The index may be behind the log for a moment.
        let Some(read) = read else { return Err(Next::Again(Some(Instant::now() + AGAIN))) };
        *position = read.position;
        let state = match state_of(&read) {
            Ok(state) => state,
            Err(error) => {
                tracing::error!(stream = %work.item.stream, %error, "the head of a request cannot be read; rebuild the index");
                return Err(Next::Leave { is_unknown: false });
            }
        };
        if !state.is_running() {
            return Err(Next::Done(How::Ended));
        }
        let made = state.attempts.len() as i64;
        let (now, wall) = (Instant::now(), self.clock.now());
        let over = lease_over(&state).filter(|_| made > work.attempts);
        work.attempts = work.attempts.max(made);
        if let Some(at) = over.map(|at| instant(at, wall, now)).filter(|at| *at > now) {
            return Err(Next::Again(Some(at)));
        }
        let request = Arc::new(Request::of(&state.request));
        if request.payload.is_none() {
            let why = "the prompt is not stored, and the process that held it is gone; submit the request again";
            return Err(Next::Fail(Failure::new("prompt_gone", why, 503)));
        }
        Ok(request)
    }

    async fn turn(&self, work: &mut Work, request: &Request, place: Place) -> Next {
        if work.attempts >= self.config.attempts_max() {
            let failure = || Failure::new("attempts_exhausted", "as many attempts as are allowed have failed", 502);
            return Next::Fail(work.last.clone().unwrap_or_else(failure));
        }
        let stop = work.stop.clone();
        let choice = tokio::select! {
            biased;
            why = stop.told() => return Next::GiveUp(why),
            () = tokio::time::sleep_until(work.item.deadline) => return Next::Expire,
            choice = self.choose(work, request) => choice,
        };
        let chosen = match choice {
            Choice::Go(chosen) => chosen,
            Choice::Wait(at) => return Next::Again(Some(at)),
            Choice::Pause(at) => return Next::Pause(at),
            Choice::Hold(at) => return Next::Hold(at),
            Choice::Fail(failure) => return Next::Fail(failure),
        };
        place.pass();
        let started = match self.start(work, request, &chosen).await {
            Ok(started) => started,
            Err(next) => {
                chosen.permit.cancel();
                return next;
            }
        };
        if started.attempt == 1 {
            let (class, now) = (class_of(work.item.priority), Instant::now());
            self.waits.count(class, now.saturating_duration_since(work.item.arrived), now);
        }
        let Chosen { index, choice, model, estimate, permit, passed, room, .. } = *chosen;
        let called = self.call(work, request, &model, &choice, estimate, &started, permit).await;
        drop(room);
        passed.tell(called.verdict());
        self.conclude(work, request, CallOf { started, index, choice }, called).await
    }

    /// Starts the attempt: what is not in the log is not called. A caller's request is submitted with it, in one batch.
    async fn start(&self, work: &mut Work, request: &Request, chosen: &Chosen) -> Result<Started, Next> {
        // The lease is counted from before it is asked for, so that it ends here no later than the log says.
        let (began, wall) = (Instant::now(), self.clock.now());
        let lease = (self.config.timeouts.total + START)
            .min(Duration::from_millis(LEASE_MS_MAX.unsigned_abs()))
            .min(work.item.deadline.saturating_duration_since(began) + LATE);
        let lease_until = wall.saturating_add(Micros::try_from(lease.as_micros()).unwrap_or(0));
        let attempt = work.attempts + 1;
        let command = StartAttempt {
            attempt,
            worker: self.config.worker.clone(),
            model: chosen.choice.clone(),
            lease_until,
            tokens_reserved: chosen.estimate.tokens.clamp(0, 2 * TOKENS_MAX),
            cost_estimated_pico_usd: chosen.estimate.micro_usd.saturating_mul(1_000_000).clamp(0, COST_PICO_USD_MAX),
            rejected: chosen.rejected.iter().take(request.models.len()).cloned().collect(),
        };
        let command = say::start(work.stream(), command).map_err(unspeakable)?;
        let owned = |owned: &super::board::Owned| (owned.generation == work.generation).then(|| owned.lane.clone());
        let lane = self.board.lock().owned(work.log).and_then(owned);
        let Some(lane) = lane else { return Err(Next::Leave { is_unknown: false }) };
        let answer = match &mut work.source {
            Source::Caller(caller) if !caller.is_submitted => submit(caller, &*lane, command).await?,
            _ => lane.send(command).await,
        };
        match answer {
            Ok(Answered::Applied) => {
                work.attempts = attempt;
                Ok(Started { attempt, lease_until, lease_ends: began + lease })
            }
            Ok(Answered::Refused(rejection)) => Err(self.not_started(work, rejection)),
            // Another's, or one of before: nothing is known of its lease.
            Ok(Answered::Unchanged | Answered::Repeated) => Err(Next::Anew(Instant::now() + AGAIN)),
            Err(NotTaken { unknown }) if work.caller().is_some() => Err(Next::Leave { is_unknown: unknown }),
            // Should the claim go on all the same, the request must not be forgotten.
            Err(NotTaken { .. }) => Err(Next::Anew(Instant::now() + AGAIN)),
        }
    }

    fn not_started(&self, work: &Work, rejection: Rejection) -> Next {
        let again = Instant::now() + AGAIN;
        match rejection.code.as_str() {
            "request_ended" if work.caller().is_some() => Next::Refused(rejection),
            "request_ended" => Next::Done(How::Ended),
            "deadline_passed" => Next::Expire,
            "attempt_open" => Next::Again(Some(self.named(&rejection, "until").unwrap_or(again).max(again))),
            // It took longer to get into the log than the lease lasts.
            "invalid" if rejection.details.get("field").is_some_and(|field| field == "lease_until") => {
                Next::Again(Some(again))
            }
            "stale_attempt" if work.caller().is_none() => Next::Anew(again),
            _ if work.caller().is_some() => Next::Refused(rejection),
            _ => Next::Fail(Failure::new("not_started", rejection.message, 500)),
        }
    }

    /// The moment that a rejection names.
    pub(super) fn named(&self, rejection: &Rejection, field: &str) -> Option<Instant> {
        let at: Micros = rejection.details.get(field)?.parse().ok()?;
        Some(instant(at, self.clock.now(), Instant::now()))
    }

    /// What is to be done once a turn is over.
    pub(super) async fn go_on(self: Arc<Self>, mut work: Box<Work>, next: Next) {
        match next {
            Next::Again(at) => self.requeue(work, at).await,
            Next::Hold(at) => {
                self.board.lock().hold(work.stream(), at);
                self.requeue(work, None).await;
            }
            Next::Pause(at) => {
                // Others at the gate may have models to fall back on: they look for themselves before long.
                let longest = Instant::now() + self.config.fallback_after;
                self.board.lock().pause(work.item.gate, at.min(longest));
                self.requeue(work, None).await;
            }
            Next::Anew(at) => {
                if let Source::Log { head, .. } = &mut work.source {
                    *head = None;
                }
                self.requeue(work, Some(at)).await;
            }
            Next::Fail(failure) => self.fail(work, failure).await,
            Next::Expire => self.expire_one(work).await,
            Next::GiveUp(why) => self.give_up(work, why).await,
            Next::Leave { is_unknown } => {
                if is_unknown {
                    self.withdraw(&work).await;
                }
                self.finish(&work, How::NotTaken { is_unknown }, false);
            }
            Next::Ended => self.board.lock().done(&work),
            Next::Done(how) => self.finish(&work, how, true),
            Next::Refused(rejection) => self.finish(&work, How::Refused(rejection), true),
        }
        self.pump();
    }

    async fn requeue(&self, work: Box<Work>, at: Option<Instant>) {
        let back = self.board.lock().requeue(work, at, &self.config);
        let Some(work) = back else {
            self.wake.notify_one();
            return;
        };
        match work.stop.is_told() {
            Some(why) => self.give_up(work, why).await,
            None => self.finish(&work, How::NotTaken { is_unknown: false }, false),
        }
    }

    /// Nobody is left to tell what a request comes to that may be in the log: whoever finds it there need not pay for it.
    async fn withdraw(&self, work: &Work) {
        if let Ok(command) = say::cancel(work.stream(), Why::Stopping) {
            drop(self.record(work.log, command).await);
        }
    }
}

/// Which call something came of.
pub struct CallOf {
    pub started: Started,
    pub index: usize,
    pub choice: ModelChoice,
}

/// Submits a caller's request with its first attempt.
async fn submit(
    caller: &mut Caller,
    lane: &dyn Lane,
    start: Arc<Accepted>,
) -> Result<Result<Answered, NotTaken>, Next> {
    let both = futures::future::join(lane.send(caller.submit.command.clone()), lane.send(start));
    let (submitted, started) = both.await;
    match (submitted, &started) {
        (Ok(Answered::Refused(rejection)), _) => Err(Next::Refused(rejection)),
        (Ok(_), _) => {
            caller.is_submitted = true;
            Ok(started)
        }
        // An attempt can only be started of what is there.
        (Err(_), Ok(_)) => Ok(started),
        (Err(NotTaken { unknown: submit }), Err(NotTaken { unknown: start })) => {
            Err(Next::Leave { is_unknown: submit || *start })
        }
    }
}

/// A command that does not fit its schema: struct and schema have come apart.
fn unspeakable(error: crate::domain::wire::WireError) -> Next {
    tracing::error!(%error, "a command of the engine does not fit its schema");
    Next::Fail(Failure::new("not_started", "this program cannot write its own commands; see its log", 500))
}

/// Of the record of a call: whether the request is this process's still.
pub fn is_ours(told: &Told) -> bool {
    matches!(told, Told::Answered(_))
}

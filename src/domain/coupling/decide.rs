use super::candidates::{Away, Found, Wish, search};
use super::sight::{Sight, head_of, lookups as sight_lookups, tenant_bar, tenant_stream};
use super::*;
use crate::domain::common::{TEXT_BYTES_MAX, check_length, check_name, check_not_negative};
use crate::domain::envelope::SYSTEM_SOURCE;

pub fn lookups(state: &State, command: &Command, envelope: &Envelope) -> Vec<Lookup> {
    let tenant = envelope.tenant();
    let asked = &state.request;
    match command {
        Command::RequestCoupling(request) if may_begin(state) => {
            sight_lookups(tenant, request.agent_id, request.mcp_server_id)
        }
        Command::RebindCoupling(_) if state.is_live() => sight_lookups(tenant, asked.agent_id, asked.mcp_server_id),
        Command::ResumeCoupling(resume) if state.is_live() && state.holds(resume.hold) => match resume.hold {
            Hold::Provider => sight_lookups(tenant, asked.agent_id, asked.mcp_server_id),
            Hold::Manual | Hold::Tenant => tenant_stream(tenant).into_iter().map(Lookup::Stream).collect(),
        },
        Command::RequestCompletion(_) => completion::lookups(state, tenant),
        _ => Vec::new(),
    }
}

pub fn decide(state: &State, command: &Command, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    match command {
        Command::RequestCoupling(command) => request(state, command, context),
        Command::RebindCoupling(command) => rebind(state, command, context),
        Command::SuspendCoupling(command) => suspend(state, command),
        Command::ResumeCoupling(command) => resume(state, command, context),
        Command::EndCoupling(command) => end(state, command),
        Command::RequestCompletion(command) => completion::decide(state, command, context),
    }
}

fn may_begin(state: &State) -> bool {
    matches!(state.status, Status::Absent | Status::Refused)
}

/// The binding of a live coupling, or why there is none.
fn live<'a>(state: &'a State, to: &str) -> Result<&'a Binding, Rejection> {
    match (state.status, &state.binding) {
        (Status::Active | Status::Suspended, Some(binding)) => Ok(binding),
        (Status::Absent, _) => Err(Rejection::not_found("coupling")),
        (Status::Refused, _) => {
            Err(Rejection::illegal_transition("refused", to, &["active or refused, by another RequestCoupling"]))
        }
        _ => Err(Rejection::illegal_transition("ended", to, &[])),
    }
}

fn sight<'a>(request: &Request, context: &'a Context<'_>) -> Sight<'a> {
    Sight::of(context, request.agent_id, request.mcp_server_id)
}

impl Request {
    /// Checks the values and puts them into their normal form, in which two equal requests are the same.
    fn from_command(command: &RequestCoupling) -> Result<Self, Rejection> {
        check_not_negative("cost_per_1k_tokens_micro_usd_max", command.cost_per_1k_tokens_micro_usd_max)?;
        if let Some(model) = &command.model {
            check_name("model.model_id", &model.model_id)?;
        }
        let mut required_capabilities = command.required_capabilities.clone();
        required_capabilities.sort_unstable();
        required_capabilities.dedup();
        Ok(Self {
            agent_id: command.agent_id,
            mcp_server_id: command.mcp_server_id,
            model: command.model.clone(),
            objective: command.objective,
            cost_per_1k_tokens_micro_usd_max: command.cost_per_1k_tokens_micro_usd_max,
            required_capabilities,
        })
    }
}

fn request(state: &State, command: &RequestCoupling, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    let request = Request::from_command(command)?;
    match state.status {
        Status::Active | Status::Suspended if state.request == request => return Ok(Decision::unchanged()),
        Status::Active | Status::Suspended => return Err(Rejection::already_exists("coupling")),
        Status::Ended => return Err(Rejection::illegal_transition("ended", "active", &[])),
        Status::Absent | Status::Refused => {}
    }
    let sight = sight(&request, context);
    let Found { assessment, binding, reasons: against_model } =
        search(&sight, Wish { request: &request, pin: request.model.as_ref(), away: None });
    let mut reasons = sight.bars();
    reasons.extend(against_model);
    let first = reasons.first().cloned();
    match (binding, sight.server, first) {
        (Some(binding), Some((home, ..)), None) => {
            let established = CouplingEstablished { request, mcp_server_tenant_id: home.0, binding, assessment };
            Ok(Decision::event(Event::CouplingEstablished(established)))
        }
        (.., first) => {
            let refused = CouplingRefused { request, reasons, assessment };
            Ok(Decision::refused_with(Event::CouplingRefused(refused), first.unwrap_or_default().into()))
        }
    }
}

/// What `away_from_*` of a command comes to for the model in use.
enum Leaving<'a> {
    /// The command names nothing to leave: a change that somebody wants.
    Nothing,
    /// It names something that the coupling does not use.
    Another,
    /// The coupling has to leave what it uses.
    InUse(Away<'a>),
}

fn leaving<'a>(command: &'a RebindCoupling, used: &ModelRef) -> Leaving<'a> {
    if command.away_from_provider.is_none() && command.away_from_model.is_none() {
        return Leaving::Nothing;
    }
    let provider = command.away_from_provider.is_none_or(|provider| provider == used.provider_id);
    let model = command.away_from_model.as_ref().is_none_or(|model| *model == used.model_id);
    if provider && model {
        Leaving::InUse(Away { provider_id: used.provider_id, model_id: command.away_from_model.as_deref() })
    } else {
        Leaving::Another
    }
}

fn rebind(state: &State, command: &RebindCoupling, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    let before = live(state, "rebound")?;
    check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
    if let Some(model) = &command.model {
        check_name("model.model_id", &model.model_id)?;
    }
    let sight = sight(&state.request, context);
    let (away, pin) = match leaving(command, &before.model) {
        Leaving::Another => return Ok(Decision::unchanged()),
        Leaving::InUse(away) => (Some(away), command.model.as_ref().or(before.pinned.then_some(&before.model))),
        Leaving::Nothing => {
            if let Some(bar) = sight.bars().into_iter().next() {
                return Err(bar.into());
            }
            (None, command.model.as_ref())
        }
    };
    let found = search(&sight, Wish { request: &state.request, pin, away });
    let first = found.reasons.first().cloned().unwrap_or_default();
    let Some(binding) = found.binding else {
        // Somebody who asks for a change learns that it cannot be had, and keeps what works. The system, which moves a
        // coupling because its model is gone, is believed even when the catalogue seen here does not show that yet.
        let wanted = away.is_none() || command.model.is_some();
        let works = || context.envelope.source != SYSTEM_SOURCE && usable(&sight, state, before);
        return if wanted || (!state.holds(Hold::Provider) && works()) {
            Err(first.into())
        } else if state.holds(Hold::Provider) {
            Ok(Decision::unchanged())
        } else {
            let reason = if command.reason.is_empty() { first.message } else { command.reason.clone() };
            let suspended = CouplingSuspended { hold: Hold::Provider, reason, assessment: Some(found.assessment) };
            Ok(Decision::event(Event::CouplingSuspended(suspended)))
        };
    };
    Ok(moved(state, before, binding, found.assessment, command.reason.clone()))
}

/// The events that put `binding` in place of `before` and lift the hold `provider`, which it answers.
fn moved(state: &State, before: &Binding, binding: Binding, assessment: Assessment, reason: String) -> Decision<Event> {
    let mut events = Vec::new();
    // A score that moved while the choice stayed is no change of the coupling.
    let same =
        binding.model == before.model && binding.pinned == before.pinned && binding.fallbacks == before.fallbacks;
    if !same {
        let model_before = before.model.clone();
        events.push(Event::CouplingRebound(CouplingRebound { model_before, binding, reason, assessment }));
    }
    if state.holds(Hold::Provider) {
        events.push(Event::CouplingResumed(CouplingResumed { hold: Hold::Provider }));
    }
    Decision::events(events)
}

/// Whether the model in use meets every rule now.
fn usable(sight: &Sight<'_>, state: &State, binding: &Binding) -> bool {
    let wish = Wish { request: &state.request, pin: Some(&binding.model), away: None };
    search(sight, wish).assessment.candidate_count > 0
}

fn suspend(state: &State, command: &SuspendCoupling) -> Result<Decision<Event>, Rejection> {
    live(state, "suspended")?;
    check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
    if state.holds(command.hold) {
        return Ok(Decision::unchanged());
    }
    let suspended = CouplingSuspended { hold: command.hold, reason: command.reason.clone(), assessment: None };
    Ok(Decision::event(Event::CouplingSuspended(suspended)))
}

fn resume(state: &State, command: &ResumeCoupling, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    let before = live(state, "active")?;
    if !state.holds(command.hold) {
        return still_held(state, command.hold);
    }
    let resumed = Decision::event(Event::CouplingResumed(CouplingResumed { hold: command.hold }));
    if command.hold != Hold::Provider {
        let bar = tenant_bar(head_of(context.world, context.envelope.tenant()));
        return bar.map_or(Ok(resumed), |bar| Err(bar.into()));
    }
    // Taken also while the tenant is suspended: it lifts only the hold that the provider put there, and a provider that
    // comes back in the meantime is not announced again.
    let sight = sight(&state.request, context);
    if usable(&sight, state, before) {
        return Ok(resumed);
    }
    let pin = before.pinned.then_some(&before.model);
    let found = search(&sight, Wish { request: &state.request, pin, away: None });
    Ok(match found.binding {
        Some(binding) => moved(state, before, binding, found.assessment, "another model became usable".into()),
        None => Decision::unchanged(),
    })
}

/// A hold that is not there is lifted already, unless somebody asks for the coupling to run while another one holds it.
fn still_held(state: &State, hold: Hold) -> Result<Decision<Event>, Rejection> {
    let Some(other) = state.holds.first().filter(|_| hold == Hold::Manual) else { return Ok(Decision::unchanged()) };
    let why = match other {
        Hold::Tenant => "the coupling is suspended because its tenant is; resume the tenant",
        Hold::Provider | Hold::Manual => {
            "the coupling is suspended because no usable model is left; rebind it, or wait for its provider"
        }
    };
    Err(Rejection::new("held", why).with("hold", other.name()))
}

fn end(state: &State, command: &EndCoupling) -> Result<Decision<Event>, Rejection> {
    if state.status == Status::Ended {
        return Ok(Decision::unchanged());
    }
    live(state, "ended")?;
    check_length("reason", &command.reason, TEXT_BYTES_MAX)?;
    Ok(Decision::event(Event::CouplingEnded(CouplingEnded { reason: command.reason.clone() })))
}

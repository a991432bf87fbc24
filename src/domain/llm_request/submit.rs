//! How a request begins.

use super::check::{check_models, check_submission};
use super::*;
use crate::domain::checks::check_tenant;
use crate::domain::common::PromptStorage;
use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::personal::Personal;
use crate::domain::tenant::{Tenant, standing};

/// The system submits what was decided on a coupling a moment ago, tenant and storage with it: asked again, it could be
/// refused where nobody reads the answer.
pub fn is_decided(envelope: &Envelope) -> bool {
    envelope.source == SYSTEM_SOURCE
}

pub fn submit(state: &State, command: &SubmitRequest, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    let tenant = context.envelope.tenant();
    let is_decided = is_decided(context.envelope);
    check_submission(command)?;
    check_models(&command.models, tenant)?;
    if state.status != Status::Absent {
        let asked = submission(command, context.now, command.storage.max(state.request.storage))?;
        return again(state, command, asked);
    }
    if !is_decided {
        check_tenant(context)?;
    }
    let seen = context.world.get::<Tenant>(&standing::stream(tenant));
    let wanted = seen.map(|(_, tenant)| tenant.prompt_storage).filter(|_| !is_decided).unwrap_or_default();
    let request = submission(command, context.now, command.storage.max(wanted))?;
    if request.storage != PromptStorage::Full && request.priority != Priority::Interactive {
        return Err(prompt_not_stored(request.storage));
    }
    let longest = context.now.saturating_add(DEADLINE_MS_MAX * 1_000);
    if request.deadline_at > longest {
        let why = format!("must be at most {DEADLINE_MS_MAX} ms from now, in microseconds since 1970");
        return Err(Rejection::invalid("deadline_at", why));
    }
    let is_late = context.now >= request.deadline_at;
    if is_late && !is_decided {
        return Err(deadline_passed(request.deadline_at, context.now));
    }
    let submitted = Event::RequestSubmitted(RequestSubmitted { request });
    // Whoever asked its coupling finds here what became of it.
    let expired = is_late.then_some(Event::RequestExpired(RequestExpired { attempts: 0, open_attempt: None }));
    Ok(Decision::events([submitted].into_iter().chain(expired).collect()))
}

/// Refused where nothing keeps the prompt until a worker comes to it.
pub fn prompt_not_stored(storage: PromptStorage) -> Rejection {
    let why = "prompts of this tenant are not stored, so nobody could carry this out later; send it as an interactive \
               request to a node that does so at once, or let the tenant store prompts with SetPromptStorage";
    Rejection::new("prompt_not_stored", why).with("prompt_storage", storage.name())
}

pub fn deadline_passed(deadline_at: Micros, now: Micros) -> Rejection {
    Rejection::new("deadline_passed", "the deadline has passed; expire the request, or submit another one")
        .with("deadline_at", deadline_at)
        .with("now", now)
}

/// The same request again changes nothing.
fn again(state: &State, command: &SubmitRequest, mut asked: Submission) -> Result<Decision<Event>, Rejection> {
    // The payload is compared by its hash and size, the state dropping it at the end; a deadline that is not named is as
    // it was.
    asked.payload.clone_from(&state.request.payload);
    if command.deadline_at.is_none() {
        asked.deadline_at = state.request.deadline_at;
    }
    if asked == state.request { Ok(Decision::unchanged()) } else { Err(Rejection::already_exists("LLM request")) }
}

/// What the command comes to, with no more of the payload than the storage lets be.
fn submission(command: &SubmitRequest, now: Micros, storage: PromptStorage) -> Result<Submission, Rejection> {
    let facts = facts(command, storage)?;
    let (payload, payload_sha256) = match storage {
        PromptStorage::Full => (command.payload.clone(), Some(facts.sha256)),
        PromptStorage::Hashed => (Personal::Absent, Some(facts.sha256)),
        PromptStorage::None => (Personal::Absent, None),
    };
    let deadline_ms = command.priority.deadline_ms_default();
    Ok(Submission {
        coupling_id: command.coupling_id,
        agent_id: command.agent_id,
        coupling_version: command.coupling_version,
        operation: command.operation,
        models: command.models.clone(),
        payload,
        payload_sha256,
        payload_bytes: facts.bytes,
        priority: command.priority,
        deadline_at: command.deadline_at.unwrap_or_else(|| now.saturating_add(deadline_ms * 1_000)),
        storage,
        prompt_tokens_estimated: command.prompt_tokens_estimated.unwrap_or(facts.prompt_tokens_estimated),
        output_tokens_max: command.output_tokens_max.or(facts.output_tokens_max),
        stream: command.stream,
        awaited: command.awaited,
        project: command.project.clone(),
    })
}

/// Of the payload where it is there; else as the command says.
fn facts(command: &SubmitRequest, storage: PromptStorage) -> Result<payload::Facts, Rejection> {
    if storage == PromptStorage::Full || !command.payload.is_absent() {
        let facts = payload::inspect(command.operation, payload::text(&command.payload)?)?;
        if command.payload_sha256.as_ref().is_some_and(|sha256| *sha256 != facts.sha256) {
            return Err(Rejection::invalid("payload_sha256", "is not the payload's; leave it out, or hash its bytes"));
        }
        if command.payload_bytes.is_some_and(|bytes| bytes != facts.bytes) {
            return Err(Rejection::invalid("payload_bytes", "is not the payload's size; leave it out"));
        }
        return Ok(facts);
    }
    let missing = |field| Rejection::invalid(field, "is missing; a request without its payload needs it");
    let sha256 = match (storage, &command.payload_sha256) {
        (PromptStorage::Hashed, None) => return Err(missing("payload_sha256")),
        (_, sha256) => sha256.clone().unwrap_or_default(),
    };
    Ok(payload::Facts {
        sha256,
        bytes: command.payload_bytes.ok_or_else(|| missing("payload_bytes"))?,
        prompt_tokens_estimated: command.prompt_tokens_estimated.ok_or_else(|| missing("prompt_tokens_estimated"))?,
        output_tokens_max: None,
    })
}

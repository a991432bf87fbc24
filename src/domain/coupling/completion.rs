//! A coupling emits a request to its model: decided here, on the coupling, and carried out as a stream of its own, an
//! [`llm_request`].
//!
//! Asked are the coupling (active), its tenant (open, and storing prompts: the payload rides in the event, since the
//! reaction that submits the request has nothing else), its agent and server, and the project's rules as they are now.
//! The coupling's state does not change: a busy coupling's head stays small.

use super::sight::{Sight, tenant_stream};
use super::*;
use crate::domain::common::PromptStorage;
use crate::domain::llm_provider::{self, LlmProvider};
use crate::domain::llm_request::{
    self, DEADLINE_MS_MAX, ModelChoice, Operation, Priority, Submission, SubmitRequest, payload, prompt_not_stored,
};
use crate::domain::personal::Personal;
use crate::domain::{AnyCommand, TenantId};

/// Asks the coupling's model.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestCompletion {
    /// The stream that the request becomes. A new one for every request.
    pub request_id: Uuid,
    #[serde(default)]
    pub operation: Operation,
    /// OpenAI-style JSON text, at most [`payload::PAYLOAD_BYTES_MAX`].
    #[serde(default)]
    pub payload: Personal,
    #[serde(default)]
    pub priority: Priority,
    /// From the decision, in milliseconds; absent: [`Priority::deadline_ms_default`].
    #[serde(default)]
    pub deadline_ms: Option<i64>,
    #[serde(default)]
    pub stream: bool,
}

/// A request as the coupling lets it through.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CompletionRequested {
    pub request_id: Uuid,
    pub request: Submission,
}

/// The heads that [`decide()`] reads: those behind this binding, not the tenant's whole catalogue.
pub fn lookups(state: &State, tenant: TenantId) -> Vec<Lookup> {
    let Some(binding) = state.binding.as_ref().filter(|_| state.status == Status::Active) else { return Vec::new() };
    let server_home = TenantId(state.mcp_server_tenant_id);
    let mut streams: Vec<StreamId> = tenant_stream(tenant).into_iter().collect();
    streams.push(StreamId::new(tenant, Aggregate::Agent, state.request.agent_id));
    streams.push(StreamId::new(server_home, Aggregate::McpServer, state.request.mcp_server_id));
    for fallback in &binding.fallbacks {
        for home in homes(binding, fallback, tenant) {
            let stream = StreamId::new(home, Aggregate::LlmProvider, fallback.provider_id);
            if !streams.contains(&stream) {
                streams.push(stream);
            }
        }
    }
    streams.into_iter().map(Lookup::Stream).collect()
}

pub fn decide(state: &State, command: &RequestCompletion, context: &Context<'_>) -> Result<Decision<Event>, Rejection> {
    let request = submission(state, command, context)?;
    if request.storage != PromptStorage::Full {
        return Err(prompt_not_stored(request.storage));
    }
    let requested = CompletionRequested { request_id: command.request_id, request };
    Ok(Decision::event(Event::CompletionRequested(requested)))
}

/// What a coupling lets through, whatever is stored of it: a node that carries a request out at once asks this and
/// records the request alone. `context` has what the coupling's `lookups` ask for, and the version of `state`.
///
/// # Errors
/// All that [`RequestCompletion`] is refused for, but for `prompt_not_stored`.
pub fn submission(state: &State, command: &RequestCompletion, context: &Context<'_>) -> Result<Submission, Rejection> {
    let binding = active(state)?;
    let tenant = context.envelope.tenant();
    if command.request_id.is_nil() {
        return Err(Rejection::invalid("request_id", "must not be the nil UUID"));
    }
    let deadline_ms = command.deadline_ms.unwrap_or_else(|| command.priority.deadline_ms_default());
    if !(1..=DEADLINE_MS_MAX).contains(&deadline_ms) {
        return Err(Rejection::invalid("deadline_ms", format!("must be from 1 to {DEADLINE_MS_MAX}")));
    }
    let sight = Sight::of(context, state.request.agent_id, state.request.mcp_server_id);
    if let Some(bar) = sight.bars().into_iter().next() {
        return Err(bar.into());
    }
    let storage = sight.tenant.map(|(_, tenant)| tenant.prompt_storage).unwrap_or_default();
    let models = models(binding, &sight, tenant, context.world)?;
    let facts = payload::inspect(command.operation, payload::text(&command.payload)?)?;
    Ok(Submission {
        coupling_id: Some(context.envelope.stream.id),
        agent_id: Some(state.request.agent_id),
        coupling_version: Some(context.version as i64),
        operation: command.operation,
        models,
        payload: command.payload.clone(),
        payload_sha256: Some(facts.sha256),
        payload_bytes: facts.bytes,
        priority: command.priority,
        deadline_at: context.now.saturating_add(deadline_ms * 1_000),
        storage,
        prompt_tokens_estimated: facts.prompt_tokens_estimated,
        output_tokens_max: facts.output_tokens_max,
        stream: command.stream,
        awaited: false,
        project: sight.project().map(|(name, _)| name.to_owned()),
    })
}

/// The binding of an active coupling, or why it is not active.
fn active(state: &State) -> Result<&Binding, Rejection> {
    let refused = |why: &str| {
        Rejection::new("coupling_not_active", why).with("status", view::status(state)).with("reason", &state.reason)
    };
    match (state.status, &state.binding) {
        (Status::Active, Some(binding)) => Ok(binding),
        (Status::Absent, _) => Err(Rejection::not_found("coupling")),
        (Status::Suspended, _) => {
            let holds: Vec<_> = state.holds.iter().map(|hold| hold.name()).collect();
            let holds = holds.join(", ");
            let why = format!("the coupling is suspended by {holds}; resume it, or what holds it, and try again");
            Err(refused(&why).with("holds", holds))
        }
        (Status::Ended, _) => Err(refused("the coupling ended for good; request another one")),
        (Status::Refused | Status::Active, _) => {
            Err(refused("the coupling was refused and has no model; see explain, and request it again"))
        }
    }
}

/// Where the provider of a fallback may be found: beside the model in use where it is the same, else as in the choice of
/// the model, the tenant's own before the shared one.
fn homes(binding: &Binding, fallback: &ModelRef, tenant: TenantId) -> Vec<TenantId> {
    if fallback.provider_id == binding.model.provider_id {
        return vec![TenantId(binding.provider_tenant_id)];
    }
    vec![tenant, TenantId::SHARED]
}

/// The model in use and its fallbacks, each with where its provider is. The model in use is taken as it is: what ends it
/// suspends or rebinds the coupling. A fallback that is not offered any more, and whatever the project does not allow, is
/// left out.
fn models(
    binding: &Binding,
    sight: &Sight<'_>,
    tenant: TenantId,
    world: &World,
) -> Result<Vec<ModelChoice>, Rejection> {
    let home_of = |model: &ModelRef| {
        if *model == binding.model {
            return Some(TenantId(binding.provider_tenant_id));
        }
        let seen = homes(binding, model, tenant).into_iter().find_map(|home| {
            let stream = StreamId::new(home, Aggregate::LlmProvider, model.provider_id);
            let (_, provider) = world.get::<LlmProvider>(&stream)?;
            (provider.status != llm_provider::Status::Absent).then_some((home, provider))
        });
        let (home, provider) = seen?;
        let offered = provider.models.binary_search_by(|it| it.model_id.cmp(&model.model_id)).is_ok();
        (provider.status == llm_provider::Status::Registered && offered).then_some(home)
    };
    let project = sight.project();
    let allowed = project.and_then(|(_, project)| project.allowed_llm_providers.as_ref());
    let all = std::iter::once(&binding.model).chain(&binding.fallbacks);
    let models: Vec<_> = all
        .filter(|model| allowed.is_none_or(|allowed| allowed.contains(&model.provider_id)))
        .filter_map(|model| {
            let home = home_of(model)?;
            let (provider_id, model_id) = (model.provider_id, model.model_id.clone());
            Some(ModelChoice { provider_tenant_id: home.0, provider_id, model_id })
        })
        .collect();
    if models.is_empty() {
        let why = "the project allows none of the coupling's models; rebind the coupling, or let the project use them";
        let project = project.map(|(name, _)| name).unwrap_or_default();
        return Err(Rejection::new("model_not_allowed", why).with("project", project));
    }
    Ok(models)
}

/// What follows: the request, submitted to its own stream.
pub fn submit(event: &CompletionRequested, meta: &EventMeta) -> Reaction {
    let command = llm_request::Command::SubmitRequest(SubmitRequest::from(event.request.clone()));
    let to = StreamId::new(meta.stream.tenant, Aggregate::LlmRequest, event.request_id);
    Reaction::Send { name: "submit_request", to, command: AnyCommand::from(command) }
}

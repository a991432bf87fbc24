//! One operation of the document per route.

use super::components::{EXAMPLE_TENANT, PROBLEM_STATUSES, answer_example, reference};
use super::{batches, completions, event, events, examples, imports, registry, resource, search, status, trace};
use crate::api::convenience::{type_name, verb};
use crate::api::entry::KIND_CHOICES;
use crate::api::problem::CONTENT_TYPE_PROBLEM;
use crate::api::routes::{Endpoint, Route};
use crate::api::usage::WINDOWS_DEFAULT;
use crate::domain::Aggregate;
use crate::domain::usage::{Dimension, Window};
use crate::flow::query::USAGE_WINDOWS_MAX;
use serde_json::{Map, Value, json};

/// What an operation says of itself.
pub struct Operation {
    pub id: String,
    pub tag: &'static str,
    pub summary: String,
    /// Names under `#/components/parameters`.
    pub shared_parameters: Vec<&'static str>,
    pub own_parameters: Vec<Value>,
    pub body: Option<Value>,
    /// Answers of its own: status, content type, schema, example.
    pub answers: Vec<(u16, Value)>,
    pub problems: Vec<u16>,
}

impl Operation {
    pub fn reading(id: impl Into<String>, tag: &'static str, summary: impl Into<String>, schema: &str) -> Self {
        Self {
            id: id.into(),
            tag,
            summary: summary.into(),
            shared_parameters: vec!["Tenant"],
            own_parameters: Vec::new(),
            body: None,
            answers: vec![(200, json_content(reference(schema), None))],
            problems: vec![400, 404, 405, 500, 503],
        }
    }

    fn into_json(self) -> Value {
        let shared =
            self.shared_parameters.iter().map(|name| json!({ "$ref": format!("#/components/parameters/{name}") }));
        let parameters: Vec<Value> = shared.chain(self.own_parameters).collect();
        let mut responses: Map<String, Value> =
            self.answers.into_iter().map(|(status, answer)| (status.to_string(), answer)).collect();
        for status in self.problems.into_iter().filter(|status| PROBLEM_STATUSES.contains(status)) {
            responses.insert(status.to_string(), json!({ "$ref": format!("#/components/responses/Problem{status}") }));
        }
        let mut operation = json!({
            "operationId": self.id,
            "tags": [self.tag],
            "summary": self.summary,
            "parameters": parameters,
            "responses": responses,
        });
        if let Some(body) = self.body {
            operation["requestBody"] = body;
        }
        operation
    }
}

pub fn operation(route: &Route) -> Value {
    let operation = match route.endpoint {
        Endpoint::Commands => commands(),
        Endpoint::Imports => imports::import(),
        Endpoint::Create(aggregate, command) => {
            let mut operation = command_operation(aggregate, command, format!("create-{}", aggregate.name()));
            operation.shared_parameters[0] = if aggregate == Aggregate::Tenant { "TenantOfNew" } else { "Tenant" };
            operation.shared_parameters.retain(|name| *name != "IfMatch");
            operation
        }
        Endpoint::Revise(aggregate, command) => {
            command_operation(aggregate, command, format!("patch-{}", aggregate.name()))
        }
        Endpoint::Perform(aggregate, command) => {
            let mut operation =
                command_operation(aggregate, command, format!("{}-{}", aggregate.name(), verb(aggregate, command)));
            if command == "ProvisionTenant" {
                operation.shared_parameters[0] = "TenantOfNew";
            }
            operation
        }
        Endpoint::List(aggregate) => list(aggregate),
        Endpoint::Count(aggregate) => search::count(aggregate),
        Endpoint::Discover(aggregate) => search::discover(aggregate),
        Endpoint::Get(aggregate) => get(aggregate),
        Endpoint::History(aggregate) => history(aggregate),
        Endpoint::Events => events::events(),
        Endpoint::Explain => {
            let summary = "What a coupling's decision weighed, and how its score came about.";
            let mut operation = Operation::reading("explain-coupling", "coupling", summary, "Explanation");
            operation.shared_parameters.push("AsOf");
            operation
        }
        Endpoint::Answer => completions::answer(),
        Endpoint::Heartbeat => {
            let mut operation =
                Operation::reading("agent-heartbeat", "agent", "Renews the lease of an agent's health.", "Heartbeat");
            operation.problems.push(409);
            operation
        }
        Endpoint::Outcome => outcome(),
        Endpoint::Trace => trace::trace(),
        Endpoint::Usage => usage(),
        Endpoint::RequestsStatus => status::requests(),
        Endpoint::ReplicaStatus => search::standing(),
        Endpoint::DeadLetters => dead_letters(),
        Endpoint::DeadLetter => {
            let summary = "One command that ended without being decided.";
            Operation::reading("get-dead-letter", "commands", summary, "DeadLetter")
        }
        Endpoint::Redrive => redrive(),
        Endpoint::Complete(asked) => completions::complete(asked),
        Endpoint::Rate => completions::rate(),
        Endpoint::Models => completions::models(),
        Endpoint::Model => completions::model(),
        Endpoint::CreateFile => batches::create_file(),
        Endpoint::ListFiles => batches::list_files(),
        Endpoint::GetFile => batches::get_file(),
        Endpoint::FileContent => batches::file_content(),
        Endpoint::DeleteFile => batches::delete_file(),
        Endpoint::CreateBatch => batches::create_batch(),
        Endpoint::ListBatches => batches::list_batches(),
        Endpoint::GetBatch => batches::get_batch(),
        Endpoint::CancelBatch => batches::cancel_batch(),
        Endpoint::Registry(call) => registry::operation(call),
        Endpoint::Alive | Endpoint::Ready | Endpoint::Metrics | Endpoint::OpenApi => about_the_node(route.endpoint),
    };
    operation.into_json()
}

fn commands() -> Operation {
    let event = json!({
        "type": "agent.RegisterAgent", "tenantid": EXAMPLE_TENANT, "id": "hire-4711",
        "data": { "name": "ada", "category": "research" },
    });
    let body = json!({
        "required": true,
        "description": "Structured CloudEvents, one or up to 1,000; or, with ce- headers, the data alone (binary mode): \
            a JSON object; or Avro in single-object encoding, or in the Confluent wire format with an id of \
            /schema-registry.",
        "content": {
            "application/cloudevents+json": { "schema": reference("CommandEvent"), "example": event },
            "application/cloudevents-batch+json": { "schema": reference("CommandBatch"), "example": [event] },
            "application/json": { "schema": { "anyOf": [reference("CommandEvent"), reference("CommandBatch"), { "type": "object" }] }, "example": event },
            "application/avro": { "schema": { "type": "string", "contentEncoding": "binary" } },
        },
    });
    let either = json!({ "anyOf": [reference("Answer"), reference("BatchAnswer")] });
    let mut accepted = described(
        "Accepted; at least one is not decided yet. Ask for its outcome.",
        either.clone(),
        accepted_example(),
    );
    accepted["headers"] = json!(event::answered("Of one command: where to ask for its outcome."));
    let mut refused = described(
        "Nothing was taken. A batch of which nothing can be read is answered item by item.",
        reference("BatchAnswer"),
        Some(malformed_example()),
    );
    refused["content"][CONTENT_TYPE_PROBLEM] = json!({ "schema": reference("Problem") });
    Operation {
        id: "send-commands".into(),
        tag: "commands",
        summary: "Takes commands. A batch is answered in its order; what of it cannot be read harms none of the rest."
            .into(),
        shared_parameters: vec!["TenantOfEvent", "Wait", "TimeoutMs", "IdempotencyKey"],
        own_parameters: event::headers(true),
        body: Some(body),
        answers: vec![
            (200, described("Decided, refused ones too.", either, Some(answer_example()))),
            (202, accepted),
            (400, refused),
        ],
        problems: vec![403, 405, 408, 413, 415, 503],
    }
}

/// What is not decided yet.
fn accepted_example() -> Option<Value> {
    let mut answer = answer_example();
    answer["outcome"] = json!("accepted");
    answer["version"] = Value::Null;
    answer["reached"] = json!("accepted");
    Some(answer)
}

fn malformed_example() -> Value {
    let message = "there is no command agent.RegisterAgnt; see GET /openapi.json for those there are";
    let reason = json!({ "code": "unknown_type", "message": message, "details": {} });
    json!({ "items": [{ "id": "hire-4711", "subject": null, "outcome": "malformed", "version": null, "reason": reason }] })
}

fn command_operation(aggregate: Aggregate, command: &'static str, id: String) -> Operation {
    let schema = match command {
        "DefineAgentTemplate" => json!({ "anyOf": [reference(command), resource::definition()] }),
        _ => reference(command),
    };
    let body = json!({
        "required": event::needs_data(aggregate, command),
        "description": "The command's fields; may be empty where none is required.",
        "content": { "application/json": { "schema": schema, "example": examples::of(command) } },
    });
    let mut decided =
        described("Decided: applied, or refused with the reason.", reference("Answer"), Some(answer_example()));
    decided["headers"] = json!(event::answered("The resource, where the command was applied."));
    Operation {
        id,
        tag: aggregate.name(),
        summary: format!("Sends {}.{command} and waits until what it changed can be read.", aggregate.name()),
        shared_parameters: vec!["Tenant", "Wait", "TimeoutMs", "IdempotencyKey", "IfMatch"],
        own_parameters: event::headers(false),
        body: Some(body),
        answers: vec![
            (200, decided),
            (
                202,
                described(
                    "Accepted, but the wait ran out. Ask for its outcome.",
                    reference("Answer"),
                    accepted_example(),
                ),
            ),
        ],
        problems: vec![400, 403, 405, 408, 413, 415, 503],
    }
}

fn list(aggregate: Aggregate) -> Operation {
    let summary = format!("Lists {}, in the order of their ids unless another is asked for.", aggregate.plural());
    let page = format!("{}Page", type_name(aggregate));
    let mut operation = Operation::reading(format!("list-{}", aggregate.plural()), aggregate.name(), summary, &page);
    operation.shared_parameters = match aggregate {
        Aggregate::Tenant => vec!["TenantOnLoopback", "AsOfTime", "Limit", "Cursor"],
        _ => vec!["Tenant", "AsOfTime", "Limit", "Cursor"],
    };
    let mut ids = filter("id", "Only these resources.");
    ids["schema"]["items"]["format"] = json!("uuid");
    operation.own_parameters.push(ids);
    operation.own_parameters.extend(search::filters(aggregate));
    operation.own_parameters.extend(search::shape(aggregate));
    operation
}

/// A query parameter that may be there several times.
pub fn filter(name: &str, description: &str) -> Value {
    json!({
        "name": name, "in": "query", "required": false, "style": "form", "explode": true,
        "schema": { "type": "array", "items": { "type": "string" } }, "description": description,
    })
}

fn get(aggregate: Aggregate) -> Operation {
    let what = aggregate.name().replace('_', " ");
    let mut operation =
        Operation::reading(format!("get-{}", aggregate.name()), aggregate.name(), format!("One {what}."), "");
    operation.shared_parameters.extend(["IfNoneMatch", "AsOf"]);
    let mut found = json_content(reference(&type_name(aggregate)), None);
    found["headers"] = json!({ "ETag": { "schema": { "type": "string" }, "description": "The version, in quotes." } });
    operation.answers =
        vec![(200, found), (304, json!({ "description": "It is still at the version of If-None-Match." }))];
    operation
}

fn history(aggregate: Aggregate) -> Operation {
    let summary = "All that happened to it, and all that was refused; oldest first unless asked.";
    let mut operation =
        Operation::reading(format!("history-of-{}", aggregate.name()), aggregate.name(), summary, "HistoryPage");
    operation.shared_parameters.extend(["Limit", "Cursor"]);
    operation.own_parameters = vec![
        json!({ "name": "order", "in": "query", "required": false, "schema": { "enum": ["asc", "desc"], "default": "asc" }, "description": "asc: oldest first." }),
        json!({ "name": "kind", "in": "query", "required": false, "schema": { "enum": KIND_CHOICES }, "description": "Only entries of this kind." }),
        json!({ "name": "diff", "in": "query", "required": false, "schema": { "type": "boolean", "default": false }, "description": "Tell of each event what it changed of the resource. Not done unless asked: all before the page is folded once for it; a history that is followed is folded once in all." }),
        json!({ "name": "Last-Event-ID", "in": "header", "required": false, "schema": { "type": "integer", "minimum": 0 }, "description": "With Accept: text/event-stream: go on after the entry with this id." }),
    ];
    if let Some((_, found)) = operation.answers.first_mut() {
        found["content"]["application/json"]["example"] = examples::answers::history(aggregate);
        found["content"]["text/event-stream"] = json!({ "schema": { "type": "string", "description": "With Accept: text/event-stream the history is followed: each entry is an event whose id is its position and whose name is its type; an event named end comes once nothing more can happen." } });
    }
    operation.answers.push((204, json!({ "description": "Nothing came after Last-Event-ID, and nothing can." })));
    operation
}

fn outcome() -> Operation {
    let summary = "What became of a command; 404 until it is decided.";
    let mut operation = Operation::reading("get-outcome", "commands", summary, "Answer");
    operation.own_parameters = vec![json!({
        "name": "source", "in": "query", "required": false, "schema": { "type": "string", "default": "unnamed" },
        "description": "The source that a command was sent with, where the id in the path is not its UUID.",
    })];
    operation
}

fn usage() -> Operation {
    let summary = "What requests to LLMs came to and cost: the windows in which anything was counted, by key and then by \
                   time.";
    let mut operation = Operation::reading("list-usage", "usage", summary, "UsagePage");
    operation.shared_parameters.extend(["Limit", "Cursor"]);
    let query = |name: &str, required: bool, schema: Value, description: &str| json!({ "name": name, "in": "query", "required": required, "schema": schema, "description": description });
    let time = || json!({ "type": "string", "format": "date-time" });
    let range = format!("At most {USAGE_WINDOWS_MAX} windows in all.");
    operation.own_parameters = vec![
        query("by", true, json!({ "enum": Dimension::ALL.map(Dimension::name) }), "By what to add up."),
        query(
            "key",
            false,
            json!({ "type": "string", "minLength": 1 }),
            "Only this one: an id, a project's name, or provider id/model id. Without it, all.",
        ),
        query(
            "window",
            false,
            json!({ "enum": Window::ALL.map(Window::name), "default": Window::Hour.name() }),
            "The size of a window. Small ones are kept for a while only.",
        ),
        query(
            "from",
            false,
            time(),
            &format!("Windows from the one of this time on; {WINDOWS_DEFAULT} before the end unless asked. {range}"),
        ),
        query("to", false, time(), "Windows that begin before this time; until now unless asked."),
    ];
    operation
}

fn dead_letters() -> Operation {
    let summary = "The tenant's commands that ended without being decided, in the order of their numbers.";
    let mut operation = Operation::reading("list-dead-letters", "commands", summary, "DeadLetterPage");
    operation.shared_parameters.extend(["Limit", "Cursor"]);
    operation
}

/// What says how the node does, and what it can do.
fn about_the_node(endpoint: Endpoint) -> Operation {
    match endpoint {
        Endpoint::Alive => open("healthz", "Whether the process answers.", json_content(reference("Status"), None)),
        Endpoint::Ready => {
            let ready = json_content(reference("Status"), Some(json!({ "status": "ready" })));
            open("readyz", "Whether requests can be served.", ready)
        }
        Endpoint::Metrics => open("metrics", "Metrics in Prometheus' text format.", content("text/plain", "string")),
        _ => {
            let example = json!({ "openapi": "3.1.0", "info": { "title": "AgentVerse" }, "paths": {} });
            open("openapi", "This document.", json_content(json!({ "type": "object" }), Some(example)))
        }
    }
}

fn redrive() -> Operation {
    let summary = "Sends a dead letter again, as it stands. A command that was decided meanwhile is not decided twice.";
    let mut operation = Operation::reading("redrive-dead-letter", "commands", summary, "Redriven");
    operation.own_parameters = vec![json!({
        "name": "force", "in": "query", "required": false, "schema": { "type": "boolean", "default": false },
        "description": "Send it even if it was sent again before.",
    })];
    operation.answers =
        vec![(202, described("Sent; its outcome tells what became of it.", reference("Redriven"), None))];
    operation.problems.push(409);
    operation
}

/// An operation that needs no tenant.
fn open(id: &str, summary: &str, answer: Value) -> Operation {
    let mut operation = Operation::reading(id, "operation", summary, "Status");
    operation.shared_parameters.clear();
    operation.answers = vec![(200, answer)];
    operation.problems = vec![405, 503];
    operation
}

fn json_content(schema: Value, example: Option<Value>) -> Value {
    described("Found.", schema, example)
}

/// A JSON answer. Where it has no example of its own it has its schema's.
pub fn described(description: &str, schema: Value, example: Option<Value>) -> Value {
    let name = || schema["$ref"].as_str()?.strip_prefix("#/components/schemas/");
    let example = example.or_else(|| examples::answers::of(name()?));
    let mut media = json!({ "schema": schema });
    if let Some(example) = example {
        media["example"] = example;
    }
    json!({ "description": description, "content": { "application/json": media } })
}

fn content(content_type: &str, json_type: &str) -> Value {
    json!({ "description": "Found.", "content": { content_type: { "schema": { "type": json_type } } } })
}

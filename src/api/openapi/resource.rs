//! The schema of each kind of resource as it is shown: what every resource has, and the fields of its kind, taken from the
//! Avro records of its commands and events where these hold them.

use super::components::reference;
use super::convert::json_schema;
use super::examples;
use crate::api::convenience::type_name;
use crate::api::discover::KINDS;
use crate::domain::Aggregate;
use serde_json::{Map, Value, json};

/// The schemas of all kinds, alone, on pages and as they are discovered.
pub fn schemas() -> Vec<(String, Value)> {
    let mut schemas = Vec::new();
    for aggregate in Aggregate::ALL.iter().copied() {
        let (kind, whole) = (type_name(aggregate), schema(aggregate));
        let mut item = whole.clone();
        item["required"] = json!(["id"]);
        item["description"] = json!("One of a list: with fields= it has the id and these fields alone, else all.");
        schemas.extend([(kind.clone(), whole), (format!("{kind}Item"), item)]);
        schemas.push((format!("{kind}Page"), super::components::page(&format!("{kind}Item"))));
    }
    let found = KINDS.iter().map(|aggregate| reference(&type_name(*aggregate))).collect::<Vec<_>>();
    schemas.push(("Discovered".to_owned(), json!({ "anyOf": found })));
    schemas
}

fn schema(aggregate: Aggregate) -> Value {
    let mut properties = common(aggregate);
    properties.extend(fields(aggregate));
    let required: Vec<&String> = properties.keys().collect();
    let example = examples::resources::of(aggregate);
    json!({ "type": "object", "required": required, "properties": properties, "examples": [example] })
}

fn common(aggregate: Aggregate) -> Map<String, Value> {
    let uuid = || json!({ "type": "string", "format": "uuid" });
    let time = || json!({ "type": "string", "format": "date-time" });
    let version = "Of its stream: one more with each event. What shows it as an ETag is refused where it moved on.";
    let fields = [
        ("id", uuid()),
        ("tenant", uuid()),
        ("version", json!({ "type": "integer", "minimum": 1, "description": version })),
        ("status", json!({ "type": "string", "enum": aggregate.choices("status") })),
        ("created_at", time()),
        ("updated_at", time()),
    ];
    fields.map(|(name, schema)| (name.to_owned(), schema)).into_iter().collect()
}

/// What its kind has beside that.
fn fields(aggregate: Aggregate) -> Map<String, Value> {
    match aggregate {
        Aggregate::Tenant => tenant(),
        Aggregate::AgentTemplate => all_of(aggregate, "AgentTemplateDefined", "definition", [("reason", reason())]),
        Aggregate::Skill => all_of(
            aggregate,
            "SkillDefined",
            "",
            [
                ("parent", or_null(text("The nearest skill above it."))),
                ("category", text("The broadest skill above it, or its own name.")),
                ("reason", reason()),
            ],
        ),
        Aggregate::Agent => agent(),
        Aggregate::McpServer => mcp_server(),
        Aggregate::LlmProvider => llm_provider(),
        Aggregate::Coupling => coupling(),
        Aggregate::LlmRequest => llm_request(),
        Aggregate::LlmBatch => llm_batch(),
    }
}

/// A template's definition alone, as its route takes it too.
pub fn definition() -> Value {
    let text = Aggregate::AgentTemplate.codec("DefineAgentTemplate").map_or("", |codec| codec.text);
    json_schema(text)["properties"]["definition"].take()
}

fn tenant() -> Map<String, Value> {
    let of = |record: &str, field: &str| part(Aggregate::Tenant, record, field);
    let project = |field: &str| of("ProjectAdded", field);
    let projects = json!({
        "type": "object",
        "description": "By their names.",
        "additionalProperties": object([
            ("allowed_mcp_servers", project("allowed_mcp_servers")),
            ("allowed_llm_providers", project("allowed_llm_providers")),
        ]),
    });
    named([
        ("name", of("ProvisionTenant", "name")),
        ("region", of("ProvisionTenant", "region")),
        ("tier", of("ProvisionTenant", "tier")),
        ("monthly_budget_micro_usd", of("ProvisionTenant", "monthly_budget_micro_usd")),
        (
            "coupling_threshold",
            json!({ "type": "number", "description": "The one that holds: its own, or the default." }),
        ),
        ("reason", reason()),
        ("projects", projects),
        ("prompt_storage", of("SetPromptStorage", "prompt_storage")),
        ("budget_alert", or_null(of("BudgetAlertRaised", ""))),
    ])
}

fn agent() -> Map<String, Value> {
    let of = |record: &str, field: &str| part(Aggregate::Agent, record, field);
    all_of(
        Aggregate::Agent,
        "AgentRegistered",
        "profile",
        [
            ("lifecycle", json!({ "type": "string", "enum": Aggregate::Agent.choices("status") })),
            ("health", of("ReportAgentHealth", "health")),
            ("revision", json!({ "type": "integer", "description": "How often its profile was changed." })),
            ("template", of("AgentRegistered", "template")),
            ("reason", reason()),
        ],
    )
}

fn mcp_server() -> Map<String, Value> {
    let kind = Aggregate::McpServer;
    let tool = object([
        ("name", text("")),
        ("description", text("")),
        ("input_schema", json!({ "description": "As JSON; as text where it is none; null where it is not known." })),
        ("digest", text("Of all of it: another one is another tool.")),
    ]);
    let mut fields = all_of(
        kind,
        "McpServerRegistered",
        "listing",
        [
            ("health", part(kind, "ReportMcpServerHealth", "health")),
            ("tools", json!({ "type": "array", "items": tool })),
            ("tools_known", json!({ "type": "boolean", "description": "Whether its tools were ever told." })),
            ("reason", reason()),
        ],
    );
    fields.insert("transport".to_owned(), json!({ "type": "string", "enum": kind.choices("transport") }));
    fields
}

fn llm_provider() -> Map<String, Value> {
    let kind = Aggregate::LlmProvider;
    let mut model = part(kind, "RegisterLlmProvider", "models/items");
    let further = [
        ("measured", or_null(part(kind, "ModelStatisticsChanged", "after"))),
        ("model_health", part(kind, "ModelHealthChanged", "after")),
        ("model_health_reason", text("")),
    ];
    for (name, schema) in further {
        model["properties"][name] = schema;
    }
    let per_minute = |what: &str| or_null(json!({ "type": "integer", "description": what }));
    all_of(
        kind,
        "LlmProviderRegistered",
        "access",
        [
            ("health", part(kind, "ReportLlmProviderHealth", "health")),
            ("models", json!({ "type": "array", "items": shown(model) })),
            ("model_count", json!({ "type": "integer", "minimum": 0 })),
            ("requests_per_minute", per_minute("Its limit over all models; null: none.")),
            ("tokens_per_minute", per_minute("The same for tokens.")),
            ("reason", reason()),
        ],
    )
}

fn coupling() -> Map<String, Value> {
    let kind = Aggregate::Coupling;
    let of = |field: &str| part(kind, "CouplingEstablished", field);
    let share = || json!({ "type": ["number", "null"], "minimum": 0, "maximum": 1 });
    let model = object([
        ("provider_id", json!({ "type": "string", "format": "uuid" })),
        ("model_id", text("As the provider's API names it.")),
        ("provider", text("The provider's name at the time.")),
    ]);
    let parts = object([("skills", share()), ("domains", share()), ("model", share()), ("cost", share())]);
    named([
        ("agent_id", of("request/agent_id")),
        ("mcp_server_id", of("request/mcp_server_id")),
        ("mcp_server_shared", json!({ "type": "boolean", "description": "Whether it is of the shared catalogue." })),
        ("model", or_null(model)),
        ("fallbacks", of("binding/fallbacks")),
        ("pinned", json!({ "type": "boolean" })),
        ("objective", of("request/objective")),
        ("cost_per_1k_tokens_micro_usd_max", of("request/cost_per_1k_tokens_micro_usd_max")),
        ("required_capabilities", of("request/required_capabilities")),
        ("score", share()),
        ("parts", or_null(parts)),
        ("holds", json!({ "type": "array", "items": part(kind, "SuspendCoupling", "hold") })),
        ("reason", reason()),
        ("reasons", part(kind, "CouplingRefused", "reasons")),
    ])
}

/// A field of a coupling.
pub fn coupling_field(name: &str) -> Value {
    match name {
        "status" => json!({ "type": "string", "enum": Aggregate::Coupling.choices("status") }),
        name => coupling().remove(name).unwrap_or_default(),
    }
}

fn llm_request() -> Map<String, Value> {
    let kind = Aggregate::LlmRequest;
    let of = |field: &str| part(kind, "RequestSubmitted", &format!("request/{field}"));
    let model = || part(kind, "RequestCompleted", "model");
    let count = || json!({ "type": "integer", "minimum": 0 });
    let usd = || json!({ "type": "string", "pattern": r"^-?[0-9]+\.[0-9]{12}$", "description": "Exact, in dollars." });
    let attempt = object([
        ("attempt", count()),
        ("worker", text("")),
        ("model", model()),
        ("started_at", micros()),
        ("lease_until", micros()),
        ("tokens_reserved", count()),
        ("cost_usd_estimated", usd()),
        ("end", json!({ "type": "string", "enum": ["open", "failed", "completed", "lost", "extra"] })),
        ("error", text("Why it failed; empty where it did not.")),
    ]);
    let mut fields: Map<String, Value> = [
        "coupling_id agent_id coupling_version project operation models priority deadline_at storage stream",
        "prompt_tokens_estimated output_tokens_max payload_sha256 payload_bytes",
    ]
    .into_iter()
    .flat_map(|names| names.split(' '))
    .map(|name| (name.to_owned(), of(name)))
    .collect();
    fields.extend(named([
        ("model", or_null(model())),
        ("has_payload", json!({ "type": "boolean" })),
        ("has_answer", json!({ "type": "boolean", "description": "Whether the answer can be read." })),
        ("answer_sha256", or_null(text(""))),
        ("answer_bytes", or_null(count())),
        ("finish_reason", or_null(text(""))),
        ("latency_ms", or_null(count())),
        ("first_byte_ms", or_null(count())),
        ("attempts", json!({ "type": "array", "items": attempt })),
        ("lost_attempts", count()),
        ("extra_calls", count()),
        ("usage", part(kind, "RequestCompleted", "usage")),
        ("usage_estimated", json!({ "type": "boolean" })),
        ("cost_usd", usd()),
        ("calls_of_unknown_cost", count()),
        ("unknown_cost_usd_estimated", usd()),
        ("ratings", count()),
        ("rating", json!({ "type": ["number", "null"], "minimum": 0, "maximum": 1 })),
        ("error", text("A code; empty where it did not fail.")),
        ("reason", reason()),
    ]));
    fields
}

fn llm_batch() -> Map<String, Value> {
    let kind = Aggregate::LlmBatch;
    let of = |field: &str| part(kind, "CloseBatchFile", field);
    let count = || json!({ "type": "integer", "minimum": 0 });
    let metadata = json!({ "type": "object", "additionalProperties": { "type": "string" } });
    let files = json!({ "type": "string", "enum": kind.choices("file") });
    named([
        ("filename", part(kind, "OpenBatchFile", "filename")),
        ("closed_at", or_null(micros())),
        ("parts", count()),
        ("bytes", count()),
        ("sha256", text("Of the file, in lower-case hex; empty while it is uploaded.")),
        ("requests", count()),
        ("operation", or_null(part(kind, "StartBatch", "operation"))),
        ("files", json!({ "type": "array", "items": files, "description": "Those that can be read." })),
        ("metadata", or_null(metadata)),
        ("started_at", or_null(micros())),
        ("expires_at", or_null(micros())),
        ("cancelling_at", or_null(micros())),
        ("ended_at", or_null(micros())),
        ("line", or_null(count())),
        ("completed", or_null(count())),
        ("failed", or_null(count())),
        ("expired", or_null(count())),
        ("problems", of("problems")),
    ])
}

pub fn text(description: &str) -> Value {
    match description {
        "" => json!({ "type": "string" }),
        description => json!({ "type": "string", "description": description }),
    }
}

fn reason() -> Value {
    text("Why it stands as it does; empty where nobody said so.")
}

fn micros() -> Value {
    json!({ "type": "integer", "description": "Microseconds since 1970." })
}

pub fn or_null(schema: Value) -> Value {
    json!({ "anyOf": [schema, { "type": "null" }] })
}

fn named<const N: usize>(fields: [(&str, Value); N]) -> Map<String, Value> {
    fields.map(|(name, schema)| (name.to_owned(), schema)).into_iter().collect()
}

pub fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let required = fields.each_ref().map(|(name, _)| *name);
    json!({ "type": "object", "required": required.as_slice(), "properties": named(fields) })
}

/// An object with these fields, and any others.
pub fn with_more(properties: Value, required: &[&str]) -> Value {
    let mut object = json!({ "type": "object", "properties": properties, "additionalProperties": true });
    if !required.is_empty() {
        object["required"] = json!(required);
    }
    object
}

/// All fields of a part of a record, and further ones.
fn all_of<const N: usize>(kind: Aggregate, record: &str, field: &str, more: [(&str, Value); N]) -> Map<String, Value> {
    let Value::Object(mut fields) = part(kind, record, field)["properties"].take() else { return named(more) };
    fields.extend(named(more));
    fields
}

/// The schema of a part of a record as it is shown; the path's steps are fields, or `items`.
pub fn part(kind: Aggregate, record: &str, path: &str) -> Value {
    let mut at = json_schema(kind.codec(record).map_or("", |codec| codec.text));
    for step in path.split('/').filter(|step| !step.is_empty()) {
        at = match step {
            "items" => at["items"].take(),
            field => at["properties"][field].take(),
        };
    }
    shown(at)
}

/// As it is shown every field is there.
fn shown(mut schema: Value) -> Value {
    match &mut schema {
        Value::Object(fields) => {
            fields.remove("default");
            fields.remove("additionalProperties").map(|it| fields.insert("additionalProperties".to_owned(), shown(it)));
            if let Some(Value::Object(properties)) = fields.get_mut("properties") {
                properties.values_mut().for_each(|property| *property = shown(property.take()));
                let names: Vec<String> = properties.keys().cloned().collect();
                fields.insert("required".to_owned(), json!(names));
            }
            for name in ["items", "anyOf"] {
                fields.remove(name).map(|it| fields.insert(name.to_owned(), shown(it)));
            }
        }
        Value::Array(schemas) => schemas.iter_mut().for_each(|it| *it = shown(it.take())),
        _ => {}
    }
    schema
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::AnyState;
    use std::collections::BTreeSet;

    #[test]
    fn every_kind_has_the_fields_that_it_shows_and_no_other() {
        for aggregate in Aggregate::ALL.iter().copied() {
            let schema = schema(aggregate);
            let described: BTreeSet<_> = schema["properties"].as_object().unwrap().keys().cloned().collect();
            let view = AnyState::initial(aggregate).view().into_iter().map(|(name, _)| name);
            let shown: BTreeSet<_> = view.chain(common(aggregate).keys().cloned()).collect();
            assert_eq!(described, shown, "{aggregate:?}");
            for (name, field) in schema["properties"].as_object().unwrap() {
                assert!(field.is_object(), "{aggregate:?}.{name} was not found in its record");
            }
        }
    }
}

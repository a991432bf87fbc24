//! An example of each command, the least that it needs; of each kind of resource; and of each answer.

pub mod answers;
pub mod resources;

use super::components::EXAMPLE_AGENT;
use serde_json::{Value, json};

const SERVER: &str = "5d0f6a1e-3c2b-4a19-8f7e-6d5c4b3a2910";
const PROVIDER: &str = "9c7d3a52-1e4f-4b8a-a6c0-2f5e8d7b1a34";
const REQUEST: &str = "f0a1b2c3-d4e5-4f60-8a7b-9c0d1e2f3a4b";
/// Microseconds since 1970.
const TIME: i64 = 1_767_225_600_000_000;

pub fn of(command: &str) -> Value {
    match command {
        "ProvisionTenant" => json!({ "name": "Acme" }),
        "AddProject" | "ReviseProject" | "RemoveProject" => json!({ "project": "apollo" }),
        "ReportBudgetUse" => json!({
            "level": "alert", "monthly_budget_micro_usd": 5_000_000, "spent_micro_usd": 4_000_000, "period_ends_at": TIME,
        }),
        "DefineAgentTemplate" => json!({ "definition": {
            "name": "researcher", "category": "research", "instructions": "Look into {topic}.", "parameters": [{ "name": "topic" }],
        } }),
        "DefineSkill" => json!({ "name": "route_planning", "ancestors": ["planning"] }),
        "RegisterAgent" => json!({ "name": "ada", "category": "research" }),
        "ReportAgentHealth" | "ReportMcpServerHealth" | "ReportLlmProviderHealth" => json!({ "health": "active" }),
        "RegisterMcpServer" => json!({ "name": "search", "endpoint": "https://mcp.example.com/" }),
        "DiscoverTools" => {
            json!({ "tools": [{ "name": "search_papers", "description": "Search papers by topic", "input_schema": { "type": "object" } }] })
        }
        "RequestCoupling" => json!({ "agent_id": EXAMPLE_AGENT, "mcp_server_id": SERVER }),
        "RequestCompletion" => json!({ "request_id": REQUEST, "payload": payload() }),
        command if command.contains("Batch") => of_batch(command),
        command => of_models_and_requests(command),
    }
}

fn of_batch(command: &str) -> Value {
    let progress = json!({ "line": 2, "completed": 1, "failed": 1, "expired": 0, "errors": [] });
    match command {
        "AddBatchPart" => json!({
            "part": 1,
            "text": r#"{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{}}"#,
        }),
        "CloseBatchFile" => json!({ "parts": 1, "bytes": 76, "sha256": "ab".repeat(32), "requests": 1 }),
        "RecordBatchProgress" | "EndBatch" => json!({ "progress": progress }),
        _ => json!({}),
    }
}

fn of_models_and_requests(command: &str) -> Value {
    let model = || json!({ "provider_id": PROVIDER, "model_id": "small" });
    match command {
        "RegisterLlmProvider" => json!({ "name": "local", "models": [{ "model_id": "small" }] }),
        "PutModels" => json!({ "models": [{ "model_id": "small" }] }),
        "RetireModels" => json!({ "model_ids": ["small"] }),
        "ReportModelHealth" => json!({ "model_id": "small", "health": "up" }),
        "ReportModelStatistics" => {
            json!({ "model_id": "small", "statistics": { "measured_to": TIME, "calls": 12, "error_rate": 0.25 } })
        }
        "SubmitRequest" => json!({ "models": [model()], "payload": payload() }),
        "StartAttempt" => json!({ "attempt": 1, "worker": "worker-1", "model": model(), "lease_until": TIME }),
        "RateAnswer" => json!({ "score": 0.9 }),
        _ => json!({}),
    }
}

fn payload() -> &'static str {
    r#"{"messages":[{"role":"user","content":"Hello"}]}"#
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::openapi::convert::json_schema;
    use crate::domain::{Aggregate, AnyCommand};

    #[test]
    fn every_example_is_a_command_and_lacks_nothing_that_its_schema_requires() {
        for aggregate in Aggregate::ALL.iter().copied() {
            for command in aggregate.commands() {
                let read = |json: &Value| AnyCommand::from_json(aggregate, command, json.to_string().as_bytes());
                let example = of(command);
                assert!(read(&example).is_ok(), "{command}: {:?}", read(&example));
                let schema = json_schema(aggregate.codec(command).unwrap().text);
                for required in schema["required"].as_array().into_iter().flatten() {
                    let mut less = example.clone();
                    assert!(less.as_object_mut().unwrap().remove(required.as_str().unwrap()).is_some(), "{command}");
                    assert!(read(&less).is_err(), "{command} is taken without {required}, which its schema requires");
                }
            }
        }
    }
}

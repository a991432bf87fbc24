//! `agentverse schemas asyncapi`: the topics and what goes over them, as an AsyncAPI 3.0 document.
//!
//! It is made from the manifests of `topics/` and the schemas of `schemas/`, as the settings want them, so that it cannot
//! fall behind either. It is told from this program's side: commands and heartbeats are received, all else is sent.

use super::super::config::SettingsArgs;
use super::super::exit::{Error, Exit};
use super::super::output;
use crate::adapters::kafka::manifest::Topic;
use crate::domain::Aggregate;
use crate::domain::schemas::outcome_codec;
use crate::domain::wire::Codec;
use crate::runtime::settings::{Loaded, Security};
use crate::runtime::topics::{Choice, wanted};
use serde_json::{Map, Value, json};

/// What the binding of Kafka is described by.
const BINDING: &str = "0.5.0";
/// Avro schemas, as AsyncAPI names their form.
const AVRO: &str = "application/vnd.apache.avro+json;version=1.9.0";

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingsArgs,
}

pub fn run(args: &Args) -> Result<Exit, Error> {
    let loaded = args.settings.load().map_err(|error| Error::Usage(error.to_string()))?;
    let topics = wanted(&loaded, &Choice::default()).map_err(|error| Error::Usage(error.to_string()))?;
    output::json(&document(&loaded, &topics))?;
    Ok(Exit::Done)
}

/// What a topic carries.
enum Carries {
    Commands(Aggregate),
    Events(Aggregate),
    Heartbeats,
    Outcomes,
    DeadLetters,
    /// Named by the design, and not written yet.
    Nothing,
}

impl Carries {
    fn of(name: &str) -> Self {
        let words: Vec<&str> = name.split('.').collect();
        match words.as_slice() {
            ["agentverse", "agent", "heartbeats", "v1"] => Self::Heartbeats,
            ["agentverse", "command-outcomes", "v1"] => Self::Outcomes,
            ["agentverse", "dead-letters", "v1"] => Self::DeadLetters,
            ["agentverse", aggregate, kind, "v1"] => match (Aggregate::from_name(aggregate), *kind) {
                (Some(aggregate), "commands") => Self::Commands(aggregate),
                (Some(aggregate), "events") => Self::Events(aggregate),
                _ => Self::Nothing,
            },
            _ => Self::Nothing,
        }
    }

    fn is_received(&self) -> bool {
        matches!(self, Self::Commands(_) | Self::Heartbeats)
    }

    fn description(&self) -> String {
        match self {
            Self::Commands(aggregate) => format!(
                "Commands for {}: each is decided once, and ends as applied, refused or dead-lettered, which the topic of \
                 outcomes tells. Partitioner: murmur2 over the key, as Kafka's Java client has it; librdkafka's \
                 murmur2_random.",
                aggregate.plural()
            ),
            Self::Events(aggregate) => format!(
                "What was decided of {}, at least once, in position order per partition: drop what you have by ce_log and \
                 ce_position.",
                aggregate.plural()
            ),
            Self::Heartbeats => "Heartbeats of agents: each renews the lease of one agent's health.".into(),
            Self::Outcomes => "What became of each command; told again, with the same ce_id, when a command is sent again.".into(),
            Self::DeadLetters => {
                "Commands that could not be read or decided: the original bytes, and in the headers why, where they were \
                 and their own headers, each with original. before its name."
                    .into()
            }
            Self::Nothing => "Kept for what is not written yet.".into(),
        }
    }

    /// The messages, by their names under `components`.
    fn messages(&self) -> Vec<&'static str> {
        match self {
            Self::Commands(aggregate) => aggregate.commands().to_vec(),
            Self::Events(aggregate) => aggregate.events().to_vec(),
            Self::Heartbeats => vec!["Heartbeat"],
            Self::Outcomes => vec!["CommandOutcome"],
            Self::DeadLetters => vec!["DeadLetter"],
            Self::Nothing => Vec::new(),
        }
    }
}

fn document(loaded: &Loaded, topics: &[Topic]) -> Value {
    let prefix = &loaded.settings.topic_prefix;
    let (mut channels, mut operations) = (Map::new(), Map::new());
    for topic in topics {
        let plain = topic.name.strip_prefix(prefix.as_str()).unwrap_or(&topic.name);
        let carries = Carries::of(plain);
        // Dots part the words of a pointer's step in some tools.
        let name = plain.replace('.', "-");
        channels.insert(name.clone(), channel(topic, &carries));
        let messages = carries.messages();
        if messages.is_empty() {
            continue;
        }
        let action = if carries.is_received() { "receive" } else { "send" };
        let pointers =
            messages.iter().map(|message| json!({ "$ref": format!("#/channels/{name}/messages/{message}") }));
        operations.insert(
            format!("{action}-{name}"),
            json!({
                "action": action,
                "channel": { "$ref": format!("#/channels/{name}") },
                "messages": pointers.collect::<Vec<_>>(),
            }),
        );
    }
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "AgentVerse",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0" },
            "description": "Every change is a command on a topic; what was decided is published as events. Headers are \
                CloudEvents 1.0 in Kafka's binary mode. A value is Avro, framed with the id that a schema registry gave \
                (Confluent's wire format) or with the schema's fingerprint (Avro's single-object encoding); commands may \
                be JSON instead.",
        },
        "defaultContentType": "application/avro",
        "servers": servers(loaded),
        "channels": channels,
        "operations": operations,
        "components": { "messages": messages(), "schemas": { "CommandHeaders": command_headers(), "EventHeaders": event_headers() } },
    })
}

fn servers(loaded: &Loaded) -> Value {
    let secure = !matches!(loaded.settings.kafka_security, Security::Plaintext | Security::SaslPlaintext);
    let protocol = if secure { "kafka-secure" } else { "kafka" };
    let brokers = loaded.settings.kafka_brokers.split(',').map(str::trim).filter(|broker| !broker.is_empty());
    let servers = brokers
        .enumerate()
        .map(|(number, broker)| (format!("broker-{}", number + 1), json!({ "host": broker, "protocol": protocol })));
    Value::Object(servers.collect())
}

fn channel(topic: &Topic, carries: &Carries) -> Value {
    let messages = carries
        .messages()
        .into_iter()
        .map(|name| (name.to_owned(), json!({ "$ref": format!("#/components/messages/{name}") })));
    // Of the settings of a topic, the binding knows these.
    let number = |name: &str| topic.config.get(name).and_then(|value| value.parse::<i64>().ok());
    let mut configuration = Map::new();
    if let Some(policy) = topic.config.get("cleanup.policy") {
        configuration.insert("cleanup.policy".into(), policy.split(',').collect::<Vec<_>>().into());
    }
    for name in ["retention.ms", "retention.bytes", "delete.retention.ms", "max.message.bytes"] {
        configuration.extend(number(name).map(|value| (name.to_owned(), value.into())));
    }
    json!({
        "address": topic.name,
        "description": carries.description(),
        "messages": messages.collect::<Map<_, _>>(),
        "bindings": { "kafka": {
            "topic": topic.name,
            "partitions": topic.partitions,
            "replicas": topic.replicas,
            "topicConfiguration": configuration,
            "bindingVersion": BINDING,
        } },
    })
}

fn messages() -> Map<String, Value> {
    let mut messages = Map::new();
    for aggregate in Aggregate::ALL {
        for name in aggregate.commands() {
            let kind = format!("{}.{name}", aggregate.name());
            messages.extend(aggregate.codec(name).map(|codec| {
                ((*name).to_owned(), message(codec, &kind, "The stream's UUID as text.", "CommandHeaders"))
            }));
        }
        for name in aggregate.events() {
            let kind = format!("{}.{name}", aggregate.name());
            messages.extend(aggregate.codec(name).map(|codec| {
                ((*name).to_owned(), message(codec, &kind, "The stream's UUID as text.", "EventHeaders"))
            }));
        }
    }
    let outcome = message(outcome_codec(), "CommandOutcome", "The command's id as text.", "EventHeaders");
    messages.insert("CommandOutcome".into(), outcome);
    let tenant = json!({ "type": "string", "format": "uuid", "description": "Whose agent it is." });
    messages.insert(
        "Heartbeat".into(),
        json!({
            "name": "Heartbeat",
            "summary": "An agent is alive. There is no value.",
            "headers": { "type": "object", "required": ["ce_tenantid"], "properties": { "ce_tenantid": tenant } },
            "payload": { "type": "null" },
            "bindings": { "kafka": key("The agent's UUID as text.") },
        }),
    );
    let text = |words: &str| json!({ "type": "string", "description": words });
    messages.insert(
        "DeadLetter".into(),
        json!({
            "name": "DeadLetter",
            "summary": "A command as it came.",
            "contentType": "application/octet-stream",
            "headers": { "type": "object", "required": ["ce_code", "ce_cause"], "properties": {
                "ce_code": { "enum": ["unreadable", "id_reused", "poisonous"] },
                "ce_cause": text("Why, in a sentence."),
                "ce_topic": text("The topic where it was, without the prefix."),
                "ce_partition": text("Its partition there."),
                "ce_offset": text("Its offset there."),
                "ce_buriedat": text("When, in microseconds since 1970."),
                "ce_attempts": text("How often it was sent again."),
            } },
            "payload": { "type": "string", "format": "binary" },
            "bindings": { "kafka": key("The stream's UUID, or topic/partition/offset of what could not be read.") },
        }),
    );
    messages
}

fn key(description: &str) -> Value {
    json!({ "key": { "type": "string", "description": description }, "bindingVersion": BINDING })
}

fn message(codec: &Codec, kind: &str, key: &str, headers: &str) -> Value {
    // A text that is no JSON does not compile into a codec.
    let schema: Value = serde_json::from_str(codec.text).unwrap_or_default();
    let summary = schema["doc"].as_str().map(str::to_owned);
    let name = kind.rsplit('.').next().unwrap_or(kind);
    let mut message = json!({
        "name": name,
        "title": kind,
        "contentType": "application/avro",
        "headers": { "$ref": format!("#/components/schemas/{headers}") },
        "payload": { "schemaFormat": AVRO, "schema": schema },
        "bindings": { "kafka": {
            "key": { "type": "string", "description": key },
            "schemaIdLocation": "payload",
            "schemaIdPayloadEncoding": "confluent",
            "schemaLookupStrategy": "RecordNameStrategy",
            "bindingVersion": BINDING,
        } },
    });
    if let Some(summary) = summary {
        message["summary"] = summary.into();
    }
    message
}

fn headers(required: &[&str], properties: &[(&str, &str)]) -> Value {
    let properties =
        properties.iter().map(|(name, words)| ((*name).to_owned(), json!({ "type": "string", "description": words })));
    json!({ "type": "object", "required": required, "properties": properties.collect::<Map<_, _>>() })
}

fn command_headers() -> Value {
    headers(
        &["ce_type", "ce_tenantid"],
        &[
            ("ce_type", "<aggregate>.<Command>."),
            ("ce_tenantid", "The tenant's UUID; not needed by tenant.ProvisionTenant."),
            ("ce_id", "With ce_source the command's identity: with the same pair it takes effect once."),
            ("ce_source", "Where it comes from; unnamed unless said."),
            ("ce_subject", "The stream's UUID; else the key, else one made from the command's id."),
            ("ce_expectedversion", "Refuse it unless the stream is at this version."),
            ("ce_actor", "Who wants it."),
            ("ce_correlationid", "What it belongs to; all that follows from it carries it on."),
            ("ce_causationid", "What it follows from."),
            ("traceparent", "The trace that it belongs to (W3C)."),
            (
                "content-type",
                "application/avro, application/json, or application/cloudevents+json for structured mode.",
            ),
        ],
    )
}

fn event_headers() -> Value {
    headers(
        &["ce_id", "ce_type", "ce_source", "ce_subject", "ce_tenantid", "ce_time"],
        &[
            ("ce_id", "The event's id."),
            ("ce_type", "<aggregate>.<Event>."),
            ("ce_source", "agentverse."),
            ("ce_subject", "The stream's UUID."),
            ("ce_tenantid", "The tenant's UUID."),
            ("ce_time", "When it was recorded (RFC 3339)."),
            ("ce_causationid", "The id of the command that it follows from."),
            ("ce_correlationid", "What that command belonged to."),
            ("ce_actor", "Who wanted it."),
            ("ce_log", "The log that it stands in."),
            ("ce_position", "Its position there: drop what you have."),
            ("ce_version", "The stream's version."),
            ("record", "The record's place in the chain of hashes, in base64."),
            ("content-type", "application/avro."),
        ],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(overrides: &[&str]) -> Value {
        let overrides: Vec<_> = overrides.iter().map(|text| (*text).to_owned()).collect();
        let loaded = Loaded::load(None, |_| None, &overrides).unwrap();
        let topics = wanted(&loaded, &Choice::default()).unwrap();
        document(&loaded, &topics)
    }

    /// Every `$ref` of the document.
    fn pointers<'a>(value: &'a Value, found: &mut Vec<&'a str>) {
        match value {
            Value::Object(fields) => {
                found.extend(fields.get("$ref").and_then(Value::as_str));
                fields.values().for_each(|value| pointers(value, found));
            }
            Value::Array(items) => items.iter().for_each(|item| pointers(item, found)),
            _ => {}
        }
    }

    #[test]
    fn every_topic_and_every_record_is_there_and_every_pointer_leads_somewhere() {
        let document = of(&["topic_prefix=eu.", "partitions=4", "kafka_brokers=a:1, b:2"]);
        let channels = document["channels"].as_object().unwrap();
        assert!(channels.len() >= 23, "{}", channels.len());
        let agents = &channels["agentverse-agent-commands-v1"];
        assert_eq!(agents["address"], "eu.agentverse.agent.commands.v1");
        assert_eq!(
            (&agents["bindings"]["kafka"]["partitions"], &agents["bindings"]["kafka"]["replicas"]),
            (&json!(4), &json!(3))
        );
        assert_eq!(document["servers"]["broker-2"]["host"], "b:2");
        let messages = document["components"]["messages"].as_object().unwrap();
        let records = Aggregate::codecs().count();
        assert_eq!(messages.len(), records + 3, "a name of a record stands for one record");
        let payload = &messages["RegisterAgent"]["payload"]["schema"];
        assert_eq!(payload["name"], "RegisterAgent");
        let mut found = Vec::new();
        pointers(&document, &mut found);
        assert!(found.len() > 2 * records);
        for pointer in found {
            let there = pointer.strip_prefix('#').and_then(|path| document.pointer(path));
            assert!(there.is_some(), "{pointer}");
        }
        for (name, operation) in document["operations"].as_object().unwrap() {
            let expected = if name.contains("-commands-") || name.contains("heartbeats") { "receive" } else { "send" };
            assert_eq!(operation["action"], expected, "{name}");
        }
    }
}

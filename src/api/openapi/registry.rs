//! The operations of the built-in schema registry: Confluent's, below a path of their own.

use super::components::reference;
use super::examples::answers;
use super::operations::Operation;
use crate::api::registry::{Call, MEDIA, MEDIA_TAKEN};
use serde_json::{Map, Value, json};

pub fn operation(call: Call) -> Operation {
    let (id, summary, found, own) = told(call);
    let mut answers = vec![(200, answered("Found.", found, Some(example(call))))];
    let (own_parameters, body) = match call {
        _ if call.is_refused() => {
            // They are there to say why, and have no other answer; the document wants one all the same.
            answers[0].1 = json!({ "description": "Never: it is refused with the error code 42205." });
            (
                Vec::new(),
                matches!(call, Call::SetConfig | Call::SetSubjectConfig | Call::SetMode | Call::SetSubjectMode),
            )
        }
        Call::Lookup | Call::Register | Call::CompatibleWithOne | Call::CompatibleWithAll => (own, true),
        _ => (own, false),
    };
    let mut statuses = vec![400, 404, 405, 422];
    if body {
        statuses.extend([408, 413, 415]);
    }
    if call == Call::Register {
        statuses.push(409);
    }
    let error = |status| {
        (status, answered("An error in Confluent's form.", reference("RegistryError"), answers::of("RegistryError")))
    };
    answers.extend(statuses.into_iter().map(error));
    let (schema, example) = sent(call);
    let media = || json!({ "schema": schema, "example": example });
    // What else is taken is for clients that do not say what they send.
    let named = MEDIA_TAKEN.into_iter().filter(|name| name.ends_with("json"));
    let content: Map<_, _> = named.map(|name| (name.to_owned(), media())).collect();
    Operation {
        id: format!("registry-{id}"),
        tag: "schema-registry",
        summary: summary.into(),
        shared_parameters: Vec::new(),
        own_parameters,
        body: body.then(|| json!({ "required": true, "content": content })),
        answers,
        problems: Vec::new(),
    }
}

/// Name, summary, answer and query parameters of a call.
fn told(call: Call) -> (&'static str, &'static str, Value, Vec<Value>) {
    let text = || json!({ "type": "string" });
    let whole = || json!({ "type": "integer", "minimum": 1 });
    let number = || json!({ "type": "integer", "format": "int64" });
    let list = |items: Value| json!({ "type": "array", "items": items });
    let shown = || reference("RegistrySchema");
    let level = || json!({ "type": "object", "properties": { "compatibilityLevel": { "const": "FULL_TRANSITIVE" } } });
    let mode = || json!({ "type": "object", "properties": { "mode": { "const": "READONLY" } } });
    let fits = || json!({ "type": "object", "properties": { "is_compatible": { "type": "boolean" }, "messages": list(text()) }, "required": ["is_compatible"] });
    let object = || json!({ "type": "object" });
    let paging = || vec![query("subjectPrefix", text()), query("offset", number()), query("limit", number())];
    let normalize = || vec![query("normalize", json!({ "type": "boolean", "default": false }))];
    let verbose = || vec![query("verbose", json!({ "type": "boolean", "default": false }))];
    let none = Vec::new;
    match call {
        Call::Subjects => ("subjects", "The subjects: the full names of all records.", list(text()), paging()),
        Call::Versions => ("versions", "The versions of a subject.", list(whole()), none()),
        Call::Version => ("version", "One version of a subject.", shown(), none()),
        Call::VersionSchema => ("version-schema", "The schema of a version, alone.", object(), none()),
        Call::ReferencedBy => ("referenced-by", "The ids of schemas that refer to it: none.", list(whole()), none()),
        Call::Lookup => {
            ("lookup", "Whether a schema is registered under a subject, and as what.", shown(), normalize())
        }
        Call::Register => {
            let id = json!({ "type": "object", "properties": { "id": whole() }, "required": ["id"] });
            ("register", "Gives the id of a schema that is there; no other one can be added.", id, normalize())
        }
        Call::Id => {
            let found = json!({ "type": "object", "properties": { "schema": text() }, "required": ["schema"] });
            ("schema", "The schema of an id.", found, none())
        }
        Call::IdSchema => ("schema-alone", "The schema of an id, alone.", object(), none()),
        Call::IdSubjects => ("schema-subjects", "The subjects that have the schema of an id.", list(text()), none()),
        Call::IdVersions => {
            let place = json!({ "type": "object", "properties": { "subject": text(), "version": whole() } });
            ("schema-versions", "The subjects and versions that have the schema of an id.", list(place), none())
        }
        Call::Types => ("types", "The types of schemas: AVRO.", list(text()), none()),
        Call::Schemas => {
            let latest = query("latestOnly", json!({ "type": "boolean", "default": false }));
            ("schemas", "All versions of all subjects.", list(shown()), [paging(), vec![latest]].concat())
        }
        Call::Config => ("config", "The level of compatibility of all subjects.", level(), none()),
        Call::SubjectConfig => ("subject-config", "The level of compatibility of a subject.", level(), none()),
        Call::Mode => ("mode", "The mode of all subjects: they can be read.", mode(), none()),
        Call::SubjectMode => ("subject-mode", "The mode of a subject.", mode(), none()),
        Call::CompatibleWithOne => {
            ("compatible", "Whether a schema and one version read each other's values.", fits(), verbose())
        }
        Call::CompatibleWithAll => {
            ("compatible-all", "Whether a schema and all versions read each other's values.", fits(), verbose())
        }
        Call::SetConfig => ("set-config", "Refused: the level is fixed.", object(), none()),
        Call::UnsetConfig => ("unset-config", "Refused: the level is fixed.", object(), none()),
        Call::SetSubjectConfig => ("set-subject-config", "Refused: the level is fixed.", object(), none()),
        Call::UnsetSubjectConfig => ("unset-subject-config", "Refused: the level is fixed.", object(), none()),
        Call::SetMode => ("set-mode", "Refused: the mode is fixed.", object(), none()),
        Call::SetSubjectMode => ("set-subject-mode", "Refused: the mode is fixed.", object(), none()),
        Call::UnsetSubjectMode => ("unset-subject-mode", "Refused: the mode is fixed.", object(), none()),
        Call::DeleteSubject => ("delete-subject", "Refused: schemas come with the program.", object(), none()),
        Call::DeleteVersion => ("delete-version", "Refused: schemas come with the program.", object(), none()),
    }
}

fn query(name: &str, schema: Value) -> Value {
    let description = "As in Confluent's registry; parameters that are not known are ignored.";
    json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": description })
}

fn answered(description: &str, schema: Value, example: Option<Value>) -> Value {
    json!({ "description": description, "content": { MEDIA: { "schema": schema, "example": example } } })
}

/// What a call's body is, and an example. Levels and modes are Confluent's; all are refused, as they are fixed here.
fn sent(call: Call) -> (Value, Value) {
    let one = |name: &str, values: &[&str]| json!({ "type": "object", "properties": { name: { "enum": values } }, "required": [name], "additionalProperties": true });
    match call {
        Call::SetConfig | Call::SetSubjectConfig => {
            (one("compatibility", &LEVELS), json!({ "compatibility": "BACKWARD" }))
        }
        Call::SetMode | Call::SetSubjectMode => (one("mode", &MODES), json!({ "mode": "READWRITE" })),
        _ => (reference("RegistrySchemaSent"), json!({ "schema": answers::IDLE_AGENT, "schemaType": "AVRO" })),
    }
}

/// Levels of compatibility, and modes, that Confluent's registry has.
const LEVELS: [&str; 7] =
    ["NONE", "BACKWARD", "BACKWARD_TRANSITIVE", "FORWARD", "FORWARD_TRANSITIVE", "FULL", "FULL_TRANSITIVE"];
const MODES: [&str; 4] = ["READWRITE", "READONLY", "READONLY_OVERRIDE", "IMPORT"];

/// What a call is answered. Of those that are always refused nothing.
fn example(call: Call) -> Value {
    let shown = answers::of("RegistrySchema").unwrap_or_default();
    match call {
        Call::Subjects | Call::IdSubjects => json!([shown["subject"]]),
        Call::Versions => json!([1]),
        Call::Version | Call::Lookup => shown,
        Call::VersionSchema | Call::IdSchema => serde_json::from_str(answers::IDLE_AGENT).unwrap_or_default(),
        Call::ReferencedBy => json!([]),
        Call::Register => json!({ "id": shown["id"] }),
        Call::Id => json!({ "schema": shown["schema"] }),
        Call::IdVersions => json!([{ "subject": shown["subject"], "version": 1 }]),
        Call::Types => json!(["AVRO"]),
        Call::Schemas => json!([shown]),
        Call::Config | Call::SubjectConfig => json!({ "compatibilityLevel": "FULL_TRANSITIVE" }),
        Call::Mode | Call::SubjectMode => json!({ "mode": "READONLY" }),
        Call::CompatibleWithOne | Call::CompatibleWithAll => json!({ "is_compatible": true }),
        _ => Value::Null,
    }
}

/// A version in a path.
const VERSION: &str = "^([1-9][0-9]{0,8}|latest|-1)$";

/// A parameter of the registry's paths.
pub fn path_parameter(name: &str) -> Value {
    let (schema, description) = match name {
        "subject" => (json!({ "type": "string" }), "A record's full name, as agentverse.agent.RegisterAgent."),
        "version" => (json!({ "type": "string", "pattern": VERSION }), "Its number, or latest (-1)."),
        _ => (json!({ "type": "integer", "minimum": 1 }), "The schema's id, as values on topics have it."),
    };
    json!({ "name": name, "in": "path", "required": true, "schema": schema, "description": description })
}

/// The schemas of these operations.
pub fn schemas() -> [(&'static str, Value); 3] {
    let text = || json!({ "type": "string" });
    let whole = || json!({ "type": "integer" });
    let error = json!({
        "type": "object",
        "description": "An error in the form of Confluent's registry.",
        "properties": { "error_code": whole(), "message": text() },
        "required": ["error_code", "message"],
    });
    let shown = json!({
        "type": "object",
        "properties": { "subject": text(), "version": whole(), "id": whole(), "schema": text() },
        "required": ["subject", "version", "id", "schema"],
    });
    let sent = json!({
        "type": "object",
        "properties": { "schema": text(), "schemaType": { "const": "AVRO" } },
        "required": ["schema"],
        "additionalProperties": true,
    });
    [("RegistryError", error), ("RegistrySchema", shown), ("RegistrySchemaSent", sent)]
}

//! The operation that imports what others publish, and its schemas.

use super::components::{EXAMPLE_AGENT, reference};
use super::operations::{Operation, described};
use crate::api::imports::CONTENT_TYPES;
use crate::flow::import::{Kind, TARGETS};
use serde_json::{Map, Value, json};

pub fn import() -> Operation {
    let mut taken = described(
        "Done: what it came to. With `Accept: text/event-stream` it is told as it goes on: events `progress`, `entry` for \
         whatever is not unchanged or was cut, and at the end `report`.",
        reference("ImportReport"),
        Some(example()),
    );
    taken["content"]["text/event-stream"] = json!({ "schema": { "type": "string" }, "example": events() });
    Operation {
        id: "import".into(),
        tag: "commands",
        summary: "Imports what others publish, as the difference from what is there; the same again changes nothing."
            .into(),
        shared_parameters: vec!["Tenant"],
        own_parameters: parameters(),
        body: Some(json!({
            "required": true,
            "description": "Of agents JSON lines of any length, imported as they come; of the others a document, or several \
                one after the other.",
            "content": CONTENT_TYPES.map(|media| (media.to_owned(), taken_as(media))).into_iter().collect::<Map<_, _>>(),
        })),
        answers: vec![(200, taken)],
        problems: vec![400, 404, 405, 408, 413, 415, 503],
    }
}

/// A body of this type: JSON, and what is a text to OpenAPI.
fn taken_as(media: &str) -> Value {
    let agents =
        [json!({ "id": "4711", "name": "ada", "category": "research" }), json!({ "id": "4712", "name": "bob" })];
    let lines = |before: &str| agents.iter().map(|agent| format!("{before}{agent}\n")).collect::<String>();
    match media {
        "application/json" => json!({
            "schema": { "type": ["object", "array"] },
            "example": [{ "packageName": "@acme/search", "runtime": "node" }],
        }),
        // RFC 7464: each text begins with a record separator.
        "application/json-seq" => json!({ "schema": { "type": "string" }, "example": lines("\u{1e}") }),
        _ => json!({ "schema": { "type": "string" }, "example": lines("") }),
    }
}

fn parameters() -> Vec<Value> {
    let flag = || json!({ "type": "boolean", "default": false });
    let parameter = |name: &str, required: bool, schema: Value, description: &str| json!({ "name": name, "in": "query", "required": required, "schema": schema, "description": description });
    let mapping = format!(
        "For agents: our_field=their_field, any number of times; a name that begins with / is a JSON \
        pointer. Our fields: {}.",
        TARGETS.join(", ")
    );
    let list = |name: &str, description: &str| {
        let mut list = parameter(name, false, json!({ "type": "array", "items": { "type": "string" } }), description);
        list["style"] = json!("form");
        list["explode"] = json!(true);
        list
    };
    let set = "For agents: our_field=value where a line has no such field, any number of times; requirements and \
        template_parameters as JSON.";
    let provider = "Of lists of models: only this provider, as the list names it, any number of times; \
        name_in_list=name_or_id where it is called otherwise here.";
    let key = "For agents: the field that tells them apart; id unless it is said.";
    let kinds = "What the body holds: server.json or lists of it, lists of MCP servers by package, MCP servers with their \
        tools, agent templates, A2A agent cards, JSON lines of agents, models.dev's api.json, LiteLLM's list of prices, or \
        the skills of OASF's taxonomy. Of lists of models each model is an entry, and so is each provider.";
    let retiring = "Retire what this kind of import brought and the body has no more; not if anything in it was refused. Of lists of \
        models it is models that are retired, never a provider. Servers and agents end for good: one that comes back later is \
        registered anew, under another id.";
    vec![
        parameter("kind", true, json!({ "enum": Kind::ALL.map(Kind::name) }), kinds),
        parameter("dry_run", false, flag(), "Tell what would change, and change nothing."),
        parameter("retire_missing", false, flag(), retiring),
        parameter(
            "force_retire",
            false,
            flag(),
            "Retire also if entries were refused; those that could not be read count as missing.",
        ),
        parameter("key", false, json!({ "type": "string", "default": "id" }), key),
        list("map", &mapping),
        list("set", set),
        list("provider", provider),
        parameter("only_known", false, flag(), "Of lists of models: only providers that are registered already."),
        parameter(
            "as_of",
            false,
            json!({ "type": "string", "format": "date" }),
            "Of lists of models: the day of the prices; today unless it is said.",
        ),
    ]
}

fn example() -> Value {
    json!({
        "kind": "mcp-servers", "dry_run": false, "complete": true, "ended_because": null, "entries": 3, "created": 1,
        "changed": 0, "unchanged": 1, "refused": 1, "undecided": 0, "superseded": 0, "withdrawn": 0, "skipped": 0, "shortened": 0,
        "retired": 0, "retire_skipped": null, "seconds": 0.02, "listed": [refused(), created()], "not_listed": 0,
    })
}

fn refused() -> Value {
    json!({
        "outcome": "refused", "line": 7, "key": "@acme/mail", "name": null, "id": null, "fields": [], "field": "name",
        "reason": "must be text", "instead_line": null, "shortened": [], "cuts": [],
    })
}

fn created() -> Value {
    json!({
        "outcome": "created", "line": 3, "key": "@acme/search", "name": "search", "id": EXAMPLE_AGENT, "fields": [],
        "field": null, "reason": null, "instead_line": null, "shortened": [], "cuts": [],
    })
}

fn events() -> String {
    format!(
        "event: entry\ndata: {}\n\nevent: report\ndata: {{\"kind\":\"mcp-servers\",\"complete\":true}}\n\n",
        created()
    )
}

pub fn schemas() -> [(&'static str, Value); 2] {
    let count = |description: &str| json!({ "type": "integer", "minimum": 0, "description": description });
    let maybe = |kind: &str, description: &str| json!({ "type": [kind, "null"], "description": description });
    let texts =
        |description: &str| json!({ "type": "array", "items": { "type": "string" }, "description": description });
    let cut = json!({
        "type": "object",
        "required": ["field", "reason"],
        "properties": {
            "field": { "type": "string", "description": "As the body names it." },
            "reason": { "type": "string", "description": "What was cut or left out, and why." },
        },
    });
    let entry = json!({
        "type": "object",
        "required": ["outcome", "line", "key", "id"],
        "properties": {
            "outcome": {
                "enum": ["created", "changed", "unchanged", "refused", "retired", "undecided", "superseded", "withdrawn", "skipped"],
                "description": "Unchanged only where something of the entry was cut; superseded where another entry of its key counts.",
            },
            "line": maybe("integer", "Where the entry begins, from 1; null of what the body has no more."),
            "key": maybe("string", "Its natural key, as far as it could be read."),
            "name": maybe("string", "What it is called."),
            "id": maybe("string", "The resource's id: uuid5 of the tenant and `<kind of resource>/<key>`; of a model its provider's, which may have been here under another."),
            "fields": texts("Of a changed one: what differs."),
            "field": maybe("string", "Of a refused one: the field that is wrong."),
            "reason": maybe("string", "Why it was refused, is undecided, or was passed over."),
            "instead_line": maybe("integer", "Of a superseded one: the line of the entry that counts."),
            "shortened": texts("Fields that were cut to what they may have here."),
            "cuts": { "type": "array", "items": cut, "description": "The same fields, each with the reason." },
        },
    });
    let report = json!({
        "type": "object",
        "required": ["kind", "dry_run", "complete", "entries", "created", "changed", "unchanged", "refused", "retired"],
        "properties": {
            "kind": { "enum": Kind::ALL.map(Kind::name) },
            "dry_run": { "type": "boolean", "description": "Then the counts say what would become of the entries." },
            "complete": { "type": "boolean", "description": "If not, the same again finishes it." },
            "ended_because": maybe("string", "Why it is not complete."),
            "entries": count("Entries of the body."),
            "created": count("Were not there."),
            "changed": count("Differed."),
            "unchanged": count("Were so already."),
            "refused": count("Could not be taken; none of the others is harmed."),
            "undecided": count("Sent, and not decided in time."),
            "superseded": count("Further entries of one key, as versions of a server."),
            "withdrawn": count("Taken back by their publisher."),
            "skipped": count("Entries that are nothing of what is imported, or were not asked for."),
            "shortened": count("Entries of which a field was cut or left out."),
            "retired": count("Resources, or models, that the body has no more."),
            "retire_skipped": maybe("string", "Why nothing was retired, although it was asked for."),
            "seconds": { "type": "number" },
            "listed": { "type": "array", "items": reference("ImportEntry"), "description": "What was refused, then what differs or was cut, what was passed over, and the rest; of one answer in a piece only." },
            "not_listed": count("Entries beyond import_listed_max."),
        },
    });
    [("ImportEntry", entry), ("ImportReport", report)]
}

//! The operations that search, count and discover, and their schemas.

use super::components::reference;
use super::examples::answers;
use super::operations::{Operation, described, filter};
use crate::api::access::is_catalogued;
use crate::api::discover::{self, LIMIT_DEFAULT, LIMIT_MAX};
use crate::api::resources::SHARED_CHOICES;
use crate::api::search::{self, GROUPS_DEFAULT, GROUPS_MAX, WORDS_MAX};
use crate::domain::Aggregate;
use serde_json::{Value, json};

fn query(name: &str, schema: Value, description: &str) -> Value {
    json!({ "name": name, "in": "query", "required": false, "schema": schema, "description": description })
}

/// The filters of a list, and whose resources it shows.
pub fn filters(aggregate: Aggregate) -> Vec<Value> {
    let words = "Filter: any of these values. Several filters must all be passed.";
    let mut parameters: Vec<_> = aggregate.all_filters().map(|name| filter_of(aggregate, name, words)).collect();
    parameters.extend(shared(aggregate));
    parameters
}

/// A filter of a kind of resource, with all values that it can have where these are known.
fn filter_of(aggregate: Aggregate, name: &str, description: &str) -> Value {
    let mut parameter = filter(name, description);
    let choices = aggregate.choices(name);
    if !choices.is_empty() {
        parameter["schema"]["items"]["enum"] = json!(choices);
    }
    parameter
}

fn shared(aggregate: Aggregate) -> Option<Value> {
    let schema = json!({ "enum": SHARED_CHOICES, "default": SHARED_CHOICES[0] });
    let words = "Whether to show what the shared catalogue holds, after the tenant's own.";
    is_catalogued(aggregate).then(|| query("shared", schema, words))
}

/// What a list takes beside its filters.
pub fn shape(aggregate: Aggregate) -> Vec<Value> {
    let mut parameters = vec![updated_since()];
    if aggregate.is_searched() {
        parameters.push(words());
        let orders: Vec<_> = search::orders(aggregate).collect();
        let reversed = orders.iter().skip(2).map(|name| format!("-{name}"));
        let orders: Vec<_> = orders.iter().map(|name| (*name).to_owned()).chain(reversed).collect();
        parameters.push(query(
            "sort",
            json!({ "enum": orders }),
            "The order; with - before it, the reverse. What has no such value comes last. By relevance where words are \
             looked for, else by id. Pages by id, created_at and relevance show each resource that stays as it is once, \
             whatever else changes; by what changes itself, one that moves while it is paged may come twice, or not.",
        ));
    }
    let fields = search::known_fields(aggregate);
    let names = fields.join("|");
    parameters.push(query(
        "fields",
        json!({ "type": "string", "pattern": format!("^({names})(,({names}))*$") }),
        &format!("Only these fields, separated by commas, and the id: {}.", fields.join(", ")),
    ));
    parameters
}

fn words() -> Value {
    let words = format!(
        "Words, at most {WORDS_MAX}: each must begin a word of the resource's name, keywords or description. Names are \
         better than keywords, and those than descriptions."
    );
    query("q", json!({ "type": "string", "minLength": 1 }), &words)
}

fn updated_since() -> Value {
    query(
        "updated_since",
        json!({ "type": "string", "format": "date-time" }),
        "Only what changed at or after this time.",
    )
}

pub fn count(aggregate: Aggregate) -> Operation {
    let summary = format!("How many {} there are, and how many of each value of a filter.", aggregate.plural());
    let mut operation = Operation::reading(format!("count-{}", aggregate.plural()), aggregate.name(), summary, "Count");
    operation.shared_parameters = match aggregate {
        Aggregate::Tenant => vec!["TenantOnLoopback"],
        _ => vec!["Tenant"],
    };
    operation.answers = vec![(200, described("Found.", reference("Count"), Some(answers::count(aggregate))))];
    let names: Vec<_> = aggregate.all_filters().collect();
    operation.own_parameters.push(query("group_by", json!({ "enum": names }), "Count by the values of this filter."));
    let groups = json!({ "type": "integer", "minimum": 1, "maximum": GROUPS_MAX, "default": GROUPS_DEFAULT });
    operation.own_parameters.push(query("groups", groups, "Most groups of the answer."));
    operation.own_parameters.extend(filters(aggregate));
    operation.own_parameters.extend([words(), updated_since()]);
    operation
}

pub fn discover(aggregate: Aggregate) -> Operation {
    let plural = aggregate.plural();
    let summary = format!("Which {plural} can do something: the best first, those that work before those that do not.");
    let mut operation = Operation::reading(format!("discover-{plural}"), aggregate.name(), summary, "Discoveries");
    operation.answers =
        vec![(200, described("Found.", reference("Discoveries"), Some(answers::discoveries(aggregate))))];
    let limit = json!({ "type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT });
    operation.own_parameters = vec![
        query(
            "text",
            json!({ "type": "string", "minLength": 1 }),
            "What they should be able to do, in any words; skills of the taxonomy that it names count, too.",
        ),
        query("limit", limit, "Most hits of the answer."),
    ];
    let wishes: Vec<_> = discover::wishes(aggregate).collect();
    for name in &wishes {
        let words =
            "Adds to the score of what has one of these values; a skill is also met by those below it in the taxonomy.";
        operation.own_parameters.push(filter_of(aggregate, name, words));
    }
    let others = filters(aggregate).into_iter().filter(|it| !wishes.iter().any(|wish| it["name"] == *wish));
    operation.own_parameters.extend(others);
    operation
}

pub fn standing() -> Operation {
    let summary = "How this node's replica stands: what its searches, sorts, counts and discoveries are answered from.";
    let mut operation = Operation::reading("replica-status", "operation", summary, "ReplicaStatus");
    operation.shared_parameters.clear();
    operation.answers = vec![(200, described("Found.", reference("ReplicaStatus"), None))];
    operation.problems = vec![400, 405, 503];
    operation
}

/// Schemas by their names.
pub fn schemas() -> [(&'static str, Value); 3] {
    let count = |words: &str| json!({ "type": "integer", "minimum": 0, "description": words });
    let group = json!({
        "type": "object",
        "required": ["value", "count"],
        "properties": { "value": { "type": "string" }, "count": { "type": "integer", "minimum": 1 } },
    });
    let counted = json!({
        "type": "object",
        "required": ["count"],
        "properties": {
            "count": count("Resources that pass the filters."),
            "group_by": { "type": "string" },
            "groups": { "type": "array", "items": group, "description": "The most frequent first. A resource with several values counts in each." },
            "without_value": count("Resources that have no such value."),
            "further_values": count("Values beyond those that are listed."),
        },
    });
    let reason = json!({
        "type": "object",
        "required": ["field", "value", "because"],
        "properties": {
            "field": { "type": "string" },
            "value": { "type": "string", "description": "What stands there; a long text is cut." },
            "because": { "enum": ["asked", "below", "meant", "words"], "description": "It was asked for; it is below a skill that was; the text names it, or a skill above it; it holds words of the text." },
            "skill": { "type": "string", "description": "The skill above." },
            "words": { "type": "array", "items": { "type": "string" } },
        },
    });
    let hit = json!({
        "type": "object",
        "required": ["score", "reasons", "resource"],
        "properties": {
            "score": { "type": "number", "minimum": 0, "description": "Comparable within one answer." },
            "reasons": { "type": "array", "items": reason, "description": "Why it was found, the strongest first." },
            "resource": reference("Discovered"),
        },
    });
    let hits = json!({
        "type": "object",
        "required": ["items"],
        "properties": { "items": { "type": "array", "items": hit } },
    });
    let standing = json!({
        "type": "object",
        "required": ["state"],
        "properties": {
            "state": { "enum": ["off", "building", "following"], "description": "Until it follows, it answers nothing." },
            "is_complete": { "type": "boolean" },
            "rows": count("Resources in it."),
            "lag_ms": count("From recording to searchability, of the newest record that became searchable last."),
            "waiting_rows": count("Rows that were taken and are not searchable yet."),
            "disk_bytes": count("What it takes on this node's disk."),
        },
    });
    [("Count", counted), ("Discoveries", hits), ("ReplicaStatus", standing)]
}

use super::*;
use std::collections::BTreeSet;

/// Everything below a value, with itself.
fn walk<'a>(value: &'a Value, visit: &mut impl FnMut(&'a Value)) {
    visit(value);
    match value {
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        Value::Object(fields) => fields.values().for_each(|field| walk(field, visit)),
        _ => {}
    }
}

fn operations(document: &Value) -> Vec<(&String, &String, &Value)> {
    let paths = document["paths"].as_object().unwrap();
    paths
        .iter()
        .flat_map(|(path, item)| {
            item.as_object().unwrap().iter().map(move |(method, operation)| (path, method, operation))
        })
        .filter(|(_, method, _)| *method != "parameters")
        .collect()
}

#[test]
fn every_route_is_documented_and_nothing_else() {
    let document = build();
    let documented: BTreeSet<_> =
        operations(&document).iter().map(|(path, method, _)| ((*path).clone(), (*method).clone())).collect();
    let served: BTreeSet<_> =
        table().into_iter().map(|route| (route.path.replace("{*", "{"), route.method.name().to_owned())).collect();
    assert_eq!(documented, served);
    assert_eq!(served.len(), table().len(), "two routes are the same");
}

#[test]
fn every_reference_leads_somewhere() {
    let document = build();
    let mut references = 0;
    walk(&document, &mut |value| {
        if let Some(reference) = value.get("$ref").and_then(Value::as_str) {
            references += 1;
            let pointer = reference.strip_prefix('#').unwrap();
            assert!(document.pointer(pointer).is_some(), "{reference}");
        }
    });
    assert!(references > 100);
}

#[test]
fn every_operation_is_named_once_and_says_what_can_go_wrong() {
    let document = build();
    let mut ids = BTreeSet::new();
    for (path, method, operation) in operations(&document) {
        let at = format!("{method} {path}");
        assert!(ids.insert(operation["operationId"].as_str().unwrap()), "{at}");
        assert!(operation["summary"].as_str().is_some_and(|summary| summary.ends_with('.')), "{at}");
        let responses = operation["responses"].as_object().unwrap();
        assert!(responses.keys().any(|status| status.starts_with('2')), "{at}");
        // The schemas are compiled in: there is no store that could be away.
        let needs_no_store = path.starts_with("/schema-registry/");
        assert!(responses.contains_key("405") && (needs_no_store || responses.contains_key("503")), "{at}");
        let has_body = operation.get("requestBody").is_some();
        let bodiless = ["/heartbeat", "/redrive", "/batches/{id}/cancel"].iter().any(|end| path.ends_with(end));
        assert_eq!(has_body, !["get", "delete"].contains(&method.as_str()) && !bodiless, "{at}");
        assert!(!has_body || responses.contains_key("415"), "{at}");
    }
}

/// Whether a media type's bodies can be shown in a document that is JSON.
fn can_be_shown(media: &str) -> bool {
    !["application/avro", "text/plain", "text/event-stream"].contains(&media)
}

#[test]
fn every_body_has_an_example() {
    let document = build();
    let mut lacking = Vec::new();
    let mut count = 0;
    for (path, method, operation) in operations(&document) {
        let answers = operation["responses"].as_object().unwrap().iter().filter(|(status, _)| status.starts_with('2'));
        let bodies = answers.map(|(_, answer)| &answer["content"]).chain([&operation["requestBody"]["content"]]);
        for (media, body) in bodies.filter_map(Value::as_object).flatten().filter(|(media, _)| can_be_shown(media)) {
            count += 1;
            if body.get("example").is_none_or(Value::is_null) {
                lacking.push(format!("{method} {path}: {media}"));
            }
        }
    }
    assert!(lacking.is_empty(), "{lacking:#?}");
    assert!(count > table().len(), "{count}");
}

#[test]
fn every_parameter_of_a_path_is_described() {
    let document = build();
    for (path, item) in document["paths"].as_object().unwrap() {
        let named: Vec<_> = path.split('/').filter_map(|it| it.strip_prefix('{')?.strip_suffix('}')).collect();
        let described = item["parameters"].as_array().cloned().unwrap_or_default();
        let described: Vec<_> = described.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
        assert_eq!(described, named, "{path}");
    }
}

#[test]
fn every_command_has_a_schema_that_is_an_object() {
    let document = build();
    for aggregate in crate::domain::Aggregate::ALL {
        for command in aggregate.commands() {
            let schema = &document["components"]["schemas"][command];
            assert_eq!(schema["type"], "object", "{command}");
        }
    }
}

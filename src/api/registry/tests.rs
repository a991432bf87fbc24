use super::*;
use crate::domain::Aggregate;

const AGENT: &str = "agentverse.agent.RegisterAgent";

fn ask(call: Call, path: &str, body: &Value) -> Result<Value, Fault> {
    answer(Schemas::of_program(), call, &format!("{BASE}{path}").parse().unwrap(), body.to_string().as_bytes())
}

fn get(call: Call, path: &str) -> Value {
    ask(call, path, &Value::Null).unwrap()
}

fn refused(call: Call, path: &str, body: &Value) -> (u16, u32) {
    let fault = ask(call, path, body).unwrap_err();
    assert!(fault.message.len() > 10, "{}", fault.message);
    (fault.status.as_u16(), fault.code)
}

fn agent() -> &'static Version {
    &Schemas::of_program().versions(AGENT).unwrap()[0]
}

fn body(text: &str) -> Value {
    json!({ "schema": text })
}

/// The agent's schema with one more field.
fn with_field(field: &str) -> Value {
    body(&agent().text.replacen("\"fields\":[", &format!("\"fields\":[{field},"), 1))
}

#[test]
fn subjects_and_schemas_are_listed_whole_by_prefix_and_in_pages() {
    let all = get(Call::Subjects, "/subjects");
    assert_eq!(all.as_array().unwrap().len(), Schemas::of_program().subjects().count());
    let agents = get(Call::Subjects, "/subjects?subjectPrefix=agentverse.agent.&deleted=true");
    let count = Aggregate::Agent.commands().len() + Aggregate::Agent.events().len();
    assert_eq!(agents.as_array().unwrap().len(), count);
    assert_eq!(get(Call::Subjects, "/subjects?subjectPrefix=:*:agentverse.agent."), agents);
    assert_eq!(get(Call::Subjects, "/subjects?offset=1&limit=1")[0], all[1]);
    assert_eq!(get(Call::Subjects, "/subjects?deletedOnly=true"), json!([]));
    assert_eq!(refused(Call::Subjects, "/subjects?limit=some", &Value::Null), (400, 400));
    let schemas = get(Call::Schemas, "/schemas?subjectPrefix=agentverse.agent.RegisterAgent&latestOnly=true");
    assert_eq!(schemas, json!([shown(agent())]));
    assert_eq!(get(Call::Types, "/schemas/types"), json!(["AVRO"]));
}

#[test]
fn a_version_is_found_by_number_as_the_latest_and_by_its_id() {
    assert_eq!(get(Call::Versions, &format!("/subjects/{AGENT}/versions")), json!([1]));
    for number in ["1", "latest", "-1"] {
        let found = get(Call::Version, &format!("/subjects/{AGENT}/versions/{number}"));
        assert_eq!(found, json!({ "subject": AGENT, "version": 1, "id": agent().id, "schema": agent().text }));
    }
    let written: Value = serde_json::from_str(&agent().text).unwrap();
    assert_eq!(get(Call::VersionSchema, &format!("/subjects/{AGENT}/versions/latest/schema")), written);
    assert_eq!(get(Call::ReferencedBy, &format!("/subjects/{AGENT}/versions/1/referencedby")), json!([]));
    let id = agent().id;
    assert_eq!(get(Call::Id, &format!("/schemas/ids/{id}?fetchMaxId=false")), body(&agent().text));
    assert_eq!(get(Call::IdSchema, &format!("/schemas/ids/{id}/schema")), written);
    assert_eq!(get(Call::IdSubjects, &format!("/schemas/ids/{id}/subjects")), json!([AGENT]));
    assert_eq!(
        get(Call::IdVersions, &format!("/schemas/ids/{id}/versions")),
        json!([{ "subject": AGENT, "version": 1 }])
    );
}

#[test]
fn what_is_not_there_has_confluents_codes() {
    let none = &Value::Null;
    assert_eq!(refused(Call::Versions, "/subjects/agents-value/versions", none), (404, 40_401));
    assert_eq!(refused(Call::Version, "/subjects/agents-value/versions/1", none), (404, 40_401));
    assert_eq!(refused(Call::Version, &format!("/subjects/{AGENT}/versions/2"), none), (404, 40_402));
    for bad in ["0", "-2", "newest", "2147483648"] {
        assert_eq!(refused(Call::Version, &format!("/subjects/{AGENT}/versions/{bad}"), none), (422, 42_202));
    }
    for bad in ["1", "x", "-1", "4294967296"] {
        assert_eq!(refused(Call::Id, &format!("/schemas/ids/{bad}"), none), (404, 40_403));
    }
    assert_eq!(refused(Call::SubjectConfig, "/config/x", none), (404, 40_401));
    assert_eq!(refused(Call::SubjectMode, "/mode/x", none), (404, 40_401));
    assert_eq!(refused(Call::Lookup, "/subjects/x", &body(&agent().text)), (404, 40_401));
    assert_eq!(refused(Call::CompatibleWithAll, "/compatibility/subjects/x/versions", &body("\"int\"")), (404, 40_401));
}

#[test]
fn a_schema_is_looked_up_in_any_words_and_without_its_documentation_when_normalized() {
    let path = format!("/subjects/{AGENT}");
    let file = Aggregate::Agent.codec("RegisterAgent").unwrap().text;
    assert_eq!(ask(Call::Lookup, &path, &body(file)).unwrap(), shown(agent()));
    let canonical = body(&agent().schema.canonical_form());
    assert_eq!(refused(Call::Lookup, &path, &canonical), (404, 40_403));
    assert!(ask(Call::Lookup, &path, &canonical).unwrap_err().message.contains("normalize=true"));
    assert_eq!(ask(Call::Lookup, &format!("{path}?normalize=True"), &canonical).unwrap()["id"], agent().id);
    assert_eq!(refused(Call::Lookup, &path, &body("\"string\"")), (404, 40_403));
}

#[test]
fn registering_gives_the_id_of_what_is_there_and_refuses_all_else_with_the_reason() {
    let path = format!("/subjects/{AGENT}/versions");
    assert_eq!(ask(Call::Register, &path, &body(&agent().text)).unwrap(), json!({ "id": agent().id }));
    let optional = with_field(r#"{"name":"x","type":["null","int"],"default":null}"#);
    assert_eq!(refused(Call::Register, &path, &optional), (422, 42_205));
    let needed = with_field(r#"{"name":"x","type":"int"}"#);
    assert_eq!(refused(Call::Register, &path, &needed), (409, 409));
    assert!(ask(Call::Register, &path, &needed).unwrap_err().message.contains("field \"x\" has no default"));
    assert_eq!(refused(Call::Register, "/subjects/mine/versions", &body("\"int\"")), (422, 42_205));
}

#[test]
fn what_is_no_avro_schema_is_said_to_be_none() {
    let path = format!("/subjects/{AGENT}/versions");
    let kind = json!({ "schema": "{}", "schemaType": "PROTOBUF" });
    let references = json!({ "schema": agent().text, "references": [{ "name": "x", "subject": "x", "version": 1 }] });
    let large = body(&" ".repeat(schemas::TEXT_BYTES_MAX + 1).replace("  ", " x"));
    for bad in [json!({}), body(""), body("{"), body("{\"type\":\"nothing\"}"), kind, references, large] {
        assert_eq!(refused(Call::Register, &path, &bad), (422, 42_201), "{bad:.60}");
    }
    assert_eq!(refused(Call::Register, &path, &json!(["x"])), (400, 400));
    let avro = json!({ "schema": agent().text, "schemaType": "AVRO", "references": [], "metadata": null });
    assert!(ask(Call::Register, &path, &avro).is_ok());
}

#[test]
fn compatibility_is_told_of_one_version_and_of_all_in_words_when_asked() {
    let (one, all) = (format!("/compatibility/subjects/{AGENT}/versions/latest"), "?verbose=true");
    let optional = with_field(r#"{"name":"x","type":["null","int"],"default":null}"#);
    assert_eq!(ask(Call::CompatibleWithOne, &one, &optional).unwrap(), json!({ "is_compatible": true }));
    let needed = with_field(r#"{"name":"x","type":"int"}"#);
    assert_eq!(ask(Call::CompatibleWithOne, &one, &needed).unwrap(), json!({ "is_compatible": false }));
    let told =
        ask(Call::CompatibleWithAll, &format!("/compatibility/subjects/{AGENT}/versions{all}"), &needed).unwrap();
    assert_eq!(told["is_compatible"], false);
    assert!(told["messages"][0].as_str().unwrap().contains("version 1"), "{told}");
    assert_eq!(refused(Call::CompatibleWithOne, &one, &body("{")), (422, 42_201));
    assert_eq!(refused(Call::CompatibleWithOne, &one.replace("latest", "7"), &needed), (404, 40_402));
}

#[test]
fn level_and_mode_are_fixed_and_what_would_change_anything_is_refused() {
    for (call, path) in [(Call::Config, "/config".to_owned()), (Call::SubjectConfig, format!("/config/{AGENT}"))] {
        assert_eq!(get(call, &path), json!({ "compatibilityLevel": "FULL_TRANSITIVE" }));
    }
    for (call, path) in [(Call::Mode, "/mode".to_owned()), (Call::SubjectMode, format!("/mode/{AGENT}"))] {
        assert_eq!(get(call, &path), json!({ "mode": "READONLY" }));
    }
    for (_, path, call) in calls().into_iter().filter(|(.., call)| call.is_refused()) {
        let path = path.strip_prefix(BASE).unwrap().replace("{subject}", AGENT).replace("{version}", "1");
        assert_eq!(refused(call, &path, &json!({ "compatibility": "NONE", "mode": "READWRITE" })), (422, 42_205));
    }
}

#[test]
fn bodies_come_as_json_under_four_names_or_none() {
    let headers = |given: Option<&'static str>| {
        let given = given.map(|given| (CONTENT_TYPE, HeaderValue::from_static(given)));
        given.into_iter().collect::<HeaderMap>()
    };
    for good in [None, Some(MEDIA), Some("application/json; charset=utf-8"), Some("Application/Octet-Stream")] {
        assert_eq!(check_media(&headers(good)), Ok(()));
    }
    for bad in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data"] {
        assert_eq!(check_media(&headers(Some(bad))).unwrap_err().code, 415);
    }
}

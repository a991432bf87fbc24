//! What a producer may send, and what each mistake is answered with.

use super::*;
use crate::domain::AnyCommand;
use crate::domain::schemas::id_of;
use proptest::prelude::*;
use std::borrow::Cow;

const TENANT: TenantId = TenantId(Uuid::from_u128(0xa));
const GENERATED: Uuid = Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001);

/// Takes the tenant that the event names, else its own.
struct Anyone(Option<TenantId>);

impl Admission for Anyone {
    fn admit(&self, claim: &Claim) -> Result<Option<TenantId>, Problem> {
        match claim.tenant.or(self.0) {
            None if claim.command != "ProvisionTenant" => Err(Problem::new(Code::TenantRequired, "whose?")),
            tenant => Ok(tenant),
        }
    }
}

fn with<T>(tenant: Option<TenantId>, key: Option<&str>, read: impl FnOnce(&Receiver<'_>) -> T) -> T {
    read(&Receiver {
        admission: &Anyone(tenant),
        generate: &|| GENERATED,
        idempotency_key: key,
        traceparent: Some("00-ab"),
        commands_max: 3,
    })
}

fn one(json: &str) -> Item {
    match with(Some(TENANT), None, |receiver| receiver.structured(json.as_bytes(), Shape::Either)) {
        Ok(Received::One(item)) => *item,
        other => panic!("{other:?}"),
    }
}

fn batch(key: Option<&str>, json: &str) -> Result<Vec<Item>, Problem> {
    match with(Some(TENANT), key, |receiver| receiver.structured(json.as_bytes(), Shape::Batch))? {
        Received::Batch(items) => Ok(items),
        Received::One(item) => panic!("{item:?}"),
    }
}

fn code(json: &str) -> &'static str {
    one(json).expect_err(json).problem.code.name()
}

#[test]
fn a_command_needs_a_type_and_data_alone() {
    let taken = one(r#"{"type":"agent.RegisterAgent","data":{"name":"ada","category":"research"}}"#).unwrap();
    assert_eq!(taken.command.name(), "RegisterAgent");
    let id = generated_subject(GENERATED);
    let mut expected = Envelope::new(GENERATED, StreamId::new(TENANT, Aggregate::Agent, id));
    expected.traceparent = Some("00-ab".into());
    assert_eq!(taken.envelope, expected);
}

#[test]
fn every_attribute_finds_its_place() {
    let subject = Uuid::from_u128(0xb);
    let taken = one(&format!(
        r#"{{"specversion":"1.0","id":"cmd \u00e9","source":"/hr","type":"agent.IdleAgent","subject":"{subject}",
            "tenantid":"{}","expectedversion":4,"correlationid":"c","causationid":"d","traceparent":"t","actor":"ada",
            "time":"2026-01-01T00:00:00Z","dataschema":"x","other":{{"deep":[1]}},"data":{{}}}}"#,
        Uuid::from_u128(0xc),
    ))
    .unwrap();
    let tenant = TenantId(Uuid::from_u128(0xc));
    let expected = Envelope {
        command_id: command_id(tenant, "/hr", "cmd é"),
        stream: StreamId::new(tenant, Aggregate::Agent, subject),
        source: "/hr".into(),
        actor: Some("ada".into()),
        correlation: Some("c".into()),
        causation: Some("d".into()),
        expected_version: Some(4),
        hop: 0,
        traceparent: Some("t".into()),
    };
    assert_eq!(taken.envelope, expected);
}

#[test]
fn the_expected_version_is_a_number_or_its_text() {
    let read = |version: &str| {
        one(&format!(r#"{{"type":"agent.IdleAgent","expectedversion":{version},"data":{{}}}}"#))
            .map(|taken| taken.envelope.expected_version)
            .map_err(|refused| refused.problem.code)
    };
    assert_eq!(read("7"), Ok(Some(7)));
    assert_eq!(read("\"7\""), Ok(Some(7)));
    assert_eq!(read("null"), Ok(None));
    for bad in ["-1", "1.5", "\"x\"", "true", "[]", "99999999999999999999"] {
        assert_eq!(read(bad), Err(Code::Malformed), "{bad}");
    }
}

#[test]
fn mistakes_are_told_apart() {
    let long = "x".repeat(1025);
    for (expected, json) in [
        ("malformed", r#"{"type":"agent.IdleAgent","data":{}"#.to_owned()),
        ("malformed", r#"{"type":"agent.IdleAgent","data":{}} x"#.to_owned()),
        ("malformed", "7".to_owned()),
        ("malformed", r#"{"type":7,"data":{}}"#.to_owned()),
        ("malformed", r#"{"type":"agent.IdleAgent","id":"a","id":"b","data":{}}"#.to_owned()),
        ("malformed", String::new()),
        ("unknown_type", r#"{"data":{}}"#.to_owned()),
        ("unknown_type", r#"{"type":"IdleAgent","data":{}}"#.to_owned()),
        ("unknown_type", r#"{"type":"agent.AgentIdled","data":{}}"#.to_owned()),
        ("unknown_type", r#"{"type":"robot.Idle","data":{}}"#.to_owned()),
        ("invalid_data", r#"{"type":"agent.RegisterAgent"}"#.to_owned()),
        ("invalid_data", r#"{"type":"agent.RegisterAgent","data":null}"#.to_owned()),
        ("invalid_data", r#"{"type":"agent.IdleAgent","data":[]}"#.to_owned()),
        ("invalid_data", r#"{"type":"agent.IdleAgent","data":{"nonsense":1}}"#.to_owned()),
        ("invalid_data", r#"{"type":"agent.RegisterAgent","data":{"category":"x"}}"#.to_owned()),
        ("invalid_data", r#"{"type":"agent.IdleAgent","data_base64":"?"}"#.to_owned()),
        ("invalid_attribute", r#"{"type":"agent.IdleAgent","subject":"42","data":{}}"#.to_owned()),
        ("invalid_attribute", r#"{"type":"agent.IdleAgent","tenantid":"acme","data":{}}"#.to_owned()),
        ("invalid_attribute", r#"{"type":"agent.IdleAgent","specversion":"0.3","data":{}}"#.to_owned()),
        ("invalid_attribute", r#"{"type":"agent.IdleAgent","id":"","data":{}}"#.to_owned()),
        ("invalid_attribute", format!(r#"{{"type":"agent.IdleAgent","actor":"{long}","data":{{}}}}"#)),
        ("reserved_source", r#"{"type":"agent.IdleAgent","source":"agentverse","data":{}}"#.to_owned()),
    ] {
        assert_eq!(code(&json), expected, "{json}");
    }
}

#[test]
fn an_unknown_type_is_answered_with_those_there_are() {
    let refused = one(r#"{"id":"7","type":"tenant.Provision","data":{}}"#).unwrap_err();
    assert_eq!(refused.id.as_deref(), Some("7"));
    assert!(refused.problem.message.contains("tenant takes: ProvisionTenant, "), "{}", refused.problem.message);
    let refused = one(r#"{"type":"robot.Idle","data":{}}"#).unwrap_err();
    assert!(refused.problem.message.ends_with(
        "kinds: tenant, agent_template, agent, mcp_server, llm_provider, coupling, llm_request, llm_batch, skill"
    ));
}

#[test]
fn a_bad_sibling_harms_nobody_and_keeps_its_place() {
    let items = batch(
        None,
        r#"[{"id":"a","type":"agent.IdleAgent","data":{}}, {"id":"b","type":7}, {"type":"agent.IdleAgent","data":{}}]"#,
    )
    .unwrap();
    assert_eq!(items.len(), 3);
    assert_eq!(items[0].as_ref().unwrap().envelope.command_id, command_id(TENANT, DEFAULT_SOURCE, "a"));
    let refused = items[1].as_ref().unwrap_err();
    assert_eq!((refused.problem.code, refused.id.as_deref()), (Code::Malformed, Some("b")));
    assert!(items[2].is_ok());
    // An array in the place of an event is not read by the order of its fields.
    assert!(batch(None, r#"[["a","b","1.0","agent.IdleAgent"]]"#).unwrap()[0].is_err());
}

#[test]
fn a_batch_is_whole_bounded_and_an_array() {
    let event = r#"{"type":"agent.IdleAgent","data":{}}"#;
    assert_eq!(batch(None, &format!("[{event},{event},{event}]")).unwrap().len(), 3);
    let problem = batch(None, &format!("[{event},{event},{event},{event}]")).unwrap_err();
    assert_eq!(problem.code, Code::BatchTooLarge);
    assert!(problem.message.contains("has 4 commands, at most 3"), "{}", problem.message);
    assert_eq!(batch(None, &format!("[{event},")).unwrap_err().code, Code::Malformed);
    assert_eq!(batch(None, event).unwrap_err().code, Code::Malformed);
    assert!(batch(None, "[]").unwrap().is_empty());
    let array = with(Some(TENANT), None, |receiver| receiver.structured(b"[]", Shape::One));
    assert_eq!(array.unwrap_err().code, Code::Malformed);
}

#[test]
fn an_idempotency_key_stands_for_missing_ids_and_tells_siblings_apart() {
    let event = r#"{"type":"agent.IdleAgent","data":{}}"#;
    let ids = |items: Vec<Item>| items.into_iter().map(|item| item.unwrap().envelope.command_id).collect::<Vec<_>>();
    let first = ids(batch(Some("k"), &format!("[{event},{event}]")).unwrap());
    assert_eq!(first, ids(batch(Some("k"), &format!("[{event},{event}]")).unwrap()));
    assert_ne!(first[0], first[1]);
    let named = r#"[{"id":"a","type":"agent.IdleAgent","data":{}}]"#;
    assert_eq!(ids(batch(Some("k"), named).unwrap()), [command_id(TENANT, DEFAULT_SOURCE, "a")]);
}

#[test]
fn a_tenants_stream_is_named_by_the_tenant() {
    let provision = r#"{"id":"p","type":"tenant.ProvisionTenant","data":{"name":"Acme"}}"#;
    let taken = one(provision).unwrap();
    assert_eq!(taken.envelope.stream, StreamId::new(TENANT, Aggregate::Tenant, TENANT.0));
    // Without a tenant it is made from the command, and a retry makes the same one.
    let read = || match with(None, None, |receiver| receiver.structured(provision.as_bytes(), Shape::One)).unwrap() {
        Received::One(item) => item.unwrap().envelope.stream,
        Received::Batch(_) => unreachable!(),
    };
    let stream = read();
    assert_eq!(stream.tenant.0, stream.id);
    assert_eq!(stream.id, generated_subject(command_id(TenantId::SHARED, DEFAULT_SOURCE, "p")));
    assert_eq!(stream, read());
}

fn binary(content_type: &str, body: &[u8]) -> Result<AnyCommand, Code> {
    let kind = Cow::Borrowed("agent.IdleAgent");
    let attributes = Attributes { r#type: Some(kind), ..Attributes::default() };
    let data = Data::new(Some(content_type), body).map_err(|problem| problem.code)?;
    let taken = with(Some(TENANT), None, |receiver| receiver.command(attributes, data));
    taken.map(|taken| taken.command).map_err(|refused| refused.problem.code)
}

#[test]
fn binary_data_is_json_or_avro_with_the_schemas_fingerprint() {
    let idle = AnyCommand::from_json(Aggregate::Agent, "IdleAgent", b"{}").unwrap();
    assert_eq!(binary("application/json", b" {} "), Ok(idle.clone()));
    let mut avro = vec![0xc3, 0x01];
    avro.extend(Aggregate::Agent.codec("IdleAgent").unwrap().fingerprint.to_le_bytes());
    idle.encode(&mut avro).unwrap();
    assert_eq!(binary("application/avro", &avro), Ok(idle.clone()));
    assert_eq!(binary("avro/binary; x=y", &avro), Ok(idle));
    avro.push(0);
    assert_eq!(binary("application/avro", &avro), Err(Code::InvalidData));
    avro[5] ^= 1;
    assert_eq!(binary("application/avro", &avro), Err(Code::UnknownSchema));
    assert_eq!(binary("application/avro", &[0, 0, 0, 0, 7, 1, 2]), Err(Code::UnknownSchema));
    assert_eq!(binary("application/avro", b"{}"), Err(Code::InvalidData));
    assert_eq!(binary("application/avro", &avro[..9]), Err(Code::InvalidData));
    assert_eq!(binary("text/plain", b"{}"), Err(Code::UnsupportedMediaType));
    assert_eq!(binary("application/json", b"\xff{}"), Err(Code::NotUtf8));
}

#[test]
fn binary_data_may_be_framed_with_an_id_of_the_built_in_registry() {
    let idle = AnyCommand::from_json(Aggregate::Agent, "IdleAgent", b"{}").unwrap();
    let framed = |command: &str| {
        let id = id_of(Aggregate::Agent.codec(command).unwrap().fingerprint);
        [&[0][..], &id.to_be_bytes()].concat()
    };
    let mut avro = framed("IdleAgent");
    idle.encode(&mut avro).unwrap();
    assert_eq!(binary("application/avro", &avro), Ok(idle));
    assert_eq!(binary("application/avro", &[avro.as_slice(), &[0]].concat()), Err(Code::InvalidData));
    assert_eq!(binary("application/avro", &avro[..4]), Err(Code::InvalidData));
    // The schema of another command, whose bytes may well fit.
    assert_eq!(binary("application/avro", &framed("ActivateAgent")), Err(Code::InvalidData));
    assert_eq!(binary("application/avro", &framed("AgentIdled")), Err(Code::InvalidData));
}

#[test]
fn what_is_no_json_is_said_to_be_none() {
    let attributes = Attributes { r#type: Some("agent.IdleAgent".into()), ..Attributes::default() };
    let taken = with(Some(TENANT), None, |receiver| receiver.command(attributes, Data::Json("not json")));
    let message = taken.unwrap_err().problem.message;
    let parts = ["what was sent is not JSON (expected", "at line 1 column 2", "IdleAgent needs \"data\""];
    assert!(parts.iter().all(|part| message.contains(part)), "{message}");
}

#[test]
fn data_may_come_as_base64() {
    let taken = one(r#"{"type":"agent.IdleAgent","data_base64":"e30="}"#).unwrap();
    assert_eq!(taken.command.name(), "IdleAgent");
    let avro = r#"{"type":"agent.IdleAgent","datacontenttype":"application/avro","data_base64":"e30="}"#;
    assert_eq!(code(avro), "invalid_data");
}

#[test]
fn nesting_beyond_all_measure_is_answered_and_ends_no_stack() {
    let deep = |open: &str, close: &str| format!("{}{}", open.repeat(200_000), close.repeat(200_000));
    for data in [deep("[", "]"), deep("{\"a\":", "}"), "[".repeat(200_000), format!("{{\"tools\":{}}}", deep("[", "]"))]
    {
        for json in [
            data.clone(),
            format!(r#"{{"type":"agent.IdleAgent","data":{data}}}"#),
            format!(
                r#"{{"type":"mcp_server.DiscoverTools","data":{{"tools":[{{"name":"x","input_schema":{data}}}]}}}}"#
            ),
            format!(r#"{{"type":"agent.RegisterAgent","other":{data}}}"#),
        ] {
            let read = with(Some(TENANT), None, |receiver| receiver.structured(json.as_bytes(), Shape::Either));
            let refused = match read {
                Err(_) => true,
                Ok(Received::One(item)) => item.is_err(),
                Ok(Received::Batch(items)) => items.iter().all(Result::is_err),
            };
            assert!(refused);
        }
    }
}

#[test]
fn a_message_is_bounded_whatever_it_quotes() {
    let refused = one(&format!(r#"{{"type":"{}","data":{{}}}}"#, "é".repeat(5_000))).unwrap_err();
    assert!(refused.problem.message.len() <= MESSAGE_BYTES_MAX + '…'.len_utf8());
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        for shape in [Shape::One, Shape::Batch, Shape::Either] {
            let _ = with(Some(TENANT), None, |receiver| receiver.structured(&bytes, shape));
        }
        for content_type in ["application/json", "application/avro"] {
            let _ = binary(content_type, &bytes);
        }
        let mut framed = vec![0xc3, 0x01];
        framed.extend(Aggregate::Agent.codec("RegisterAgent").unwrap().fingerprint.to_le_bytes());
        framed.extend(&bytes);
        let attributes = Attributes { r#type: Some(Cow::Borrowed("agent.RegisterAgent")), ..Attributes::default() };
        let _ = with(Some(TENANT), None, |receiver| receiver.command(attributes, Data::Avro(&framed)));
    }

    #[test]
    fn a_good_event_cut_or_altered_never_panics(at in 0usize..200, byte in any::<u8>()) {
        let event = br#"[{"id":"a","type":"agent.RegisterAgent","data":{"name":"ada","category":"x"}},{"type":"agent.IdleAgent","data":{}}]"#;
        let mut altered = event.to_vec();
        if let Some(place) = altered.get_mut(at) {
            *place = byte;
        }
        for bytes in [&altered[..], &event[..at.min(event.len())]] {
            if let Ok(Received::Batch(items)) = with(Some(TENANT), None, |receiver| receiver.structured(bytes, Shape::Either)) {
                prop_assert!(items.len() <= 3);
            }
        }
    }
}

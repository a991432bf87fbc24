//! What stands in a record, without a broker.

use crate::adapters::kafka::command::{self, Decoded};
use crate::adapters::kafka::headers::Received;
use crate::adapters::kafka::partition::Raw;
use crate::adapters::registry::Framing;
use crate::domain::envelope::SYSTEM_SOURCE;
use crate::domain::id::{generated_subject, reaction_command_id};
use crate::domain::{Aggregate, AnyCommand, Envelope, LogId, StreamId, TenantId};
use crate::ports::topic::Accepted;
use proptest::prelude::*;
use std::sync::LazyLock;
use uuid::Uuid;

const LOG: LogId = LogId { aggregate: Aggregate::Agent, partition: 1 };
const TENANT: Uuid = Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0001);
const AGENT: Uuid = Uuid::from_u128(0x1000_0000_0000_4000_8000_0000_0000_0002);

fn decode(raw: &Raw) -> Result<Accepted, String> {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> =
        LazyLock::new(|| tokio::runtime::Builder::new_current_thread().build().expect("a runtime"));
    match RUNTIME.block_on(command::decode(raw, LOG, "t", &Framing::single_object())).expect("no registry is asked") {
        Decoded::Command(accepted) => Ok(*accepted),
        Decoded::Unreadable(cause) => Err(cause),
    }
}

fn raw<const N: usize>(value: &[u8], headers: [(&str, &str); N]) -> Raw {
    Raw { offset: 7, timestamp: 8, key: None, value: value.to_vec(), headers: Received::list(&headers) }
}

fn written(envelope: Envelope) -> (Accepted, Raw) {
    let command = AnyCommand::from_json(Aggregate::Agent, "ActivateAgent", b"{}").expect("a command");
    let accepted = Accepted::new(envelope, command).expect("it fits");
    let (headers, _) = command::headers(&accepted.envelope, accepted.command.name()).finish();
    let value = command::value(&accepted, &Framing::single_object()).expect("framed");
    let key = Some(accepted.envelope.stream.id.to_string().into_bytes());
    (accepted, Raw { offset: 7, timestamp: 8, key, value, headers: Received::written(&headers) })
}

fn text() -> impl Strategy<Value = Option<String>> {
    prop::option::of(".{0,40}")
}

prop_compose! {
    fn envelope()(
        system in any::<bool>(), source in ".{1,40}", ids in any::<[u128; 3]>(), hop in any::<u8>(),
        actor in text(), correlation in text(), causation in text(), traceparent in text(),
        expected_version in prop::option::of(any::<u64>()),
    ) -> Envelope {
        let stream = StreamId::new(TenantId(Uuid::from_u128(ids[0])), Aggregate::Agent, Uuid::from_u128(ids[1]));
        let bytes = ids[2].to_be_bytes();
        // An outside command's id never has the version of the reactions' namespace.
        let (source, command_id, hop) = if system {
            (SYSTEM_SOURCE.to_owned(), Uuid::from_u128(ids[2]), hop)
        } else {
            (source, uuid::Builder::from_random_bytes(bytes).into_uuid(), 0)
        };
        Envelope { command_id, stream, source, actor, correlation, causation, expected_version, hop, traceparent }
    }
}

proptest! {
    #[test]
    fn an_envelope_comes_back_as_it_was(envelope in envelope()) {
        let (accepted, raw) = written(envelope);
        let back = decode(&raw).expect("readable");
        prop_assert_eq!(back.envelope, accepted.envelope);
        prop_assert_eq!(back.command, accepted.command);
        prop_assert_eq!((back.payload, back.digest), (accepted.payload, accepted.digest));
    }

    #[test]
    fn no_bytes_make_reading_panic(
        value in prop::collection::vec(any::<u8>(), 0..60), kind in ".{0,20}", media in ".{0,20}",
    ) {
        let _ = decode(&raw(&value, [("ce_type", kind.as_str()), ("content-type", media.as_str())]));
    }
}

#[test]
fn a_foreign_record_in_json_is_read_by_the_attributes_of_http() {
    let tenant = TENANT.to_string();
    let mut raw = raw(
        br#"{"name":"ada","category":"research"}"#,
        [
            ("ce_id", "42"),
            ("ce_source", "hr"),
            ("ce_type", "agent.RegisterAgent"),
            ("ce_tenantid", tenant.as_str()),
            ("ce_expectedversion", "0"),
            ("traceparent", "00-ab"),
            ("content-type", "application/json"),
        ],
    );
    let accepted = decode(&raw).expect("readable");
    let id = crate::domain::id::command_id(TenantId(TENANT), "hr", "42");
    let stream = StreamId::new(TenantId(TENANT), Aggregate::Agent, generated_subject(id));
    let mut expected = Envelope::new(id, stream);
    expected.source = "hr".into();
    expected.expected_version = Some(0);
    expected.traceparent = Some("00-ab".into());
    assert_eq!(*accepted.envelope, expected);
    assert_eq!(accepted.command.name(), "RegisterAgent");
    raw.key = Some(AGENT.to_string().into_bytes());
    assert_eq!(decode(&raw).expect("readable").envelope.stream.id, AGENT, "the key names the stream");
}

#[test]
fn a_structured_event_is_read_too() {
    let value = format!(r#"{{"id":"1","type":"agent.ActivateAgent","tenantid":"{TENANT}","subject":"{AGENT}"}}"#);
    let accepted = decode(&raw(value.as_bytes(), [("content-type", "application/cloudevents+json")]));
    assert_eq!(accepted.expect("readable").envelope.stream.id, AGENT);
}

#[test]
fn a_record_without_id_gets_the_same_one_each_time_it_is_read() {
    let tenant = TENANT.to_string();
    let mut raw = raw(b"{}", [("ce_type", "agent.ActivateAgent"), ("ce_tenantid", tenant.as_str())]);
    raw.key = Some(AGENT.to_string().into_bytes());
    let id = |raw: &Raw| decode(raw).expect("readable").envelope.command_id;
    let first = id(&raw);
    assert_eq!(first, id(&raw));
    raw.offset += 1;
    assert_ne!(first, id(&raw));
}

#[test]
fn a_foreign_record_can_have_neither_a_reactions_id_nor_its_hop_count() {
    let stream = StreamId::new(TenantId(TENANT), Aggregate::Agent, AGENT);
    let reaction = reaction_command_id(Uuid::from_u128(1), "end", &stream);
    let (id, tenant, agent) = (reaction.to_string(), TENANT.to_string(), AGENT.to_string());
    let headers = |source| {
        [
            ("ce_id", id.as_str()),
            ("ce_source", source),
            ("ce_type", "agent.ActivateAgent"),
            ("ce_tenantid", tenant.as_str()),
            ("ce_subject", agent.as_str()),
            ("ce_hop", "16"),
        ]
    };
    let accepted = decode(&raw(b"{}", headers("hr"))).expect("readable");
    assert_ne!(accepted.envelope.command_id, reaction);
    assert_eq!(accepted.envelope.hop, 0);
    assert!(decode(&raw(b"{}", headers(SYSTEM_SOURCE))).is_err(), "the system does not send JSON");
}

#[test]
fn what_cannot_be_read_says_why() {
    let tenant = TENANT.to_string();
    type Case<'a> = (&'a [u8], Vec<(&'a str, &'a str)>, &'a str);
    let cases: [Case<'_>; 6] = [
        (b"{}", vec![], "unknown_type"),
        (b"{}", vec![("ce_type", "agent.ActivateAgent")], "tenant_required"),
        (b"{}", vec![("ce_type", "tenant.SuspendTenant"), ("ce_tenantid", &tenant)], "does not belong on this topic"),
        (b"\xc3\x01short", vec![("ce_type", "agent.ActivateAgent"), ("ce_tenantid", &tenant)], "too short"),
        (b"<a/>", vec![("ce_type", "agent.ActivateAgent"), ("content-type", "text/xml")], "unsupported_media_type"),
        (b"\xff", vec![("ce_type", "agent.ActivateAgent"), ("ce_tenantid", &tenant)], "not_utf8"),
    ];
    for (value, headers, word) in cases {
        let mut raw = raw(value, []);
        raw.headers = Received::list(&headers);
        let cause = decode(&raw).expect_err(word);
        assert!(cause.contains(word), "{cause}");
    }
}

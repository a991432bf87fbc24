//! Framing with a registry.

use super::super::framing::{Error, Framing};
use super::super::ids::Patience;
use super::super::{Config, subject};
use super::stub::{Request, missing, serve};
use super::*;
use futures::FutureExt;
use parking_lot::Mutex;
use proptest::prelude::*;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What a registry for these tests has and was asked.
#[derive(Default)]
struct Fake {
    /// Further schemas by id, beside the program's own, whose ids count from 1.
    others: Mutex<HashMap<u32, Value>>,
    lacks: Option<&'static str>,
    /// The status with which it answers for ids, where it is not well.
    ill: Mutex<Option<u16>>,
    asked: AtomicUsize,
}

impl Fake {
    fn answer(&self, request: &Request) -> (u16, Value) {
        let path: Vec<_> = request.path.split('/').skip(1).collect();
        match path.as_slice() {
            ["subjects", name] => {
                let found = codecs().iter().position(|codec| subject(codec) == *name);
                match found.filter(|_| self.lacks != Some(*name)) {
                    Some(at) if request.body["schema"] == codecs()[at].text => {
                        (200, json!({ "id": at + 1, "version": 1, "schema": "" }))
                    }
                    _ => missing(40_401),
                }
            }
            ["schemas", "ids", id] => {
                self.asked.fetch_add(1, Ordering::SeqCst);
                if let Some(status) = *self.ill.lock() {
                    return (status, json!({ "message": "down" }));
                }
                self.others
                    .lock()
                    .get(&id.parse().unwrap())
                    .map_or_else(|| missing(40_403), |found| (200, found.clone()))
            }
            _ => panic!("a program that starts does not ask for {} {}", request.method, request.path),
        }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

async fn started(fake: Fake) -> (Arc<Fake>, Config) {
    let fake = Arc::new(fake);
    let answering = Arc::clone(&fake);
    let config = serve(move |request| answering.answer(&request)).await;
    (fake, config)
}

async fn framing(others: &[(u32, Value)], patience: Patience) -> (Arc<Fake>, Framing) {
    let others = others.iter().cloned().collect();
    let (fake, config) = started(Fake { others: Mutex::new(others), ..Fake::default() }).await;
    let framing = Framing::connect_with(&config, &codecs(), patience).await.unwrap();
    (fake, framing)
}

fn schema(text: &str) -> Value {
    json!({ "schema": text })
}

fn framed(id: u32, payload: &[u8]) -> Vec<u8> {
    [&[0][..], &id.to_be_bytes(), payload].concat()
}

const SHORT: Patience = Patience { bad_id: Duration::from_millis(50), no_answer: Duration::from_millis(50) };

#[tokio::test]
async fn what_is_framed_can_be_opened_without_a_further_request() {
    let (fake, framing) = framing(&[], Patience::default()).await;
    for (at, codec) in codecs().into_iter().enumerate() {
        let head = framing.head(codec).unwrap();
        assert_eq!(head.as_slice(), &framed(at as u32 + 1, b""));
        let value = [head.as_slice(), b"payload"].concat();
        let opened = framing.open(&value).await.unwrap();
        assert_eq!((opened.name.as_deref(), opened.fingerprint), (Some(codec.name), codec.fingerprint));
        assert!(matches!(opened.payload, Cow::Borrowed(b"payload")));
    }
    assert_eq!(fake.asked(), 0);
}

#[tokio::test]
async fn both_encodings_are_read_whichever_is_written() {
    let (_, with_registry) = framing(&[], Patience::default()).await;
    let without = Framing::single_object();
    let codec = codec("RegisterAgent");
    let value = [without.head(codec).unwrap().as_slice(), b"payload"].concat();
    assert_eq!(value[..2], [0xC3, 0x01]);
    for framing in [&with_registry, &without] {
        let opened = framing.open(&value).await.unwrap();
        assert_eq!((opened.fingerprint, &*opened.payload), (codec.fingerprint, &b"payload"[..]));
    }
    let error = without.open(&framed(9, b"")).await.unwrap_err();
    assert!(error == Error::NoRegistry(9) && error.to_string().contains("set registry_url"), "{error}");
    // Without a registry the ids are those of the one that every node serves.
    let id = crate::domain::schemas::id_of(codec.fingerprint);
    let value = framed(id, b"payload");
    let opened = without.open(&value).await.unwrap();
    let read = (opened.name.as_deref(), opened.fingerprint, &*opened.payload);
    assert_eq!(read, (Some("RegisterAgent"), codec.fingerprint, &b"payload"[..]));
}

#[tokio::test]
async fn a_schema_that_is_not_registered_ends_the_start_and_is_named() {
    let (_, config) = started(Fake { lacks: Some("agentverse.agent.RegisterAgent"), ..Fake::default() }).await;
    let error = Framing::connect(&config, &codecs()).await.err().unwrap();
    assert!(!error.retryable());
    assert_eq!(
        error.to_string(),
        "schema agentverse.agent.RegisterAgent is not in the schema registry: run `agentverse schemas apply`"
    );
    let empty = serve(|_| missing(40_401)).await;
    let error = Framing::connect(&empty, &codecs()).await.err().unwrap().to_string();
    assert!(error.contains(&format!("and {} more are not in", codecs().len() - 5)), "{error}");
}

#[tokio::test]
async fn a_schema_that_was_not_looked_up_has_no_head() {
    let (_, config) = started(Fake::default()).await;
    let framing = Framing::connect(&config, &[codec("RegisterAgent")]).await.unwrap();
    assert!(matches!(framing.head(codec("IdleAgent")), Err(Error::NotRegistered(_))));
}

#[tokio::test]
async fn many_who_meet_a_new_id_share_one_request() {
    let codec = codec("RegisterAgent");
    let reworded = changed(codec, |schema| schema["doc"] = json!("In other words."));
    let (fake, framing) = framing(&[(900, schema(&reworded))], Patience::default()).await;
    let value = framed(900, b"payload");
    // The first gives up at once; the others must not wait for it.
    assert!(framing.open(&value).now_or_never().is_none());
    let opened = futures::future::join_all((0..50).map(|_| framing.open(&value))).await;
    for opened in opened {
        let opened = opened.unwrap();
        assert_eq!(opened.fingerprint, codec.fingerprint);
        assert!(matches!(opened.payload, Cow::Borrowed(_)), "the schema is ours: nothing is resolved");
    }
    assert_eq!(fake.asked(), 1);
}

#[tokio::test]
async fn a_value_of_another_version_comes_back_in_ours() {
    let codec = codec("RegisterAgent");
    let (_, framing) = framing(&[(900, schema(&with_extra_field(codec)))], Patience::default()).await;
    let golden = golden(Aggregate::Agent, "RegisterAgent");
    let value = framed(900, &[&golden[..], &[0]].concat());
    let opened = framing.open(&value).await.unwrap();
    assert_eq!((opened.name.as_deref(), opened.fingerprint), (Some("RegisterAgent"), codec.fingerprint));
    assert!(matches!(opened.payload, Cow::Owned(_)));
    let cut = framed(900, &golden);
    let error = framing.open(&cut).await.unwrap_err();
    assert!(matches!(&error, Error::Value { id: 900, .. }) && !error.retryable(), "{error}");
}

#[tokio::test]
async fn a_flood_of_a_bad_id_is_one_request_until_it_is_asked_for_again() {
    let (fake, framing) = framing(&[], Patience { bad_id: Duration::from_secs(60), ..SHORT }).await;
    for _ in 0..100 {
        let error = framing.open(&framed(777, b"x")).await.unwrap_err();
        assert!(error == Error::UnknownId(777) && !error.retryable(), "{error}");
    }
    assert_eq!(fake.asked(), 1);

    let (fake, framing) = self::framing(&[], SHORT).await;
    assert!(framing.open(&framed(777, b"x")).await.is_err());
    fake.others.lock().insert(777, schema(codec("RegisterAgent").text));
    let found = async { while framing.open(&framed(777, b"x")).await.is_err() {} };
    tokio::time::timeout(Duration::from_secs(10), found).await.expect("a bad id is forgotten after its time");
}

#[tokio::test]
async fn an_id_that_no_registry_gives_is_not_asked_for() {
    let (fake, framing) = framing(&[], Patience::default()).await;
    let value = framed(u32::MAX, b"x");
    assert_eq!(framing.open(&value).await.unwrap_err(), Error::UnknownId(u32::MAX));
    assert_eq!(fake.asked(), 0);
}

#[tokio::test]
async fn a_registry_that_is_down_says_nothing_about_the_value() {
    let text = codec("RegisterAgent").text;
    for status in [503, 429, 401, 404] {
        let (fake, framing) = framing(&[(900, schema(text))], SHORT).await;
        *fake.ill.lock() = Some(status);
        let value = framed(900, b"payload");
        let error = framing.open(&value).await.unwrap_err();
        assert!(error.retryable(), "{status}: {error}");
        // What is known already needs no registry.
        assert!(framing.open(&framed(1, b"x")).await.is_ok());
        *fake.ill.lock() = None;
        let well = async { while framing.open(&value).await.is_err() {} };
        tokio::time::timeout(Duration::from_secs(10), well).await.expect("the registry is asked again");
    }
}

#[tokio::test]
async fn a_schema_of_somebody_else_is_no_fault_of_the_registry() {
    let foreign = r#"{"type": "record", "name": "Other", "namespace": "com.example", "fields": []}"#;
    let others = [
        (901, schema(foreign)),
        (902, schema("{")),
        (903, json!({ "schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF" })),
    ];
    let (_, framing) = framing(&others, Patience::default()).await;
    for (id, part) in
        [(901, "com.example.Other, which this program does not know"), (902, "cannot be used"), (903, "PROTOBUF")]
    {
        let error = framing.open(&framed(id, b"x")).await.unwrap_err();
        assert!(error.to_string().contains(part) && !error.retryable(), "{error}");
    }
}

#[tokio::test]
async fn what_is_no_frame_is_refused() {
    let (_, framing) = framing(&[], Patience::default()).await;
    for (value, error) in [
        (&[][..], Error::Short(0)),
        (&[0, 0, 0, 1], Error::Short(4)),
        (&[0xC3], Error::Short(1)),
        (&[0xC3, 0x01, 1, 2, 3], Error::Short(5)),
        (&[0xC3, 0x02, 1], Error::Unknown(0xC3)),
        (b"{}", Error::Unknown(b'{')),
    ] {
        assert_eq!(framing.open(value).await.unwrap_err(), error, "{value:?}");
    }
}

proptest! {
    #[test]
    fn a_frame_comes_apart_as_it_was_put_together(payload: Vec<u8>, which in any::<prop::sample::Index>()) {
        let framing = Framing::single_object();
        let codec = codecs()[which.index(codecs().len())];
        let value = [framing.head(codec).unwrap().as_slice(), &payload].concat();
        let opened = framing.open(&value).now_or_never().unwrap().unwrap();
        prop_assert_eq!((opened.fingerprint, &*opened.payload), (codec.fingerprint, &payload[..]));
        for length in 0..10 {
            prop_assert_eq!(framing.open(&value[..length]).now_or_never().unwrap(), Err(Error::Short(length)));
        }
    }

    #[test]
    fn garbage_is_an_error_or_a_frame_and_never_a_panic(value: Vec<u8>) {
        let opened = Framing::single_object().open(&value).now_or_never().unwrap();
        prop_assert_eq!(opened.is_ok(), value.len() >= 10 && value.starts_with(&[0xC3, 0x01]));
    }
}

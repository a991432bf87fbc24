//! Against the registry that `AGENTVERSE_TEST_REGISTRY` names (its base URL).

use super::super::framing::{Error, Framing};
use super::super::{Client, Outcome, apply, lookup, subject};
use super::stub::config;
use super::*;
use std::borrow::Cow;

fn url() -> Option<String> {
    let url = std::env::var("AGENTVERSE_TEST_REGISTRY").ok();
    if url.is_none() {
        eprintln!("did not run: AGENTVERSE_TEST_REGISTRY names no schema registry");
    }
    url
}

/// A record of a name that nobody else uses; it lives as long as the test's process. Its subject stays in the registry:
/// Apicurio takes the contents that no subject names with a subject that is deleted, and those of one that is just being
/// registered with them.
fn record(name: &'static str, fields: Value) -> &'static Codec {
    let schema = json!({
        "type": "record", "name": name, "namespace": format!("agentverse.test{}", std::process::id()), "fields": fields,
    });
    let text: &'static str = Box::leak(schema.to_string().into_boxed_str());
    Box::leak(Box::new(Codec::new(name, text)))
}

#[tokio::test]
async fn every_schema_can_be_registered_and_is_found_again() {
    let Some(url) = url() else { return };
    let client = Client::new(&config(&url)).unwrap();
    let all = codecs();
    let done = apply(&client, &all).await.unwrap();
    assert!(!done.iter().any(|item| matches!(item.outcome, Outcome::Incompatible(_))), "{done:?}");
    let again = apply(&client, &all).await.unwrap();
    assert!(again.iter().all(|item| matches!(item.outcome, Outcome::Unchanged(_))), "{again:?}");
    let places = lookup(&client, &all).await.unwrap();
    let framing = Framing::connect(&config(&url), &all).await.unwrap();
    for (codec, place) in places {
        let id = place.unwrap().id;
        assert_eq!(framing.head(codec).unwrap().as_slice()[1..], id.to_be_bytes());
        let stored = client.schema(id).await.unwrap().unwrap();
        let same = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(same(&stored.schema), same(codec.text), "{}", codec.name);
    }
}

#[tokio::test]
async fn versions_go_together_or_are_refused() {
    let Some(url) = url() else { return };
    let config = config(&url);
    let client = Client::new(&config).unwrap();
    let a = json!({ "name": "a", "type": "string" });
    let first = record("Evolving", json!([a, { "name": "old", "type": "long", "default": 0 }]));
    let second = record("Evolving", json!([a, { "name": "new", "type": ["null", "string"], "default": null }]));
    let third = record("Evolving", json!([a, { "name": "must", "type": "string" }]));

    let missing = Framing::connect(&config, &[first]).await.err().unwrap();
    assert!(matches!(&missing, Error::NotRegistered(_)), "{missing}");
    let outcome = |done: Vec<super::super::Registered>| done.into_iter().next().unwrap().outcome;
    let Outcome::Registered(old) = outcome(apply(&client, &[first]).await.unwrap()) else { panic!("it is new") };
    let Outcome::Registered(new) = outcome(apply(&client, &[second]).await.unwrap()) else {
        panic!("it goes together")
    };
    let refused = outcome(apply(&client, &[third]).await.unwrap());

    assert_eq!((old.version, new.version), (1, 2));
    assert!(matches!(&refused, Outcome::Incompatible(messages) if messages.concat().contains("must")), "{refused:?}");
    assert_eq!(client.versions(&subject(first)).await.unwrap(), [1, 2], "what is refused is not registered");

    let framing = Framing::connect(&config, &[second]).await.unwrap();
    let value = [&[0][..], &old.id.to_be_bytes(), &[4, b'h', b'i', 84]].concat();
    let opened = framing.open(&value).await.unwrap();
    assert_eq!(opened.fingerprint, second.fingerprint);
    assert!(matches!(&opened.payload, Cow::Owned(bytes) if bytes == &[4, b'h', b'i', 0]), "{opened:?}");
}

#[tokio::test]
async fn an_id_that_is_not_there_is_unknown() {
    let Some(url) = url() else { return };
    let client = Client::new(&config(&url)).unwrap();
    let codec = record("Alone", json!([]));
    apply(&client, &[codec]).await.unwrap();
    let framing = Framing::connect(&config(&url), &[codec]).await.unwrap();
    for id in [0, i32::MAX as u32, u32::MAX] {
        let value = [&[0][..], &id.to_be_bytes(), b"x"].concat();
        assert_eq!(framing.open(&value).await.unwrap_err(), Error::UnknownId(id));
    }
}

//! The client's habits: what it sends, what it repeats, what it says.

use super::super::client::{Client, Error};
use super::stub::{Request, config, missing, serve};
use super::*;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A client of a registry that answers with each of these in turn, then with the last; and how often it was asked.
async fn answering(answers: &'static [(u16, &'static str)]) -> (Client, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let config = serve(move |_| {
        let (status, body) = answers[count.fetch_add(1, Ordering::SeqCst).min(answers.len() - 1)];
        (status, serde_json::from_str(body).unwrap())
    })
    .await;
    (Client::new(&config).unwrap(), asked)
}

#[tokio::test]
async fn a_call_is_what_a_registry_expects() {
    let seen = Arc::new(Mutex::new(Vec::<Request>::new()));
    let keep = Arc::clone(&seen);
    let mut config = serve(move |request| {
        keep.lock().push(request);
        (200, json!({ "id": 7, "version": 2, "is_compatible": false, "messages": ["reader needs b"] }))
    })
    .await;
    config.url.push_str("/base/");
    config.login = Some(("ann".into(), "pass word".into()));
    let client = Client::new(&config).unwrap();

    let place = client.lookup("a/b c", "\"string\"").await.unwrap().unwrap();
    let complaints = client.complaints("s", "\"int\"").await.unwrap();
    client.set_full_transitive("s").await.unwrap();

    assert_eq!((place.id, place.version), (7, 2));
    assert_eq!(complaints, Some(vec!["reader needs b".to_owned()]));
    let seen = seen.lock();
    assert_eq!((seen[0].method.as_str(), seen[0].path.as_str()), ("POST", "/base/subjects/a%2Fb%20c"));
    assert_eq!(seen[0].headers["content-type"], "application/vnd.schemaregistry.v1+json");
    assert_eq!(seen[0].headers["authorization"], "Basic YW5uOnBhc3Mgd29yZA==");
    assert_eq!(seen[0].body, json!({ "schema": "\"string\"" }));
    assert_eq!(seen[1].path, "/base/compatibility/subjects/s/versions/latest");
    assert_eq!(seen[1].query.as_deref(), Some("verbose=true"));
    assert_eq!((seen[2].method.as_str(), seen[2].path.as_str()), ("PUT", "/base/config/s"));
    assert_eq!(seen[2].body, json!({ "compatibility": "FULL_TRANSITIVE" }));
}

#[tokio::test]
async fn what_passes_is_tried_again() {
    let (client, asked) = answering(&[(503, "{}"), (429, "{}"), (200, r#"{"schema": "\"int\""}"#)]).await;
    assert_eq!(client.schema(1).await.unwrap().unwrap().schema, "\"int\"");
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn the_tries_have_an_end() {
    let (client, asked) = answering(&[(500, r#"{"error_code": 50001, "message": "store is down"}"#)]).await;
    let error = client.schema(1).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable { status: 500, message, .. } if message == "store is down"), "{error}");
    assert!(error.retryable());
    assert_eq!(asked.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn what_will_not_change_is_not_tried_again() {
    for (answer, part) in [
        (&[(401, r#"{"error_code": 401, "message": "no"}"#)], "check registry_username and its password"),
        (&[(403, "{}")], "(403): check registry_username"),
        (&[(422, r#"{"error_code": 42201, "message": "Invalid schema"}"#)], "Invalid schema"),
        (&[(404, r#"{"detail": "nothing here"}"#)], "check that registry_url is its base"),
        (&[(200, "[]")], "check that registry_url is its base"),
    ] {
        let (client, asked) = answering(answer).await;
        let error = client.lookup("s", "\"int\"").await.unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
        assert_eq!(asked.load(Ordering::SeqCst), 1, "{error}");
    }
}

#[tokio::test]
async fn only_a_registry_that_says_so_lacks_a_schema() {
    let config = serve(|_| missing(40_403)).await;
    let client = Client::new(&config).unwrap();
    assert!(client.schema(5).await.unwrap().is_none());
    assert!(client.versions("s").await.unwrap().is_empty());
    assert!(client.lookup("s", "\"int\"").await.unwrap().is_none());
}

#[tokio::test]
async fn a_registry_that_is_not_there_is_named_with_what_to_check() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/ccompat", listener.local_addr().unwrap());
    drop(listener);
    let error = Client::new(&config(&url)).unwrap().schema(1).await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { .. }) && error.retryable(), "{error}");
    let text = error.to_string();
    assert!(text.contains(&url) && text.contains("check registry_url"), "{text}");
}

#[tokio::test]
async fn a_silent_registry_is_given_up_after_one_timeout() {
    // Takes connections into its queue and never answers.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = config(format!("http://{}", listener.local_addr().unwrap()));
    config.timeout = Duration::from_millis(100);
    let started = tokio::time::Instant::now();
    let error = Client::new(&config).unwrap().schema(1).await.unwrap_err();
    assert!(error.to_string().contains("no answer within 100 ms") && error.retryable(), "{error}");
    assert!(started.elapsed() < Duration::from_millis(1_000), "{:?}", started.elapsed());
}

#[tokio::test]
async fn no_error_repeats_the_password() {
    let stub = serve(|_| (401, json!({ "error_code": 401, "message": "who are you" }))).await;
    let with_login = super::super::Config { login: Some(("ann".into(), "s3cret".into())), ..stub };
    let refused = Client::new(&with_login).unwrap().schema(1).await.unwrap_err();
    assert!(!format!("{refused} {refused:?}").contains("s3cret"));
    for url in ["http://ann:s3cret@127.0.0.1:1", "ann:s3cret@registry:1/x", "http://ann:s3cret@:x/"] {
        let error = Client::new(&config(url)).err().unwrap();
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
        assert!(error.to_string().contains("registry_url"), "{error}");
    }
}

#[test]
fn certificates_must_be_there() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("ca.pem");
    for text in [None, Some("no certificate")] {
        text.into_iter().for_each(|text| std::fs::write(&file, text).unwrap());
        let mut config = config("https://registry:8081");
        config.tls_ca_file = Some(file.clone());
        let error = Client::new(&config).err().unwrap().to_string();
        assert!(error.contains("registry_tls_ca_file") && error.contains("ca.pem"), "{error}");
    }
}

//! Registering, against a registry that keeps what it is given and says no where a test wants it.

use super::super::{Client, Outcome, Place, apply};
use super::stub::{missing, serve};
use super::*;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;

/// Subjects with their schemas in order, and the calls that changed anything.
#[derive(Default)]
struct Kept {
    subjects: HashMap<String, Vec<String>>,
    changes: Vec<String>,
}

/// A registry that refuses every second schema of a subject.
async fn refusing(kept: &Arc<Mutex<Kept>>, messages: Value) -> Client {
    let kept = Arc::clone(kept);
    let config = serve(move |request| {
        let mut kept = kept.lock();
        let path: Vec<_> = request.path.split('/').skip(1).collect();
        let text = request.body["schema"].as_str().unwrap_or_default().to_owned();
        match (request.method.as_str(), path.as_slice()) {
            ("POST", ["subjects", name]) => {
                let found = kept.subjects.get(*name).is_some_and(|texts| texts.contains(&text));
                if found { (200, json!({ "id": 5, "version": 1 })) } else { missing(40_403) }
            }
            ("GET", ["subjects", name, "versions"]) => match kept.subjects.get(*name) {
                Some(texts) => (200, json!((1..=texts.len()).collect::<Vec<_>>())),
                None => missing(40_401),
            },
            ("POST", ["subjects", name, "versions"]) => {
                if kept.subjects.contains_key(*name) {
                    return (409, json!({ "error_code": 409, "message": "in short: no" }));
                }
                kept.changes.push(format!("register {name}"));
                kept.subjects.entry((*name).to_owned()).or_default().push(text);
                (200, json!({ "id": 5 }))
            }
            ("POST", ["compatibility", ..]) => (200, json!({ "is_compatible": false, "messages": messages })),
            ("PUT", ["config", name]) => {
                kept.changes.push(format!("level {name} {}", request.body["compatibility"].as_str().unwrap()));
                (200, request.body)
            }
            _ => panic!("{} {}", request.method, request.path),
        }
    })
    .await;
    Client::new(&config).unwrap()
}

const NAME: &str = "agentverse.agent.RegisterAgent";

#[tokio::test]
async fn what_is_registered_gets_its_level_and_the_second_time_nothing_changes() {
    let kept = Arc::default();
    let client = refusing(&kept, json!([])).await;
    let all = codecs();
    let first = apply(&client, &all).await.unwrap();
    assert_eq!(first.len(), all.len());
    assert!(first.iter().all(|item| item.outcome == Outcome::Registered(Place { id: 5, version: 1 })), "{first:?}");
    assert_eq!(kept.lock().subjects.len(), all.len());
    assert!(kept.lock().subjects[NAME] == [codec("RegisterAgent").text], "the file goes in as it stands");
    assert!(kept.lock().changes.contains(&format!("level {NAME} FULL_TRANSITIVE")));
    kept.lock().changes.clear();
    let second = apply(&client, &all).await.unwrap();
    assert!(second.iter().all(|item| matches!(item.outcome, Outcome::Unchanged(_))), "{second:?}");
    assert!(kept.lock().changes.iter().all(|change| change.starts_with("level")), "nothing is registered again");
}

#[tokio::test]
async fn an_incompatible_schema_is_told_in_the_registrys_words_and_stops_no_other() {
    for (messages, told) in [(json!(["reader lacks b"]), "reader lacks b"), (json!([]), "in short: no")] {
        let kept = Arc::new(Mutex::new(Kept::default()));
        kept.lock().subjects.insert(NAME.to_owned(), vec!["\"string\"".to_owned()]);
        let client = refusing(&kept, messages).await;
        let done = apply(&client, &[codec("RegisterAgent"), codec("IdleAgent")]).await.unwrap();
        assert_eq!(done[0].outcome, Outcome::Incompatible(vec![told.to_owned()]));
        assert!(matches!(done[1].outcome, Outcome::Registered(_)));
        let changes = &kept.lock().changes;
        assert!(changes.contains(&format!("level {NAME} FULL_TRANSITIVE")), "the level is there before: {changes:?}");
    }
}

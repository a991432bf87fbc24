//! Each source of keys, how long a key is remembered, and who may have which.

use super::*;
use crate::adapters::llm::tests::server::{answer, serve};
use std::sync::atomic::{AtomicUsize, Ordering};

const TO: Destination<'_> = Destination { host: "api.example.com", encrypted: true };

fn source(origin: Origin, hosts: &[&str]) -> Source {
    Source { origin, hosts: hosts.iter().map(|host| (*host).to_owned()).collect() }
}

fn with(sources: Vec<(&str, Source)>) -> KeySources {
    let sources = sources.into_iter().map(|(name, source)| (name.to_owned(), source)).collect();
    KeySources::new(Config { sources, ..Config::default() }).unwrap()
}

/// Sources whose keys may go to [`TO`].
fn sources(list: Vec<(&str, Origin)>) -> KeySources {
    with(list.into_iter().map(|(name, origin)| (name, source(origin, &[TO.host]))).collect())
}

async fn key(keys: &KeySources, name: &str) -> Result<String, KeyError> {
    keys.key(name, TO).await.map(|secret| secret.expose().to_owned())
}

fn argv(parts: &[&str]) -> Origin {
    Origin::Command(parts.iter().map(|part| (*part).to_owned()).collect())
}

#[tokio::test]
async fn each_source_gives_its_key_trimmed() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "sk-file\n").unwrap();
    let stub = serve(|_| vec![answer(200, &[], " sk-http\r\n")]).await;
    let keys = sources(vec![
        ("env", Origin::Environment("CARGO_MANIFEST_DIR".to_owned())),
        ("file", Origin::File(file.path().to_owned())),
        ("command", argv(&["printf", "%s\n", "sk-$HOME;echo"])),
        ("http", Origin::Http(stub.url.clone())),
    ]);
    assert_eq!(key(&keys, "env").await.unwrap(), std::env::var("CARGO_MANIFEST_DIR").unwrap());
    assert_eq!(key(&keys, "file").await.unwrap(), "sk-file");
    assert_eq!(key(&keys, "command").await.unwrap(), "sk-$HOME;echo", "no shell sees it");
    assert_eq!(key(&keys, "http").await.unwrap(), "sk-http");
    assert!(stub.seen.lock()[0].head.starts_with("get /v1 "));
}

#[tokio::test]
async fn a_source_without_a_key_is_said_without_what_it_told() {
    let stub = serve(|_| vec![answer(403, &[], "sk-not-for-you")]).await;
    let keys = sources(vec![
        ("env", Origin::Environment("AGENTVERSE_NO_SUCH_VARIABLE".to_owned())),
        ("file", Origin::File("/no/such/file".into())),
        ("fails", argv(&["sh", "-c", "echo sk-half; exit 3"])),
        ("nothing", argv(&["true"])),
        ("no program", argv(&["/no/such/program"])),
        ("empty", argv(&[])),
        ("endless", argv(&["yes", "sk-endless"])),
        ("http", Origin::Http(stub.url.clone())),
    ]);
    for (name, cause) in [
        ("env", "no such environment variable"),
        ("file", "/no/such/file"),
        ("fails", "exit status: 3"),
        ("nothing", "gives nothing"),
        ("no program", "does not start"),
        ("empty", "command is empty"),
        ("endless", "more than"),
        ("http", "status 403"),
    ] {
        let error = key(&keys, name).await.unwrap_err();
        assert!(matches!(&error, KeyError::Missing { .. }), "{error}");
        assert!(error.to_string().contains(cause) && !error.to_string().contains("sk-"), "{name}: {error}");
    }
}

/// Whether a key may go there, and where not, that the text says what to do.
async fn goes(keys: &KeySources, name: &str, host: &str, encrypted: bool) -> bool {
    let to = Destination { host, encrypted };
    let error = match keys.key(name, to).await {
        // Whether the variable is there is the machine's to say.
        Ok(_) | Err(KeyError::Missing { .. }) => return true,
        Err(error) => error,
    };
    let listed = if encrypted { host.to_owned() } else { format!("http://{host}") };
    assert!(error.to_string().contains("add") && error.to_string().contains(&listed), "{error}");
    assert_eq!(keys.reload(name, to, &Secret::new("sk-x")).await, Err(error), "{name} {host}");
    false
}

#[tokio::test]
async fn a_variable_of_a_well_known_provider_goes_there_and_nowhere_else() {
    let keys = with(Vec::new());
    assert!(goes(&keys, "OPENAI_API_KEY", "api.openai.com", true).await);
    for (host, encrypted) in
        [("api.openai.com", false), ("evil.example.com", true), ("api.openai.com.evil.example.com", true), ("", true)]
    {
        assert!(!goes(&keys, "OPENAI_API_KEY", host, encrypted).await, "{host}");
    }
}

#[tokio::test]
async fn no_other_variable_is_read_without_a_source() {
    let keys = with(Vec::new());
    for name in ["PATH", "STRIPE_API_KEY", "AZURE_API_KEY", ""] {
        assert!(!goes(&keys, name, "api.openai.com", true).await, "{name}");
    }
    assert!(keys.slots.lock().is_empty(), "names that come from outside are not remembered");
}

#[tokio::test]
async fn a_source_without_hosts_is_bound_like_the_variable_that_it_stands_for() {
    let openais = || Origin::Environment("OPENAI_API_KEY".to_owned());
    let keys = with(vec![
        ("ours", source(openais(), &[])),
        ("OPENAI_API_KEY", source(argv(&["echo", "sk-x"]), &[])),
        ("GROQ_API_KEY", source(openais(), &[])),
        ("other", source(argv(&["echo", "sk-x"]), &[])),
    ]);
    for (name, goes_home) in [("ours", true), ("OPENAI_API_KEY", true), ("GROQ_API_KEY", true), ("other", false)] {
        assert_eq!(goes(&keys, name, "api.openai.com", true).await, goes_home, "{name}");
        assert!(!goes(&keys, name, "api.openai.com", false).await, "{name}");
        assert!(!goes(&keys, name, "api.groq.com", true).await, "{name}");
    }
}

#[tokio::test]
async fn hosts_that_are_listed_stand_in_the_place_of_the_well_known() {
    let echo = || argv(&["echo", "sk-x"]);
    let keys = with(vec![
        ("OPENAI_API_KEY", source(echo(), &["API.openai.com", "eu.api.openai.com", "http://10.0.0.7"])),
        ("GROQ_API_KEY", source(echo(), &["gateway.example.com"])),
        ("any", source(echo(), &["*"])),
    ]);
    for (name, host, encrypted, fits) in [
        ("OPENAI_API_KEY", "api.openai.com", true, true),
        ("OPENAI_API_KEY", "eu.api.openai.com", true, true),
        ("OPENAI_API_KEY", "eu.api.openai.com", false, false),
        ("OPENAI_API_KEY", "10.0.0.7", false, true),
        ("OPENAI_API_KEY", "10.0.0.7", true, true),
        ("OPENAI_API_KEY", "evil.example.com", true, false),
        ("GROQ_API_KEY", "gateway.example.com", true, true),
        ("GROQ_API_KEY", "api.groq.com", true, false),
        ("any", "example.com", true, true),
        ("any", "example.com", false, false),
    ] {
        assert_eq!(goes(&keys, name, host, encrypted).await, fits, "{name} {host} {encrypted}");
    }
}

/// A source that gives `sk-1`, `sk-2`, … and fails where it is told to.
async fn counting(fails_from: usize) -> (KeySources, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let stub = serve(move |_| {
        let at = count.fetch_add(1, Ordering::SeqCst) + 1;
        let status = if at >= fails_from { 500 } else { 200 };
        vec![answer(status, &[], &format!("sk-{at}"))]
    })
    .await;
    (sources(vec![("k", Origin::Http(stub.url))]), asked)
}

#[tokio::test]
async fn a_key_is_remembered_until_it_is_old() {
    let (mut keys, asked) = counting(99).await;
    let all = futures::future::join_all((0..20).map(|_| key(&keys, "k"))).await;
    assert!(all.iter().all(|key| key.as_deref() == Ok("sk-1")), "{all:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "who asks meanwhile waits for the first");
    (keys.config.age_max, keys.config.reload_interval_min) = (Duration::ZERO, Duration::ZERO);
    assert_eq!(key(&keys, "k").await.unwrap(), "sk-2");
}

#[tokio::test]
async fn a_refused_key_is_loaded_again_not_too_often() {
    let (keys, asked) = counting(99).await;
    let first = keys.key("k", TO).await.unwrap();
    let second = keys.reload("k", TO, &first).await.unwrap();
    assert_eq!(second.expose(), "sk-2", "right after it was loaded, too");
    assert_eq!(keys.reload("k", TO, &first).await.unwrap(), second, "who was refused with the first has it already");
    assert_eq!(keys.reload("k", TO, &second).await.unwrap(), second, "too soon");
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_source_that_fails_later_keeps_its_key() {
    let (mut keys, asked) = counting(2).await;
    let first = keys.key("k", TO).await.unwrap();
    assert_eq!(keys.reload("k", TO, &first).await.unwrap(), first);
    (keys.config.age_max, keys.config.reload_interval_min) = (Duration::ZERO, Duration::ZERO);
    assert_eq!(keys.key("k", TO).await.unwrap(), first);
    assert_eq!(asked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_source_that_failed_is_left_alone_for_a_while() {
    let (keys, asked) = counting(1).await;
    for _ in 0..3 {
        assert!(key(&keys, "k").await.unwrap_err().to_string().contains("status 500"));
    }
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

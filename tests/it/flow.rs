//! The flow as a whole, in process: what is folded from the log equals what was taken from memory, and one command can
//! be followed through every stage.

use agentverse::domain::agent::{self, RegisterAgent};
use agentverse::domain::envelope::Envelope;
use agentverse::domain::{Aggregate, AnyCommand, StreamId, TenantId};
use agentverse::flow::gateway::{Submission, Wait};
use agentverse::flow::outcome::OutcomeKind;
use agentverse::flow::query::Resource;
use agentverse::runtime::catalog::Catalog;
use agentverse::runtime::demo;
use agentverse::runtime::node::Node;
use agentverse::runtime::seed::{self, Tally};
use agentverse::runtime::settings::Settings;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::field::{Field, Visit};
use tracing::span;
use uuid::Uuid;

fn settings() -> Settings {
    Settings { partitions: 4, checkpoint_interval_ms: 3_600_000, ..Settings::default() }
}

/// Every view row of the demo's kinds, as stored.
async fn all_rows(node: &Node, streams: &[StreamId]) -> Vec<Option<Resource>> {
    let mut rows = Vec::with_capacity(streams.len());
    for stream in streams {
        rows.push(node.query.get(*stream).await.expect("read"));
    }
    rows
}

/// The same, once nothing has changed for a second: what follows from what has come to its end.
async fn rows_at_rest(node: &Node, streams: &[StreamId]) -> Vec<Option<Resource>> {
    let mut rows = all_rows(node, streams).await;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let again = all_rows(node, streams).await;
        if again == rows {
            return rows;
        }
        rows = again;
    }
}

async fn load_demo(node: &Node) -> Vec<StreamId> {
    let mut streams = Vec::new();
    for stage in demo::stages(Catalog::built_in().expect("it parses")) {
        streams.extend(stage.commands.iter().map(|(envelope, _)| envelope.stream));
        let mut tally = Tally::default();
        seed::send(&node.gateway, stage.commands, &mut tally, |_| {}).await.expect("taken");
        assert_eq!((tally.dead_lettered, tally.undecided), (0, 0), "{}", stage.name);
    }
    streams.sort();
    streams.dedup();
    streams
}

fn forget_what_is_derived(folder: &Path) {
    std::fs::remove_dir_all(folder.join("derived")).expect("removed");
    std::fs::remove_file(folder.join("CHECKPOINT")).expect("removed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rebuild_from_the_log_gives_the_same_rows() {
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path(), &settings()).await.expect("it starts");
    let streams = load_demo(&node).await;
    // Reactions of the last stage may still be on their way; the stop below lets them finish, the next start shows them.
    node.stop().await.expect("it stops");
    let node = Node::start(folder.path(), &settings()).await.expect("it starts again");
    let before = rows_at_rest(&node, &streams).await;
    assert!(before.iter().filter(|row| row.is_some()).count() > 4_000, "the demo is there");
    node.stop().await.expect("it stops");
    forget_what_is_derived(folder.path());
    let node = Node::start(folder.path(), &settings()).await.expect("it starts from the log alone");
    let after = all_rows(&node, &streams).await;
    assert_eq!(after.len(), before.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(before, after);
    }
    // And nobody's command takes effect a second time.
    let mut again = Tally::default();
    let templates = Catalog::built_in().expect("it parses").commands();
    let count = templates.len();
    seed::send(&node.gateway, templates, &mut again, |_| {}).await.expect("taken");
    assert_eq!(again.applied, count);
    assert_eq!(all_rows(&node, &streams).await, before);
    node.stop().await.expect("it stops");
}

/// Remembers which stages each command passed.
#[derive(Clone, Default)]
struct Followed(Arc<Mutex<Vec<(String, String)>>>);

impl tracing::Subscriber for Followed {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target() == "agentverse::command"
    }
    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        self.0.lock().expect("whole").push((fields.stage, fields.command));
        span::Id::from_u64(1)
    }
    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}
    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {}
    fn enter(&self, _: &span::Id) {}
    fn exit(&self, _: &span::Id) {}
}

#[derive(Default)]
struct Fields {
    stage: String,
    command: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        match field.name() {
            "stage" => self.stage = format!("{value:?}").replace('"', ""),
            "command" => self.command = format!("{value:?}"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn one_command_is_followed_through_every_stage() {
    let followed = Followed::default();
    // For the whole process: with a subscriber of one thread only, another thread that comes first can switch a span off.
    tracing::subscriber::set_global_default(followed.clone()).expect("nobody else set one");
    let folder = tempfile::tempdir().expect("a folder");
    let node = Node::start(folder.path(), &settings()).await.expect("it starts");
    let stream = StreamId::new(TenantId(Uuid::from_u128(5)), Aggregate::Agent, Uuid::from_u128(6));
    let command_id = Uuid::from_u128(7);
    let register: RegisterAgent = serde_json::from_str(r#"{"name":"Ada","category":"research"}"#).expect("it parses");
    let command = AnyCommand::from(agent::Command::RegisterAgent(register));
    let submission = Submission { envelope: Envelope::new(command_id, stream), command };
    let outcomes =
        node.gateway.submit(vec![submission], Wait::Projected, Duration::from_secs(30)).await.expect("taken");
    assert_eq!(outcomes[0].kind, OutcomeKind::Applied);
    node.stop().await.expect("it stops");
    let followed = followed.0.lock().expect("whole");
    let mut stages: Vec<&str> = followed
        .iter()
        .filter(|(_, command)| *command == command_id.to_string())
        .map(|(stage, _)| stage.as_str())
        .collect();
    stages.dedup();
    assert_eq!(stages, agentverse::flow::trace::STAGES, "each stage once, in the order of the journey");
}

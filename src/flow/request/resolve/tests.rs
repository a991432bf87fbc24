//! Names against an index that holds just these streams.

use super::*;
use crate::domain::coupling::{Binding, ModelRef, State, Status};
use crate::domain::llm_provider::{Access, Model};
use crate::domain::{AnyState, CorrelationKey, LogId, Micros};
use crate::ports::index::{Head, IndexRows, Known, OutcomeRef, Traced};
use crate::ports::journal::Recorded;
use async_trait::async_trait;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

const TENANT: TenantId = TenantId(Uuid::from_u128(7));
const AGENT: Uuid = Uuid::from_u128(70);

#[derive(Default)]
struct Heads {
    heads: Mutex<BTreeMap<StreamId, Arc<Head>>>,
    reads: AtomicUsize,
}

impl Heads {
    fn put(&self, stream: StreamId, state: &AnyState) {
        let state: Arc<[u8]> = state.to_blob().expect("a blob").into();
        self.heads.lock().insert(stream, Arc::new(Head { version: 3, position: 9, state, ..Head::empty() }));
    }

    fn provider(&self, home: TenantId, id: u128, name: &str, models: &[&str]) {
        let model = |id: &&str| Model { model_id: (*id).to_owned(), ..Model::default() };
        let state = llm_provider::State {
            status: llm_provider::Status::Registered,
            access: Access { name: name.to_owned(), ..Access::default() },
            models: models.iter().map(model).collect(),
            ..llm_provider::State::default()
        };
        let stream = StreamId::new(home, Aggregate::LlmProvider, Uuid::from_u128(id));
        self.put(stream, &AnyState::LlmProvider(Box::new(state)));
    }

    fn coupling(&self, id: u128, status: Status, score: f64) {
        let model = ModelRef { provider_id: Uuid::from_u128(1), model_id: "m".into() };
        let binding = Binding {
            model,
            provider_name: String::new(),
            provider_tenant_id: Uuid::nil(),
            pinned: false,
            fallbacks: Vec::new(),
            score,
        };
        let state = State { status, binding: Some(binding), ..State::default() };
        let stream = StreamId::new(TENANT, Aggregate::Coupling, Uuid::from_u128(id));
        self.put(stream, &AnyState::Coupling(Box::new(state)));
    }
}

#[async_trait]
impl Index for Heads {
    async fn heads(&self, _: LogId, streams: &[StreamId]) -> Result<Vec<Option<Arc<Head>>>, Error> {
        let heads = self.heads.lock();
        Ok(streams.iter().map(|stream| heads.get(stream).cloned()).collect())
    }
    async fn edges(&self, from: StreamId, after: Option<StreamId>, edges_max: usize) -> Result<Vec<StreamId>, Error> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        let heads = self.heads.lock();
        let streams = heads.keys().copied().filter(|stream| stream.tenant == from.tenant);
        let streams = streams.filter(|stream| after.is_none_or(|after| *stream > after));
        Ok(streams.take(edges_max).collect())
    }
    async fn apply(&self, _: LogId, _: IndexRows, _: u64) -> Result<(), Error> {
        unreachable!()
    }
    async fn applied_to(&self, _: LogId) -> Result<u64, Error> {
        unreachable!()
    }
    async fn known(&self, _: StreamId, _: Uuid) -> Result<Option<Known>, Error> {
        unreachable!()
    }
    async fn history(&self, _: StreamId, _: u64, _: usize) -> Result<Vec<Recorded>, Error> {
        unreachable!()
    }
    async fn outcome(&self, _: TenantId, _: Uuid) -> Result<Option<OutcomeRef>, Error> {
        unreachable!()
    }
    async fn trace(&self, _: CorrelationKey, _: usize) -> Result<Vec<Traced>, Error> {
        unreachable!()
    }
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Micros {
        1_000_000
    }
}

fn resolver(heads: &Arc<Heads>) -> Resolver {
    Resolver::new(heads.clone(), 1.into(), Arc::new(Still))
}

fn asked(model: &str) -> Asked {
    Asked {
        tenant: TENANT,
        request_id: Uuid::from_u128(99),
        operation: Operation::ChatCompletion,
        model: model.to_owned(),
        payload: r#"{"messages":[{"role":"user","content":"hi"}],"max_tokens":5}"#.to_owned(),
        priority: Priority::Interactive,
        deadline_ms: None,
        stream: false,
        awaited: false,
    }
}

fn catalogue() -> Arc<Heads> {
    let heads = Arc::new(Heads::default());
    heads.provider(TenantId::SHARED, 1, "OpenAI", &["gpt-4o", "gpt-4o-mini"]);
    heads.provider(TenantId::SHARED, 2, "Open", &["router/openai/gpt-4o"]);
    heads.provider(TENANT, 3, "openai", &["gpt-4o", "house"]);
    heads
}

#[tokio::test]
async fn a_model_is_named_by_its_provider_in_any_case_the_tenants_own_first() {
    let resolver = resolver(&catalogue());
    let id = Uuid::from_u128(1).to_string();
    for (name, home, provider, model) in [
        ("openai/gpt-4o", TENANT, 3, "gpt-4o"),
        ("OPENAI/gpt-4o-mini", TenantId::SHARED, 1, "gpt-4o-mini"),
        (&format!("{id}/gpt-4o"), TenantId::SHARED, 1, "gpt-4o"),
        ("open/router/openai/gpt-4o", TenantId::SHARED, 2, "router/openai/gpt-4o"),
    ] {
        let submission = resolver.submission(asked(name)).await.expect(name);
        let expected = ModelChoice {
            provider_tenant_id: home.0,
            provider_id: Uuid::from_u128(provider),
            model_id: model.to_owned(),
        };
        assert_eq!(submission.models, [expected], "{name}");
        assert_eq!((submission.output_tokens_max, submission.deadline_at), (Some(5), 601_000_000));
    }
}

#[tokio::test]
async fn a_name_that_is_not_there_is_answered_with_what_may_be_meant() {
    let heads = catalogue();
    let resolver = resolver(&heads);
    for (name, part) in [
        ("gpt-4o", "did you mean openai/gpt-4o, OpenAI/gpt-4o?"),
        ("nobody/house", "did you mean openai/house?"),
        ("openai/none", "name provider/model (GET /v1/models lists them)"),
        ("", "there is no model \"\""),
        ("ö/", "there is no model"),
        ("coupling:5", "write coupling:<UUID>"),
        ("agent:", "write agent:<UUID>"),
    ] {
        match resolver.submission(asked(name)).await {
            Err(Refused::UnknownModel(text)) => assert!(text.contains(part), "{name}: {text}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    heads.provider(TENANT, 4, "New", &["m"]);
    resolver.submission(asked("new/m")).await.expect("names are read anew before one is said not to be there");
}

#[tokio::test]
async fn names_are_not_read_for_every_request() {
    let heads = catalogue();
    let resolver = resolver(&heads);
    for _ in 0..10 {
        resolver.submission(asked("openai/gpt-4o")).await.expect("found");
    }
    // The tenant's own and the shared ones, once each.
    assert_eq!(heads.reads.load(Ordering::Relaxed), 2);
    let offered: Vec<_> = resolver.offered(TENANT).await.expect("read").into_iter().map(|model| model.name).collect();
    let expected =
        ["Open/router/openai/gpt-4o", "OpenAI/gpt-4o", "OpenAI/gpt-4o-mini", "openai/gpt-4o", "openai/house"];
    assert_eq!(offered, expected);
}

#[tokio::test]
async fn an_agent_means_its_best_coupling_that_is_active() {
    let heads = Arc::new(Heads::default());
    let resolver = resolver(&heads);
    let name = format!("agent:{AGENT}");
    let refused = async || match resolver.submission(asked(&name)).await {
        Err(Refused::Rejected(rejection)) => rejection.code,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused().await, "no_active_coupling");
    heads.coupling(20, Status::Suspended, 0.9);
    assert_eq!(refused().await, "no_active_coupling");
    for (id, score) in [(21, 0.5), (22, 0.8), (23, 0.8)] {
        heads.coupling(id, Status::Active, score);
    }
    let mut sight = Sight::new(heads.clone(), 1.into());
    let best = resolver.best_coupling(&mut sight, TENANT, AGENT).await.expect("one");
    assert_eq!(best, Uuid::from_u128(22));
}

#[tokio::test]
async fn what_the_coupling_is_refused_for_is_said() {
    let heads = Arc::new(Heads::default());
    heads.coupling(20, Status::Ended, 0.9);
    let resolver = resolver(&heads);
    for (id, code) in [(20, "coupling_not_active"), (21, "not_found")] {
        match resolver.submission(asked(&format!("coupling:{}", Uuid::from_u128(id)))).await {
            Err(Refused::Rejected(rejection)) => assert_eq!(rejection.code, code),
            other => panic!("{other:?}"),
        }
    }
}

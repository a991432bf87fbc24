//! Counting over crashes: whatever a projector loses, and wherever it begins again, each event is in each of its totals
//! once.

mod world;

use super::*;
use crate::domain::llm_request::{
    AnswerRated, AttemptFailed, AttemptStarted, Event, ExtraCallRecorded, ModelChoice, RequestCancelled,
    RequestCompleted, RequestExpired, RequestFailed, RequestSubmitted, State, Submission, Usage as Tokens,
};
use crate::domain::personal::Personal;
use crate::domain::record::{CHAIN_START, Record, RecordKind};
use crate::domain::usage::{Retention, Row, Slot, Window, count};
use crate::domain::{Aggregate, AnyEvent, AnyState, Envelope, Micros, TenantId};
use crate::ports::index::Head;
use crate::ports::journal::{Decided, Recorded};
use proptest::prelude::*;
use std::collections::BTreeMap;
use uuid::Uuid;
use world::World;

const LOG: LogId = LogId { aggregate: Aggregate::LlmRequest, partition: 0 };
const REQUESTS: u128 = 5;
const BEGIN: Micros = 1_767_225_600_000_000 - 90_000_000;

/// One event: of which request, how long after the one before, of which kind, how much.
type Step = (u128, Micros, u8, i64);

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let pause = prop_oneof![6 => 0..2_000_000_i64, 2 => 20_000_000..90_000_000_i64, 1 => 0..9_000_000_000_i64];
    prop::collection::vec((0..REQUESTS, pause, 0..12_u8, 0..1_000_i64), 1..60)
}

fn model(number: i64) -> ModelChoice {
    ModelChoice { provider_id: Uuid::from_u128(5), model_id: format!("m{}", number % 2), ..ModelChoice::default() }
}

fn failed(attempt: i64, amount: i64, usage: Tokens, cost_pico_usd: Option<i64>) -> Event {
    Event::AttemptFailed(AttemptFailed {
        attempt,
        error: "timeout".into(),
        http_status: None,
        provider_code: None,
        sent: amount % 2 == 0,
        received: false,
        retry_after_ms: None,
        usage: (amount % 5 > 0).then_some(usage),
        estimated: false,
        price: None,
        cost_pico_usd,
        latency_ms: None,
        provider_request_id: None,
    })
}

fn completed(attempt: i64, amount: i64, usage: Tokens, cost_pico_usd: Option<i64>) -> Event {
    Event::RequestCompleted(RequestCompleted {
        attempt,
        model: model(amount),
        usage,
        estimated: false,
        price: None,
        cost_pico_usd,
        latency_ms: amount,
        first_byte_ms: None,
        finish_reason: None,
        answer: Personal::Absent,
        answer_sha256: None,
        answer_bytes: 0,
        provider_request_id: None,
        answer_parts: 0,
    })
}

fn event(state: &State, request: u128, kind: u8, amount: i64) -> Event {
    if state.request.models.is_empty() {
        let even = request.is_multiple_of(2);
        return Event::RequestSubmitted(RequestSubmitted {
            request: Submission {
                agent_id: Some(Uuid::from_u128(request % 3)),
                coupling_id: even.then(|| Uuid::from_u128(0xc0)),
                project: even.then(|| "atlas".into()),
                models: vec![model(0), model(1)],
                ..Submission::default()
            },
        });
    }
    let last = state.attempts.len() as i64;
    let usage = Tokens { input_tokens: amount, output_tokens: amount / 3, ..Tokens::default() };
    let cost_pico_usd = (amount % 3 > 0).then_some(amount);
    // No attempt begins once a request has ended, which is why any later state tells the model that it ended with.
    let kind = if state.is_running() { kind } else { 4 + kind % 8 };
    match kind {
        0..4 => Event::AttemptStarted(AttemptStarted {
            attempt: last + 1,
            worker: "w".into(),
            model: model(amount),
            lease_until: 0,
            tokens_reserved: 0,
            cost_estimated_pico_usd: amount * 7,
            rejected: Vec::new(),
            previous_lost: false,
        }),
        4..7 => failed(last, amount, usage, cost_pico_usd),
        7..9 => completed(last, amount, usage, cost_pico_usd),
        9 => Event::ExtraCallRecorded(ExtraCallRecorded {
            attempt: last,
            model: model(amount),
            error: None,
            usage: Some(usage),
            estimated: false,
            price: None,
            cost_pico_usd,
            latency_ms: None,
            provider_request_id: None,
        }),
        10 if amount % 3 == 0 => Event::AnswerRated(AnswerRated {
            model: model(amount),
            rater: None,
            before_millionths: (amount % 2 == 0).then_some(amount * 500),
            after_millionths: amount * 1_000,
            comment: Personal::Absent,
        }),
        10 => Event::RequestExpired(RequestExpired { attempts: last, open_attempt: None }),
        _ if amount % 2 == 0 => Event::RequestFailed(RequestFailed {
            error: "e".into(),
            message: String::new(),
            attempts: last,
            open_attempt: None,
        }),
        _ => Event::RequestCancelled(RequestCancelled { reason: String::new(), attempts: last, open_attempt: None }),
    }
}

/// The log that the steps make, each record with what its processor knew; and the rows that a plain fold makes.
fn log(steps: &[Step]) -> (Vec<Recorded>, BTreeMap<Slot, Row>) {
    let (mut records, mut expected) = (Vec::new(), BTreeMap::<Slot, Row>::new());
    let mut heads: BTreeMap<StreamId, (u64, AnyState)> = BTreeMap::new();
    let mut recorded_at = BEGIN;
    for (position, (request, pause, kind, amount)) in (1..).zip(steps) {
        recorded_at += pause;
        let tenant = TenantId(Uuid::from_u128(0xa0 + request % 2));
        let stream = StreamId::new(tenant, Aggregate::LlmRequest, Uuid::from_u128(*request));
        let (version, state) = heads.entry(stream).or_insert_with(|| (0, AnyState::initial(LOG.aggregate)));
        let AnyState::LlmRequest(before) = &*state else { unreachable!() };
        let event = event(before, *request, *kind, *amount);
        *version += 1;
        let any = AnyEvent::LlmRequest(Box::new(event.clone()));
        let mut payload = Vec::new();
        any.encode(&mut payload).unwrap();
        let record = Record {
            position,
            version: *version,
            previous: 0,
            kind: RecordKind::Event,
            index: 0,
            last: true,
            recorded_at,
            command_digest: 0,
            envelope: Arc::new(Envelope::new(Uuid::from_u128(position.into()), stream)),
            schema: any.name().into(),
            fingerprint: LOG.aggregate.codec(any.name()).unwrap().fingerprint,
            payload,
        };
        state.evolve(&any, &record.meta());
        let AnyState::LlmRequest(after) = &*state else { unreachable!() };
        if let Some(counted) = count(&stream, &event, after) {
            for (window, key) in Window::ALL.iter().flat_map(|window| counted.keys.iter().map(move |it| (*window, it)))
            {
                let row = expected.entry(key.slot(window, recorded_at)).or_default();
                row.totals.add(&counted.totals);
                row.position = position;
            }
        }
        let blob = state.to_blob().unwrap().into();
        let head = Head {
            version: *version,
            position,
            created_at: BEGIN,
            updated_at: recorded_at,
            state: blob,
            ..Head::empty()
        };
        let event = Some(Arc::new(any));
        let decided = Some(Decided { event, head: Arc::new(head), edges: Vec::new(), displaced: None });
        records.push(Recorded { record, hash: CHAIN_START, decided });
    }
    (records, expected)
}

/// Projects until the end is reached, over every failure on the way.
async fn project(world: &Arc<World>) {
    let parts = Parts { topics: world.clone(), views: world.clone(), usage: world.clone(), clock: world.clone() };
    let (projected, _) = watch::channel(0);
    loop {
        // It ends by failing alone.
        assert!(follow(LOG, &parts, &projected).await.is_err());
        if Views::applied_to(&**world, LOG).await.unwrap() == world.records.len() as u64 {
            return;
        }
        world.state.lock().crash();
    }
}

fn usage_of(world: &World) -> BTreeMap<Slot, Row> {
    let stores = world.state.lock();
    stores.usage.iter().filter_map(|(slot, versions)| Some((slot.clone(), versions.last()?.1.clone()))).collect()
}

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_event_is_counted_once_whatever_crashes_and_however_batches_are_cut(
        steps in steps(), dice in prop::collection::vec(any::<u32>(), 0..3_000), again in any::<u32>(),
    ) {
        let (records, expected) = log(&steps);
        let retention = Retention::of_seconds(u64::MAX, u64::MAX, u64::MAX);
        let world = World { records, retention, now: BEGIN, ..World::default() };
        world.state.lock().dice = dice.clone();
        let world = Arc::new(world);
        block_on(project(&world));
        prop_assert_eq!(&usage_of(&world), &expected);
        // From any earlier position on, with every row still there.
        {
            let mut stores = world.state.lock();
            let keep = again as usize % stores.marks.len();
            stores.marks.truncate(keep);
            (stores.dice, stores.rolled) = (dice, 0);
        }
        block_on(project(&world));
        prop_assert_eq!(&usage_of(&world), &expected);
    }
}

#[test]
fn a_window_that_is_kept_no_longer_is_not_counted_into() {
    let steps = [(0, 0, 0, 1), (0, 0, 0, 1), (0, 0, 7, 10), (1, 7_200_000_000, 0, 1), (1, 0, 0, 1), (1, 0, 7, 20)];
    let (records, expected) = log(&steps);
    let now = records.last().unwrap().record.recorded_at;
    let retention = Retention::of_seconds(3_600, 3_600, 4 * 3_600);
    let world = Arc::new(World { records, retention, now, ..World::default() });
    block_on(project(&world));
    let kept: BTreeMap<_, _> =
        expected.iter().filter(|(slot, _)| retention.keeps(slot.series.window, slot.start, now)).collect();
    assert!(kept.len() < expected.len() && !kept.is_empty());
    assert_eq!(usage_of(&world).iter().collect::<BTreeMap<_, _>>(), kept);
}

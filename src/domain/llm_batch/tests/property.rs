//! Any order of commands at any time: what must hold is checked on the events alone, without the state's own sums.

use super::*;
use crate::domain::spec::meta;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Say(Command),
    /// A part of so many requests, mostly the right one.
    Part(i64, usize),
    Close,
    Progress(i64, i64, i64),
    End(i64, i64),
}

fn steps() -> impl Strategy<Value = Vec<(i64, Step)>> {
    let step = prop_oneof![
        1 => Just(Step::Say(open())),
        4 => (0..2_i64, 1..4_usize).prop_map(|(off, count)| Step::Part(off, count)),
        2 => Just(Step::Close),
        3 => Just(Step::Say(Command::StartBatch(start()))),
        4 => (0..4_i64, 0..3_i64, 0..2_i64).prop_map(|(more, failed, expired)| Step::Progress(more, failed, expired)),
        2 => (0..3_i64, 0..2_i64).prop_map(|(failed, expired)| Step::End(failed, expired)),
        1 => Just(Step::Say(Command::CancelBatch(CancelBatch {}))),
        1 => prop::sample::select(&BatchFile::ALL[..])
            .prop_map(|file| Step::Say(Command::DeleteBatchFile(DeleteBatchFile { file }))),
    ];
    prop::collection::vec((0..20_i64, step), 1..60)
}

fn command(state: &State, step: Step) -> Command {
    let run = state.run.clone().unwrap_or_default();
    let progress = |line: i64, failed: i64, expired: i64| {
        let failed = run.failed + failed;
        Progress { line, completed: line - failed, failed, expired: run.expired + expired, errors: Vec::new() }
    };
    match step {
        Step::Say(command) => command,
        Step::Part(off, count) => add(state.file.parts + 1 - off, &text(count)),
        Step::Close => {
            let InputFile { parts, bytes, requests, .. } = state.file;
            Command::CloseBatchFile(CloseBatchFile { parts, bytes, requests, ..closing() })
        }
        Step::Progress(more, failed, expired) => {
            Command::RecordBatchProgress(RecordBatchProgress { progress: progress(run.line + more, failed, expired) })
        }
        Step::End(failed, expired) => {
            Command::EndBatch(EndBatch { progress: progress(state.file.requests, failed, expired) })
        }
    }
}

/// Every event with when it was recorded.
fn played(steps: Vec<(i64, Step)>) -> (State, Vec<Event>) {
    let (mut state, mut history, mut now) = (State::default(), Vec::new(), NOW);
    let envelope = Envelope::new(Uuid::from_u128(9), stream::<LlmBatch>());
    let steps = [(0, Step::Say(open())), (0, Step::Part(0, 2)), (0, Step::Part(0, 1))].into_iter().chain(steps);
    for (seconds, step) in steps {
        now += seconds * 1_000_000;
        let command = command(&state, step);
        let context = Context { now, envelope: &envelope, version: history.len() as u64, world: &World::default() };
        let Ok(decision) = LlmBatch::decide(&state, &command, &context) else { continue };
        for event in decision.events {
            let version = history.len() as u64 + 1;
            let meta = EventMeta { recorded_at: now, ..meta(stream::<LlmBatch>(), version) };
            LlmBatch::evolve(&mut state, &event, &meta);
            history.push(event);
        }
    }
    (state, history)
}

fn told(event: &Event) -> Option<(&Progress, bool)> {
    match event {
        Event::BatchProgressed(it) => Some((&it.progress, false)),
        Event::BatchCompleted(it) => Some((&it.progress, true)),
        Event::BatchExpired(it) => Some((&it.progress, true)),
        Event::BatchCancelled(it) => Some((&it.progress, true)),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn it_ends_once_and_every_request_is_counted_once(steps in steps()) {
        let (state, history) = played(steps);
        let (mut parts, mut requests, mut last) = (0, 0, Progress::default());
        let (mut is_closed, mut starts, mut ends) = (false, 0, 0);
        for event in &history {
            match event {
                Event::BatchPartAdded(it) => {
                    prop_assert!(!is_closed, "a file that is whole takes nothing more");
                    parts += 1;
                    prop_assert_eq!((it.part, it.first_request), (parts, requests + 1));
                    requests += it.requests;
                }
                Event::BatchFileClosed(it) => {
                    is_closed = true;
                    prop_assert_eq!(it.requests, requests);
                }
                Event::BatchStarted(_) | Event::BatchFailed(_) => {
                    prop_assert!(is_closed);
                    starts += 1;
                }
                _ => {}
            }
            let Some((progress, is_end)) = told(event) else { continue };
            prop_assert_eq!(ends, 0, "nothing is told after the end: {:?}", history);
            prop_assert!(progress.line >= last.line && progress.completed >= last.completed);
            prop_assert_eq!(progress.completed + progress.failed, progress.line);
            last = progress.clone();
            ends += i64::from(is_end);
            prop_assert!(!is_end || progress.line == requests);
        }
        prop_assert!(starts <= 1 && ends <= starts);
        let is_open = starts == 1 && ends == 0 && state.status != Status::Failed;
        prop_assert_eq!(LlmBatch::open_until(&state).is_some(), is_open);
    }

    /// Any order of events leads to a state that has a view, survives its blob, and decides every command.
    #[test]
    fn no_order_of_events_panics(order in prop::collection::vec(prop::sample::select(events()), 0..12)) {
        let state = Batch::given(order).state().clone();
        let blob = AnyState::LlmBatch(Box::new(state.clone())).to_blob().unwrap();
        prop_assert_eq!(AnyState::from_blob(Aggregate::LlmBatch, &blob).unwrap(), AnyState::LlmBatch(Box::new(state.clone())));
        prop_assert_eq!(LlmBatch::view(&state).len(), 18);
        let envelope = Envelope::new(Uuid::from_u128(9), stream::<LlmBatch>());
        for command in commands() {
            let context = Context { now: NOW, envelope: &envelope, version: 9, world: &World::default() };
            let _ = LlmBatch::decide(&state, &command, &context);
        }
    }
}

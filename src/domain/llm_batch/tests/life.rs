//! A file's upload, its batch, its end.

use super::*;

#[test]
fn a_file_is_uploaded_in_its_order_and_must_come_to_what_its_end_says() {
    Batch::given([]).when(open()).then([opened()]);
    Batch::given([opened()]).when(open()).then_nothing();
    Batch::given([opened()]).when(add(1, &text(2))).then([added(1, 1, 2)]);
    Batch::given([opened(), added(1, 1, 2)]).when(add(2, &text(1))).then([added(2, 3, 1)]);
    let next = Batch::given([opened(), added(1, 1, 2)]).when(add(1, &text(1))).then_refused("part_out_of_order");
    assert_eq!(next.details["next"], "2");
    Batch::given(uploaded()[..3].to_vec()).when(Command::CloseBatchFile(closing())).then([closed(|_| {})]);
    Batch::given(uploaded()).when(Command::CloseBatchFile(closing())).then_nothing();
    Batch::given(uploaded()[..2].to_vec()).when(Command::CloseBatchFile(closing())).then_refused("file_incomplete");
    Batch::given(uploaded()).when(add(3, &text(1))).then_refused("file_closed");
    Batch::given([]).when(add(1, &text(1))).then_refused("not_found");
}

#[test]
fn a_part_is_bounded_unless_it_is_one_line() {
    let line = |bytes: usize| format!("{}\n", "x".repeat(bytes));
    let ask = |text: &str| Batch::given([opened()]).when(add(1, text));
    ask(&line(LINE_BYTES_MAX)).after();
    ask(&line(LINE_BYTES_MAX + 2)).then_refused("invalid");
    ask(&[line(PART_BYTES_MAX), line(1)].concat()).then_refused("invalid");
    ask("").then_refused("invalid");
    let full = added(1, 1, REQUESTS_MAX);
    Batch::given([opened(), full]).when(add(2, &text(1))).then_refused("invalid");
}

#[test]
fn prompts_are_taken_only_where_the_tenant_keeps_them() {
    for storage in [PromptStorage::Hashed, PromptStorage::None] {
        let keeps = || tenant(|state| state.prompt_storage = storage);
        let asks = [(vec![], open()), (vec![opened()], add(1, &text(1))), (uploaded(), Command::StartBatch(start()))];
        for (given, ask) in asks {
            let refused = Batch::given(given).seeing(tenant_stream(), 1, keeps()).when(ask);
            assert!(refused.then_refused("prompt_not_stored").message.contains("SetPromptStorage"));
        }
        // What was begun is told to its end.
        let told = Command::EndBatch(EndBatch { progress: counts(3, 0, 0) });
        Batch::given(running()).seeing(tenant_stream(), 1, keeps()).when(told).after();
    }
    let suspended = tenant(|state| state.status = tenant::Status::Suspended);
    Batch::given([]).seeing(tenant_stream(), 1, suspended).when(open()).then_refused("tenant_suspended");
}

#[test]
fn a_file_is_one_batch_however_often_it_is_started() {
    Batch::given(uploaded()).when(Command::StartBatch(start())).then([started()]);
    Batch::given(running()).when(Command::StartBatch(start())).then_nothing();
    let other = StartBatch { metadata: BTreeMap::new(), ..start() };
    Batch::given(running()).when(Command::StartBatch(other)).then_refused("already_exists");
    Batch::given([opened()]).when(Command::StartBatch(start())).then_refused("file_incomplete");
    let long = StartBatch { window_ms: WINDOW_MS_MAX + 1, ..start() };
    Batch::given(uploaded()).when(Command::StartBatch(long)).then_refused("invalid");
    let many = (0..=METADATA_MAX).map(|number| (number.to_string(), String::new())).collect();
    let many = StartBatch { metadata: many, ..start() };
    Batch::given(uploaded()).when(Command::StartBatch(many)).then_refused("invalid");
}

#[test]
fn a_file_whose_lines_are_no_requests_of_the_endpoint_fails_as_a_batch() {
    let fail = |change: fn(&mut CloseBatchFile), operation| {
        let given = vec![opened(), added(1, 1, 2), added(2, 3, 1), closed(change)];
        let state = Batch::given(given).when(Command::StartBatch(StartBatch { operation, ..start() })).after();
        assert_eq!((state.status, LlmBatch::open_until(&state)), (Status::Failed, None));
        state.run.unwrap().problems.into_iter().map(|problem| problem.code).collect::<Vec<_>>()
    };
    assert_eq!(fail(|it| it.problems = vec![problem()], Operation::ChatCompletion), ["invalid_json_line"]);
    assert_eq!(fail(|_| {}, Operation::Embeddings), ["mismatched_endpoint"]);
    assert_eq!(fail(|it| it.operation = None, Operation::Embeddings), ["mismatched_endpoint"]);
    let empty = vec![opened(), closed(|it| (it.parts, it.bytes, it.requests) = (0, 0, 0))];
    let state = Batch::given(empty).when(Command::StartBatch(start())).after();
    assert_eq!(state.run.unwrap().problems[0].code, "empty_file");
}

#[test]
fn progress_never_goes_back_and_counts_every_request_once() {
    let tell = |progress| Command::RecordBatchProgress(RecordBatchProgress { progress });
    Batch::given(running()).when(tell(counts(2, 1, 0))).then([progressed(counts(2, 1, 0))]);
    let further = || [running(), vec![progressed(counts(2, 1, 0))]].concat();
    Batch::given(further()).when(tell(counts(2, 1, 0))).then_nothing();
    Batch::given(further()).when(tell(counts(1, 0, 0))).then_refused("stale_progress");
    Batch::given(further()).when(tell(counts(3, 0, 0))).then_refused("stale_progress");
    Batch::given(further()).when(tell(counts(4, 1, 0))).then_refused("invalid");
    Batch::given(running()).when(tell(Progress { completed: 1, ..counts(2, 1, 0) })).after();
    Batch::given(running()).when(tell(Progress { completed: 2, ..counts(2, 1, 0) })).then_refused("invalid");
    Batch::given(running()).when(tell(counts(2, 1, 2))).then_refused("invalid");
    for errors in [vec![error(2), error(1)], vec![error(3)], vec![error(1), error(1)]] {
        Batch::given(running()).when(tell(Progress { errors, ..counts(2, 2, 0) })).then_refused("invalid");
    }
    let old = Progress { errors: vec![error(2)], ..counts(3, 2, 0) };
    Batch::given(further()).when(tell(old)).then_refused("invalid");
    Batch::given(uploaded()).when(tell(counts(0, 0, 0))).then_refused("batch_not_started");
}

#[test]
fn a_batch_ends_once_with_every_request_counted() {
    let end = |progress| Command::EndBatch(EndBatch { progress });
    Batch::given(running()).when(end(counts(2, 1, 0))).then_refused("batch_not_done");
    let done = Event::BatchCompleted(BatchCompleted { progress: counts(3, 1, 0) });
    let state = Batch::given(running()).when(end(counts(3, 1, 0))).then([done.clone()]);
    let run = state.run.clone().unwrap();
    assert_eq!((state.status, run.completed, run.failed, run.ended_at), (Status::Completed, 2, 1, Some(NOW)));
    assert!(state.has(BatchFile::Output) && state.has(BatchFile::Errors) && !state.is_running());
    Batch::given([running(), vec![done]].concat()).when(end(counts(3, 1, 0))).then_refused("batch_ended");

    let late = Event::BatchStarted(BatchStarted {
        operation: Operation::ChatCompletion,
        metadata: BTreeMap::new(),
        expires_at: NOW,
    });
    let state = Batch::given([uploaded(), vec![late]].concat()).when(end(counts(3, 2, 2))).after();
    assert_eq!(state.status, Status::Expired);
}

#[test]
fn a_batch_is_cancelled_in_two_steps() {
    let cancel = || Command::CancelBatch(CancelBatch {});
    let state = Batch::given(running()).when(cancel()).then([cancelling()]);
    assert!(state.is_running() && LlmBatch::open_until(&state).is_some());
    let given = || [running(), vec![cancelling()]].concat();
    Batch::given(given()).when(cancel()).then_nothing();
    let end = Command::EndBatch(EndBatch { progress: counts(3, 3, 0) });
    let cancelled = Event::BatchCancelled(BatchCancelled { progress: counts(3, 3, 0) });
    let state = Batch::given(given()).when(end).then([cancelled.clone()]);
    assert!(!state.has(BatchFile::Output) && state.has(BatchFile::Errors));
    Batch::given([given(), vec![cancelled]].concat()).when(cancel()).then_nothing();
    Batch::given(uploaded()).when(cancel()).then_refused("batch_not_started");
    let done = Event::BatchCompleted(BatchCompleted { progress: counts(3, 0, 0) });
    Batch::given([running(), vec![done]].concat()).when(cancel()).then_refused("batch_ended");
}

#[test]
fn files_are_deleted_each_by_itself_and_never_under_a_batch_that_runs() {
    let delete = |file| Command::DeleteBatchFile(DeleteBatchFile { file });
    let state = Batch::given([opened()]).when(delete(BatchFile::Input)).then([deleted(BatchFile::Input)]);
    assert_eq!((LlmBatch::status(&state), LlmBatch::is_terminal(&state)), ("deleted", true));
    let gone = || vec![opened(), deleted(BatchFile::Input)];
    Batch::given(gone()).when(add(1, &text(1))).then_refused("file_deleted");
    let whole = [uploaded(), vec![deleted(BatchFile::Input)]].concat();
    Batch::given(whole).when(Command::StartBatch(start())).then_refused("file_deleted");
    Batch::given(gone()).when(delete(BatchFile::Input)).then_nothing();
    Batch::given(running()).when(delete(BatchFile::Input)).then_refused("batch_running");
    Batch::given(uploaded()).when(delete(BatchFile::Output)).then_refused("not_found");
    let done = [running(), vec![Event::BatchCompleted(BatchCompleted { progress: counts(3, 1, 0) })]].concat();
    let state = Batch::given(done.clone()).when(delete(BatchFile::Input)).after();
    assert!(!state.has(BatchFile::Input) && state.has(BatchFile::Output) && !LlmBatch::is_terminal(&state));
    let all = [done, BatchFile::ALL.map(deleted).to_vec()].concat();
    let state = Batch::given(all).state().clone();
    assert!(LlmBatch::is_terminal(&state) && LlmBatch::status(&state) == "completed", "the batch itself stays");
}

#[test]
fn a_batchs_requests_have_ids_of_their_own_that_never_change() {
    let batch = stream::<LlmBatch>();
    let one = request_stream(&batch, 1);
    assert_eq!((one.tenant, one.aggregate), (TENANT, Aggregate::LlmRequest));
    assert_eq!(one.id, Uuid::new_v5(&batch.id, b"request/1"));
    assert_ne!(one.id, request_stream(&batch, 11).id);
}

#[test]
fn what_a_batch_shows_can_be_filtered() {
    let state = Batch::given(running()).state().clone();
    assert_eq!(LlmBatch::facet(&state, "file"), ["input"]);
    assert_eq!(LlmBatch::facet(&state, "batch"), ["yes"]);
    assert_eq!(LlmBatch::facet(&state, "operation"), ["chat_completion"]);
    let view = LlmBatch::view(&state);
    assert_eq!((&view["requests"], &view["filename"]), (&3.into(), &"night.jsonl".into()));
    let sealed = Personal::Absent;
    Batch::given([opened()])
        .when(Command::AddBatchPart(AddBatchPart { part: 1, text: sealed }))
        .then_refused("invalid");
}

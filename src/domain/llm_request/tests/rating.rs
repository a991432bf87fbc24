use super::*;
use crate::domain::common::TEXT_BYTES_MAX;
use proptest::prelude::*;

fn answered() -> Vec<Event> {
    vec![submitted(), started(1), failed(1), started(2), completion(2).into()]
}

fn rate(score: f64) -> RateAnswer {
    RateAnswer { score, comment: Personal::Absent }
}

fn rated(rater: Option<&str>, before_millionths: Option<i64>, after_millionths: i64) -> Event {
    let rater = rater.map(str::to_owned);
    AnswerRated { model: large(), rater, before_millionths, after_millionths, comment: Personal::Absent }.into()
}

fn rate_as(state: &State, rater: Option<&str>, command: RateAnswer) -> Result<Decision<Event>, Rejection> {
    let mut envelope = Envelope::new(Uuid::from_u128(9), stream::<LlmRequest>());
    envelope.actor = rater.map(str::to_owned);
    let context = Context { now: NOW, envelope: &envelope, version: 5, world: &World::default() };
    LlmRequest::decide(state, &command.into(), &context)
}

#[test]
fn an_answer_is_rated_and_a_second_rating_of_the_same_rater_replaces_the_first() {
    let state = Request::given(answered()).when(rate(0.25)).then([rated(None, None, 250_000)]);
    assert_eq!(state.status, Status::Completed);
    let mut history = answered();
    history.push(rated(None, None, 250_000));
    let state = Request::given(history.clone()).when(rate(1.0)).then([rated(None, Some(250_000), 1_000_000)]);
    assert_eq!(state.ratings, [Rating { rater: None, score_millionths: 1_000_000 }]);
    Request::given(history.clone()).when(rate(0.25)).then_nothing();
    let state = Request::given(history).state().clone();
    let decision = rate_as(&state, Some("ada"), rate(0.5)).unwrap();
    assert_eq!(decision, Decision::event(rated(Some("ada"), None, 500_000)), "another rater has a rating of its own");
}

#[test]
fn only_an_answer_is_rated_and_only_from_nothing_to_perfect() {
    for history in [vec![submitted()], vec![submitted(), started(1)], vec![submitted(), gave_up(0, None)]] {
        Request::given(history).when(rate(0.5)).then_refused("not_completed");
    }
    Request::given([]).when(rate(0.5)).then_refused("not_found");
    for score in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let refused = rate_as(Request::given(answered()).state(), None, rate(score)).unwrap_err();
        assert_eq!(refused.code, "invalid", "{score}");
    }
}

#[test]
fn a_comment_is_kept_where_prompts_are() {
    let comment = || RateAnswer { score: 0.5, comment: "to the point".into() };
    let kept = |storage: PromptStorage| {
        let request = Submission { storage, ..submission() };
        let history = [RequestSubmitted { request }.into(), started(1), completion(1).into()];
        let outcome = Request::given(history).when(comment());
        let [Event::AnswerRated(event)] = outcome.events() else { panic!("{:?}", outcome.events()) };
        event.comment.clone()
    };
    assert_eq!(kept(PromptStorage::Full), "to the point".into());
    assert!(kept(PromptStorage::Hashed).is_absent() && kept(PromptStorage::None).is_absent());
    let mut history = answered();
    history.push(rated(None, None, 500_000));
    let outcome = Request::given(history).when(comment());
    assert_eq!(outcome.events().len(), 1, "a comment is news although the score is not");
    let long = RateAnswer { score: 0.5, comment: "x".repeat(TEXT_BYTES_MAX + 1).as_str().into() };
    Request::given(answered()).when(long).then_refused("invalid");
}

#[test]
fn raters_are_bounded_and_those_who_rated_can_rate_anew() {
    let raters = (0..RATERS_MAX).map(|number| rated(Some(&format!("r{number}")), None, 500_000));
    let state = Request::given(answered().into_iter().chain(raters)).state().clone();
    assert_eq!(rate_as(&state, Some("late"), rate(0.5)).unwrap_err().code, "too_many_ratings");
    assert!(rate_as(&state, Some("r7"), rate(0.75)).is_ok());
    assert_eq!(LlmRequest::view(&state)["rating"], 0.5);
}

proptest! {
    /// Whoever adds up what events say has the sum of what stands, exactly.
    #[test]
    fn what_ratings_add_up_to_is_what_stands(ratings in prop::collection::vec((0u8..5, 0.0f64..=1.0), 0..40)) {
        let mut state = Request::given(answered()).state().clone();
        let (mut raters, mut sum) = (0, 0);
        for (rater, score) in ratings {
            let decision = rate_as(&state, Some(&rater.to_string()), rate(score)).expect("taken");
            for event in decision.events {
                let Event::AnswerRated(rated) = &event else { unreachable!() };
                raters += i64::from(rated.before_millionths.is_none());
                sum += rated.after_millionths - rated.before_millionths.unwrap_or(0);
                LlmRequest::evolve(&mut state, &event, &crate::domain::spec::meta(stream::<LlmRequest>(), 9));
            }
        }
        prop_assert_eq!(raters, state.ratings.len() as i64);
        prop_assert_eq!(sum, state.ratings.iter().map(|rating| rating.score_millionths).sum::<i64>());
    }
}

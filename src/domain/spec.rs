//! Given, when, then: the harness that every aggregate's tests are written in.
//!
//! `Spec::<Agent>::given(events).when(command).then(events)`. Versions count the given events, the clock stands at
//! [`NOW`], the stream is [`stream`]; what the decision may see of other streams is put in with `seeing`.

use super::decider::{Context, Decider, Decision, Rejection, Seen, World};
use super::envelope::{Envelope, EventMeta, Micros};
use super::id::{StreamId, TenantId, event_id};
use super::{AnyState, Sieve, wire::Wire};
use std::sync::Arc;
use uuid::Uuid;

/// 2026-01-01T00:00:00Z.
pub const NOW: Micros = 1_767_225_600_000_000;
pub const TENANT: TenantId = TenantId(Uuid::from_u128(0xaaaa_0000_0000_4000_8000_0000_0000_0001));

/// The stream that a spec is about.
pub fn stream<D: Decider>() -> StreamId {
    StreamId::new(TENANT, D::AGGREGATE, Uuid::from_u128(0xbbbb_0000_0000_4000_8000_0000_0000_0002))
}

pub struct Spec<D: Decider> {
    stream: StreamId,
    state: D::State,
    version: u64,
    world: World,
}

pub struct Outcome<D: Decider> {
    before: D::State,
    version: u64,
    stream: StreamId,
    result: Result<Decision<D::Event>, Rejection>,
}

impl<D: Decider> Spec<D> {
    pub fn given(events: impl IntoIterator<Item = D::Event>) -> Self {
        Self::given_stream(stream::<D>(), events)
    }

    pub fn given_stream(stream: StreamId, events: impl IntoIterator<Item = D::Event>) -> Self {
        let mut spec = Self { stream, state: D::State::default(), version: 0, world: World::default() };
        for event in events {
            spec.version += 1;
            let event = through_the_wire::<D>(&event);
            D::evolve(&mut spec.state, &event, &meta(stream, spec.version));
            passes_its_sieve::<D>(&spec.state);
        }
        spec
    }

    /// Puts the head of another stream into view.
    pub fn seeing(mut self, stream: StreamId, version: u64, state: AnyState) -> Self {
        self.world.insert(stream, Seen { version, state: Arc::new(state) });
        self
    }

    /// Puts the providers that the tenant may use into view.
    pub fn seeing_providers(mut self, mut providers: Vec<(StreamId, u64, AnyState)>) -> Self {
        providers.sort_by_key(|(stream, ..)| *stream);
        let providers = providers
            .into_iter()
            .map(|(stream, version, state)| (stream, Seen { version, state: Arc::new(state) }))
            .collect();
        self.world.insert_providers(self.stream.tenant, Arc::new(providers));
        self
    }

    pub fn state(&self) -> &D::State {
        &self.state
    }

    pub fn when(self, command: impl Into<D::Command>) -> Outcome<D> {
        let command = command.into();
        let mut bytes = Vec::new();
        command.encode(&mut bytes).expect("a command fits its schema");
        let fingerprint = D::Command::codec(command.name()).expect("declared").fingerprint;
        let command = D::Command::decode(command.name(), fingerprint, &bytes).expect("and comes back");
        let envelope = Envelope::new(Uuid::from_u128(0xcccc_0000_0000_4000_8000_0000_0000_0003), self.stream);
        let context = Context { now: NOW, envelope: &envelope, version: self.version, world: &self.world };
        let result = D::decide(&self.state, &command, &context);
        Outcome { before: self.state, version: self.version, stream: self.stream, result }
    }
}

impl<D: Decider> Outcome<D> {
    /// The command is applied with exactly these events. Returns the state after them.
    #[track_caller]
    pub fn then(self, events: impl IntoIterator<Item = D::Event>) -> D::State {
        let events: Vec<_> = events.into_iter().collect();
        let decision = self.result.as_ref().expect("applied");
        assert_eq!(decision.refusal, None);
        assert_eq!(decision.events, events);
        self.after()
    }

    /// The command is applied and changes nothing.
    #[track_caller]
    pub fn then_nothing(self) {
        assert_eq!(self.result, Ok(Decision::unchanged()));
    }

    /// The command is refused with this code. Returns the rejection.
    #[track_caller]
    pub fn then_refused(self, code: &str) -> Rejection {
        let rejection = match self.result {
            Err(rejection) => rejection,
            Ok(decision) => decision.refusal.expect("refused"),
        };
        assert_eq!(rejection.code, code, "{}", rejection.message);
        rejection
    }

    /// The events, whatever they are.
    #[track_caller]
    pub fn events(&self) -> &[D::Event] {
        &self.result.as_ref().expect("decided").events
    }

    /// The state after the events.
    #[track_caller]
    pub fn after(self) -> D::State {
        let mut state = self.before;
        for (step, event) in self.result.expect("decided").events.iter().enumerate() {
            let event = through_the_wire::<D>(event);
            D::evolve(&mut state, &event, &meta(self.stream, self.version + 1 + step as u64));
            passes_its_sieve::<D>(&state);
            has_values_that_may_be_asked_for::<D>(&state);
        }
        state
    }
}

/// The metadata of a spec's event.
pub fn meta(stream: StreamId, version: u64) -> EventMeta {
    EventMeta { stream, version, recorded_at: NOW, event_id: event_id(Uuid::from_u128(u128::from(version)), 0) }
}

/// A list that asks for what a state has finds it, whatever the state.
fn passes_its_sieve<D: Decider>(state: &D::State) {
    let bytes = postcard::to_stdvec(state).expect("a state is written");
    for filter in D::VERBATIM {
        for value in D::facet(state, filter) {
            let asked = [(*filter, std::slice::from_ref(&value))];
            assert!(Sieve::new(D::AGGREGATE, asked).lets_through(&bytes), "{filter} {value:?}");
        }
    }
}

/// Nothing that a list may be asked for is taken for a mistake, whatever the state.
fn has_values_that_may_be_asked_for<D: Decider>(state: &D::State) {
    let values = D::FILTERS.iter().map(|filter| (*filter, D::facet(state, filter)));
    for (filter, values) in values.chain([("status", vec![D::status(state).to_owned()])]) {
        let choices = D::AGGREGATE.choices(filter);
        let is_known = |value: &String| choices.is_empty() || choices.contains(&value.as_str());
        assert!(values.iter().all(is_known), "{filter} is {values:?}, and not of {choices:?}");
    }
}

/// Every event that a spec touches goes through its Avro bytes once, so that no test passes on a record that could not
/// be stored.
fn through_the_wire<D: Decider>(event: &D::Event) -> D::Event {
    let mut bytes = Vec::new();
    event.encode(&mut bytes).unwrap_or_else(|error| panic!("{event:?} does not fit its schema: {error}"));
    let fingerprint = D::Event::codec(event.name()).expect("declared").fingerprint;
    let back = D::Event::decode(event.name(), fingerprint, &bytes).expect("what was written can be read");
    assert_eq!(&back, event);
    back
}

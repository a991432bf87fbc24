//! The shape of every aggregate: a pure decider.
//!
//! *Given* a state, *when* a command comes, *then* there are events, or a rejection that says why. Nothing here, and
//! nothing below `domain/`, is async, reads a clock, draws a random number or does I/O.

use super::envelope::{Envelope, EventMeta, Micros};
use super::id::{StreamId, TenantId};
use super::{Aggregate, AnyCommand, AnyState};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// One kind of stream. Implemented once per folder under `domain/` and registered in `aggregates!`.
pub trait Decider: 'static {
    const AGGREGATE: Aggregate;
    type Command: super::wire::Wire;
    type Event: super::wire::Wire;
    type State: Default + Clone + Serialize + DeserializeOwned + Send + Sync + 'static;

    /// Which other aggregates `decide` wants to see. Asked before `decide`, on the same state.
    fn lookups(_state: &Self::State, _command: &Self::Command, _envelope: &Envelope) -> Vec<Lookup> {
        Vec::new()
    }

    fn decide(
        state: &Self::State,
        command: &Self::Command,
        context: &Context<'_>,
    ) -> Result<Decision<Self::Event>, Rejection>;

    fn evolve(state: &mut Self::State, event: &Self::Event, meta: &EventMeta);

    /// No command can change a stream in a terminal state any more.
    fn is_terminal(state: &Self::State) -> bool;

    /// One lower-case word, shown as `status` of the resource.
    fn status(state: &Self::State) -> &'static str;

    /// What this stream depends on, in this state: written by the index step as edges, and read by the reactions of the
    /// aggregates named here. Absolute: the whole set, every time.
    fn depends_on(_state: &Self::State, _stream: &StreamId) -> Vec<StreamId> {
        Vec::new()
    }

    /// Until when the stream is open, where open ones have to be found again by whoever claims their log; see
    /// [`open`](super::open). It must not change while the stream stays open, or the anchor changes with it.
    fn open_until(_state: &Self::State) -> Option<Micros> {
        None
    }

    /// Whether anything can follow from this event at all. Only a saving: `react` decides.
    fn may_react(_event: &Self::Event) -> bool {
        true
    }

    /// Which heads `react` wants to see. They are read after this event's own index rows are written.
    fn reaction_lookups(_event: &Self::Event, _state: &Self::State, _meta: &EventMeta) -> Vec<Lookup> {
        Vec::new()
    }

    /// The follow-up commands of an event; `state` is the one that it led to.
    fn react(_event: &Self::Event, _state: &Self::State, _meta: &EventMeta, _world: &World) -> Vec<Reaction> {
        Vec::new()
    }

    /// The resource as the read side shows it: a JSON object without `id`, `version`, `status` and the times, which the
    /// read side adds.
    fn view(state: &Self::State) -> serde_json::Map<String, serde_json::Value>;

    /// The filters that a list of this resource takes, beside `status`.
    const FILTERS: &'static [&'static str];

    /// The values of one of [`Self::FILTERS`]; a row passes a filter when any of them equals it.
    fn facet(state: &Self::State, filter: &str) -> Vec<String>;

    /// All values that `status`, or one of [`Self::FILTERS`], can have where these are few and known; empty where any text
    /// may be one.
    fn choices(filter: &str) -> Vec<&'static str>;

    /// Those of [`Self::FILTERS`] whose values the state itself holds, as text or as an id; see [`Sieve`](super::Sieve).
    const VERBATIM: &'static [&'static str];

    /// Whether the replica that a node searches in holds this resource. What comes and goes with every request does not
    /// belong there.
    const SEARCHED: bool = true;

    /// What a search looks through. Nothing personal: it would outlive its key.
    fn texts(_state: &Self::State) -> Vec<Text<'_>> {
        Vec::new()
    }
}

/// A text of a resource in which its words are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text<'a> {
    /// What readers know it by: the field of the view that it is in, in the singular where that holds many.
    pub field: &'static str,
    pub weight: Weight,
    pub text: &'a str,
}

impl<'a> Text<'a> {
    pub fn name(field: &'static str, text: &'a str) -> Self {
        Self { field, weight: Weight::Name, text }
    }

    pub fn keyword(field: &'static str, text: &'a str) -> Self {
        Self { field, weight: Weight::Keyword, text }
    }

    pub fn prose(field: &'static str, text: &'a str) -> Self {
        Self { field, weight: Weight::Prose, text }
    }

    /// One keyword after the other.
    pub fn keywords(field: &'static str, texts: &'a [String]) -> impl Iterator<Item = Self> {
        texts.iter().map(move |text| Self::keyword(field, text))
    }
}

/// How much it says of a resource that a word is found in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Weight {
    Prose,
    Keyword,
    Name,
}

impl Weight {
    pub const ALL: [Self; 3] = [Self::Prose, Self::Keyword, Self::Name];
}

/// What `decide` wants to see of the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lookup {
    /// The head of one stream.
    Stream(StreamId),
    /// The heads of all LLM providers that this tenant may use: its own and the shared ones.
    Providers(TenantId),
}

/// All that a decision may see beside its own stream's state and the command.
pub struct Context<'a> {
    /// What `recorded_at` will be.
    pub now: Micros,
    pub envelope: &'a Envelope,
    /// The stream's version before this command; 0 when nothing was ever recorded.
    pub version: u64,
    pub world: &'a World,
}

/// The heads of other streams, as the index shows them.
#[derive(Default)]
pub struct World {
    heads: HashMap<StreamId, Seen>,
    providers: BTreeMap<TenantId, Arc<Vec<(StreamId, Seen)>>>,
}

/// The head of another stream: its version and its state at that version.
#[derive(Clone)]
pub struct Seen {
    pub version: u64,
    pub state: Arc<AnyState>,
}

impl World {
    pub fn insert(&mut self, stream: StreamId, seen: Seen) {
        self.heads.insert(stream, seen);
    }

    /// `providers` must be sorted by stream.
    pub fn insert_providers(&mut self, tenant: TenantId, providers: Arc<Vec<(StreamId, Seen)>>) {
        self.providers.insert(tenant, providers);
    }

    /// The version and state of a stream that was looked up; `None` when nothing is recorded of it.
    pub fn get<D: Decider>(&self, stream: &StreamId) -> Option<(u64, &D::State)> {
        let seen = self.heads.get(stream)?;
        Some((seen.version, seen.state.as_any().downcast_ref()?))
    }

    /// The providers that a tenant may use, in the order of their streams.
    pub fn providers<D: Decider>(&self, tenant: TenantId) -> impl Iterator<Item = (StreamId, u64, &D::State)> {
        self.providers
            .get(&tenant)
            .into_iter()
            .flat_map(|all| all.iter())
            .filter_map(|(stream, seen)| Some((*stream, seen.version, seen.state.as_any().downcast_ref()?)))
    }
}

/// The result of deciding: events, and a rejection beside them where the refusal itself is history.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision<E> {
    pub events: Vec<E>,
    pub refusal: Option<Rejection>,
}

impl<E> Decision<E> {
    /// The command is right and changes nothing: applied, with the version as it was.
    pub fn unchanged() -> Self {
        Self { events: Vec::new(), refusal: None }
    }

    pub fn event(event: E) -> Self {
        Self { events: vec![event], refusal: None }
    }

    pub fn events(events: Vec<E>) -> Self {
        Self { events, refusal: None }
    }

    /// Refused, and the refusal is an event of the stream.
    pub fn refused_with(event: E, rejection: Rejection) -> Self {
        Self { events: vec![event], refusal: Some(rejection) }
    }
}

/// Why a command was refused: a stable code for programs, a sentence for people that says what to do, and the facts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rejection {
    pub code: String,
    pub message: String,
    #[serde(default)]
    pub details: BTreeMap<String, String>,
}

impl Rejection {
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: message.into(), details: BTreeMap::new() }
    }

    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.details.insert(key.into(), value.to_string());
        self
    }

    /// The stream is there already and says something else.
    pub fn already_exists(what: &str) -> Self {
        Self::new("already_exists", format!("this {what} exists already; revise it, or use another subject"))
    }

    /// Nothing is recorded of this stream.
    pub fn not_found(what: &str) -> Self {
        Self::new("not_found", format!("there is no such {what} in this tenant; check the subject and the tenant"))
    }

    /// A value is outside what the field allows.
    pub fn invalid(field: &str, why: impl Into<String>) -> Self {
        let why = why.into();
        Self::new("invalid", format!("{field}: {why}")).with("field", field)
    }

    /// The state machine has no such move.
    pub fn illegal_transition(from: &str, to: &str, allowed: &[&str]) -> Self {
        let allowed = if allowed.is_empty() { "none, the state is final".to_owned() } else { allowed.join(", ") };
        Self::new("illegal_transition", format!("cannot go from {from} to {to}; allowed from {from}: {allowed}"))
            .with("from", from)
            .with("to", to)
    }
}

/// What follows from an event, outside its own stream.
#[derive(Clone, Debug, PartialEq)]
pub enum Reaction {
    /// One command to one stream.
    Send { name: &'static str, to: StreamId, command: AnyCommand },
    /// The same command to every stream of the kind `to` that depends on `from`; sent in bounded pages.
    FanOut { name: &'static str, from: StreamId, to: Aggregate, command: AnyCommand },
}

impl AnyState {
    fn as_any(&self) -> &dyn Any {
        self.inner()
    }
}

//! The one registration line per aggregate, and what follows from it: the enums over all aggregates and their dispatch.

/// Declares the aggregates. Each line names the folder, the type that implements [`Decider`](super::Decider), its name
/// in topics and types, and its plural in URLs.
macro_rules! aggregates {
    ($($(#[$meta:meta])* $folder:ident: $kind:ident, $name:literal, $plural:literal;)+) => {
        $(pub mod $folder;)+

        /// The kinds of streams. The order is part of the folder's and the record's format: append only.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[repr(u8)]
        pub enum Aggregate { $($kind),+ }

        impl Aggregate {
            pub const ALL: &'static [Aggregate] = &[$(Aggregate::$kind),+];

            /// As in topics, event types and schema folders.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),+ }
            }

            /// As in URLs.
            pub fn plural(self) -> &'static str {
                match self { $(Self::$kind => $plural),+ }
            }

            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($name => Some(Self::$kind),)+ _ => None }
            }

            pub fn from_plural(plural: &str) -> Option<Self> {
                match plural { $($plural => Some(Self::$kind),)+ _ => None }
            }

            pub fn from_code(code: u8) -> Option<Self> {
                Self::ALL.get(usize::from(code)).copied()
            }

            /// Names of the commands that this aggregate takes.
            pub fn commands(self) -> &'static [&'static str] {
                match self { $(Self::$kind => <<$folder::$kind as Decider>::Command as wire::Wire>::NAMES),+ }
            }

            /// Names of the events that this aggregate records.
            pub fn events(self) -> &'static [&'static str] {
                match self { $(Self::$kind => <<$folder::$kind as Decider>::Event as wire::Wire>::NAMES),+ }
            }

            /// The schema of a command or an event.
            pub fn codec(self, record: &str) -> Option<&'static wire::Codec> {
                match self {
                    $(Self::$kind => <<$folder::$kind as Decider>::Command as wire::Wire>::codec(record)
                        .or_else(|| <<$folder::$kind as Decider>::Event as wire::Wire>::codec(record))),+
                }
            }

            /// The schemas of all commands and events of all aggregates.
            pub fn codecs() -> impl Iterator<Item = &'static wire::Codec> {
                Self::ALL.iter().flat_map(|aggregate| {
                    let names = aggregate.commands().iter().chain(aggregate.events());
                    names.filter_map(|name| aggregate.codec(name))
                })
            }

            /// The filters that a list of this resource takes, beside `status`.
            pub fn filters(self) -> &'static [&'static str] {
                match self { $(Self::$kind => <$folder::$kind as Decider>::FILTERS),+ }
            }

            /// Those of them whose values stand in a state's bytes.
            pub fn verbatim(self) -> &'static [&'static str] {
                match self { $(Self::$kind => <$folder::$kind as Decider>::VERBATIM),+ }
            }

            /// The filters with `status`, first.
            pub fn all_filters(self) -> impl Iterator<Item = &'static str> {
                std::iter::once("status").chain(self.filters().iter().copied())
            }

            /// All values that a filter can have, where any other is a mistake; empty where it takes any text. A list has
            /// nothing that is absent.
            pub fn choices(self, filter: &str) -> Vec<&'static str> {
                let mut choices = match self { $(Self::$kind => <$folder::$kind as Decider>::choices(filter)),+ };
                choices.retain(|choice| *choice != "absent");
                choices
            }

            /// Whether the replica that a node searches in holds this resource.
            pub fn is_searched(self) -> bool {
                match self { $(Self::$kind => <$folder::$kind as Decider>::SEARCHED),+ }
            }
        }

        /// A command of any aggregate.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyCommand { $($kind(Box<<$folder::$kind as Decider>::Command>)),+ }

        impl AnyCommand {
            pub fn aggregate(&self) -> Aggregate {
                match self { $(Self::$kind(_) => Aggregate::$kind),+ }
            }
            pub fn name(&self) -> &'static str {
                match self { $(Self::$kind(command) => wire::Wire::name(&**command)),+ }
            }
            pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), wire::WireError> {
                match self { $(Self::$kind(command) => wire::Wire::encode(&**command, out)),+ }
            }
            pub fn decode(aggregate: Aggregate, name: &str, fingerprint: u64, bytes: &[u8]) -> Result<Self, wire::WireError> {
                match aggregate {
                    $(Aggregate::$kind => wire::Wire::decode(name, fingerprint, bytes).map(|c| Self::$kind(Box::new(c)))),+
                }
            }
            pub fn from_json(aggregate: Aggregate, name: &str, json: &[u8]) -> Result<Self, wire::WireError> {
                match aggregate {
                    $(Aggregate::$kind => wire::Wire::from_json(name, json).map(|c| Self::$kind(Box::new(c)))),+
                }
            }
            pub fn to_json(&self) -> serde_json::Value {
                match self { $(Self::$kind(command) => wire::Wire::to_json(&**command)),+ }
            }
        }

        $(
            impl From<<$folder::$kind as Decider>::Command> for AnyCommand {
                fn from(command: <$folder::$kind as Decider>::Command) -> Self {
                    Self::$kind(Box::new(command))
                }
            }
        )+

        /// An event of any aggregate.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyEvent { $($kind(Box<<$folder::$kind as Decider>::Event>)),+ }

        impl AnyEvent {
            pub fn name(&self) -> &'static str {
                match self { $(Self::$kind(event) => wire::Wire::name(&**event)),+ }
            }
            pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), wire::WireError> {
                match self { $(Self::$kind(event) => wire::Wire::encode(&**event, out)),+ }
            }
            pub fn decode(aggregate: Aggregate, name: &str, fingerprint: u64, bytes: &[u8]) -> Result<Self, wire::WireError> {
                match aggregate {
                    $(Aggregate::$kind => wire::Wire::decode(name, fingerprint, bytes).map(|e| Self::$kind(Box::new(e)))),+
                }
            }
            pub fn to_json(&self) -> serde_json::Value {
                match self { $(Self::$kind(event) => wire::Wire::to_json(&**event)),+ }
            }
            /// Whether anything can follow from this event: spares the rest its state.
            pub fn may_react(&self) -> bool {
                match self { $(Self::$kind(event) => <$folder::$kind as Decider>::may_react(event)),+ }
            }
            /// The heads that this event's reactions want to see.
            pub fn reaction_lookups(&self, state: &AnyState, meta: &EventMeta) -> Vec<Lookup> {
                match (self, state) {
                    $((Self::$kind(event), AnyState::$kind(state)) =>
                        <$folder::$kind as Decider>::reaction_lookups(event, state, meta),)+
                    _ => Vec::new(),
                }
            }
            /// The event's follow-up commands; `state` is the one that it led to.
            pub fn react(&self, state: &AnyState, meta: &EventMeta, world: &World) -> Vec<Reaction> {
                match (self, state) {
                    $((Self::$kind(event), AnyState::$kind(state)) =>
                        <$folder::$kind as Decider>::react(event, state, meta, world),)+
                    _ => Vec::new(),
                }
            }
        }

        /// The state of a stream of any aggregate.
        #[derive(Clone, Debug, PartialEq)]
        pub enum AnyState { $($kind(Box<<$folder::$kind as Decider>::State>)),+ }

        impl AnyState {
            pub fn initial(aggregate: Aggregate) -> Self {
                match aggregate { $(Aggregate::$kind => Self::$kind(Box::default())),+ }
            }

            /// The state as a blob of the derived stores.
            ///
            /// # Errors
            /// Never for the states there are; postcard's signature allows one.
            pub fn to_blob(&self) -> Result<Vec<u8>, postcard::Error> {
                match self { $(Self::$kind(state) => postcard::to_stdvec(&**state)),+ }
            }

            pub fn from_blob(aggregate: Aggregate, blob: &[u8]) -> Result<Self, postcard::Error> {
                match aggregate { $(Aggregate::$kind => postcard::from_bytes(blob).map(|s| Self::$kind(Box::new(s)))),+ }
            }

            pub(in crate::domain) fn inner(&self) -> &dyn std::any::Any {
                match self { $(Self::$kind(state) => &**state as &dyn std::any::Any),+ }
            }

            pub fn lookups(&self, command: &AnyCommand, envelope: &Envelope) -> Vec<Lookup> {
                match (self, command) {
                    $((Self::$kind(state), AnyCommand::$kind(command)) =>
                        <$folder::$kind as Decider>::lookups(state, command, envelope),)+
                    _ => Vec::new(),
                }
            }

            /// Decides a command. A command of another aggregate is refused; routing lets none come here.
            pub fn decide(&self, command: &AnyCommand, context: &Context<'_>) -> Result<Decision<AnyEvent>, Rejection> {
                match (self, command) {
                    $((Self::$kind(state), AnyCommand::$kind(command)) => {
                        let decision = <$folder::$kind as Decider>::decide(state, command, context)?;
                        Ok(Decision {
                            events: decision.events.into_iter().map(|event| AnyEvent::$kind(Box::new(event))).collect(),
                            refusal: decision.refusal,
                        })
                    })+
                    _ => Err(Rejection::new("wrong_aggregate", "this command belongs to another kind of stream")),
                }
            }

            /// An event of another aggregate leaves the state as it is; the log's reader has checked the kind.
            pub fn evolve(&mut self, event: &AnyEvent, meta: &EventMeta) {
                match (self, event) {
                    $((Self::$kind(state), AnyEvent::$kind(event)) => <$folder::$kind as Decider>::evolve(state, event, meta),)+
                    _ => {}
                }
            }

            pub fn is_terminal(&self) -> bool {
                match self { $(Self::$kind(state) => <$folder::$kind as Decider>::is_terminal(state)),+ }
            }
            pub fn status(&self) -> &'static str {
                match self { $(Self::$kind(state) => <$folder::$kind as Decider>::status(state)),+ }
            }
            pub fn depends_on(&self, stream: &StreamId) -> Vec<StreamId> {
                match self { $(Self::$kind(state) => <$folder::$kind as Decider>::depends_on(state, stream)),+ }
            }
            pub fn open_until(&self) -> Option<Micros> {
                match self { $(Self::$kind(state) => <$folder::$kind as Decider>::open_until(state)),+ }
            }
            pub fn view(&self) -> serde_json::Map<String, serde_json::Value> {
                match self { $(Self::$kind(state) => <$folder::$kind as Decider>::view(state)),+ }
            }
            pub fn facet(&self, filter: &str) -> Vec<String> {
                match self { $(Self::$kind(state) => <$folder::$kind as Decider>::facet(state, filter)),+ }
            }
            /// What a search looks through.
            pub fn texts(&self) -> Vec<Text<'_>> {
                match self { $(Self::$kind(state) => <$folder::$kind as Decider>::texts(state)),+ }
            }
        }
    };
}
pub(super) use aggregates;

//! A sieve: tells from a state's bytes, before they are read, that its resource does not pass a filter.
//!
//! In the bytes of a state texts stand as they are and ids as their 16 bytes (postcard). A resource that has a value has
//! its bytes somewhere, so where they are not, it need not be read; where they are, it must be, for they may belong to
//! another field. Of which filters this holds each aggregate says, and the harness of its tests holds every state to it.

use super::Aggregate;
use memchr::memmem::{Finder, FinderBuilder, Prefilter};
use uuid::Uuid;

/// What the bytes of a state must hold: of each filter any.
#[derive(Clone, Debug)]
pub struct Sieve {
    filters: Vec<Vec<Finder<'static>>>,
}

impl Sieve {
    /// From filters and the values of which one is to be had.
    pub fn new<'a>(aggregate: Aggregate, filters: impl IntoIterator<Item = (&'a str, &'a [String])>) -> Self {
        let verbatim = aggregate.verbatim();
        let filters = filters.into_iter().filter(|(name, _)| verbatim.contains(name));
        Self { filters: filters.map(|(_, values)| values.iter().flat_map(|value| forms(value)).collect()).collect() }
    }

    /// `false` where the resource of these bytes cannot pass.
    pub fn lets_through(&self, state: &[u8]) -> bool {
        self.filters.iter().all(|forms| forms.iter().any(|form| form.find(state).is_some()))
    }
}

/// The bytes that a value may stand as.
fn forms(value: &str) -> impl Iterator<Item = Finder<'static>> {
    // States are a few hundred bytes: what speeds up long searches would cost more than it saves.
    let finder = |bytes: &[u8]| FinderBuilder::new().prefilter(Prefilter::None).build_forward(bytes).into_owned();
    let id = Uuid::parse_str(value).ok().map(|id| finder(id.as_bytes()));
    std::iter::once(finder(value.as_bytes())).chain(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::AnyState;
    use crate::domain::agent::{self, Lifecycle, Profile};

    fn bytes(profile: Profile) -> Vec<u8> {
        let state = agent::State { lifecycle: Lifecycle::Active, profile, ..agent::State::default() };
        AnyState::Agent(Box::new(state)).to_blob().unwrap()
    }

    #[test]
    fn what_does_not_have_one_value_of_each_filter_is_held_back() {
        let skills = vec!["search papers".to_owned(), "写作".to_owned()];
        let state = bytes(Profile { category: "research".into(), skills, ..Profile::default() });
        for (asked, passes) in [
            (vec![("category", vec!["research"])], true),
            (vec![("category", vec!["finance", "research"]), ("skill", vec!["写作"])], true),
            (vec![("category", vec!["finance"]), ("skill", vec!["写作"])], false),
            (vec![("category", vec!["research"]), ("skill", vec!["reading"])], false),
            // The bytes are there, of another field: it must be read.
            (vec![("category", vec!["search papers"])], true),
            // It may be of any risk tier: that is a number in the bytes.
            (vec![("risk_tier", vec!["high"]), ("status", vec!["idle"])], true),
        ] {
            let asked: Vec<_> = asked
                .into_iter()
                .map(|(name, values)| (name, values.into_iter().map(str::to_owned).collect::<Vec<_>>()))
                .collect();
            let sieve = Sieve::new(Aggregate::Agent, asked.iter().map(|(name, values)| (*name, values.as_slice())));
            assert_eq!(sieve.lets_through(&state), passes, "{asked:?}");
        }
    }
}

//! Discovery: who can do something, the best first, and why.
//!
//! What is asked for becomes words and values of filters. A skill that is asked for is also met by those below it in the
//! taxonomy, and a text by the skills of the taxonomy that it names: *who can summarise contracts* finds an agent that has
//! no such word about it, only the skill.

use super::{Error, Query, Resource};
use crate::domain::{Aggregate, AnyState, TenantId, words};
use crate::ports::search::{Among, Filter, Order, Wanted};
use std::collections::{BTreeMap, BTreeSet};

/// Most words of a discovery; further ones are left out.
pub const WORDS_MAX: usize = 32;
/// Most skills below one that count for it.
const NARROWER_MAX: usize = 1_000;
/// Most skills of the taxonomy that a text stands for.
const MEANT_MAX: usize = 5;
/// Letters of a value that a reason shows.
const SHOWN_MAX: usize = 200;
/// What a value adds to the score: asked for by name; below what was asked for; below what the text names.
const ASKED: f32 = 12.0;
const NARROWER: f32 = 9.0;
const MEANT: f32 = 4.0;

/// What a discovery asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiscoverQuery {
    pub aggregate: Aggregate,
    pub tenants: Vec<TenantId>,
    /// Any words; the more of them are found, and the rarer they are, the better.
    pub text: String,
    /// Values of filters, each of which adds to the score.
    pub wanted: Vec<Filter>,
    /// Filters that must be passed.
    pub filters: Vec<Filter>,
    pub limit: usize,
}

/// A resource that a discovery found.
#[derive(Clone, Debug, PartialEq)]
pub struct Discovered {
    pub resource: Resource,
    /// Comparable within one answer.
    pub score: f32,
    /// The strongest first.
    pub reasons: Vec<Reason>,
}

/// Why a resource was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// The field that it was found by, in the singular.
    pub field: String,
    /// What stands there; a long text is cut.
    pub value: String,
    pub because: Because,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Because {
    /// The value itself was asked for.
    Asked,
    /// It stands below a skill that was asked for.
    Below(String),
    /// It is, or stands below, a skill that the text names.
    Meant(String),
    /// These words of the text stand in it, or begin a word of it.
    Words(Vec<String>),
}

/// Values that add to the score: by filter and value, with the weight and the reason.
type Values = BTreeMap<(String, String), (f32, Because)>;

impl Query {
    /// The best matches, those that work before those that do not. What has ended is not among them.
    ///
    /// # Errors
    /// When there is no replica, or not yet.
    pub async fn discover(&self, ask: &DiscoverQuery) -> Result<Vec<Discovered>, Error> {
        let mut seen = BTreeSet::new();
        let mut asked: Vec<String> = words::words(&ask.text);
        asked.retain(|word| seen.insert(word.clone()));
        asked.truncate(WORDS_MAX);
        let values = self.values(ask, &asked).await?;
        let mut weighed: BTreeMap<(&str, u32), Vec<String>> = BTreeMap::new();
        for ((name, value), (weight, _)) in &values {
            weighed.entry((name, weight.to_bits())).or_default().push(value.clone());
        }
        let weighed = weighed
            .into_iter()
            .map(|((name, weight), values)| (Filter { name: name.to_owned(), values }, f32::from_bits(weight)));
        let wanted = Wanted {
            among: among(ask.aggregate, &ask.tenants, ask.filters.clone()),
            words: asked.clone(),
            values: weighed.collect(),
            limit: ask.limit,
        };
        let hits = self.replica()?.discover(&wanted).await?;
        let discovered = hits.iter().map(|hit| {
            let resource = Resource::from_row(&hit.row)?;
            let reasons = reasons(&resource.state, &asked, &values);
            Ok(Discovered { resource, score: hit.score, reasons })
        });
        discovered.collect()
    }

    /// What was asked for, and what stands for it.
    async fn values(&self, ask: &DiscoverQuery, words: &[String]) -> Result<Values, Error> {
        let mut values = Values::new();
        let mut add = |name: &str, value: String, weight: f32, because: Because| {
            let known = values.entry((name.to_owned(), value)).or_insert((weight, because.clone()));
            if known.0 < weight {
                *known = (weight, because);
            }
        };
        for filter in &ask.wanted {
            for value in &filter.values {
                add(&filter.name, value.clone(), ASKED, Because::Asked);
                if filter.name == "skill" {
                    for narrower in self.below(&ask.tenants, value).await? {
                        add("skill", narrower, NARROWER, Because::Below(value.clone()));
                    }
                }
            }
        }
        if ask.aggregate.filters().contains(&"skill") && !words.is_empty() {
            for meant in self.meant(&ask.tenants, words).await? {
                for narrower in self.below(&ask.tenants, &meant).await? {
                    add("skill", narrower, MEANT, Because::Meant(meant.clone()));
                }
                add("skill", meant.clone(), MEANT, Because::Meant(meant));
            }
        }
        Ok(values)
    }

    /// The skills below one, however far.
    async fn below(&self, tenants: &[TenantId], skill: &str) -> Result<Vec<String>, Error> {
        let filters = vec![active(), Filter { name: "ancestor".to_owned(), values: vec![skill.to_owned()] }];
        let among = among(Aggregate::Skill, &with_shared(tenants), filters);
        let found = self.replica()?.page(&among, &Order::Id, None, NARROWER_MAX).await?;
        let names = found.rows.iter().map(|row| Ok(Resource::from_row(row)?.state.facet("name")));
        Ok(names.collect::<Result<Vec<_>, Error>>()?.concat())
    }

    /// The skills of the taxonomy that hold every word that any of the best ones holds.
    async fn meant(&self, tenants: &[TenantId], words: &[String]) -> Result<Vec<String>, Error> {
        let among = among(Aggregate::Skill, &with_shared(tenants), vec![active()]);
        let wanted = Wanted { among, words: words.to_vec(), values: Vec::new(), limit: MEANT_MAX };
        let hits = self.replica()?.discover(&wanted).await?;
        let mut meant = Vec::new();
        for hit in &hits {
            let state = Resource::from_row(&hit.row)?.state;
            // A word of its description is too little: its name must be what the text is about.
            let names_it = state
                .texts()
                .iter()
                .any(|text| ["name", "caption"].contains(&text.field) && !found_in(text.text, words).is_empty());
            if names_it {
                meant.extend(state.facet("name"));
            }
        }
        Ok(meant)
    }
}

fn among(aggregate: Aggregate, tenants: &[TenantId], filters: Vec<Filter>) -> Among {
    Among { aggregate, tenants: Some(tenants.to_vec()), filters, updated_since: None, words: Vec::new() }
}

fn active() -> Filter {
    Filter { name: "status".to_owned(), values: vec!["active".to_owned()] }
}

/// The taxonomy is shared, and a tenant may have skills of its own.
fn with_shared(tenants: &[TenantId]) -> Vec<TenantId> {
    let shared = Some(TenantId::SHARED).filter(|shared| !tenants.contains(shared));
    tenants.iter().copied().chain(shared).collect()
}

/// Why a resource was found; the strongest reason first.
fn reasons(state: &AnyState, words: &[String], values: &Values) -> Vec<Reason> {
    let mut reasons: Vec<(f32, Reason)> = Vec::new();
    for ((field, value), (weight, because)) in values {
        if state.facet(field).contains(value) {
            let reason = Reason { field: field.clone(), value: value.clone(), because: because.clone() };
            reasons.push((*weight, reason));
        }
    }
    for text in state.texts() {
        let found = found_in(text.text, words);
        if !found.is_empty() {
            let (field, value) = (text.field.to_owned(), shortened(text.text));
            let weight = f32::from(text.weight as u8) + found.len() as f32 / WORDS_MAX as f32;
            reasons.push((weight, Reason { field, value, because: Because::Words(found) }));
        }
    }
    reasons.sort_by(|(one, _), (other, _)| other.total_cmp(one));
    reasons.into_iter().map(|(_, reason)| reason).collect()
}

/// Which of the words stand in a text, or begin a word of it, in their order.
fn found_in(text: &str, words: &[String]) -> Vec<String> {
    let mut there = BTreeSet::new();
    words::indexed(text, |word| {
        there.insert(word);
    });
    let begins = |word: &String| there.range(word.clone()..).next().is_some_and(|next| next.starts_with(word));
    let is_there = |word: &&String| there.contains(*word) || (words::may_begin(word) && begins(word));
    words.iter().filter(is_there).cloned().collect()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(SHOWN_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

//! Questions as the index understands them.

use super::dense::{Dense, Graded, Sought, Summed};
use super::fields::{Fields, Standing, UPDATED_AT, scope};
use super::longer::longer;
use crate::domain::Weight;
use crate::ports::search::{Among, Filter, Wanted};
use std::ops::Bound;
use tantivy::query::{BooleanQuery, ConstScoreQuery, Occur, Query, RangeQuery, TermQuery, TermSetQuery};
use tantivy::schema::{IndexRecordOption, Schema};
use tantivy::{Searcher, Term};

type Boxed = Box<dyn Query>;

/// The rows of a question, scored by how well its words are found: for each word the best of where it stands.
pub fn among(fields: &Fields, schema: &Schema, among: &Among) -> BooleanQuery {
    let mut clauses = restrictions(fields, schema, among);
    let scopes = scopes(fields, among, Standing::Any);
    clauses.push((Occur::Must, graded(fields, among, &scopes).unwrap_or_else(|| silent(any(scopes)))));
    BooleanQuery::new(clauses)
}

/// The rows that a discovery may find, each with its score.
///
/// # Errors
/// When the index cannot be read.
pub fn wanted(fields: &Fields, searcher: &Searcher, wanted: &Wanted) -> tantivy::Result<BooleanQuery> {
    let mut clauses = restrictions(fields, searcher.schema(), &wanted.among);
    let scopes = scopes(fields, &wanted.among, Standing::Open);
    clauses.extend(graded(fields, &wanted.among, &scopes).map(|graded| (Occur::Must, silent(graded))));
    let mut words = Vec::with_capacity(wanted.words.len() * Weight::ALL.len());
    for (word, weight) in wanted.words.iter().flat_map(|word| Weight::ALL.map(|weight| (word, weight))) {
        let field = fields.texts[weight as usize];
        let (whole, longer) = (Term::from_field_text(field, word), longer(searcher, field, word)?);
        words.push(Sought { whole, longer, boost: f32::from(grade(weight)) / 2.0 });
    }
    let values = wanted.values.iter().map(|(filter, weight)| (terms(fields, filter), *weight));
    let summed = Summed { words, values: values.collect() };
    clauses.push((Occur::Must, Box::new(Dense { scoring: summed, scopes })));
    Ok(BooleanQuery::new(clauses))
}

/// All but whose rows, and their words.
fn restrictions(fields: &Fields, schema: &Schema, among: &Among) -> Vec<(Occur, Boxed)> {
    let filters = among.filters.iter().map(|filter| (Occur::Must, silent(any(terms(fields, filter)))));
    let mut clauses: Vec<_> = filters.collect();
    if let (Some(since), Ok(field)) = (among.updated_since, schema.get_field(UPDATED_AT)) {
        let since = Bound::Included(Term::from_field_i64(field, since));
        clauses.push((Occur::Must, silent(Box::new(RangeQuery::new(since, Bound::Unbounded)))));
    }
    clauses
}

fn scopes(fields: &Fields, among: &Among, standing: Standing) -> Vec<Term> {
    let term = |tenant| Term::from_field_bytes(fields.scope, &scope(among.aggregate, tenant, standing));
    match &among.tenants {
        None => vec![term(None)],
        Some(tenants) => tenants.iter().map(|tenant| term(Some(*tenant))).collect(),
    }
}

fn any(mut terms: Vec<Term>) -> Boxed {
    match (terms.len(), terms.pop()) {
        (1, Some(term)) => Box::new(TermQuery::new(term, IndexRecordOption::Basic)),
        (_, last) => Box::new(TermSetQuery::new(terms.into_iter().chain(last))),
    }
}

/// None where no row has such a filter.
fn terms(fields: &Fields, filter: &Filter) -> Vec<Term> {
    let field = fields.value(&filter.name);
    field.iter().flat_map(|field| filter.values.iter().map(|value| Term::from_field_text(*field, value))).collect()
}

fn silent(query: Boxed) -> Boxed {
    Box::new(ConstScoreQuery::new(query, 0.0))
}

/// Rows that have every word, or one that begins so; nothing where no word is asked for.
fn graded(fields: &Fields, among: &Among, scopes: &[Term]) -> Option<Boxed> {
    let grades = Weight::ALL.map(|weight| (fields.texts[weight as usize], grade(weight)));
    let scoring = Graded { words: among.words.clone(), fields: grades };
    (!among.words.is_empty()).then(|| -> Boxed { Box::new(Dense { scoring, scopes: scopes.to_vec() }) })
}

/// A whole word's; half of it is that of its beginning.
fn grade(weight: Weight) -> u16 {
    match weight {
        Weight::Name => 8,
        Weight::Keyword => 4,
        Weight::Prose => 2,
    }
}

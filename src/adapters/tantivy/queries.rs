//! Questions as the index understands them.

use super::fields::{Fields, UPDATED_AT, scope};
use crate::domain::Weight;
use crate::ports::search::{Among, Filter, Wanted};
use std::ops::Bound;
use tantivy::query::{
    BooleanQuery, BoostQuery, ConstScoreQuery, DisjunctionMaxQuery, EmptyQuery, InvertedIndexRangeQuery, Occur, Query,
    RangeQuery, TermQuery, TermSetQuery,
};
use tantivy::schema::{Field, IndexRecordOption, Schema};
use tantivy::{Score, Term};

type Boxed = Box<dyn Query>;

/// The rows of a question. `scored` adds up how well its words are found: for each word the best of where it stands.
pub fn among(fields: &Fields, schema: &Schema, among: &Among, scored: bool) -> BooleanQuery {
    let mut clauses = restrictions(fields, schema, among);
    for word in &among.words {
        clauses.push((Occur::Must, if scored { graded(fields, word) } else { beginning(fields, word) }));
    }
    BooleanQuery::new(clauses)
}

/// The rows that a discovery may find, each with its score.
pub fn wanted(fields: &Fields, schema: &Schema, wanted: &Wanted) -> BooleanQuery {
    let mut clauses = restrictions(fields, schema, &wanted.among);
    clauses.extend(wanted.among.words.iter().map(|word| (Occur::Must, silent(beginning(fields, word)))));
    clauses.push((Occur::Must, silent(one(Term::from_field_bool(fields.open, true)))));
    let mut any: Vec<(Occur, Boxed)> = Vec::new();
    for word in &wanted.words {
        for weight in Weight::ALL {
            let term = Term::from_field_text(fields.texts[weight as usize], word);
            let rare: Boxed = Box::new(TermQuery::new(term, IndexRecordOption::WithFreqs));
            any.push((Occur::Should, Box::new(BoostQuery::new(rare, grade(weight) / 2.0))));
        }
    }
    for (filter, weight) in &wanted.values {
        any.push((Occur::Should, Box::new(ConstScoreQuery::new(values(fields, filter), *weight))));
    }
    clauses.push((Occur::Must, Box::new(BooleanQuery::new(any))));
    BooleanQuery::new(clauses)
}

fn restrictions(fields: &Fields, schema: &Schema, among: &Among) -> Vec<(Occur, Boxed)> {
    let scopes = match &among.tenants {
        None => vec![scope(among.aggregate, None)],
        Some(tenants) => tenants.iter().map(|tenant| scope(among.aggregate, Some(*tenant))).collect(),
    };
    let mut scopes: Vec<_> = scopes.iter().map(|scope| Term::from_field_bytes(fields.scope, scope)).collect();
    let scope: Boxed = match (scopes.len(), scopes.pop()) {
        (1, Some(scope)) => one(scope),
        (_, last) => Box::new(TermSetQuery::new(scopes.into_iter().chain(last))),
    };
    let mut clauses = vec![(Occur::Must, silent(scope))];
    clauses.extend(among.filters.iter().map(|filter| (Occur::Must, silent(values(fields, filter)))));
    if let (Some(since), Ok(field)) = (among.updated_since, schema.get_field(UPDATED_AT)) {
        let since = Bound::Included(Term::from_field_i64(field, since));
        clauses.push((Occur::Must, silent(Box::new(RangeQuery::new(since, Bound::Unbounded)))));
    }
    clauses
}

fn values(fields: &Fields, filter: &Filter) -> Boxed {
    let Some(field) = fields.value(&filter.name) else { return Box::new(EmptyQuery) };
    match filter.values.as_slice() {
        [value] => one(Term::from_field_text(field, value)),
        values => Box::new(TermSetQuery::new(values.iter().map(|value| Term::from_field_text(field, value)))),
    }
}

fn one(term: Term) -> Boxed {
    Box::new(TermQuery::new(term, IndexRecordOption::Basic))
}

fn silent(query: Boxed) -> Boxed {
    Box::new(ConstScoreQuery::new(query, 0.0))
}

/// Rows in which a word begins so.
fn beginning(fields: &Fields, word: &str) -> Boxed {
    Box::new(BooleanQuery::union(fields.texts.iter().map(|field| prefix(*field, word)).collect()))
}

/// The same, with the best of its grades as the score.
fn graded(fields: &Fields, word: &str) -> Boxed {
    let grades = Weight::ALL.into_iter().flat_map(|weight| {
        let (field, grade) = (fields.texts[weight as usize], grade(weight));
        let whole = one(Term::from_field_text(field, word));
        [(whole, grade), (prefix(field, word), grade / 2.0)]
    });
    let grades = grades.map(|(query, grade)| -> Boxed { Box::new(ConstScoreQuery::new(query, grade)) });
    Box::new(DisjunctionMaxQuery::new(grades.collect()))
}

/// Powers of two, so that their sums are exact in whatever order they are added.
fn grade(weight: Weight) -> Score {
    match weight {
        Weight::Name => 8.0,
        Weight::Keyword => 4.0,
        Weight::Prose => 2.0,
    }
}

fn prefix(field: Field, word: &str) -> Boxed {
    let from = Bound::Included(Term::from_field_text(field, word));
    // No letter is as great as this one, so that every word that begins so stands before it.
    let to = Bound::Excluded(Term::from_field_text(field, &format!("{word}\u{10ffff}")));
    Box::new(InvertedIndexRangeQuery::new(from, to))
}

//! The index's fields, and the document of a row.

use crate::domain::common::Health;
use crate::domain::{Aggregate, AnyState, StreamId, TenantId, Weight, words};
use crate::ports::search::Error;
use crate::ports::views::ViewRow;
use std::collections::BTreeSet;
use tantivy::schema::{
    BytesOptions, FAST, Field, INDEXED, IndexRecordOption, NumericOptions, STORED, Schema, SchemaBuilder,
    TextFieldIndexing, TextOptions,
};
use tantivy::tokenizer::{Token, TokenStream, Tokenizer};
use tantivy::{TantivyDocument, Term};

/// Of the index's content: another one is built anew. The fields are compared in any case.
pub const FORMAT: u32 = 2;
/// The name of the tokenizer of all texts.
pub const WORDS: &str = "words";

#[derive(Clone)]
pub struct Fields {
    /// [`key`]: one document has it.
    pub key: Field,
    /// Each [`scope`] that the row is in.
    pub scope: Field,
    /// By [`Weight::ALL`].
    pub texts: [Field; 3],
    /// The values of a filter, by its name.
    values: Vec<(&'static str, Field)>,
    /// Columns that are read by their names, below.
    columns: Columns,
    /// The row itself, in postcard.
    pub row: Field,
}

#[derive(Clone)]
struct Columns {
    id_high: Field,
    id_low: Field,
    tenant_high: Field,
    tenant_low: Field,
    created_at: Field,
    updated_at: Field,
    health: Field,
}

pub const ID_HIGH: &str = "id_high";
pub const ID_LOW: &str = "id_low";
pub const TENANT_HIGH: &str = "tenant_high";
pub const TENANT_LOW: &str = "tenant_low";
pub const CREATED_AT: &str = "created_at";
pub const UPDATED_AT: &str = "updated_at";
/// 0 what works or may work, 1 what works badly, 2 what does not.
pub const HEALTH: &str = "health_rank";

impl Fields {
    pub fn new() -> (Self, Schema) {
        let mut schema = SchemaBuilder::new();
        let word = TextFieldIndexing::default().set_tokenizer(WORDS).set_index_option(IndexRecordOption::WithFreqs);
        let word = TextOptions::default().set_indexing_options(word);
        let value = TextFieldIndexing::default().set_tokenizer("raw").set_index_option(IndexRecordOption::Basic);
        let value = TextOptions::default().set_indexing_options(value.set_fieldnorms(false)).set_fast("raw");
        let number = NumericOptions::default() | FAST;
        let bytes = BytesOptions::default() | INDEXED;
        let names: BTreeSet<_> = Aggregate::ALL.iter().flat_map(|aggregate| aggregate.all_filters()).collect();
        let fields = Self {
            key: schema.add_bytes_field("key", bytes.clone()),
            scope: schema.add_bytes_field("scope", bytes),
            texts: Weight::ALL.map(|weight| schema.add_text_field(text_name(weight), word.clone())),
            values: names.into_iter().map(|name| (name, schema.add_text_field(&column(name), value.clone()))).collect(),
            columns: Columns {
                id_high: schema.add_u64_field(ID_HIGH, number.clone()),
                id_low: schema.add_u64_field(ID_LOW, number.clone()),
                tenant_high: schema.add_u64_field(TENANT_HIGH, number.clone()),
                tenant_low: schema.add_u64_field(TENANT_LOW, number.clone()),
                created_at: schema.add_i64_field(CREATED_AT, number.clone()),
                updated_at: schema.add_i64_field(UPDATED_AT, number.clone()),
                health: schema.add_u64_field(HEALTH, number),
            },
            row: schema.add_bytes_field("row", BytesOptions::default() | STORED),
        };
        (fields, schema.build())
    }

    /// The field of a filter's values; `None` where no aggregate has such a filter.
    pub fn value(&self, name: &str) -> Option<Field> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
    }

    pub fn key_of(&self, stream: &StreamId) -> Term {
        Term::from_field_bytes(self.key, &key(stream))
    }

    /// # Errors
    /// When the row's state cannot be read.
    pub fn document(&self, row: &ViewRow) -> Result<TantivyDocument, Error> {
        let (stream, data) = (&row.stream, &row.data);
        let damaged = |error: postcard::Error| Error::Damaged(format!("the row of {stream}: {error}"));
        let state = AnyState::from_blob(stream.aggregate, &data.state).map_err(damaged)?;
        let mut document = TantivyDocument::new();
        document.add_bytes(self.key, &key(stream));
        for standing in [Standing::Any, Standing::Open].into_iter().take(1 + usize::from(!state.is_terminal())) {
            document.add_bytes(self.scope, &scope(stream.aggregate, None, standing));
            document.add_bytes(self.scope, &scope(stream.aggregate, Some(stream.tenant), standing));
        }
        for text in state.texts() {
            document.add_text(self.texts[text.weight as usize], text.text);
        }
        for name in stream.aggregate.all_filters() {
            let Some(field) = self.value(name) else { continue };
            values(&state, name).iter().for_each(|value| document.add_text(field, value));
        }
        let (high, low) = stream.id.as_u64_pair();
        document.add_u64(self.columns.id_high, high);
        document.add_u64(self.columns.id_low, low);
        let (high, low) = stream.tenant.0.as_u64_pair();
        document.add_u64(self.columns.tenant_high, high);
        document.add_u64(self.columns.tenant_low, low);
        document.add_i64(self.columns.created_at, data.created_at);
        document.add_i64(self.columns.updated_at, data.updated_at);
        document.add_u64(self.columns.health, health_rank(&state));
        document.add_bytes(self.row, &postcard::to_stdvec(&(stream, data)).map_err(damaged)?);
        Ok(document)
    }
}

/// The name of the column that holds a filter's values.
pub fn column(filter: &str) -> String {
    format!("value_{filter}")
}

/// A value that is named twice is there once, or it would count twice.
fn values(state: &AnyState, name: &str) -> Vec<String> {
    if name == "status" {
        return vec![state.status().to_owned()];
    }
    let mut seen = BTreeSet::new();
    let mut values = state.facet(name);
    values.retain(|value| seen.insert(value.clone()));
    values
}

fn text_name(weight: Weight) -> &'static str {
    match weight {
        Weight::Name => "name_words",
        Weight::Keyword => "keyword_words",
        Weight::Prose => "prose_words",
    }
}

fn health_rank(state: &AnyState) -> u64 {
    let health = state.facet("health");
    let is = |name: Health| health.first().is_some_and(|health| health == name.name());
    if is(Health::Offline) { 2 } else { u64::from(is(Health::Degraded)) }
}

fn key(stream: &StreamId) -> [u8; 33] {
    let mut key = [0; 33];
    key[0] = stream.aggregate as u8;
    key[1..17].copy_from_slice(stream.tenant.0.as_bytes());
    key[17..].copy_from_slice(stream.id.as_bytes());
    key
}

/// Which rows of a scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    Any = 0,
    /// Those that something can change yet.
    Open = 1,
}

/// What all rows of an aggregate share, or all of one tenant. One term for each, as the rows of a million are looked
/// through faster for one than for two.
pub fn scope(aggregate: Aggregate, tenant: Option<TenantId>, standing: Standing) -> Vec<u8> {
    let mut scope = vec![aggregate as u8, standing as u8];
    scope.extend(tenant.iter().flat_map(|tenant| *tenant.0.as_bytes()));
    scope
}

/// [`words::indexed`] for the index.
#[derive(Clone, Default)]
pub struct Words;

pub struct WordStream {
    words: std::vec::IntoIter<String>,
    token: Token,
}

impl Tokenizer for Words {
    type TokenStream<'a> = WordStream;

    fn token_stream<'a>(&'a mut self, text: &'a str) -> WordStream {
        let mut found = Vec::new();
        words::indexed(text, |word| found.push(word));
        WordStream { words: found.into_iter(), token: Token { position: usize::MAX, ..Token::default() } }
    }
}

impl TokenStream for WordStream {
    fn advance(&mut self) -> bool {
        let Some(word) = self.words.next() else { return false };
        self.token.position = self.token.position.wrapping_add(1);
        self.token.text = word;
        true
    }

    fn token(&self) -> &Token {
        &self.token
    }

    fn token_mut(&mut self) -> &mut Token {
        &mut self.token
    }
}

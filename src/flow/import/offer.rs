//! What a list of models and prices offers, whoever published it.

use super::entry::{Cut, Cutter, Fault, Item, Rank, Refused};
use super::wanted::Wanted;
use crate::domain::Micros;
use crate::domain::checks::check_endpoint;
use crate::domain::common::Modality;
use crate::domain::decimal::{Inexact, denoised, scaled};
use crate::domain::llm_provider::{WireProtocol, is_key_name};
use crate::domain::llm_request::PRICE_MICRO_USD_PER_MILLION_MAX;
use serde_json::value::RawValue;
use std::collections::{HashMap, HashSet};

/// Longest piece of a file that a reason repeats, in characters.
const QUOTED_CHARS_MAX: usize = 60;
/// The place of a provider whose place the list does not say and that has none that is well known. No such name ever
/// leads anywhere (RFC 6761), so that no key is sent to somebody else; `ReviseLlmProvider` puts the right one there.
pub const PLACE_NOT_KNOWN: &str = "https://place-not-known.invalid/";

/// A provider with what it offers.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Provider {
    /// As the list names it.
    pub key: String,
    pub name: String,
    /// Absent where it is not one that is spoken here.
    pub wire_protocol: Option<WireProtocol>,
    pub endpoint: Option<String>,
    pub api_key_env: Option<String>,
    pub source: Source,
    /// When prices that differ are said to be taken; set when the import begins.
    pub priced_at: Micros,
    /// By the places of the entry's parts.
    pub offers: Vec<Offer>,
}

/// Who published a list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Source {
    #[default]
    ModelsDev,
    LiteLlm,
}

impl Source {
    /// As prices have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::ModelsDev => "models.dev",
            Self::LiteLlm => "LiteLLM",
        }
    }

    /// Whether facts that are known already stay although the list has others. A list of prices counts a model's tokens
    /// in another way than a list of models does: importing both would change them back and forth.
    pub fn is_of_prices(self) -> bool {
        self == Self::LiteLlm
    }
}

/// A model; what the list does not say is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offer {
    pub model_id: String,
    pub name: String,
    pub context_tokens: Option<i64>,
    pub output_tokens_max: Option<i64>,
    pub input_modalities: Vec<Modality>,
    pub output_modalities: Vec<Modality>,
    pub tool_calling: Option<bool>,
    pub structured_output: Option<bool>,
    pub prices: Prices,
}

/// Micro-dollars per million tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    pub input: Option<i64>,
    pub output: Option<i64>,
    pub cached_input: Option<i64>,
    pub cache_write: Option<i64>,
    pub batch_input: Option<i64>,
    pub batch_output: Option<i64>,
}

/// A part of an entry that is told of by itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part {
    pub line: u64,
    pub key: String,
    pub name: String,
    pub cuts: Vec<Cut>,
}

/// Takes offers in, provider by provider.
#[derive(Debug, Default)]
pub struct Gathering {
    source: Source,
    items: Vec<(Item, Provider, HashSet<String>)>,
    places: HashMap<String, usize>,
    refused: Vec<Refused>,
}

impl Gathering {
    pub fn new(source: Source) -> Self {
        Self { source, ..Self::default() }
    }

    /// A provider that begins on this line, with the size of its entry. Of one name twice the first stays, with the models
    /// of both.
    pub fn provider(&mut self, line: u64, bytes: usize, mut provider: Provider) {
        if self.places.contains_key(&provider.key) {
            return;
        }
        let mut cutter = Cutter::default();
        provider.source = self.source;
        provider.name = cutter.name("name", if provider.name.is_empty() { &provider.key } else { &provider.name });
        if provider.api_key_env.as_deref().is_some_and(|name| !is_key_name(name)) {
            provider.api_key_env = None;
            cutter.left_out("env", "names no environment variable that a key can come from");
        }
        // A place with a blank to be filled in is none.
        let wrong = |place: &str| match check_endpoint("api", Some(place)) {
            _ if place.contains("${") => Some("has a blank to be filled in".to_owned()),
            Ok(()) => None,
            Err(rejection) => Some(rejection.message.strip_prefix("api: ").unwrap_or(&rejection.message).to_owned()),
        };
        if let Some(why) = provider.endpoint.as_deref().and_then(wrong) {
            provider.endpoint = None;
            cutter.left_out("api", format!("{why}; the provider is taken without its place"));
        }
        self.places.insert(provider.key.clone(), self.items.len());
        let item = Item {
            line,
            bytes,
            key: provider.key.clone(),
            rank: Rank::default(),
            wanted: Wanted::Provider(Box::default()),
            cuts: cutter.cuts,
            parts: Vec::new(),
        };
        self.items.push((item, provider, HashSet::new()));
    }

    /// Whether the provider is there.
    pub fn has(&self, provider: &str) -> bool {
        self.places.contains_key(provider)
    }

    /// A model of a provider that is there, with the size of its own entry where it has one.
    pub fn model(&mut self, line: u64, bytes: usize, provider: &str, offer: Offer, mut cutter: Cutter) {
        let key = format!("{provider}/{}", offer.model_id);
        let Some((item, known, ids)) = self.places.get(provider).and_then(|place| self.items.get_mut(*place)) else {
            return self.refuse(line, Some(key), Fault::whole("the list does not say who its provider is"));
        };
        if !ids.insert(offer.model_id.clone()) {
            return self.refuse(line, Some(key), Fault::whole("the list has it twice; the first counts"));
        }
        let offer = Offer { name: cutter.name("name", &offer.name), ..offer };
        item.bytes += bytes;
        item.parts.push(Part { line, key, name: offer.name.clone(), cuts: cutter.cuts });
        known.offers.push(offer);
    }

    pub fn refuse(&mut self, line: u64, key: Option<String>, fault: Fault) {
        self.refused.push(Refused { line, key, fault });
    }

    /// The providers in their order, then what cannot be taken.
    pub fn finish(self) -> impl Iterator<Item = Result<Item, Refused>> {
        let items = self.items.into_iter().map(|(item, provider, _)| {
            let wanted = Wanted::Provider(Box::new(provider));
            Ok(Item { wanted, ..item })
        });
        items.chain(self.refused.into_iter().map(Err))
    }
}

/// A price as it stands in the file, read exactly: dollars with so many places are micro-dollars per million. One that is
/// finer than that is not made up but left out, and told.
///
/// # Errors
/// When it is no price.
pub fn price(
    field: &'static str,
    text: Option<&RawValue>,
    places: u8,
    cutter: &mut Cutter,
) -> Result<Option<i64>, Fault> {
    let Some(text) = text else { return Ok(None) };
    let said = |why: &str| Fault::field(field, format!("is {}, which {why}", quoted(text.get())));
    match denoised(text.get(), places) {
        Ok((micro, _)) if micro < 0 => Err(said("is below zero")),
        Ok((micro, _)) if micro > i128::from(PRICE_MICRO_USD_PER_MILLION_MAX) => {
            Err(said("is above $2,000 per million tokens"))
        }
        Ok((micro, _)) => Ok(i64::try_from(micro).ok()),
        Err(Inexact::TooFine) => {
            cutter.left_out(field, format!("is {}, which is finer than can be kept", quoted(text.get())));
            Ok(None)
        }
        Err(error) => Err(said(&error.to_string())),
    }
}

/// A number of tokens; nothing where it is none, or zero, which stands for unknown.
pub fn tokens(text: Option<&RawValue>) -> Option<i64> {
    let tokens = scaled(text?.get(), 0).ok()?;
    i64::try_from(tokens).ok().filter(|tokens| *tokens > 0)
}

/// The modalities of which there is a name here.
pub fn modalities(names: &[String]) -> Vec<Modality> {
    let modality = |name: &String| match name.as_str() {
        "text" => Some(Modality::Text),
        "image" => Some(Modality::Image),
        "audio" => Some(Modality::Audio),
        "video" => Some(Modality::Video),
        "pdf" | "file" => Some(Modality::File),
        _ => None,
    };
    let mut found: Vec<Modality> = names.iter().filter_map(modality).collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn quoted(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        None => text.to_owned(),
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

//! What a file of prices offers, whoever published it.

use crate::cli::decimal::{Inexact, denoised, scaled};
use crate::domain::common::Modality;
use crate::domain::llm_provider::WireProtocol;
use crate::domain::llm_request::PRICE_MICRO_USD_PER_MILLION_MAX;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// A whole file.
#[derive(Debug, Default)]
pub struct Offers {
    /// Who published it.
    pub source: &'static str,
    /// By the name that the file has for them.
    pub providers: BTreeMap<String, Provider>,
    /// What of it cannot be taken.
    pub refused: Vec<Refused>,
    /// Models with prices that hold only up to some size of the prompt; dearer ones above it are not kept.
    pub tiered: usize,
    /// Prices with the noise of floating point, taken for what they stand for.
    pub denoised: usize,
}

#[derive(Debug, Default)]
pub struct Provider {
    pub name: String,
    /// Absent where it is not one that is spoken.
    pub wire_protocol: Option<WireProtocol>,
    pub endpoint: Option<String>,
    pub api_key_env: Option<String>,
    /// By id.
    pub models: BTreeMap<String, Offer>,
}

/// A model; what the file does not say is absent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Offer {
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

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    pub provider: String,
    /// Empty: all of the provider.
    pub model_id: String,
    pub reason: String,
}

/// A price as it stands in the file, read exactly: dollars with so many places are micro-dollars per million.
///
/// # Errors
/// When it is no price, or not one that can be kept exactly.
pub fn price(field: &str, text: Option<&RawValue>, places: u8, noisy: &mut usize) -> Result<Option<i64>, String> {
    let Some(text) = text else { return Ok(None) };
    let said = |why: &str| format!("{field} is {}, which {why}", shortened(text.get()));
    let read = denoised(text.get(), places).map(|(micro, is_noisy)| {
        *noisy += usize::from(is_noisy);
        micro
    });
    match read {
        Ok(micro) if micro < 0 => Err(said("is below zero")),
        Ok(micro) if micro > i128::from(PRICE_MICRO_USD_PER_MILLION_MAX) => {
            Err(said("is above $2,000 per million tokens"))
        }
        Ok(micro) => Ok(i64::try_from(micro).ok()),
        Err(Inexact::TooFine) => Err(said("is finer than a micro-dollar per million tokens, and none is made up")),
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

fn shortened(text: &str) -> String {
    crate::cli::output::shorten(text, 60)
}

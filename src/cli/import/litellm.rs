//! LiteLLM's `model_prices_and_context_window.json`: one object by model, each with `litellm_provider` and prices per
//! token, as dollars, mostly in scientific notation.

use super::offer::{Offer, Offers, Prices, Provider, Refused, modalities, price, tokens};
use crate::domain::llm_provider::WireProtocol;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

pub const NAME: &str = "LiteLLM";
/// Dollars per token in micro-dollars per million.
const PLACES: u8 = 12;
/// An entry that explains the others.
const SAMPLE: &str = "sample_spec";

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(default)]
    litellm_provider: Option<String>,
    #[serde(default)]
    mode: Option<String>,
    #[serde(borrow, default)]
    max_input_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    max_output_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_cost_per_token: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_cost_per_token: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_read_input_token_cost: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_creation_input_token_cost: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_cost_per_token_batches: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_cost_per_token_batches: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_cost_per_token_above_128k_tokens: Option<&'a RawValue>,
    #[serde(borrow, default)]
    input_cost_per_token_above_200k_tokens: Option<&'a RawValue>,
    #[serde(default)]
    supports_function_calling: Option<bool>,
    #[serde(default)]
    supports_response_schema: Option<bool>,
    #[serde(default)]
    supported_modalities: Option<Vec<String>>,
    #[serde(default)]
    supported_output_modalities: Option<Vec<String>>,
}

/// # Errors
/// When the file is not of this form.
pub fn read(text: &str) -> Result<Offers, String> {
    let mut offers = Offers { source: NAME, ..Offers::default() };
    let entries: BTreeMap<String, &RawValue> =
        serde_json::from_str(text).map_err(|cause| format!("it is not of LiteLLM's form: {cause}"))?;
    for (key, entry) in entries.into_iter().filter(|(key, _)| key != SAMPLE) {
        let entry: Entry<'_> = match serde_json::from_str(entry.get()) {
            Ok(entry) => entry,
            Err(cause) => {
                refuse(&mut offers, "", &key, format!("it cannot be read: {cause}"));
                continue;
            }
        };
        add(&mut offers, &key, &entry);
    }
    Ok(offers)
}

fn refuse(offers: &mut Offers, provider: &str, model_id: &str, reason: String) {
    let (provider, model_id) = (provider.to_owned(), model_id.to_owned());
    offers.refused.push(Refused { provider, model_id, reason });
}

fn add(offers: &mut Offers, key: &str, entry: &Entry<'_>) {
    let Some(named) = entry.litellm_provider.as_deref() else {
        return refuse(offers, "", key, "it names no provider".into());
    };
    let provider = provider_of(named);
    let model_id = [named, provider].iter().find_map(|name| key.strip_prefix(name)?.strip_prefix('/')).unwrap_or(key);
    if let Some(mode) = entry.mode.as_deref().filter(|mode| !is_called(mode)) {
        return refuse(offers, provider, model_id, format!("models of the mode {mode} are not called here"));
    }
    let offer = match offer(entry, &mut offers.denoised) {
        Ok(offer) => offer,
        Err(reason) => return refuse(offers, provider, model_id, reason),
    };
    let known = offers.providers.entry(provider.to_owned()).or_insert_with(|| Provider {
        name: provider.to_owned(),
        wire_protocol: wire_protocol(provider),
        api_key_env: key_env(provider).map(str::to_owned),
        ..Provider::default()
    });
    if known.models.contains_key(model_id) {
        return refuse(offers, provider, model_id, format!("the file has it twice, the second time as {key}"));
    }
    known.models.insert(model_id.to_owned(), offer);
    let above = [entry.input_cost_per_token_above_128k_tokens, entry.input_cost_per_token_above_200k_tokens];
    offers.tiered += usize::from(above.iter().any(Option::is_some));
}

/// One name for each provider: LiteLLM has several where it speaks with one in several ways.
fn provider_of(named: &str) -> &str {
    match named {
        "bedrock_converse" => "bedrock",
        "text-completion-openai" => "openai",
        "cohere_chat" => "cohere",
        "azure_text" => "azure",
        _ if named.starts_with("vertex_ai") => "vertex_ai",
        _ => named,
    }
}

fn is_called(mode: &str) -> bool {
    matches!(mode, "chat" | "completion" | "responses" | "embedding")
}

/// The file says neither where a provider is nor how it is spoken with: these have a place that is well known.
fn wire_protocol(provider: &str) -> Option<WireProtocol> {
    match provider {
        "openai" => Some(WireProtocol::Openai),
        "anthropic" => Some(WireProtocol::Anthropic),
        "gemini" => Some(WireProtocol::Gemini),
        _ => None,
    }
}

fn key_env(provider: &str) -> Option<&'static str> {
    match provider {
        "openai" => Some("OPENAI_API_KEY"),
        "anthropic" => Some("ANTHROPIC_API_KEY"),
        "gemini" => Some("GEMINI_API_KEY"),
        _ => None,
    }
}

fn offer(entry: &Entry<'_>, noisy: &mut usize) -> Result<Offer, String> {
    let mut read = |field: &str, text| price(field, text, PLACES, noisy);
    Ok(Offer {
        name: String::new(),
        context_tokens: tokens(entry.max_input_tokens),
        output_tokens_max: tokens(entry.max_output_tokens),
        input_modalities: modalities(entry.supported_modalities.as_deref().unwrap_or_default()),
        output_modalities: modalities(entry.supported_output_modalities.as_deref().unwrap_or_default()),
        tool_calling: entry.supports_function_calling,
        structured_output: entry.supports_response_schema,
        prices: Prices {
            input: read("input_cost_per_token", entry.input_cost_per_token)?,
            output: read("output_cost_per_token", entry.output_cost_per_token)?,
            cached_input: read("cache_read_input_token_cost", entry.cache_read_input_token_cost)?,
            cache_write: read("cache_creation_input_token_cost", entry.cache_creation_input_token_cost)?,
            batch_input: read("input_cost_per_token_batches", entry.input_cost_per_token_batches)?,
            batch_output: read("output_cost_per_token_batches", entry.output_cost_per_token_batches)?,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = r#"{
        "sample_spec": {"litellm_provider": "one of the list", "max_tokens": "LEGACY", "input_cost_per_token": 0.0},
        "gpt-x": {"litellm_provider":"openai","mode":"chat","max_input_tokens":400000,"max_output_tokens":128000.0,
            "input_cost_per_token":1.25e-06,"output_cost_per_token":1e-05,"cache_read_input_token_cost":1.25e-07,
            "input_cost_per_token_batches":6.25e-07,"output_cost_per_token_batches":5e-06,"supports_function_calling":true,
            "input_cost_per_token_above_200k_tokens":2.5e-06},
        "claude-x": {"litellm_provider":"anthropic","mode":"chat","cache_creation_input_token_cost":3.75e-06},
        "openai/gpt-x": {"litellm_provider":"openai","mode":"chat"},
        "bedrock/claude-x": {"litellm_provider":"bedrock_converse","mode":"chat","input_cost_per_token":3E-6},
        "openrouter/labs/m": {"litellm_provider":"openrouter","mode":"embedding","input_cost_per_token":0.00000002},
        "noisy": {"litellm_provider":"openai","mode":"chat","input_cost_per_token":7.999999999999999e-08,"supported_modalities":null},
        "fine": {"litellm_provider":"openai","mode":"chat","input_cost_per_token":1.41953125e-07},
        "dall-e": {"litellm_provider":"openai","mode":"image_generation","input_cost_per_pixel":1.9e-08},
        "nobody": {"mode":"chat"}
    }"#;

    #[test]
    fn prices_per_token_become_whole_micro_dollars_per_million() {
        let offers = read(FILE).unwrap();
        let gpt = &offers.providers["openai"].models["gpt-x"];
        let prices = Prices {
            input: Some(1_250_000),
            output: Some(10_000_000),
            cached_input: Some(125_000),
            cache_write: None,
            batch_input: Some(625_000),
            batch_output: Some(5_000_000),
        };
        assert_eq!((gpt.prices, gpt.output_tokens_max, offers.tiered), (prices, Some(128_000), 1));
        assert_eq!(offers.providers["anthropic"].models["claude-x"].prices.cache_write, Some(3_750_000));
        assert_eq!(offers.providers["bedrock"].models["claude-x"].prices.input, Some(3_000_000));
        assert_eq!(offers.providers["openai"].models["noisy"].prices.input, Some(80_000));
        assert_eq!(offers.providers["openrouter"].models["labs/m"].prices.input, Some(20_000));
    }

    #[test]
    fn what_cannot_be_taken_is_named_with_the_reason() {
        let refused = read(FILE).unwrap().refused;
        for (model_id, reason) in [
            ("gpt-x", "twice"),
            ("fine", "finer than a micro-dollar"),
            ("dall-e", "mode image_generation"),
            ("nobody", "names no provider"),
        ] {
            let found = refused.iter().find(|refused| refused.model_id == model_id).unwrap();
            assert!(found.reason.contains(reason), "{found:?}");
        }
        assert_eq!(refused.len(), 4);
    }
}

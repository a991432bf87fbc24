//! LiteLLM's `model_prices_and_context_window.json`: one object by model, each with `litellm_provider` and prices per
//! token, as dollars, mostly in scientific notation.

use crate::domain::llm_provider::WireProtocol;
use crate::flow::import::entry::{Cutter, Fault, unreadable};
use crate::flow::import::offer::{Gathering, Offer, Prices, Provider, modalities, price, tokens};
use crate::flow::import::scan::{self, Found, Lines};
use serde::Deserialize;
use serde_json::value::RawValue;

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

/// Reads one object of models.
pub fn read(bytes: &[u8], found: &Found<'_>, gathering: &mut Gathering) {
    let mut lines = Lines::new(bytes);
    for (name, entry) in scan::members(bytes, found.at) {
        let key: String = serde_json::from_slice(name).unwrap_or_else(|_| String::from_utf8_lossy(name).into_owned());
        if key == SAMPLE {
            continue;
        }
        let line = lines.of(entry.at);
        // A list would be read member by member, in the order of the fields.
        if !entry.bytes.starts_with(b"{") {
            gathering.refuse(line, Some(key), Fault::whole("the model is no JSON object"));
            continue;
        }
        match serde_json::from_slice::<Entry<'_>>(entry.bytes) {
            Ok(read) => add(line, entry.bytes.len(), &key, &read, gathering),
            Err(error) => gathering.refuse(
                line,
                Some(key),
                Fault::whole(format!("the model cannot be read: {}", unreadable(&error))),
            ),
        }
    }
    if !found.is_whole {
        let line = lines.of(found.at + found.bytes.len());
        gathering.refuse(line, None, Fault::whole("the document is cut off here"));
    }
}

fn add(line: u64, bytes: usize, key: &str, entry: &Entry<'_>, gathering: &mut Gathering) {
    let Some(named) = entry.litellm_provider.as_deref() else {
        let fault = Fault::field("litellm_provider", "is missing; the model has no provider without it");
        return gathering.refuse(line, Some(key.to_owned()), fault);
    };
    let provider = provider_of(named);
    let model_id = [named, provider].iter().find_map(|name| key.strip_prefix(name)?.strip_prefix('/')).unwrap_or(key);
    let told = || Some(format!("{provider}/{model_id}"));
    if let Some(mode) = entry.mode.as_deref().filter(|mode| !is_called(mode)) {
        let fault = Fault::field("mode", format!("is {mode}, and models of that mode are not called here"));
        return gathering.refuse(line, told(), fault);
    }
    let mut cutter = Cutter::default();
    let offer = match offer(model_id, entry, &mut cutter) {
        Ok(offer) => offer,
        Err(fault) => return gathering.refuse(line, told(), fault),
    };
    if !gathering.has(provider) {
        let listed = Provider {
            key: provider.to_owned(),
            wire_protocol: wire_protocol(provider),
            api_key_env: key_env(provider).map(str::to_owned),
            ..Provider::default()
        };
        gathering.provider(line, 0, listed);
    }
    gathering.model(line, bytes, provider, offer, cutter);
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

fn offer(model_id: &str, entry: &Entry<'_>, cutter: &mut Cutter) -> Result<Offer, Fault> {
    let above = [entry.input_cost_per_token_above_128k_tokens, entry.input_cost_per_token_above_200k_tokens];
    if above.iter().any(Option::is_some) {
        let why = "has dearer prices above some size of the prompt, which are not kept";
        cutter.left_out("input_cost_per_token_above", why);
    }
    let mut read = |field, text| price(field, text, PLACES, cutter);
    Ok(Offer {
        model_id: model_id.to_owned(),
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
    use crate::flow::import::wanted::Wanted;
    use crate::flow::import::{Document, Kind};

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

    fn document() -> Document {
        Document::read(Kind::LiteLlm, FILE.as_bytes())
    }

    fn provider<'a>(document: &'a Document, key: &str) -> &'a Provider {
        let found = document.entries.iter().flatten().find(|item| item.key == key).unwrap();
        let Wanted::Provider(provider) = &found.wanted else { panic!("{found:?}") };
        provider
    }

    fn prices(document: &Document, key: &str, model_id: &str) -> Prices {
        provider(document, key).offers.iter().find(|offer| offer.model_id == model_id).unwrap().prices
    }

    #[test]
    fn prices_per_token_become_whole_micro_dollars_per_million() {
        let document = document();
        let expected = Prices {
            input: Some(1_250_000),
            output: Some(10_000_000),
            cached_input: Some(125_000),
            cache_write: None,
            batch_input: Some(625_000),
            batch_output: Some(5_000_000),
        };
        assert_eq!(prices(&document, "openai", "gpt-x"), expected);
        assert_eq!(provider(&document, "openai").offers[0].output_tokens_max, Some(128_000));
        assert_eq!(prices(&document, "anthropic", "claude-x").cache_write, Some(3_750_000));
        assert_eq!(prices(&document, "bedrock", "claude-x").input, Some(3_000_000));
        assert_eq!(prices(&document, "openai", "noisy").input, Some(80_000));
        assert_eq!(prices(&document, "openrouter", "labs/m").input, Some(20_000));
        assert_eq!(prices(&document, "openai", "fine").input, None, "finer than is kept: not made up");
        let parts = document.entries.iter().flatten().flat_map(|item| &item.parts);
        let told: Vec<_> = parts.filter(|part| !part.cuts.is_empty()).map(|part| part.key.as_str()).collect();
        assert_eq!(told, ["openai/gpt-x", "openai/fine"]);
    }

    #[test]
    fn what_cannot_be_taken_is_named_with_its_line_and_the_reason() {
        let document = document();
        let refused: Vec<_> = document.entries.iter().filter_map(|entry| entry.as_ref().err()).collect();
        for (line, key, reason) in [
            (8, "openai/gpt-x", "twice"),
            (13, "openai/dall-e", "of that mode"),
            (14, "nobody", "no provider without it"),
        ] {
            let found = refused.iter().find(|refused| refused.line == line).unwrap();
            assert_eq!(found.key.as_deref(), Some(key));
            assert!(found.fault.reason.contains(reason), "{found:?}");
        }
        assert_eq!(refused.len(), 3);
    }
}

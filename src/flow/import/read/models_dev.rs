//! models.dev: `api.json` as published (provider → models), or regrouped as `{"providers": {…}, "models": […]}`.
//!
//! Prices are dollars per million tokens. A model without `cost` has no known price: unknown is not free. A provider that
//! publishes neither where it is found nor a way to speak with it that is known here is taken all the same, under a place
//! that leads nowhere.

use crate::domain::llm_provider::WireProtocol;
use crate::flow::import::entry::{Cutter, Fault, unreadable};
use crate::flow::import::offer::{Gathering, Offer, Prices, Provider, modalities, price, tokens};
use crate::flow::import::scan::{self, Found, Lines, Values};
use serde::Deserialize;
use serde_json::value::RawValue;

/// Dollars per million in micro-dollars per million.
const PLACES: u8 = 6;
/// Said of the entry at which a file ends too early.
const CUT_OFF: &str = "the model is cut off here";
/// The two parts of the regrouped form.
const REGROUPED: [&[u8]; 2] = [b"\"models\"", b"\"providers\""];

#[derive(Deserialize)]
struct Listed {
    #[serde(default)]
    name: String,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    npm: String,
    #[serde(default)]
    api: Option<String>,
}

#[derive(Deserialize)]
struct Place {
    provider_id: String,
    model_id: String,
}

#[derive(Deserialize)]
struct Model<'a> {
    #[serde(default)]
    name: String,
    #[serde(default)]
    tool_call: Option<bool>,
    #[serde(default)]
    structured_output: Option<bool>,
    #[serde(borrow, default)]
    limit: Limit<'a>,
    #[serde(default)]
    modalities: Modalities,
    #[serde(borrow, default)]
    cost: Option<Cost<'a>>,
}

#[derive(Default, Deserialize)]
struct Limit<'a> {
    #[serde(borrow, default)]
    context: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Modalities {
    input: Vec<String>,
    output: Vec<String>,
}

#[derive(Deserialize)]
struct Cost<'a> {
    #[serde(borrow, default)]
    input: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_read: Option<&'a RawValue>,
    #[serde(borrow, default)]
    cache_write: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tiers: Option<&'a RawValue>,
    #[serde(borrow, default)]
    context_over_200k: Option<&'a RawValue>,
}

/// Reads one object of either form.
pub fn read(bytes: &[u8], found: &Found<'_>, gathering: &mut Gathering) {
    let members = scan::members(bytes, found.at);
    let part = |name: &[u8]| members.iter().find(|(raw, _)| *raw == name).map(|(_, value)| *value);
    match REGROUPED.map(part) {
        [Some(models), Some(providers)] if members.len() == 2 && models.bytes.starts_with(b"[") => {
            let mut lines = Lines::new(bytes);
            for (name, listed) in scan::members(bytes, providers.at) {
                provider(&mut lines, name, &listed, gathering);
            }
            let mut lines = Lines::new(bytes);
            let mut values = Values::of_list(bytes, models.at);
            for model in values.by_ref() {
                placed(lines.of(model.at), &model, gathering);
            }
            if !values.is_closed() || !found.is_whole {
                cut_off(&mut lines, found, gathering);
            }
        }
        _ => {
            let mut lines = Lines::new(bytes);
            for (name, listed) in &members {
                let parts = match listed.bytes.starts_with(b"{") {
                    true => scan::members(bytes, listed.at),
                    false => Vec::new(),
                };
                let models = parts.iter().find(|(name, _)| *name == b"\"models\"").map(|(_, models)| *models);
                let models = models.filter(|models| models.bytes.starts_with(b"{"));
                if models.is_none() && listed.is_whole {
                    let fault = Fault::field("models", "is missing, or no object; every provider of models.dev has it");
                    gathering.refuse(lines.of(listed.at), Some(text(name)), fault);
                    continue;
                }
                let Some(key) = provider(&mut lines, name, listed, gathering) else { continue };
                for (name, model) in models.map(|models| scan::members(bytes, models.at)).unwrap_or_default() {
                    add(lines.of(model.at), 0, &key, text(name), &model, gathering);
                }
            }
            if !found.is_whole {
                cut_off(&mut lines, found, gathering);
            }
        }
    }
}

fn cut_off(lines: &mut Lines<'_>, found: &Found<'_>, gathering: &mut Gathering) {
    let line = lines.of(found.at + found.bytes.len());
    gathering.refuse(line, None, Fault::whole("the document is cut off here"));
}

/// A name as it is written, with its quotes.
fn text(raw: &[u8]) -> String {
    serde_json::from_slice(raw).unwrap_or_else(|_| String::from_utf8_lossy(raw).into_owned())
}

/// Takes a provider in; gives its name in the list where that went well.
fn provider(lines: &mut Lines<'_>, name: &[u8], found: &Found<'_>, gathering: &mut Gathering) -> Option<String> {
    let (line, key) = (lines.of(found.at), text(name));
    let listed: Listed = match serde_json::from_slice(found.bytes) {
        Ok(listed) => listed,
        Err(error) => {
            let why = match found.is_whole {
                true => format!("the provider cannot be read: {}", unreadable(&error)),
                false => "the provider is cut off here, and its models with it".to_owned(),
            };
            gathering.refuse(line, Some(key), Fault::whole(why));
            return None;
        }
    };
    let (wire_protocol, well_known) = spoken(&listed.npm);
    let provider = Provider {
        key: key.clone(),
        name: listed.name,
        wire_protocol,
        endpoint: listed.api.or_else(|| well_known.map(str::to_owned)),
        api_key_env: key_of(&listed.env),
        ..Provider::default()
    };
    gathering.provider(line, found.bytes.len(), provider);
    Some(key)
}

/// A model that says where it belongs.
fn placed(line: u64, found: &Found<'_>, gathering: &mut Gathering) {
    match serde_json::from_slice::<Place>(found.bytes) {
        Ok(place) => add(line, found.bytes.len(), &place.provider_id, place.model_id, found, gathering),
        Err(_) if !found.is_whole => gathering.refuse(line, None, Fault::whole(CUT_OFF)),
        Err(error) => {
            gathering.refuse(line, None, Fault::whole(format!("the model has no place: {}", unreadable(&error))))
        }
    }
}

fn add(line: u64, bytes: usize, provider: &str, model_id: String, found: &Found<'_>, gathering: &mut Gathering) {
    if !found.bytes.starts_with(b"{") {
        // A list would be read member by member, in the order of the fields.
        let key = Some(format!("{provider}/{model_id}"));
        return gathering.refuse(line, key, Fault::whole("the model is no JSON object"));
    }
    let mut cutter = Cutter::default();
    let read = serde_json::from_slice::<Model<'_>>(found.bytes);
    let read = read.map_err(|error| match found.is_whole {
        true => Fault::whole(format!("the model cannot be read: {}", unreadable(&error))),
        false => Fault::whole(CUT_OFF),
    });
    match read.and_then(|model| offer(model_id.clone(), model, &mut cutter)) {
        Ok(offer) => gathering.model(line, bytes, provider, offer, cutter),
        Err(fault) => gathering.refuse(line, Some(format!("{provider}/{model_id}")), fault),
    }
}

fn offer(model_id: String, model: Model<'_>, cutter: &mut Cutter) -> Result<Offer, Fault> {
    let prices = match model.cost {
        None => Prices::default(),
        Some(cost) => {
            // Dearer prices above some size of the prompt are not kept.
            if cost.tiers.is_some() || cost.context_over_200k.is_some() {
                cutter.left_out("cost.tiers", "has dearer prices above some size of the prompt, which are not kept");
            }
            Prices {
                input: price("cost.input", cost.input, PLACES, cutter)?,
                output: price("cost.output", cost.output, PLACES, cutter)?,
                cached_input: price("cost.cache_read", cost.cache_read, PLACES, cutter)?,
                cache_write: price("cost.cache_write", cost.cache_write, PLACES, cutter)?,
                ..Prices::default()
            }
        }
    };
    Ok(Offer {
        model_id,
        name: model.name,
        context_tokens: tokens(model.limit.context),
        output_tokens_max: tokens(model.limit.output),
        input_modalities: modalities(&model.modalities.input),
        output_modalities: modalities(&model.modalities.output),
        tool_calling: model.tool_call,
        structured_output: model.structured_output,
        prices,
    })
}

/// The packages by which models.dev says how a provider is spoken with, and the place of those that have one.
fn spoken(npm: &str) -> (Option<WireProtocol>, Option<&'static str>) {
    let openai = |place| (Some(WireProtocol::Openai), Some(place));
    match npm {
        "@ai-sdk/openai" | "@ai-sdk/openai-compatible" | "@openrouter/ai-sdk-provider" => {
            (Some(WireProtocol::Openai), None)
        }
        "@ai-sdk/anthropic" => (Some(WireProtocol::Anthropic), None),
        "@ai-sdk/google" => (Some(WireProtocol::Gemini), None),
        "@ai-sdk/amazon-bedrock" => (Some(WireProtocol::Bedrock), None),
        "@ai-sdk/azure" => (Some(WireProtocol::AzureOpenai), None),
        "@ai-sdk/cerebras" => openai("https://api.cerebras.ai/v1"),
        "@ai-sdk/cohere" => openai("https://api.cohere.ai/compatibility/v1"),
        "@ai-sdk/deepinfra" => openai("https://api.deepinfra.com/v1/openai"),
        "@ai-sdk/groq" => openai("https://api.groq.com/openai/v1"),
        "@ai-sdk/mistral" => openai("https://api.mistral.ai/v1"),
        "@ai-sdk/perplexity" => openai("https://api.perplexity.ai"),
        "@ai-sdk/togetherai" => openai("https://api.together.xyz/v1"),
        "@ai-sdk/xai" => openai("https://api.x.ai/v1"),
        _ => (None, None),
    }
}

/// The one variable that holds the key, where it is clear which.
fn key_of(env: &[String]) -> Option<String> {
    let keys: Vec<&String> = env.iter().filter(|name| name.ends_with("_API_KEY")).collect();
    match (env, keys.as_slice()) {
        ([one], _) => Some(one.clone()),
        (_, [one]) => Some((*one).clone()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::common::Modality;
    use crate::flow::import::entry::{Item, Refused};
    use crate::flow::import::passed::fields;
    use crate::flow::import::wanted::Wanted;
    use crate::flow::import::{Document, Kind};
    use std::collections::BTreeMap;

    const PUBLISHED: &str = r#"{
        "acme": {"id":"acme","name":"Acme AI","env":["ACME_API_KEY","ACME_REGION"],"npm":"@ai-sdk/openai-compatible","api":"https://acme.example/v1","models":{
            "labs/m-1": {"id":"labs/m-1","name":"M 1","tool_call":true,"limit":{"context":200000,"output":0},"modalities":{"input":["text","pdf","smell"],"output":["text"]},
                "cost":{"input":0.15,"output":0.6,"cache_read":0.0043,"cache_write":1.875,"tiers":[{"input":9}]}},
            "free": {"id":"free","name":"Free","cost":{"input":0,"output":0.0}},
            "unknown": {"id":"unknown","name":"Unknown"},
            "noisy": {"id":"noisy","cost":{"input":0.30000000000000004,"output":1}},
            "fine": {"id":"fine","cost":{"input":0.0000001,"output":1}}
        }},
        "odd": {"id":"odd","env":["302AI_API_KEY"],"npm":"odd-sdk","api":"${HOST}/v1","models":{}}
    }"#;

    fn regrouped() -> String {
        let whole: BTreeMap<String, serde_json::Value> = serde_json::from_str(PUBLISHED).unwrap();
        let mut models = Vec::new();
        let mut providers = whole.clone();
        for (id, provider) in &whole {
            for (model_id, model) in provider["models"].as_object().unwrap() {
                let mut model = model.clone();
                (model["provider_id"], model["model_id"]) = (id.as_str().into(), model_id.as_str().into());
                models.push(model);
            }
            providers.get_mut(id).unwrap().as_object_mut().unwrap().remove("models");
        }
        serde_json::json!({ "providers": providers, "models": models }).to_string()
    }

    fn read(text: &str) -> (Vec<(Provider, Item)>, Vec<Refused>) {
        let (mut providers, mut refused) = (Vec::new(), Vec::new());
        for entry in Document::read(Kind::ModelsDev, text.as_bytes()).entries {
            match entry {
                Ok(item) => {
                    let Wanted::Provider(provider) = item.wanted.clone() else { panic!("{item:?}") };
                    providers.push((*provider, item));
                }
                Err(fault) => refused.push(fault),
            }
        }
        (providers, refused)
    }

    #[test]
    fn both_forms_say_the_same() {
        for text in [PUBLISHED, &regrouped()] {
            let (providers, refused) = read(text);
            assert_eq!(refused, []);
            let (acme, item) = &providers[0];
            assert_eq!((acme.name.as_str(), acme.wire_protocol), ("Acme AI", Some(WireProtocol::Openai)));
            assert_eq!(acme.api_key_env.as_deref(), Some("ACME_API_KEY"));
            let offer = |id: &str| acme.offers.iter().find(|offer| offer.model_id == id).unwrap();
            let one = offer("labs/m-1");
            let prices = Prices {
                input: Some(150_000),
                output: Some(600_000),
                cached_input: Some(4_300),
                cache_write: Some(1_875_000),
                ..Prices::default()
            };
            assert_eq!((one.prices, one.context_tokens, one.output_tokens_max), (prices, Some(200_000), None));
            assert_eq!(one.input_modalities, [Modality::Text, Modality::File]);
            assert_eq!(offer("free").prices.output, Some(0), "free is known");
            assert_eq!(offer("unknown").prices, Prices::default(), "unknown is not free");
            assert_eq!(offer("noisy").prices.input, Some(300_000));
            assert_eq!((offer("fine").prices.input, offer("fine").prices.output), (None, Some(1_000_000)));
            let cut = |id: &str| fields(&item.parts.iter().find(|part| part.key == format!("acme/{id}")).unwrap().cuts);
            assert_eq!((cut("labs/m-1"), cut("fine"), cut("free")), (vec!["cost.tiers"], vec!["cost.input"], vec![]));
            let (odd, item) = &providers[1];
            assert_eq!((odd.name.as_str(), odd.wire_protocol), ("odd", None));
            assert_eq!((&odd.endpoint, &odd.api_key_env), (&None, &None), "neither can be used as it stands");
            assert_eq!(fields(&item.cuts), ["env", "api"]);
        }
    }

    #[test]
    fn models_are_told_with_their_lines_and_what_is_odd_in_one_harms_nothing_else() {
        let (providers, refused) = read(PUBLISHED);
        let lines: Vec<_> = providers[0].1.parts.iter().map(|part| part.line).collect();
        assert_eq!((providers[0].1.line, lines), (2, vec![3, 5, 6, 7, 8]));
        assert_eq!((providers[1].1.line, refused.len()), (10, 0));

        let text = "{\"a\":7,\n\"b\":{\"models\":{\"x\":{\"limit\":3},\n\"y\":{\"name\":\"Y\"},\"z\":{\"cost\":{\"input\":-1}},\"y\":{}}}}";
        let (providers, refused) = read(text);
        let keys: Vec<_> = providers[0].1.parts.iter().map(|part| part.key.as_str()).collect();
        assert_eq!(keys, ["b/y"]);
        let told: Vec<_> = refused.iter().map(|it| (it.line, it.key.as_deref(), it.fault.field.as_deref())).collect();
        let expected = [
            (1, Some("a"), Some("models")),
            (2, Some("b/x"), None),
            (3, Some("b/z"), Some("cost.input")),
            (3, Some("b/y"), None),
        ];
        assert_eq!(told, expected);
        for text in ["[]", "7", "{\"providers\":{},\"models\":[7", "{\"a\":{\"models\":{"] {
            assert!(!read(text).1.is_empty(), "{text}");
        }
        let placeless = r#"{"providers":{},"models":[{"provider_id":"p","model_id":"m/n"},{"model_id":"x"}]}"#;
        let keys: Vec<_> = read(placeless).1.into_iter().map(|refused| refused.key).collect();
        assert_eq!(keys, [Some("p/m/n".into()), None]);
    }

    #[test]
    fn a_provider_that_has_a_place_of_its_own_need_not_say_it() {
        let file = |npm: &str| format!(r#"{{"x":{{"npm":"{npm}","models":{{}}}}}}"#);
        let known = |npm: &str| read(&file(npm)).0.remove(0).0;
        assert_eq!(known("@ai-sdk/groq").endpoint.as_deref(), Some("https://api.groq.com/openai/v1"));
        assert_eq!(
            (known("@ai-sdk/google").wire_protocol, known("gitlab").wire_protocol),
            (Some(WireProtocol::Gemini), None)
        );
    }
}

//! models.dev: `api.json` as published (provider → models), or regrouped as `{"providers": {…}, "models": […]}`.
//!
//! Prices are dollars per million tokens. A model without `cost` has no known price.

use super::offer::{Offer, Offers, Prices, Provider, Refused, modalities, price, tokens};
use crate::domain::llm_provider::WireProtocol;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

pub const NAME: &str = "models.dev";
/// Dollars per million in micro-dollars per million.
const PLACES: u8 = 6;

#[derive(Deserialize)]
struct Listed<'a> {
    #[serde(default)]
    name: String,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    npm: String,
    #[serde(default)]
    api: Option<String>,
    #[serde(borrow, default)]
    models: BTreeMap<String, &'a RawValue>,
}

#[derive(Deserialize)]
struct Regrouped<'a> {
    #[serde(borrow)]
    providers: BTreeMap<String, &'a RawValue>,
    #[serde(borrow)]
    models: Vec<&'a RawValue>,
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

/// Reads the parts of the file's outermost object.
///
/// # Errors
/// When it is not of either form.
pub fn read(text: &str) -> Result<Offers, String> {
    let mut offers = Offers { source: NAME, ..Offers::default() };
    let form = |cause: serde_json::Error| format!("it is not of models.dev's form: {cause}");
    let parts: BTreeMap<String, &RawValue> = serde_json::from_str(text).map_err(form)?;
    let is_regrouped = parts.len() == 2 && parts.get("models").is_some_and(|it| it.get().starts_with('['));
    if !is_regrouped {
        for (id, listed) in parts {
            add_provider(&mut offers, &id, listed);
        }
        return Ok(offers);
    }
    let Regrouped { providers, models } = serde_json::from_str(text).map_err(form)?;
    for (id, listed) in providers {
        add_provider(&mut offers, &id, listed);
    }
    for model in models {
        match serde_json::from_str::<Place>(model.get()) {
            Ok(place) => add_model(&mut offers, &place.provider_id, place.model_id, model),
            Err(cause) => refuse(&mut offers, "", "", format!("a model has no place: {cause}")),
        }
    }
    Ok(offers)
}

fn refuse(offers: &mut Offers, provider: &str, model_id: &str, reason: String) {
    let (provider, model_id) = (provider.to_owned(), model_id.to_owned());
    offers.refused.push(Refused { provider, model_id, reason });
}

fn add_provider(offers: &mut Offers, id: &str, listed: &RawValue) {
    let listed: Listed<'_> = match serde_json::from_str(listed.get()) {
        Ok(listed) => listed,
        Err(cause) => return refuse(offers, id, "", format!("the provider cannot be read: {cause}")),
    };
    let provider = Provider {
        name: if listed.name.is_empty() { id.to_owned() } else { listed.name },
        wire_protocol: wire_protocol(&listed.npm),
        // A place with a blank to be filled in is none.
        endpoint: listed.api.filter(|api| !api.contains("${")),
        api_key_env: key_of(&listed.env),
        models: BTreeMap::new(),
    };
    offers.providers.insert(id.to_owned(), provider);
    for (model_id, model) in listed.models {
        add_model(offers, id, model_id, model);
    }
}

/// The packages by which models.dev says how a provider is spoken with.
fn wire_protocol(npm: &str) -> Option<WireProtocol> {
    match npm {
        "@ai-sdk/openai" | "@ai-sdk/openai-compatible" => Some(WireProtocol::Openai),
        "@ai-sdk/anthropic" => Some(WireProtocol::Anthropic),
        "@ai-sdk/google" => Some(WireProtocol::Gemini),
        "@ai-sdk/amazon-bedrock" => Some(WireProtocol::Bedrock),
        "@ai-sdk/azure" => Some(WireProtocol::AzureOpenai),
        _ => None,
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

fn add_model(offers: &mut Offers, provider: &str, model_id: String, model: &RawValue) {
    let read = serde_json::from_str::<Model<'_>>(model.get()).map_err(|cause| format!("it cannot be read: {cause}"));
    let offer = read.and_then(|model| {
        let has_tiers = model.cost.as_ref().is_some_and(|it| it.tiers.is_some() || it.context_over_200k.is_some());
        offer(model, &mut offers.denoised).map(|offer| (offer, has_tiers))
    });
    let (offer, has_tiers) = match offer {
        Ok(offer) => offer,
        Err(reason) => return refuse(offers, provider, &model_id, reason),
    };
    let Some(known) = offers.providers.get_mut(provider) else {
        return refuse(offers, provider, &model_id, "the file does not say who its provider is".into());
    };
    if known.models.contains_key(&model_id) {
        return refuse(offers, provider, &model_id, "the file has it twice".into());
    }
    known.models.insert(model_id, offer);
    offers.tiered += usize::from(has_tiers);
}

fn offer(model: Model<'_>, noisy: &mut usize) -> Result<Offer, String> {
    let prices = match model.cost {
        None => Prices::default(),
        Some(cost) => Prices {
            input: price("input", cost.input, PLACES, noisy)?,
            output: price("output", cost.output, PLACES, noisy)?,
            cached_input: price("cache_read", cost.cache_read, PLACES, noisy)?,
            cache_write: price("cache_write", cost.cache_write, PLACES, noisy)?,
            ..Prices::default()
        },
    };
    Ok(Offer {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::common::Modality;

    const PUBLISHED: &str = r#"{
        "acme": {"id":"acme","name":"Acme AI","env":["ACME_API_KEY","ACME_REGION"],"npm":"@ai-sdk/openai-compatible","api":"https://acme.example/v1","models":{
            "labs/m-1": {"id":"labs/m-1","name":"M 1","tool_call":true,"limit":{"context":200000,"output":0},"modalities":{"input":["text","pdf","smell"],"output":["text"]},
                "cost":{"input":0.15,"output":0.6,"cache_read":0.0043,"cache_write":1.875,"tiers":[{"input":9}]}},
            "free": {"id":"free","name":"Free","cost":{"input":0,"output":0.0}},
            "unknown": {"id":"unknown","name":"Unknown"},
            "noisy": {"id":"noisy","cost":{"input":0.30000000000000004,"output":1}},
            "fine": {"id":"fine","cost":{"input":0.0000001,"output":1}}
        }},
        "odd": {"id":"odd","env":[],"npm":"odd-sdk","api":"https://${HOST}/v1","models":{}}
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

    #[test]
    fn both_forms_say_the_same() {
        for text in [PUBLISHED, &regrouped()] {
            let offers = read(text).unwrap();
            let acme = &offers.providers["acme"];
            assert_eq!((acme.name.as_str(), acme.wire_protocol), ("Acme AI", Some(WireProtocol::Openai)));
            assert_eq!(acme.api_key_env.as_deref(), Some("ACME_API_KEY"));
            let one = &acme.models["labs/m-1"];
            let prices = Prices {
                input: Some(150_000),
                output: Some(600_000),
                cached_input: Some(4_300),
                cache_write: Some(1_875_000),
                ..Prices::default()
            };
            assert_eq!((one.prices, one.context_tokens, one.output_tokens_max), (prices, Some(200_000), None));
            assert_eq!(one.input_modalities, [Modality::Text, Modality::File]);
            assert_eq!(acme.models["free"].prices.output, Some(0), "free is known");
            assert_eq!(acme.models["unknown"].prices, Prices::default(), "unknown is not free");
            assert_eq!(offers.refused.len(), 1);
            assert!(offers.refused[0].model_id == "fine" && offers.refused[0].reason.contains("finer"));
            assert_eq!((offers.tiered, offers.denoised), (1, 1));
            assert_eq!(acme.models["noisy"].prices.input, Some(300_000));
            let odd = &offers.providers["odd"];
            assert_eq!((odd.wire_protocol, &odd.endpoint, &odd.api_key_env), (None, &None, &None));
        }
    }

    #[test]
    fn what_is_no_such_file_is_refused_and_what_is_odd_in_one_harms_nothing_else() {
        for text in ["", "[]", "{\"providers\":{},\"models\":[7", "7"] {
            assert!(read(text).is_err(), "{text}");
        }
        let offers = read(r#"{"a":7,"b":{"models":{"x":{"limit":3},"y":{"name":"Y"}}}}"#).unwrap();
        assert_eq!((offers.refused.len(), offers.providers["b"].models.len()), (2, 1));
    }
}

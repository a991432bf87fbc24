//! What a provider's values must be.

use super::{Access, MODEL_ID_BYTES_MAX, MODELS_MAX, Model};
use crate::domain::Rejection;
use crate::domain::checks::check_endpoint;
use crate::domain::common::{NAME_BYTES_MAX, check_length, check_name, check_not_negative, check_unit};
use std::collections::BTreeMap;

/// How a provider is reached: a name, a web address, the name of a variable.
pub fn check_access(access: &Access) -> Result<(), Rejection> {
    check_name("name", &access.name)?;
    check_endpoint("endpoint", access.endpoint.as_deref())?;
    check_key_name(access.api_key_env.as_deref())
}

/// Whether this can name the variable that holds a key.
pub fn is_key_name(name: &str) -> bool {
    check_key_name(Some(name)).is_ok()
}

/// `[A-Za-z_][A-Za-z0-9_]*`, and nothing that looks like a key: history keeps what is recorded. The value is never
/// repeated, since it may be a key.
fn check_key_name(name: Option<&str>) -> Result<(), Rejection> {
    let Some(name) = name else { return Ok(()) };
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let goes_on_well = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !starts_well || !goes_on_well || name.len() > NAME_BYTES_MAX || looks_like_a_key(name) {
        let why = "give the NAME of the environment variable that holds the key, such as OPENAI_API_KEY, \
                   never the key itself; a name has letters, digits and underscores, and no digit first";
        return Err(Rejection::invalid("api_key_env", why));
    }
    Ok(())
}

/// Keys made of letters and digits alone (`gsk_…`, `hf_…`, `AKIA…`) give themselves away by a long stretch without an
/// underscore: 20 or more characters with a digit among letters, or 30 or more in mixed case.
fn looks_like_a_key(name: &str) -> bool {
    name.split('_').any(|part| {
        let has = |kind: fn(&u8) -> bool| part.as_bytes().iter().any(kind);
        let digits = has(u8::is_ascii_digit) && has(u8::is_ascii_alphabetic);
        let mixed_case = has(u8::is_ascii_lowercase) && has(u8::is_ascii_uppercase);
        part.len() >= 20 && digits || part.len() >= 30 && mixed_case
    })
}

/// A limit: above zero, since zero would stop the provider without saying so.
pub fn check_limit(field: &str, limit: Option<i64>) -> Result<(), Rejection> {
    match limit {
        Some(limit) if limit <= 0 => {
            Err(Rejection::invalid(field, "must be above 0; leave it out for a provider without this limit"))
        }
        _ => Ok(()),
    }
}

/// The models by id, checked one by one, their modalities as sets.
pub fn checked_models(models: &[Model]) -> Result<BTreeMap<String, Model>, Rejection> {
    if models.len() > MODELS_MAX {
        let why = format!("has {} entries, at most {MODELS_MAX} are allowed", models.len());
        return Err(Rejection::invalid("models", why));
    }
    let mut by_id = BTreeMap::new();
    for model in models {
        check_id(&model.model_id)?;
        check_model(model).map_err(|rejection| rejection.with("model_id", &model.model_id))?;
        let mut model = model.clone();
        for modalities in [&mut model.input_modalities, &mut model.output_modalities] {
            modalities.sort_unstable();
            modalities.dedup();
        }
        let model_id = model.model_id.clone();
        if by_id.insert(model_id.clone(), model).is_some() {
            let why = "two models have the same id; give each once";
            return Err(Rejection::invalid("models.model_id", why).with("model_id", model_id));
        }
    }
    Ok(by_id)
}

fn check_id(model_id: &str) -> Result<(), Rejection> {
    if model_id.trim().is_empty() {
        return Err(Rejection::invalid("models.model_id", "must not be blank"));
    }
    check_length("models.model_id", model_id, MODEL_ID_BYTES_MAX)
}

fn check_model(model: &Model) -> Result<(), Rejection> {
    check_length("models.name", &model.name, NAME_BYTES_MAX)?;
    check_not_negative("models.context_tokens", model.context_tokens)?;
    check_not_negative("models.output_tokens_max", model.output_tokens_max)?;
    check_not_negative("models.input_micro_usd_per_million", model.input_micro_usd_per_million)?;
    check_not_negative("models.output_micro_usd_per_million", model.output_micro_usd_per_million)?;
    check_not_negative("models.cached_input_micro_usd_per_million", model.cached_input_micro_usd_per_million)?;
    check_not_negative("models.cache_write_micro_usd_per_million", model.cache_write_micro_usd_per_million)?;
    check_not_negative("models.batch_input_micro_usd_per_million", model.batch_input_micro_usd_per_million)?;
    check_not_negative("models.batch_output_micro_usd_per_million", model.batch_output_micro_usd_per_million)?;
    check_not_negative("models.priced_at", model.priced_at)?;
    if let Some(source) = &model.price_source {
        check_name("models.price_source", source)?;
    }
    check_not_negative("models.latency_ms_p50", model.latency_ms_p50)?;
    check_unit("models.quality", model.quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_refused_where_its_name_belongs_and_never_repeated() {
        for right in ["OPENAI_API_KEY", "_key", "k8s_llm_key_2", "MyOpenAiKey", "AZURE_OPENAI_GPT4_EU_WEST_KEY"] {
            assert_eq!(check_key_name(Some(right)), Ok(()), "{right}");
        }
        for wrong in [
            "sk-abc",
            "sk-proj-0123456789abcdef",
            "2FAST",
            "MY KEY",
            "clé",
            "$OPENAI_API_KEY",
            "gsk_0a1b2c3d4e5f6g7h8i9j0k1l2m3n",
            "AKIAIOSFODNN7EXAMPLE",
            "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",
            "deadbeefdeadbeef0123456789abcdef",
        ] {
            let rejection = check_key_name(Some(wrong)).expect_err(wrong);
            assert_eq!(rejection.code, "invalid");
            assert!(rejection.message.contains("NAME of the environment variable"));
            assert!(!format!("{rejection:?}").contains(wrong), "the value is not repeated");
        }
        assert!(check_key_name(Some(&"A".repeat(NAME_BYTES_MAX + 1))).is_err());
        assert_eq!(check_key_name(None), Ok(()));
    }
}

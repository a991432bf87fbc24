//! Well-known providers: where they answer, where they say so, and by which variables their keys go.

use super::bedrock;
use crate::domain::llm_provider::WireProtocol::{self, Anthropic, Gemini, Openai};
use reqwest::Url;

/// A provider, as its documentation describes it.
#[derive(Clone, Copy, Debug)]
pub struct Known {
    pub name: &'static str,
    pub protocol: WireProtocol,
    pub base_url: &'static str,
    /// The environment variables that its documentation and common clients keep the key in; none where it needs none.
    pub variables: &'static [&'static str],
    pub source: &'static str,
}

const fn known(
    name: &'static str,
    protocol: WireProtocol,
    base_url: &'static str,
    variables: &'static [&'static str],
    source: &'static str,
) -> Known {
    Known { name, protocol, base_url, variables, source }
}

/// Bedrock and Azure are not here: their addresses name a region or a resource.
#[rustfmt::skip]
pub const KNOWN: &[Known] = &[
    known("alibaba", Openai, "https://dashscope-intl.aliyuncs.com/compatible-mode/v1", &["DASHSCOPE_API_KEY"], "https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope"),
    known("anthropic", Anthropic, "https://api.anthropic.com", &["ANTHROPIC_API_KEY"], "https://platform.claude.com/docs/en/api/overview"),
    known("baseten", Openai, "https://inference.baseten.co/v1", &["BASETEN_API_KEY"], "https://docs.baseten.co/development/model-apis/overview"),
    known("cerebras", Openai, "https://api.cerebras.ai/v1", &["CEREBRAS_API_KEY"], "https://inference-docs.cerebras.ai/resources/openai"),
    known("cohere", Openai, "https://api.cohere.ai/compatibility/v1", &["COHERE_API_KEY"], "https://docs.cohere.com/docs/compatibility-api"),
    known("deepinfra", Openai, "https://api.deepinfra.com/v1/openai", &["DEEPINFRA_API_KEY"], "https://deepinfra.com/docs/openai_api"),
    known("deepseek", Openai, "https://api.deepseek.com/v1", &["DEEPSEEK_API_KEY"], "https://api-docs.deepseek.com/"),
    known("fireworks", Openai, "https://api.fireworks.ai/inference/v1", &["FIREWORKS_API_KEY"], "https://docs.fireworks.ai/tools-sdks/openai-compatibility"),
    known("gemini", Gemini, "https://generativelanguage.googleapis.com/v1beta", &["GEMINI_API_KEY", "GOOGLE_API_KEY"], "https://ai.google.dev/api"),
    known("github-models", Openai, "https://models.github.ai/inference", &["GITHUB_MODELS_API_KEY"], "https://docs.github.com/en/rest/models/inference"),
    known("groq", Openai, "https://api.groq.com/openai/v1", &["GROQ_API_KEY"], "https://console.groq.com/docs/openai"),
    known("huggingface", Openai, "https://router.huggingface.co/v1", &["HF_TOKEN", "HUGGINGFACE_API_KEY"], "https://huggingface.co/docs/inference-providers/index"),
    known("hyperbolic", Openai, "https://api.hyperbolic.xyz/v1", &["HYPERBOLIC_API_KEY"], "https://docs.hyperbolic.xyz/docs/rest-api"),
    known("llama-cpp", Openai, "http://127.0.0.1:8080/v1", &[], "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"),
    known("lm-studio", Openai, "http://127.0.0.1:1234/v1", &[], "https://lmstudio.ai/docs/app/api/endpoints/openai"),
    known("minimax", Openai, "https://api.minimax.io/v1", &["MINIMAX_API_KEY"], "https://platform.minimax.io/docs/api-reference/text-openai-api"),
    known("mistral", Openai, "https://api.mistral.ai/v1", &["MISTRAL_API_KEY"], "https://docs.mistral.ai/api/"),
    known("moonshot", Openai, "https://api.moonshot.ai/v1", &["MOONSHOT_API_KEY"], "https://platform.moonshot.ai/docs/api/chat"),
    known("nebius", Openai, "https://api.tokenfactory.nebius.com/v1", &["NEBIUS_API_KEY"], "https://docs.tokenfactory.nebius.com/"),
    known("novita", Openai, "https://api.novita.ai/openai/v1", &["NOVITA_API_KEY"], "https://novita.ai/docs/guides/llm-api"),
    known("nvidia", Openai, "https://integrate.api.nvidia.com/v1", &["NVIDIA_API_KEY"], "https://docs.api.nvidia.com/nim/reference/llm-apis"),
    known("ollama", Openai, "http://127.0.0.1:11434/v1", &[], "https://docs.ollama.com/api/openai-compatibility"),
    known("openai", Openai, "https://api.openai.com/v1", &["OPENAI_API_KEY"], "https://platform.openai.com/docs/api-reference/introduction"),
    known("openrouter", Openai, "https://openrouter.ai/api/v1", &["OPENROUTER_API_KEY"], "https://openrouter.ai/docs/api-reference/overview"),
    known("ovhcloud", Openai, "https://oai.endpoints.kepler.ai.cloud.ovh.net/v1", &["OVHCLOUD_API_KEY"], "https://endpoints.ai.cloud.ovh.net/"),
    known("perplexity", Openai, "https://api.perplexity.ai", &["PERPLEXITY_API_KEY"], "https://docs.perplexity.ai/guides/chat-completions-guide"),
    known("sambanova", Openai, "https://api.sambanova.ai/v1", &["SAMBANOVA_API_KEY"], "https://docs.sambanova.ai/docs/en/features/openai-compatibility"),
    known("scaleway", Openai, "https://api.scaleway.ai/v1", &["SCALEWAY_API_KEY"], "https://www.scaleway.com/en/docs/generative-apis/"),
    known("siliconflow", Openai, "https://api.siliconflow.com/v1", &["SILICONFLOW_API_KEY"], "https://docs.siliconflow.com/en/userguide/quickstart"),
    known("together", Openai, "https://api.together.xyz/v1", &["TOGETHER_API_KEY"], "https://docs.together.ai/docs/openai-api-compatibility"),
    known("upstage", Openai, "https://api.upstage.ai/v1/solar", &["UPSTAGE_API_KEY"], "https://console.upstage.ai/docs/getting-started"),
    known("vllm", Openai, "http://127.0.0.1:8000/v1", &[], "https://docs.vllm.ai/en/latest/serving/openai_compatible_server.html"),
    known("xai", Openai, "https://api.x.ai/v1", &["XAI_API_KEY"], "https://docs.x.ai/docs/api-reference"),
    known("zai", Openai, "https://api.z.ai/api/paas/v4", &["ZAI_API_KEY", "ZHIPU_API_KEY"], "https://docs.z.ai/api-reference/introduction"),
    known("zhipu", Openai, "https://open.bigmodel.cn/api/paas/v4", &["ZHIPU_API_KEY"], "https://docs.bigmodel.cn/cn/guide/develop/openai/introduction"),
];

/// Hosts that refuse `stream_options` as unknown, and report usage in the last chunk without being asked.
const NO_STREAM_OPTIONS: &[&str] = &["api.mistral.ai"];

/// Bedrock's, which is at home at Bedrock's public hosts. Azure has no such variable: a resource is the customer's own.
const BEDROCK_VARIABLE: &str = "AWS_BEARER_TOKEN_BEDROCK";

/// Whether keys of a well-known provider are kept in this environment variable.
pub fn is_variable(variable: &str) -> bool {
    variable == BEDROCK_VARIABLE || KNOWN.iter().any(|known| known.variables.contains(&variable))
}

/// Whether the keys that are kept in this environment variable are meant for this host.
pub fn is_home(variable: &str, host: &str) -> bool {
    let answers_there = |known: &Known| Url::parse(known.base_url).is_ok_and(|url| url.host_str() == Some(host));
    match variable {
        BEDROCK_VARIABLE => bedrock::is_public(host),
        _ => KNOWN.iter().any(|known| known.variables.contains(&variable) && answers_there(known)),
    }
}

pub fn find(name: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.name == name)
}

/// The base URL that is meant where a provider has none of its own.
pub fn base_url(protocol: WireProtocol) -> Option<&'static str> {
    let name = match protocol {
        WireProtocol::Openai => "openai",
        WireProtocol::Anthropic => "anthropic",
        WireProtocol::Gemini => "gemini",
        WireProtocol::Bedrock | WireProtocol::AzureOpenai => return None,
    };
    find(name).map(|known| known.base_url)
}

pub fn takes_stream_options(base: &Url) -> bool {
    base.host_str().is_none_or(|host| !NO_STREAM_OPTIONS.contains(&host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn each_provider_has_its_own_name_and_a_sound_address() {
        assert!(KNOWN.len() > 20);
        assert!(KNOWN.is_sorted_by(|a, b| a.name < b.name), "sorted, so that no name stands twice");
        for known in KNOWN {
            let url = Url::parse(known.base_url).unwrap();
            let local = url.host_str() == Some("127.0.0.1");
            assert_eq!(url.scheme(), if local { "http" } else { "https" }, "{}", known.name);
            assert_eq!(known.variables.is_empty(), local, "{}", known.name);
            let sound = |variable: &&str| variable.ends_with("_API_KEY") || variable.ends_with("_TOKEN");
            assert!(known.variables.iter().all(sound), "{}", known.name);
            assert!(!known.base_url.ends_with('/') && known.source.starts_with("https://"), "{}", known.name);
        }
    }

    #[test]
    fn protocols_with_one_address_have_it() {
        assert_eq!(base_url(WireProtocol::Openai), Some("https://api.openai.com/v1"));
        assert_eq!(base_url(WireProtocol::Bedrock), None);
    }

    #[test]
    fn a_variable_is_at_home_with_its_provider_alone() {
        for (variable, host, is) in [
            ("OPENAI_API_KEY", "api.openai.com", true),
            ("OPENAI_API_KEY", "api.openai.com.example.com", false),
            ("OPENAI_API_KEY", "openai.com", false),
            ("OPENAI_API_KEY", "api.groq.com", false),
            ("OPENAI_API_KEY", "127.0.0.1", false),
            ("ZHIPU_API_KEY", "api.z.ai", true),
            ("ZHIPU_API_KEY", "open.bigmodel.cn", true),
            ("ZAI_API_KEY", "open.bigmodel.cn", false),
            ("AWS_BEARER_TOKEN_BEDROCK", "bedrock-runtime.eu-west-1.amazonaws.com", true),
            ("AWS_BEARER_TOKEN_BEDROCK", "bedrock-runtime.example.com", false),
            ("AZURE_API_KEY", "r.openai.azure.com", false),
            ("", "127.0.0.1", false),
        ] {
            assert_eq!(is_home(variable, host), is, "{variable} {host}");
        }
        assert!(is_variable("AWS_BEARER_TOKEN_BEDROCK") && is_variable("HF_TOKEN"));
        assert!(!is_variable("AZURE_API_KEY") && !is_variable("PATH") && !is_variable(""));
    }

    #[test]
    fn the_catalogues_providers_need_no_key_source() {
        let catalogue: Value = serde_json::from_str(include_str!("../../../deploy/catalog/providers.json")).unwrap();
        let entries = catalogue["entries"].as_array().unwrap();
        assert!(entries.len() > 20);
        for entry in entries {
            let (name, variable) = (&entry["name"], entry["api_key_env"].as_str().unwrap());
            let protocol: WireProtocol = serde_json::from_value(entry["wire_protocol"].clone()).unwrap();
            let Some(endpoint) = entry["endpoint"].as_str().or(base_url(protocol)) else {
                assert!(matches!(protocol, WireProtocol::Bedrock | WireProtocol::AzureOpenai), "{name}");
                continue;
            };
            let url = Url::parse(endpoint).unwrap();
            assert!(url.scheme() == "https" && is_home(variable, url.host_str().unwrap()), "{name}: {variable}");
        }
    }
}

//! Amazon Bedrock's Converse and ConverseStream, both ways.
//!
//! The key's text is either an API key for Bedrock, which goes as a bearer, or an access key for signing requests:
//! `ACCESS_KEY_ID:SECRET_ACCESS_KEY[:SESSION_TOKEN]`, or the JSON that Amazon's credential processes print. No account
//! was at hand: signing is tested against Amazon's published test suite, framing against published frames, and the
//! bodies against recorded shapes only. Embeddings have no common form on Bedrock and are refused.

mod answer;
pub mod frames;
mod request;
pub mod sigv4;

use super::chat::Chat;
use super::fault::Fault;
use super::form::Label;
use super::wire::{Auth, Framing, Plan, Prepared, segment};
use crate::domain::Micros;
use crate::ports::llm::{Operation, Secret};
use jiff::Timestamp;
use reqwest::Url;
use serde::Deserialize;

const WIRE: &str = "Amazon Bedrock's Converse API";
const SERVICE: &str = "bedrock";

pub fn prepare(plan: &Plan<'_>) -> Result<Prepared, Fault> {
    let call = plan.call;
    if call.operation == Operation::Embeddings {
        return Err(Fault::bad_request(
            None,
            "Bedrock has no embeddings in a common form; use another provider for them",
        ));
    }
    let chat = Chat::read(&call.request, WIRE)?;
    let include_usage = chat.include_usage;
    let body = request::write(chat)?;
    let method = if call.stream { "converse-stream" } else { "converse" };
    let label = Label { id: String::new(), created: plan.created(), model: call.target.model.to_string() };
    Ok(Prepared {
        url: plan.url(&format!("/model/{}/{method}", segment(&call.target.model)))?,
        headers: Vec::new(),
        body,
        auth: Auth::Aws,
        framing: Framing::AmazonEventStream,
        reader: Box::new(answer::Reading::new(label, include_usage)),
    })
}

/// An access key, as a credential process prints it.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AccessKey {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    session_token: Option<String>,
}

fn access_key(key: &Secret) -> Option<AccessKey> {
    let text = key.expose();
    if text.starts_with('{') {
        return serde_json::from_str(text).ok();
    }
    let mut parts = text.splitn(3, ':');
    let (id, secret) = (parts.next()?, parts.next()?);
    let looks_like_one = id.len() >= 16 && id.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    looks_like_one.then(|| AccessKey {
        access_key_id: id.to_owned(),
        secret_access_key: secret.to_owned(),
        session_token: parts.next().map(str::to_owned),
    })
}

/// The headers that prove who asks. The request is a POST of JSON.
///
/// # Errors
/// When the endpoint does not name the region that a signature is for.
pub fn authorize(url: &Url, body: &[u8], key: &Secret, now: Micros) -> Result<Vec<(&'static str, String)>, Fault> {
    let Some(access) = access_key(key) else {
        return Ok(vec![("authorization", format!("Bearer {}", key.expose()))]);
    };
    let host = url.host_str().unwrap_or_default();
    let region = region(host).ok_or_else(|| {
        Fault::bad_target("the endpoint names no region; it must be like https://bedrock-runtime.REGION.amazonaws.com")
    })?;
    let at = Timestamp::from_microsecond(now).unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string();
    let host = url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    let mut headers = vec![("x-amz-date", at.clone())];
    headers.extend(access.session_token.map(|token| ("x-amz-security-token", token)));
    let mut signed = vec![("content-type", "application/json"), ("host", host.as_str())];
    signed.extend(headers.iter().map(|(name, value)| (*name, value.as_str())));
    let signer =
        sigv4::Signer { key_id: &access.access_key_id, secret: &access.secret_access_key, region, service: SERVICE };
    let request = sigv4::Request {
        method: "POST",
        path: url.path(),
        query: url.query().unwrap_or_default(),
        headers: &signed,
        body,
    };
    let authorization = signer.authorization(&request, &at);
    headers.push(("authorization", authorization));
    Ok(headers)
}

/// `bedrock-runtime.eu-west-1.amazonaws.com`; also `bedrock-runtime-fips.…` and a private endpoint's name before it.
fn region(host: &str) -> Option<&str> {
    let (_, rest) = host.split_once("bedrock-runtime")?;
    rest.split('.').nth(1).filter(|label| is_region(label))
}

/// `eu-west-1`, `us-gov-east-1`. Amazon's other services have labels of their own there, such as `s3-eu-west-1`.
fn is_region(label: &str) -> bool {
    let letters = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_lowercase());
    let parts: Vec<_> = label.split('-').collect();
    match parts.as_slice() {
        [area, middle @ .., number] => {
            area.len() == 2
                && letters(area)
                && !middle.is_empty()
                && middle.iter().all(|part| letters(part))
                && number.parse::<u8>().is_ok()
        }
        _ => false,
    }
}

/// Whether the host is one that Amazon names for this service, and not a customer's.
pub fn is_public(host: &str) -> bool {
    let ours = |head: &str| {
        let rest = host.strip_prefix(head)?.strip_prefix('.')?;
        let (region, domain) = rest.split_once('.')?;
        Some(is_region(region) && ["amazonaws.com", "amazonaws.com.cn"].contains(&domain))
    };
    ["bedrock-runtime", "bedrock-runtime-fips"].iter().any(|head| ours(head).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_of_the_service_is_told_from_a_customers() {
        for (host, is) in [
            ("bedrock-runtime.eu-west-1.amazonaws.com", true),
            ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", true),
            ("bedrock-runtime.cn-north-1.amazonaws.com.cn", true),
            ("vpce-0a1b.bedrock-runtime.eu-west-1.vpce.amazonaws.com", false),
            ("bedrock-runtime.s3-eu-west-1.amazonaws.com", false),
            ("bedrock-runtime.s3.amazonaws.com", false),
            ("bedrock-runtime.x.s3.eu-west-1.amazonaws.com", false),
            ("bedrock-runtime.eu-west-1.amazonaws.com.example.com", false),
            ("bedrock-runtime.eu-west-1.example.com", false),
            ("evil-bedrock-runtime.eu-west-1.amazonaws.com", false),
        ] {
            assert_eq!(is_public(host), is, "{host}");
        }
        assert_eq!(region("vpce-0a1b.bedrock-runtime.eu-west-1.vpce.amazonaws.com"), Some("eu-west-1"));
        assert_eq!(region("bedrock-runtime.example.com"), None);
        assert_eq!(region("127.0.0.1"), None);
    }
}

//! Azure OpenAI: OpenAI's wire at other addresses, with the key in `api-key`.
//!
//! An endpoint is either the resource's `…/openai/v1` (a bare host means that), where the model of the request names the
//! deployment; or the older form with a version, `…/openai?api-version=…` or `…/openai/deployments/NAME`. No account was
//! at hand: this is tested against the published addresses and recorded shapes only.

use super::fault::Fault;
use super::openai;
use super::wire::{Auth, Plan, Prepared, segment};
use reqwest::Url;

/// The last generally available version of the older form.
const API_VERSION: &str = "2024-10-21";

pub fn prepare(plan: &Plan<'_>) -> Result<Prepared, Fault> {
    let url = url(plan)?;
    openai::prepare_at(plan, url, Auth::Header("api-key"), true)
}

fn url(plan: &Plan<'_>) -> Result<Url, Fault> {
    let operation = openai::path(plan.call.operation);
    let path = plan.base.path().trim_end_matches('/');
    let versioned = plan.base.query_pairs().any(|(name, _)| name == "api-version");
    let (more, by_version) = match path {
        "" if versioned => (format!("/openai/deployments/{}{operation}", segment(&plan.call.target.model)), true),
        "" => (format!("/openai/v1{operation}"), false),
        _ if path.ends_with("/openai") => {
            (format!("/deployments/{}{operation}", segment(&plan.call.target.model)), true)
        }
        _ if path.contains("/openai/deployments/") => (operation.to_owned(), true),
        _ => (operation.to_owned(), false),
    };
    let mut url = plan.url(&more)?;
    if by_version && !versioned {
        url.query_pairs_mut().append_pair("api-version", API_VERSION);
    }
    Ok(url)
}

//! What a request for an import asks for.

use crate::api::commands::{attributes, text, unsupported};
use crate::api::params::Params;
use crate::api::problem::{INVALID_QUERY, Problem};
use crate::domain::TenantId;
use crate::flow::import::{Kind, Mapping, Order, Retire};
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// What an import's body may be: JSON, JSON lines, or a sequence of JSON texts (RFC 7464).
pub const CONTENT_TYPES: [&str; 5] =
    ["application/json", "application/x-ndjson", "application/jsonl", "application/json-seq", "application/json-lines"];
const FLAGS: [(&str, bool); 2] = [("false", false), ("true", true)];

#[derive(Debug)]
pub struct Ask {
    pub kind: Kind,
    pub mapping: Mapping,
    dry_run: bool,
    retire: Retire,
    actor: Option<String>,
    correlation: String,
}

impl Ask {
    /// `id` groups the commands where the request does not say what they belong to.
    ///
    /// # Errors
    /// When a parameter is wrong, or the body is of another type.
    pub fn of(head: &Parts, id: Uuid) -> Result<Self, Problem> {
        let wrong = |why: String| Problem::new(&INVALID_QUERY, why);
        let mut params = Params::of(&head.uri)?;
        let kinds = Kind::ALL.map(|kind| (kind.name(), kind));
        let kind = params.choice("kind", &kinds)?;
        let dry_run = params.choice("dry_run", &FLAGS)?.unwrap_or_default();
        let is_retiring = params.choice("retire_missing", &FLAGS)?.unwrap_or_default();
        let is_forced = params.choice("force_retire", &FLAGS)?.unwrap_or_default();
        let key = params.one("key")?;
        let pairs = params.all("map");
        params.finish()?;
        let kind = kind.ok_or_else(|| {
            let names = Kind::ALL.map(Kind::name).join(", ");
            wrong(format!("say what the body holds, with kind: one of {names}"))
        })?;
        if !kind.is_lines() && (key.is_some() || !pairs.is_empty()) {
            return Err(wrong(format!("key and map are for kind=agents; {} has a form of its own", kind.name())));
        }
        let retire = match (is_retiring, is_forced) {
            (false, false) => Retire::Never,
            (true, false) => Retire::IfWhole,
            (true, true) => Retire::Forced,
            (false, true) => return Err(wrong("force_retire goes with retire_missing; set both, or neither".into())),
        };
        let mapping = Mapping::new(key.as_deref(), pairs.iter().map(String::as_str)).map_err(wrong)?;
        let content_type = text(&head.headers, &CONTENT_TYPE)?.unwrap_or_default();
        let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if !CONTENT_TYPES.contains(&media.as_str()) {
            let detail = format!("set the content type: {}", CONTENT_TYPES.join(", "));
            return Err(Problem { detail, ..unsupported() });
        }
        let given = attributes(&head.headers)?;
        let correlation = given.correlationid.as_deref().map_or_else(|| id.to_string(), str::to_owned);
        let actor = given.actor.as_deref().map(str::to_owned);
        given.check()?;
        Ok(Self { kind, mapping, dry_run, retire, actor, correlation })
    }

    pub fn order(&self, tenant: TenantId, stop: CancellationToken) -> Order {
        Order {
            kind: self.kind,
            tenant,
            actor: self.actor.clone(),
            correlation: Some(self.correlation.clone()),
            dry_run: self.dry_run,
            retire: self.retire,
            stop,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str, content_type: &str) -> Result<Ask, Problem> {
        let request = hyper::Request::builder().uri(format!("/v1/imports?{query}")).header(CONTENT_TYPE, content_type);
        Ask::of(&request.body(()).unwrap().into_parts().0, Uuid::nil())
    }

    #[test]
    fn what_is_wrong_with_a_request_is_said_with_what_would_be_right() {
        for (query, expected) in [
            ("", "one of mcp-registry, mcp-servers"),
            ("kind=models", "kind must be one of"),
            ("kind=agents&map=nmae=x", "it has name, category"),
            ("kind=mcp-tools&key=id", "key and map are for kind=agents"),
            ("kind=mcp-tools&force_retire=true", "goes with retire_missing"),
            ("kind=mcp-tools&dry_run=yes", "dry_run must be one of"),
            ("kind=mcp-tools&dryrun=true", "known: kind, dry_run"),
        ] {
            let problem = ask(query, "application/json").unwrap_err();
            assert!(problem.detail.contains(expected), "{query}: {}", problem.detail);
        }
        assert_eq!(ask("kind=agents", "text/plain").unwrap_err().kind.code, "unsupported_media_type");
        let right =
            ask("kind=agents&key=/a/b&map=name=n&map=skills=tags&retire_missing=true", "Application/X-NDJSON; x=y");
        assert_eq!(right.unwrap().retire, Retire::IfWhole);
    }
}

//! What a request for an import asks for.

use crate::api::commands::{attributes, text, unsupported};
use crate::api::params::Params;
use crate::api::problem::{INVALID_QUERY, Problem};
use crate::domain::{Micros, TenantId};
use crate::flow::import::{Asked, Document, Kind, Mapping, Order, Retire, Selected};
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
    asked: Asked,
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
        let (pairs, defaults) = (params.all("map"), params.all("set"));
        let selected = params.all("provider");
        let only_known = params.choice("only_known", &FLAGS)?;
        let as_of = params.one("as_of")?;
        params.finish()?;
        let kind = kind.ok_or_else(|| {
            let names = Kind::ALL.map(Kind::name).join(", ");
            wrong(format!("say what the body holds, with kind: one of {names}"))
        })?;
        if !kind.is_lines() && (key.is_some() || !pairs.is_empty() || !defaults.is_empty()) {
            return Err(wrong(format!("key, map and set are for kind=agents; {} has a form of its own", kind.name())));
        }
        if kind.source_of_offers().is_none() && (only_known.is_some() || as_of.is_some() || !selected.is_empty()) {
            let why = "provider, only_known and as_of are for lists of models: kind=models-dev or kind=litellm";
            return Err(wrong(why.into()));
        }
        let providers: Result<Vec<Selected>, String> = selected.iter().map(|text| text.parse()).collect();
        let asked = Asked {
            providers: providers.map_err(|why| wrong(format!("provider: {why}")))?,
            only_known: only_known.unwrap_or_default(),
            // Ids of commands tell when they were made.
            priced_at: match as_of {
                Some(day) => priced_at(&day).map_err(wrong)?,
                None => made_at(id),
            },
            ..Asked::default()
        };
        let retire = match (is_retiring, is_forced) {
            (false, false) => Retire::Never,
            (true, false) => Retire::IfWhole,
            (true, true) => Retire::Forced,
            (false, true) => return Err(wrong("force_retire goes with retire_missing; set both, or neither".into())),
        };
        let mapping =
            Mapping::new(key.as_deref(), pairs.iter().map(String::as_str), defaults.iter().map(String::as_str));
        let mapping = mapping.map_err(wrong)?;
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
        Ok(Self { kind, mapping, dry_run, retire, asked, actor, correlation })
    }

    /// Leaves of a list of models what was asked for.
    ///
    /// # Errors
    /// When the list has no such provider.
    pub fn select(&mut self, document: &mut Document, tenant: TenantId) -> Result<(), Problem> {
        document.select(&self.asked.providers).map_err(|why| Problem::new(&INVALID_QUERY, why))?;
        let made = document.entries.iter().flatten().map(|item| self.kind.stream(tenant, &item.key).id);
        if self.kind.source_of_offers().is_some() {
            self.asked.made = made.collect();
        }
        Ok(())
    }

    pub fn order(&self, tenant: TenantId, stop: CancellationToken) -> Order {
        Order {
            kind: self.kind,
            tenant,
            actor: self.actor.clone(),
            correlation: Some(self.correlation.clone()),
            dry_run: self.dry_run,
            retire: self.retire,
            asked: self.asked.clone(),
            stop,
        }
    }
}

/// The beginning of a day.
fn priced_at(day: &str) -> Result<Micros, String> {
    let midnight = format!("{day}T00:00:00Z").parse::<jiff::Timestamp>();
    let micros = midnight.map(jiff::Timestamp::as_microsecond).ok().filter(|micros| *micros >= 0);
    micros.ok_or_else(|| format!("as_of is {day:?}; give a day since 1970, as in 2026-01-31"))
}

fn made_at(id: Uuid) -> Micros {
    let (seconds, nanoseconds) = id.get_timestamp().map_or((0, 0), |made| made.to_unix());
    i64::try_from(seconds).unwrap_or_default().saturating_mul(1_000_000) + i64::from(nanoseconds / 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(query: &str, content_type: &str) -> Result<Ask, Problem> {
        let request = hyper::Request::builder().uri(format!("/v1/imports?{query}")).header(CONTENT_TYPE, content_type);
        Ask::of(&request.body(()).unwrap().into_parts().0, Uuid::nil())
    }

    #[test]
    fn prices_are_taken_when_the_request_comes_unless_it_says_when() {
        let made = Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_767_225_600, 0));
        assert_eq!((made_at(made), made_at(Uuid::nil())), (1_767_225_600_000_000, 0));
        assert!(priced_at("1969-12-31").is_err() && priced_at("2026-02-30").is_err());
    }

    #[test]
    fn what_is_wrong_with_a_request_is_said_with_what_would_be_right() {
        for (query, expected) in [
            ("", "one of mcp-registry, mcp-servers"),
            ("kind=model", "kind must be one of"),
            ("kind=agents&map=nmae=x", "it has name, category"),
            ("kind=mcp-tools&key=id", "key, map and set are for kind=agents"),
            ("kind=mcp-tools&set=role=x", "key, map and set are for kind=agents"),
            ("kind=agents&set=role", "our_field=value"),
            ("kind=agents&only_known=true", "for lists of models"),
            ("kind=models-dev&as_of=yesterday", "as in 2026-01-31"),
            ("kind=models-dev&provider==x", "NAME_IN_FILE=NAME_OR_ID_HERE"),
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
        let right =
            ask("kind=litellm&as_of=2026-01-01&provider=a&provider=b=c&only_known=true", "application/json").unwrap();
        assert_eq!((right.asked.priced_at, right.asked.providers.len()), (1_767_225_600_000_000, 2));
    }
}

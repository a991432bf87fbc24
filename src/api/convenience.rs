//! The convenience routes: a path and a body of fields, made into a command for the caller.
//!
//! `POST /v1/agents` is `agent.RegisterAgent`, `PATCH /v1/agents/{id}` is `agent.ReviseAgent`, and every other command
//! is `POST /v1/<plural>/{id}/<verb>`, its verb being its name without the aggregate's: `ReportAgentHealth` is
//! `report-health`. Attributes may come in `ce-` headers, as in binary mode.

use super::access::{Access, Loopback};
use super::commands::{attributes, receiver, submit_one, text, unsupported};
use super::problem::{INVALID_DATA, INVALID_PRECONDITION, Problem};
use super::{Services, body, params};
use crate::domain::Aggregate;
use crate::flow::gateway::Wait;
use crate::flow::outcome::OutcomeKind;
use crate::flow::receive::{Data, Media, media};
use axum::extract::Request;
use axum::response::Response;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, IF_MATCH, LOCATION};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The command that begins a stream of this kind: an aggregate's first.
pub fn creating(aggregate: Aggregate) -> &'static str {
    aggregate.commands()[0]
}

/// The command that revises a stream of this kind, where there is one.
pub fn revising(aggregate: Aggregate) -> Option<&'static str> {
    let name = format!("Revise{}", type_name(aggregate));
    aggregate.commands().iter().find(|command| **command == name).copied()
}

/// The last segment of a command's route: its name without the aggregate's, in kebab case.
pub fn verb(aggregate: Aggregate, command: &str) -> String {
    let mut verb = String::new();
    for (at, letter) in command.replacen(&type_name(aggregate), "", 1).char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            verb.push('-');
        }
        verb.push(letter.to_ascii_lowercase());
    }
    verb
}

/// `mcp_server` is `McpServer` in the names of records.
pub fn type_name(aggregate: Aggregate) -> String {
    let capitalised = aggregate.name().split('_').map(|word| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    });
    capitalised.collect()
}

/// Runs the command that a route stands for; its stream is named by the path unless it is to be begun.
pub async fn run(
    services: &Services,
    loopback: Loopback,
    (aggregate, command): (Aggregate, &'static str),
    is_new: bool,
    request: Request,
) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let access = Access::of(&head.headers, loopback)?;
    // Who sends a form expects to read what it wrote.
    let (wait, timeout) = services.wait_of(&head.uri, Wait::Projected)?;
    let subject = if is_new { None } else { Some(params::id(&head.uri)?) };
    let body = body::read(&head.headers, body, &services.settings).await?;
    let submission = {
        let mut attributes = attributes(&head.headers)?;
        attributes.r#type = Some(Cow::Owned(format!("{}.{command}", aggregate.name())));
        if let Some(subject) = subject {
            attributes.subject = Some(Cow::Owned(subject.to_string()));
        }
        if let Some(version) = if_match(&head.headers)? {
            attributes.expectedversion = Some(version);
        }
        let body = data(command, text(&head.headers, &CONTENT_TYPE)?, &body)?;
        let receiver = receiver(services, &access, &head.headers)?;
        receiver.command(attributes, body_data(&body)?).map_err(|refused| refused.problem)?
    };
    let (_, stream, outcome, mut response) = submit_one(services, submission, wait, timeout).await?;
    if outcome == OutcomeKind::Applied
        && let Ok(location) = HeaderValue::try_from(format!("/v1/{}/{}", aggregate.plural(), stream.id))
    {
        response.headers_mut().insert(LOCATION, location);
    }
    Ok(response)
}

fn body_data(body: &[u8]) -> Result<Data<'_>, Problem> {
    Ok(Data::new(None, body)?)
}

/// The command's data: the body, or nothing where it is empty.
fn data<'a>(command: &str, content_type: Option<&str>, body: &'a [u8]) -> Result<Cow<'a, [u8]>, Problem> {
    if body.is_empty() {
        return Ok(Cow::Borrowed(b"{}"));
    }
    if content_type.map(media) != Some(Media::Json) {
        return Err(unsupported());
    }
    if command == "DefineAgentTemplate" {
        return definition(body);
    }
    Ok(Cow::Borrowed(body))
}

/// A template's definition may be the body itself.
fn definition(body: &[u8]) -> Result<Cow<'_, [u8]>, Problem> {
    #[derive(Deserialize)]
    struct Wrapped<'a> {
        #[serde(borrow)]
        definition: Option<&'a RawValue>,
    }
    let wrapped: Wrapped<'_> = serde_json::from_slice(body)
        .map_err(|error| Problem::new(&INVALID_DATA, format!("the body cannot be read as a JSON object: {error}")))?;
    if wrapped.definition.is_some() {
        return Ok(Cow::Borrowed(body));
    }
    Ok(Cow::Owned([b"{\"definition\":".as_slice(), body, b"}"].concat()))
}

/// The version that `If-Match` names, as the `ETag` of a resource gives it.
fn if_match(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(value) = text(headers, &IF_MATCH)? else { return Ok(None) };
    let tag = value.trim();
    let tag = tag.strip_prefix("W/").unwrap_or(tag);
    let version = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"')).and_then(|tag| tag.parse().ok());
    version.map(Some).ok_or_else(|| {
        Problem::new(
            &INVALID_PRECONDITION,
            "If-Match must be one version in quotes, as the ETag of the resource gives it",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn verbs_are_the_names_without_the_aggregate() {
        for (aggregate, command, expected) in [
            (Aggregate::Agent, "ActivateAgent", "activate"),
            (Aggregate::Agent, "ReportAgentHealth", "report-health"),
            (Aggregate::McpServer, "DiscoverTools", "discover-tools"),
            (Aggregate::LlmProvider, "SetLlmProviderLimits", "set-limits"),
            (Aggregate::Tenant, "SetCouplingThreshold", "set-coupling-threshold"),
            (Aggregate::Tenant, "AddProject", "add-project"),
            (Aggregate::Coupling, "EndCoupling", "end"),
        ] {
            assert_eq!(verb(aggregate, command), expected);
        }
    }

    #[test]
    fn verbs_of_an_aggregate_are_unique_and_hide_no_other_route() {
        for aggregate in Aggregate::ALL {
            let verbs: BTreeSet<_> = aggregate.commands().iter().map(|command| verb(*aggregate, command)).collect();
            assert_eq!(verbs.len(), aggregate.commands().len(), "{aggregate:?}");
            assert!(["history", "explain", "heartbeat"].iter().all(|taken| !verbs.contains(*taken)), "{aggregate:?}");
        }
    }

    #[test]
    fn the_creating_and_revising_commands_are_found() {
        let creating: Vec<_> = Aggregate::ALL.iter().map(|aggregate| super::creating(*aggregate)).collect();
        let expected = [
            "ProvisionTenant",
            "DefineAgentTemplate",
            "RegisterAgent",
            "RegisterMcpServer",
            "RegisterLlmProvider",
            "RequestCoupling",
            "SubmitRequest",
            "OpenBatchFile",
            "DefineSkill",
        ];
        assert_eq!(creating, expected);
        assert_eq!(revising(Aggregate::LlmProvider), Some("ReviseLlmProvider"));
        assert_eq!(revising(Aggregate::Coupling), None);
    }

    #[test]
    fn a_template_may_be_the_body_itself() {
        let wrapped = |body: &str| String::from_utf8(definition(body.as_bytes()).unwrap().into_owned()).unwrap();
        assert_eq!(wrapped("{\"name\":\"x\"}"), "{\"definition\":{\"name\":\"x\"}}");
        assert_eq!(wrapped("{\"definition\":{\"name\":\"x\"}}"), "{\"definition\":{\"name\":\"x\"}}");
        assert!(definition(b"{\"name\":").is_err());
    }

    #[test]
    fn a_body_needs_its_content_type_and_no_body_is_no_fields() {
        assert_eq!(data("IdleAgent", None, b"").unwrap(), b"{}".as_slice());
        assert!(data("IdleAgent", None, b"{}").is_err());
        assert!(data("IdleAgent", Some("application/x-www-form-urlencoded"), b"{}").is_err());
        assert_eq!(data("IdleAgent", Some("application/json"), b"{ }").unwrap(), b"{ }".as_slice());
    }

    #[test]
    fn if_match_names_one_version() {
        let read = |value: &'static str| if_match(&[(IF_MATCH, HeaderValue::from_static(value))].into_iter().collect());
        assert_eq!(read("\"7\""), Ok(Some(7)));
        assert_eq!(read("W/\"7\""), Ok(Some(7)));
        assert!(read("7").is_err() && read("*").is_err() && read("\"7\", \"8\"").is_err());
        assert_eq!(if_match(&HeaderMap::new()), Ok(None));
    }
}

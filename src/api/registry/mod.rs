//! The built-in schema registry: Confluent's REST calls over the schemas that this program comes with.
//!
//! It lies below `/schema-registry` and not at the root, where its `/config`, `/mode` and `/schemas` would stand among
//! the routes of the fleet. Clients lose nothing by it: confluent-kafka-python, `@kafkajs/confluent-schema-registry` and
//! Java's serializers put their paths behind the path of the URL that they are given.
//!
//! It can be read by everybody and changed by nobody: what it shows is compiled in, so that every node shows the same
//! without a store behind it. Registering what is there gives its id, as serializers do at their start; anything that
//! would change something is refused with the reason. Its ids are made in [`crate::domain::schemas`].
//!
//! Unlike the other routes these ignore parameters that they do not know, as Confluent's do: clients send new ones.

mod calls;
mod fault;
#[cfg(test)]
mod tests;

pub use calls::{Call, calls};
pub use fault::Fault;

use super::problem::{INVALID_QUERY, Problem};
use super::{Services, body, params};
use crate::domain::schemas::{self, Schemas, Version};
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use params::Params;
use serde::Deserialize;
use serde_json::{Value, json};

/// What every path of the registry begins with.
pub const BASE: &str = "/schema-registry";
pub const MEDIA: &str = "application/vnd.schemaregistry.v1+json";
/// What bodies may come as, beside no word of it at all.
pub const MEDIA_TAKEN: [&str; 4] =
    [MEDIA, "application/vnd.schemaregistry+json", "application/json", "application/octet-stream"];
/// How every subject is held against all of its versions, in both directions.
const LEVEL: &str = "FULL_TRANSITIVE";
const MODE: &str = "READONLY";

pub async fn serve(services: &Services, call: Call, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let read = async {
        if [Method::GET, Method::HEAD].contains(&head.method) {
            return Ok(Bytes::new());
        }
        check_media(&head.headers)?;
        body::read(&head.headers, body, &services.settings).await.map_err(Fault::from)
    };
    let answer = match read.await {
        Ok(body) => answer(Schemas::of_program(), call, &head.uri, &body),
        Err(fault) => Err(fault),
    };
    match answer {
        Ok(value) => written(StatusCode::OK, value.to_string()),
        Err(fault) => fault.into_response(),
    }
}

/// A response of the registry's media type.
fn written(status: StatusCode, json: String) -> Response {
    let mut response = (status, json).into_response();
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(MEDIA));
    response
}

fn check_media(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(given) = headers.get(CONTENT_TYPE) else { return Ok(()) };
    let essence = given.to_str().unwrap_or_default().split(';').next().unwrap_or_default().trim();
    match MEDIA_TAKEN.iter().any(|taken| essence.eq_ignore_ascii_case(taken)) {
        true => Ok(()),
        false => Err(Fault::plain(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("the content type is not supported; set it to {MEDIA} (curl: -H 'content-type: {MEDIA}')"),
        )),
    }
}

/// What a call is answered. Pure: the tests ask it of schemas of their own.
fn answer(all: &Schemas, call: Call, uri: &Uri, body: &[u8]) -> Result<Value, Fault> {
    let mut params = Params::of(uri)?;
    // The subject stands behind `/schema-registry/subjects`, `/config`, `/mode`, or `/compatibility/subjects`.
    let at = |place: usize| params::segment(uri, place);
    match call {
        Call::Subjects => subjects(all, &mut params),
        Call::Versions => {
            let numbers = versions(all, &at(2)?)?.iter().map(|version| json!(version.number)).collect();
            page(if is_set(&mut params, "deletedOnly")? { Vec::new() } else { numbers }, &mut params)
        }
        Call::Version => Ok(shown(version(all, &at(2)?, &at(4)?)?)),
        Call::VersionSchema => Ok(raw(version(all, &at(2)?, &at(4)?)?)),
        // No schema of ours refers to another one: each text stands alone.
        Call::ReferencedBy => version(all, &at(2)?, &at(4)?).map(|_| json!([])),
        Call::Lookup => lookup(all, &at(2)?, is_set(&mut params, "normalize")?, body),
        Call::Register => register(all, &at(2)?, is_set(&mut params, "normalize")?, body),
        Call::Id => Ok(json!({ "schema": by_id(all, &at(3)?)?.text })),
        Call::IdSchema => Ok(raw(by_id(all, &at(3)?)?)),
        Call::IdSubjects => Ok(json!([by_id(all, &at(3)?)?.subject])),
        Call::IdVersions => {
            let found = by_id(all, &at(3)?)?;
            Ok(json!([{ "subject": found.subject, "version": found.number }]))
        }
        Call::Types => Ok(json!(["AVRO"])),
        Call::Schemas => every(all, &mut params),
        Call::Config => Ok(json!({ "compatibilityLevel": LEVEL })),
        Call::SubjectConfig => versions(all, &at(2)?).map(|_| json!({ "compatibilityLevel": LEVEL })),
        Call::Mode => Ok(json!({ "mode": MODE })),
        Call::SubjectMode => versions(all, &at(2)?).map(|_| json!({ "mode": MODE })),
        Call::CompatibleWithOne => {
            let (candidate, against) = (schema_of(body), version(all, &at(3)?, &at(5)?)?);
            compatible(&candidate?, std::slice::from_ref(against), is_set(&mut params, "verbose")?)
        }
        Call::CompatibleWithAll => {
            let (candidate, against) = (schema_of(body), versions(all, &at(3)?)?);
            compatible(&candidate?, against, is_set(&mut params, "verbose")?)
        }
        Call::SetConfig | Call::UnsetConfig | Call::SetSubjectConfig | Call::UnsetSubjectConfig => {
            Err(Fault::not_permitted(format!("the level of this registry is {LEVEL} for every subject")))
        }
        Call::SetMode | Call::SetSubjectMode | Call::UnsetSubjectMode => {
            Err(Fault::not_permitted(format!("the mode of this registry is {MODE} for every subject")))
        }
        Call::DeleteSubject | Call::DeleteVersion => {
            Err(Fault::not_permitted("nothing is deleted, for what a schema wrote is to be read for ever"))
        }
    }
}

fn is_set(params: &mut Params, name: &'static str) -> Result<bool, Fault> {
    match params.one(name)?.as_deref() {
        None => Ok(false),
        Some(value) if value.eq_ignore_ascii_case("true") => Ok(true),
        Some(value) if value.eq_ignore_ascii_case("false") => Ok(false),
        Some(_) => Err(Problem::new(&INVALID_QUERY, format!("{name} must be true or false")).into()),
    }
}

/// The items from `offset` on, at most `limit` of them; a negative limit is none.
fn page(items: Vec<Value>, params: &mut Params) -> Result<Value, Fault> {
    let mut number = |name: &'static str, default: i64| -> Result<i64, Problem> {
        let Some(given) = params.one(name)? else { return Ok(default) };
        given.parse().map_err(|_| Problem::new(&INVALID_QUERY, format!("{name} must be a whole number")))
    };
    let (offset, limit) = (number("offset", 0)?, number("limit", -1)?);
    let (offset, limit) = (usize::try_from(offset).unwrap_or(0), usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(items.into_iter().skip(offset).take(limit).collect())
}

/// The wanted beginning of subjects. Confluent's may name a context before it, of which there is one here.
fn prefix(params: &mut Params) -> Result<String, Fault> {
    let given = params.one("subjectPrefix")?.unwrap_or_default();
    let bare = [":*:", ":.:"].iter().find_map(|context| given.strip_prefix(context));
    Ok(bare.unwrap_or(&given).to_owned())
}

fn subjects(all: &Schemas, params: &mut Params) -> Result<Value, Fault> {
    let prefix = prefix(params)?;
    if is_set(params, "deletedOnly")? {
        return Ok(json!([]));
    }
    page(all.subjects().filter(|subject| subject.starts_with(&prefix)).map(|it| json!(it)).collect(), params)
}

fn every(all: &Schemas, params: &mut Params) -> Result<Value, Fault> {
    let (prefix, latest_only) = (prefix(params)?, is_set(params, "latestOnly")?);
    let is_latest = |version: &Version| all.versions(&version.subject).map(<[_]>::len) == Some(version.number as usize);
    let wanted = |version: &&Version| version.subject.starts_with(&prefix) && (!latest_only || is_latest(version));
    page(all.all().filter(wanted).map(shown).collect(), params)
}

fn versions<'a>(all: &'a Schemas, subject: &str) -> Result<&'a [Version], Fault> {
    all.versions(subject).ok_or_else(|| Fault::no_subject(subject))
}

fn version<'a>(all: &'a Schemas, subject: &str, number: &str) -> Result<&'a Version, Fault> {
    let wanted = match number {
        "latest" | "-1" => None,
        number => match number.parse::<i32>() {
            Ok(number @ 1..) => Some(number as u32),
            _ => return Err(Fault::invalid_version(number)),
        },
    };
    let versions = versions(all, subject)?;
    let found = match wanted {
        None => versions.last(),
        Some(wanted) => versions.iter().find(|version| version.number == wanted),
    };
    found.ok_or_else(|| Fault::no_version(subject, number))
}

fn by_id<'a>(all: &'a Schemas, id: &str) -> Result<&'a Version, Fault> {
    let found = id.parse().ok().and_then(|id| all.by_id(id));
    found.ok_or_else(|| Fault::no_schema(format!("there is no schema with the id {id}")))
}

fn shown(version: &Version) -> Value {
    json!({ "subject": version.subject, "version": version.number, "id": version.id, "schema": version.text })
}

/// The schema itself, not as a text in JSON.
fn raw(version: &Version) -> Value {
    serde_json::from_str(&version.text).unwrap_or_default()
}

/// The schema of a body.
fn schema_of(body: &[u8]) -> Result<apache_avro::Schema, Fault> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Sent {
        schema: Option<String>,
        schema_type: Option<String>,
        #[serde(default)]
        references: Option<Vec<Value>>,
    }
    let sent: Sent = serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body must be a JSON object with \"schema\", a text: {error}");
        Fault::plain(StatusCode::BAD_REQUEST, message)
    })?;
    if let Some(kind) = sent.schema_type.filter(|kind| !kind.eq_ignore_ascii_case("AVRO")) {
        return Err(Fault::invalid_schema(format!("the schema type {kind:?} is not supported; it must be AVRO")));
    }
    if sent.references.is_some_and(|references| !references.is_empty()) {
        return Err(Fault::invalid_schema("references are not supported; each schema must stand alone"));
    }
    let text = sent.schema.filter(|text| !text.trim().is_empty());
    let text = text.ok_or_else(|| Fault::invalid_schema("the schema is empty; send its text in \"schema\""))?;
    schemas::parse(&text).map_err(|cause| Fault::invalid_schema(format!("the schema is not valid: {cause}")))
}

fn lookup(all: &Schemas, subject: &str, normalized: bool, body: &[u8]) -> Result<Value, Fault> {
    let versions = versions(all, subject)?;
    let schema = schema_of(body)?;
    let found = versions.iter().rev().find(|version| schemas::same(&version.schema, &schema, normalized));
    found.map(shown).ok_or_else(|| {
        let hint = match versions.iter().any(|version| schemas::same(&version.schema, &schema, true)) {
            true => "; with normalize=true it is the same as one that is",
            false => "",
        };
        Fault::no_schema(format!("this schema is not registered under {subject}{hint}"))
    })
}

/// Gives the id of what is there, whichever words it comes in: that alone is what a serializer wants to hear.
fn register(all: &Schemas, subject: &str, normalized: bool, body: &[u8]) -> Result<Value, Fault> {
    let schema = schema_of(body)?;
    let Ok(versions) = versions(all, subject) else {
        return Err(Fault::not_permitted(format!(
            "there is no subject {subject:?}, and none can be added; a subject is a record's full name \
             (RecordNameStrategy), GET {BASE}/subjects lists them"
        )));
    };
    let found = versions.iter().rev().find(|version| schemas::same(&version.schema, &schema, normalized));
    if let Some(found) = found {
        return Ok(json!({ "id": found.id }));
    }
    match schemas::conflicts(&schema, versions) {
        none if none.is_empty() => Err(Fault::not_permitted(format!(
            "this schema is not registered under {subject}, and none can be added; use the latest version \
             (use.latest.version), or normalize=true where only its words differ"
        ))),
        conflicts => Err(Fault::incompatible(format!(
            "the schema is incompatible with what is registered under {subject}: {}",
            conflicts.join("; ")
        ))),
    }
}

fn compatible(schema: &apache_avro::Schema, against: &[Version], verbose: bool) -> Result<Value, Fault> {
    let conflicts = schemas::conflicts(schema, against);
    let mut answer = json!({ "is_compatible": conflicts.is_empty() });
    if verbose {
        answer["messages"] = json!(conflicts);
    }
    Ok(answer)
}

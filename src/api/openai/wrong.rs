//! What is wrong with a body: looked for once it was refused, so that no good one pays for it. Nothing of it is repeated:
//! it may be secret.

use super::fault::Fault;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// The fields that are read here, each of which may be there once. All others are the provider's.
const READ: [&str; 6] = ["model", "stream", "messages", "input", "max_tokens", "max_completion_tokens"];
const MODEL: usize = 0;
const STREAM: usize = 1;
/// What a model is.
const MODELS: &str = "coupling:<id>, agent:<id> or provider/model";

/// What a body has of [`READ`].
#[derive(Default)]
struct Fields<'a> {
    found: [Option<&'a RawValue>; READ.len()],
    twice: Option<&'static str>,
}

struct Reading;

impl<'de> Visitor<'de> for Reading {
    type Value = Fields<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Fields<'de>, M::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<Cow<'de, str>>()? {
            let value: &'de RawValue = map.next_value()?;
            let Some((at, read)) = READ.iter().enumerate().find(|(_, read)| **read == name) else { continue };
            if fields.found[at].replace(value).is_some() {
                fields.twice = fields.twice.or(Some(read));
            }
        }
        Ok(fields)
    }
}

impl<'de> Deserialize<'de> for Fields<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Reading)
    }
}

/// What is wrong with a body, where that can be seen here.
pub fn of(body: &str) -> Option<Fault> {
    let fields: Fields<'_> = match serde_json::from_str(body) {
        Ok(fields) => fields,
        Err(error) if error.is_data() => return Some(Fault::invalid("body", "the body is no JSON object; send one")),
        Err(error) => return Some(unreadable(&error)),
    };
    if let Some(name) = fields.twice {
        return Some(Fault::invalid(name, format!("the body has {name} twice; send each field once")));
    }
    match fields.found[MODEL].map(|model| serde_json::from_str::<Cow<'_, str>>(model.get())) {
        None => return Some(Fault::invalid("model", format!("the body has no model; send a text: {MODELS}"))),
        Some(Err(_)) => return Some(Fault::invalid("model", format!("model must be a text: {MODELS}"))),
        Some(Ok(_)) => {}
    }
    let is_stream_known = fields.found[STREAM].is_none_or(|it| ["true", "false", "null"].contains(&it.get()));
    (!is_stream_known).then(|| Fault::invalid("stream", "stream must be true or false"))
}

/// The parser's own words may repeat the prompt.
pub fn unreadable(error: &serde_json::Error) -> Fault {
    let at = format!("line {}, column {}", error.line(), error.column());
    Fault::invalid("body", format!("the body is no JSON that can be read ({at}); send a JSON object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_is_said_of_the_field_that_it_is_wrong_with() {
        for (body, param, message) in [
            (r#"{"model":"m","stream":"yes"}"#, "stream", "stream must be true or false"),
            (r#"{"stream":1,"model":"m"}"#, "stream", "stream must be true or false"),
            (r#"{"model":"m","mod\u0065l":"n"}"#, "model", "the body has model twice; send each field once"),
            (r#"{"model":7,"stream":0,"stream":1}"#, "stream", "the body has stream twice; send each field once"),
            (r#"{"model":"m","messages":[],"messages":[]}"#, "messages", "the body has messages twice"),
            (r#"{"messages":[]}"#, "model", "the body has no model"),
            (r#"{"model":null}"#, "model", "model must be a text: coupling:<id>"),
            ("null", "body", "the body is no JSON object"),
            ("[]", "body", "the body is no JSON object"),
            (r#"{"model":7} x"#, "body", "(line 1, column 13); send a JSON object"),
        ] {
            let fault = of(body).unwrap_or_else(|| panic!("nothing is wrong with {body}"));
            assert_eq!((fault.status.as_u16(), fault.complaint.param.as_deref()), (400, Some(param)), "{body}");
            assert!(fault.complaint.message.contains(message), "{body}: {}", fault.complaint.message);
        }
        let good = r#"{"model":"m","stream":null,"top_p":1,"top_p":1}"#;
        assert!(of(good).is_none(), "what a provider reads is the provider's to judge");
    }
}

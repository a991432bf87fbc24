//! Changes to a request that leave every other byte as it is: the spans of a few top-level values are found and replaced.

use super::fault::Fault;
use bytes::Bytes;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use std::ops::Range;

/// The values that a call may have to change. A name that stands twice is refused: which one counts differs by reader.
#[derive(Deserialize)]
struct Top<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    model: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "present")]
    stream_options: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Options<'a> {
    #[serde(borrow, default, deserialize_with = "present")]
    include_usage: Option<&'a RawValue>,
}

/// A value that stands there, `null` too: it has a span.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// A request as it goes out.
#[derive(Debug)]
pub struct Spliced {
    pub body: Bytes,
    /// Whether the request itself asked for the usage of a stream.
    pub asked_for_usage: bool,
}

/// Sets `model`, makes `stream` what the call says, and asks for the usage of a stream where `ask` says so.
///
/// # Errors
/// When the request is no JSON object, or names one of these twice.
pub fn splice(request: &Bytes, model: &str, stream: bool, ask: bool) -> Result<Spliced, Fault> {
    // An array would be read too, its items as the fields in their order.
    if request.trim_ascii_start().first() == Some(&b'[') {
        return Err(Fault::bad_request(None, "the request is an array, not a JSON object as the API takes it"));
    }
    let top: Top<'_> = serde_json::from_slice(request).map_err(no_object)?;
    let mut edits = Edits { request, found: Vec::with_capacity(3), added: String::new() };
    edits.set("model", top.model, &serde_json::Value::from(model).to_string());
    let streams = top.stream.is_some_and(|value| value.get() == "true");
    if streams != stream {
        edits.set("stream", top.stream, if stream { "true" } else { "false" });
        if !stream && top.stream_options.is_some() {
            // They are refused beside a request that does not stream.
            edits.set("stream_options", top.stream_options, "null");
        }
    }
    let mut asked_for_usage = false;
    if stream {
        let options = top.stream_options.filter(|value| value.get().starts_with('{'));
        let include = match options {
            Some(options) => serde_json::from_str::<Options<'_>>(options.get()).map_err(no_object)?.include_usage,
            None => None,
        };
        asked_for_usage = include.is_some_and(|value| value.get() == "true");
        if ask && !asked_for_usage {
            match (options, include) {
                (_, Some(value)) => edits.set("include_usage", Some(value), "true"),
                (Some(options), None) => {
                    let rest = options.get()[1..].trim_start();
                    let comma = if rest.starts_with('}') { "" } else { "," };
                    edits.set("stream_options", Some(options), &format!("{{\"include_usage\":true{comma}{rest}"));
                }
                (None, None) => edits.set("stream_options", top.stream_options, "{\"include_usage\":true}"),
            }
        }
    }
    Ok(Spliced { body: edits.apply(), asked_for_usage })
}

fn no_object(error: serde_json::Error) -> Fault {
    // The error's text may quote the request.
    Fault::bad_request(
        None,
        format!(
            "the request is not a JSON object as the API takes it (line {}, column {})",
            error.line(),
            error.column()
        ),
    )
}

struct Edits<'a> {
    request: &'a Bytes,
    found: Vec<(Range<usize>, String)>,
    added: String,
}

impl Edits<'_> {
    fn set(&mut self, name: &str, old: Option<&RawValue>, new: &str) {
        let Some(old) = old else {
            self.added.push_str(&format!("\"{name}\":{new},"));
            return;
        };
        if old.get() != new {
            let start = old.get().as_ptr() as usize - self.request.as_ptr() as usize;
            self.found.push((start..start + old.get().len(), new.to_owned()));
        }
    }

    fn apply(mut self) -> Bytes {
        if self.found.is_empty() && self.added.is_empty() {
            return self.request.clone();
        }
        self.found.sort_by_key(|(span, _)| span.start);
        let open = self.request.iter().position(|byte| *byte == b'{').unwrap_or_default() + 1;
        let is_empty = self.request[open..].iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'}');
        if is_empty {
            self.added.pop();
        }
        let more: usize = self.found.iter().map(|(_, new)| new.len()).sum();
        let mut body = Vec::with_capacity(self.request.len() + self.added.len() + more);
        body.extend_from_slice(&self.request[..open]);
        body.extend_from_slice(self.added.as_bytes());
        let mut from = open;
        for (span, new) in &self.found {
            body.extend_from_slice(&self.request[from..span.start]);
            body.extend_from_slice(new.as_bytes());
            from = span.end;
        }
        body.extend_from_slice(&self.request[from..]);
        body.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spliced(request: &str, stream: bool) -> (String, bool) {
        let done = splice(&Bytes::copy_from_slice(request.as_bytes()), "m/2", stream, true).unwrap();
        (String::from_utf8(done.body.to_vec()).unwrap(), done.asked_for_usage)
    }

    #[test]
    fn only_the_model_is_replaced_and_every_other_byte_stays() {
        let request = r#" { "zeta" : 1.50e2, "messages":[{"model":"inner"}],"model" :"a\u0062" ,"x":{"stream":true}, "ü":null } "#;
        let (body, _) = spliced(request, false);
        assert_eq!(body, request.replace(r#""a\u0062""#, r#""m/2""#));
    }

    #[test]
    fn a_request_that_needs_no_change_is_not_copied() {
        let request = Bytes::from_static(br#"{"model":"m/2","messages":[]}"#);
        let body = splice(&request, "m/2", false, true).unwrap().body;
        assert_eq!(body.as_ptr(), request.as_ptr());
    }

    #[test]
    fn what_is_missing_is_put_first() {
        assert_eq!(spliced(r#"{"model":null}"#, false).0, r#"{"model":"m/2"}"#, "null stands there");
        assert_eq!(spliced("{}", false).0, r#"{"model":"m/2"}"#);
        assert_eq!(spliced(r#"{"n":1}"#, false).0, r#"{"model":"m/2","n":1}"#);
        let both = r#"{"stream":true,"stream_options":{"include_usage":true},"model":"m/2"}"#;
        assert_eq!(spliced(r#"{"model":""}"#, true).0, both);
    }

    #[test]
    fn the_usage_of_a_stream_is_asked_for_whatever_the_request_says() {
        for (options, sent, asked) in [
            (r#"{"include_usage":true}"#, r#"{"include_usage":true}"#, true),
            (r#"{"include_usage": false}"#, r#"{"include_usage": true}"#, false),
            (r#"{ "other":[1] }"#, r#"{"include_usage":true,"other":[1] }"#, false),
            ("{ }", r#"{"include_usage":true}"#, false),
            ("null", r#"{"include_usage":true}"#, false),
        ] {
            let request =
                |options: &str| format!(r#"{{"model":"m/2","stream":true,"stream_options":{options},"n":1}}"#);
            assert_eq!(spliced(&request(options), true), (request(sent), asked));
        }
    }

    #[test]
    fn the_call_decides_whether_it_streams() {
        assert_eq!(spliced(r#"{"stream":true,"model":"m/2"}"#, false).0, r#"{"stream":false,"model":"m/2"}"#);
        let options = r#"{"stream":true,"stream_options":{"include_usage":true},"model":"m/2"}"#;
        assert_eq!(spliced(options, false).0, r#"{"stream":false,"stream_options":null,"model":"m/2"}"#);
    }

    #[test]
    fn no_object_and_a_name_that_stands_twice_are_refused_without_a_word_of_the_request() {
        for request in ["", "[1]", "\"secret\"", r#"{"model":"secret","model":"b"}"#, r#"{"model":"secret""#] {
            let fault = splice(&Bytes::copy_from_slice(request.as_bytes()), "m", false, true).unwrap_err();
            assert!(!format!("{} {fault:?}", fault.complaint.message).contains("secret"), "{request}");
        }
    }

    proptest! {
        #[test]
        fn nothing_panics_and_the_rest_is_kept(names in proptest::collection::btree_set("[a-z]{1,3}|\"é", 0..6), at in 0usize..6) {
            let mut pairs: Vec<_> = names.iter().map(|name| (name.clone(), serde_json::json!([name]))).collect();
            pairs.insert(at.min(pairs.len()), ("model".to_owned(), "old".into()));
            let text = |pairs: &[(String, serde_json::Value)]| {
                let parts: Vec<_> = pairs.iter().map(|(name, value)| format!("{}: {value}", serde_json::json!(name))).collect();
                format!("{{ {} }}", parts.join(" ,"))
            };
            let request = text(&pairs);
            pairs[at.min(names.len())].1 = "m/2".into();
            prop_assert_eq!(spliced(&request, false).0, text(&pairs));
        }

        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = splice(&bytes.into(), "m", true, true);
        }
    }
}

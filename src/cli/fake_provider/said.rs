//! The text of a prompt, whatever wire it came on: how long it is, and what was said last.
//!
//! One visitor reads a string, a list of parts, or a part, in the forms of all three wires. It borrows from the body where the
//! text has no escapes, and passes over pictures and everything else that is not text.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Some text of a prompt.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said<'a> {
    /// Bytes of all its text as UTF-8; what tools were given and gave back counts as the JSON that it is.
    pub bytes: u64,
    /// Its last text.
    pub last: Cow<'a, str>,
    /// It brings what a tool gave back.
    pub tool_result: bool,
}

impl<'a> Said<'a> {
    fn text(text: Cow<'a, str>) -> Self {
        Self { bytes: text.len() as u64, last: text, tool_result: false }
    }

    fn append(&mut self, other: Self) {
        self.bytes += other.bytes;
        self.tool_result |= other.tool_result;
        if !other.last.is_empty() {
            self.last = other.last;
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Said<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Said<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a part, or a list of parts")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Said<'de>, E> {
        Ok(Said::text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Said<'de>, E> {
        Ok(Said::text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Said<'de>, E> {
        Ok(Said::default())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<Said<'de>, A::Error> {
        let mut said = Said::default();
        while let Some(part) = parts.next_element::<Said<'de>>()? {
            said.append(part);
        }
        Ok(said)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut part: A) -> Result<Said<'de>, A::Error> {
        let mut said = Said::default();
        while let Some(key) = part.next_key::<Cow<'de, str>>()? {
            match &*key {
                "text" | "content" | "parts" | "refusal" => said.append(part.next_value()?),
                "type" => said.tool_result |= part.next_value::<Kind>()?.0,
                "input" | "functionCall" | "function_call" => said.bytes += raw(&mut part)?,
                "functionResponse" | "function_response" => {
                    said.bytes += raw(&mut part)?;
                    said.tool_result = true;
                }
                _ => {
                    part.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(said)
    }
}

fn raw<'de, A: MapAccess<'de>>(part: &mut A) -> Result<u64, A::Error> {
    Ok(part.next_value::<&'de RawValue>()?.get().len() as u64)
}

/// Whether a part's type is that of a tool's result.
struct Kind(bool);

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Cow::<str>::deserialize(deserializer)? == "tool_result"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(json: &str) -> Said<'_> {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_text_without_escapes_is_borrowed() {
        assert!(matches!(said("\"héllo\"").last, Cow::Borrowed("héllo")));
        assert!(matches!(said("{\"text\": \"hi\"}").last, Cow::Borrowed("hi")));
        assert_eq!(said("\"a\\nb\"").last, "a\nb");
    }

    #[test]
    fn the_parts_of_every_wire_add_up() {
        let openai = r#"[{"type":"text","text":"one"},{"type":"image_url","image_url":{"url":"data:x"}},{"type":"text","text":"four"}]"#;
        let gemini = r#"{"role":"user","parts":[{"inlineData":{"data":"x"}},{"text":"one"},{"text":"four"}]}"#;
        for json in [openai, gemini] {
            assert_eq!(said(json), Said { bytes: 7, last: "four".into(), tool_result: false }, "{json}");
        }
    }

    #[test]
    fn what_a_tool_gave_back_is_noticed_and_counted() {
        let anthropic = r#"[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"rain"}]}]"#;
        assert_eq!(said(anthropic), Said { bytes: 4, last: "rain".into(), tool_result: true });
        let gemini = r#"[{"functionResponse":{"name":"f"}}]"#;
        assert_eq!(said(gemini), Said { bytes: 12, last: "".into(), tool_result: true });
    }

    #[test]
    fn nothing_and_null_say_nothing() {
        assert_eq!(said("null"), Said::default());
        assert_eq!(said("[]"), Said::default());
    }
}

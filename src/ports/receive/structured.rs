//! CloudEvents in structured JSON, one or a batch.

use super::data::utf8;
use super::{Attributes, Code, Data, Item, Problem, Receiver, Refused};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

/// What a body is to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    One,
    Batch,
    /// An array is a batch, anything else one command.
    Either,
}

/// The commands of a body.
#[derive(Debug)]
pub enum Received {
    One(Box<Item>),
    Batch(Vec<Item>),
}

impl Receiver<'_> {
    /// Reads a body of one or more CloudEvents in JSON.
    ///
    /// # Errors
    /// When the body as a whole cannot be read: not UTF-8, no JSON, the wrong shape, too many commands.
    pub fn structured(&self, body: &[u8], shape: Shape) -> Result<Received, Problem> {
        let body = utf8(body)?;
        let is_array = body.trim_start().starts_with('[');
        match (shape, is_array) {
            (Shape::One, true) => Err(Problem::new(
                Code::Malformed,
                "the body is an array; send a batch as application/cloudevents-batch+json",
            )),
            (Shape::Batch, false) => Err(Problem::new(
                Code::Malformed,
                "the body is no array; send one command as application/cloudevents+json",
            )),
            (_, false) => Ok(Received::One(Box::new(self.one(body, None)))),
            (_, true) => self.batch(body).map(Received::Batch),
        }
    }

    fn one(&self, text: &str, index: Option<usize>) -> Item {
        match serde_json::from_str::<Event<'_>>(text) {
            Ok(event) => self.event(event, index),
            Err(error) => Err(Refused { id: id_of(text), problem: malformed(&error) }),
        }
    }

    fn batch(&self, text: &str) -> Result<Vec<Item>, Problem> {
        if let Ok(events) = self.array::<Event<'_>>(text)? {
            return Ok(events.into_iter().enumerate().map(|(index, event)| self.event(event, Some(index))).collect());
        }
        let events = self.array::<&RawValue>(text)?.map_err(|error| malformed(&error))?;
        Ok(events.into_iter().enumerate().map(|(index, event)| self.one(event.get(), Some(index))).collect())
    }

    /// Reads an array; the inner error is the JSON's.
    fn array<'de, T: Deserialize<'de>>(&self, text: &'de str) -> Result<Result<Vec<T>, serde_json::Error>, Problem> {
        let mut json = serde_json::Deserializer::from_str(text);
        let read = Bounded { items_max: self.commands_max, item: PhantomData }
            .deserialize(&mut json)
            .and_then(|read| json.end().map(|()| read));
        match read {
            Ok((_, count)) if count > self.commands_max => Err(Problem::new(
                Code::BatchTooLarge,
                format!(
                    "the batch has {count} commands, at most {} are taken at once; send several",
                    self.commands_max
                ),
            )),
            Ok((items, _)) => Ok(Ok(items)),
            Err(error) => Ok(Err(error)),
        }
    }

    fn event(&self, event: Event<'_>, index: Option<usize>) -> Item {
        let Event { attributes, data, data_base64 } = event;
        let id = attributes.id.as_deref().map(str::to_owned);
        let refused = |problem| Refused { id: id.clone(), problem };
        let (Some(encoded), None) = (data_base64, data) else {
            // No data reads like an empty object: every field with a default may be left out, so all of them may.
            let data = Data::Json(data.map_or("{}", RawValue::get));
            return self.submission(attributes, data, index).map_err(refused);
        };
        let Ok(bytes) = STANDARD.decode(encoded.0.as_bytes()) else {
            return Err(refused(Problem::new(Code::InvalidData, "data_base64 is not base64 (RFC 4648, with padding)")));
        };
        let content_type = attributes.datacontenttype.clone();
        Data::new(content_type.as_deref(), &bytes)
            .and_then(|data| self.submission(attributes, data, index))
            .map_err(refused)
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(Code::Malformed, format!("the command cannot be read as a CloudEvent in JSON: {error}"))
}

/// The id of an event that could not be read as a whole.
fn id_of(text: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct OnlyId<'a> {
        #[serde(borrow)]
        id: Option<Text<'a>>,
    }
    let only: OnlyId<'_> = serde_json::from_str(text).ok()?;
    only.id.map(|id| id.0.into_owned())
}

/// An event with everything borrowed that can be.
struct Event<'a> {
    attributes: Attributes<'a>,
    data: Option<&'a RawValue>,
    data_base64: Option<Text<'a>>,
}

impl<'de> Deserialize<'de> for Event<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct EventVisitor;
        impl<'de> Visitor<'de> for EventVisitor {
            type Value = Event<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a CloudEvent as a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Event<'de>, A::Error> {
                let mut event = Event { attributes: Attributes::default(), data: None, data_base64: None };
                while let Some(Text(name)) = map.next_key::<Text<'de>>()? {
                    match &*name {
                        "data" => fill(&mut event.data, "data", map.next_value()?)?,
                        "data_base64" => fill(&mut event.data_base64, "data_base64", map.next_value()?)?,
                        "expectedversion" => {
                            let version = map.next_value::<Option<Version>>()?.map(|version| version.0);
                            fill(&mut event.attributes.expectedversion, "expectedversion", version)?;
                        }
                        name => match event.attributes.text_slot(name) {
                            Some(slot) => fill(slot, name, map.next_value::<Option<Text<'de>>>()?.map(|text| text.0))?,
                            None => drop(map.next_value::<IgnoredAny>()?),
                        },
                    }
                }
                Ok(event)
            }
        }
        deserializer.deserialize_map(EventVisitor)
    }
}

/// Two values under one name would leave it open which of them was meant.
fn fill<T, E: Error>(slot: &mut Option<T>, name: &str, value: Option<T>) -> Result<(), E> {
    if slot.is_some() {
        return Err(E::custom(format_args!("attribute {name:?} is there twice")));
    }
    *slot = value;
    Ok(())
}

/// A text, borrowed where it holds no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor<'a>(PhantomData<&'a ()>);
        impl<'de: 'a, 'a> Visitor<'de> for TextVisitor<'a> {
            type Value = Text<'a>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'a>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'a>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

/// A version as a number, or as a text of digits (CloudEvents integers have 32 bits).
struct Version(u64);

impl<'de> Deserialize<'de> for Version {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VersionVisitor;
        impl Visitor<'_> for VersionVisitor {
            type Value = Version;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("expectedversion as a number from 0 on")
            }

            fn visit_u64<E>(self, version: u64) -> Result<Version, E> {
                Ok(Version(version))
            }

            fn visit_f64<E: de::Error>(self, version: f64) -> Result<Version, E> {
                // Some languages write whole numbers so; beyond 2^53 no two of them mean the same.
                match version.fract() == 0.0 && (0.0..9_007_199_254_740_992.0).contains(&version) {
                    true => Ok(Version(version as u64)),
                    false => Err(E::invalid_value(de::Unexpected::Float(version), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Version, E> {
                text.parse().map(Version).map_err(|_| E::invalid_value(de::Unexpected::Str(text), &self))
            }
        }
        deserializer.deserialize_any(VersionVisitor)
    }
}

/// An array of which at most `items_max` items are kept; the rest is counted, so that a body of millions of `{}` needs
/// no more memory than itself.
struct Bounded<T> {
    items_max: usize,
    item: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> DeserializeSeed<'de> for Bounded<T> {
    type Value = (Vec<T>, usize);

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Bounded<T> {
    type Value = (Vec<T>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of CloudEvents")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.items_max {
            match seq.next_element()? {
                Some(item) => items.push(item),
                None => {
                    let count = items.len();
                    return Ok((items, count));
                }
            }
        }
        let mut count = items.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((items, count))
    }
}

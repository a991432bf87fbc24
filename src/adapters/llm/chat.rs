//! A chat request as OpenAI's API takes it, read for the wires that need it in other terms.
//!
//! Only what at least one of those wires can express has a place here. All else is refused by name, unless its value is
//! the one that it has when it is left out: a parameter that is dropped in silence changes what the caller gets.

mod fields;
mod messages;
mod tools;
mod turns;

use super::fault::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

pub use fields::Fields;
pub use messages::{Image, Message, Part, ToolCall};
pub use tools::{Choice, Format, Tool};
pub use turns::{Item, Turn};

/// A text, borrowed from the request where it holds no escapes.
#[derive(Clone, Debug, Deserialize)]
#[serde(transparent)]
pub struct Text<'a>(#[serde(borrow)] pub Cow<'a, str>);

/// The request.
#[derive(Debug)]
pub struct Chat<'a> {
    pub messages: Vec<Message<'a>>,
    pub tools: Vec<Tool<'a>>,
    pub choice: Option<Choice<'a>>,
    pub parallel_tool_calls: Option<bool>,
    pub format: Format<'a>,
    pub stop: Vec<Cow<'a, str>>,
    /// `max_completion_tokens`, or its old name.
    pub max_tokens: Option<u64>,
    pub temperature: Option<&'a RawValue>,
    pub top_p: Option<&'a RawValue>,
    pub frequency_penalty: Option<&'a RawValue>,
    pub presence_penalty: Option<&'a RawValue>,
    pub seed: Option<i64>,
    pub user: Option<Cow<'a, str>>,
    pub reasoning_effort: Option<Cow<'a, str>>,
    /// Whether a stream is to end with its usage.
    pub include_usage: bool,
    wire: &'static str,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stop<'a> {
    One(#[serde(borrow)] Text<'a>),
    Many(#[serde(borrow)] Vec<Text<'a>>),
}

#[derive(Deserialize)]
struct StreamOptions {
    #[serde(default)]
    include_usage: Option<bool>,
}

/// What is the same as not being there. `null` always is.
const NEUTRAL: &[(&str, &[&str])] = &[
    ("n", &["1"]),
    ("logprobs", &["false"]),
    ("top_logprobs", &["0"]),
    ("logit_bias", &["{}"]),
    ("modalities", &["[\"text\"]"]),
    ("store", &["false"]),
    ("metadata", &["{}"]),
    ("service_tier", &["\"auto\"", "\"default\""]),
];

impl<'a> Chat<'a> {
    /// # Errors
    /// When the request is none, or holds what no wire but OpenAI's can express.
    pub fn read(request: &'a [u8], wire: &'static str) -> Result<Self, Fault> {
        let mut top = Fields::read(request, wire)?;
        // Which model and whether it streams is the call's to say.
        top.drop("model");
        top.drop("stream");
        let max_tokens = top.take("max_completion_tokens")?;
        let old_max_tokens = top.take("max_tokens")?;
        let stop = match top.take::<Stop<'a>>("stop")? {
            None => Vec::new(),
            Some(Stop::One(Text(text))) => vec![text],
            Some(Stop::Many(texts)) => texts.into_iter().map(|Text(text)| text).collect(),
        };
        let include = top.take::<StreamOptions>("stream_options")?.and_then(|options| options.include_usage);
        let chat = Self {
            messages: messages::read(&mut top)?,
            tools: tools::read(&mut top)?,
            choice: tools::choice(&mut top)?,
            parallel_tool_calls: top.take("parallel_tool_calls")?,
            format: tools::format(&mut top)?,
            stop,
            max_tokens: max_tokens.or(old_max_tokens),
            temperature: top.number("temperature")?,
            top_p: top.number("top_p")?,
            frequency_penalty: top.number("frequency_penalty")?,
            presence_penalty: top.number("presence_penalty")?,
            seed: top.take("seed")?,
            user: top.take("user")?.map(|Text(text)| text),
            reasoning_effort: top.take("reasoning_effort")?.map(|Text(text)| text),
            include_usage: include.unwrap_or_default(),
            wire,
        };
        for (name, values) in NEUTRAL {
            top.neutral(name, values);
        }
        top.finish()?;
        Ok(chat)
    }

    pub fn unsupported(&self, param: &str) -> Fault {
        Fault::unsupported(param, self.wire)
    }

    /// Refuses the first parameter that is there and that the wire cannot express.
    pub fn refuse(&self, params: &[(&str, bool)]) -> Result<(), Fault> {
        match params.iter().find(|(_, there)| *there) {
            Some((param, _)) => Err(self.unsupported(param)),
            None => Ok(()),
        }
    }

    /// Whether penalties, that is anything but zero, are asked for.
    pub fn penalties(&self) -> [(&'static str, bool); 2] {
        let asked = |value: Option<&RawValue>| {
            value.is_some_and(|value| !value.get().parse::<f64>().is_ok_and(|number| number == 0.0))
        };
        [("frequency_penalty", asked(self.frequency_penalty)), ("presence_penalty", asked(self.presence_penalty))]
    }
}

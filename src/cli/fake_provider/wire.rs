//! The three wires: which route belongs to which, and the form that answers, events and errors take on each.

use super::answer::Answer;
use super::{anthropic, gemini, openai};
use axum::http::Method;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    OpenAi,
    Anthropic,
    Gemini,
}

/// What a provider's route does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation<'a> {
    /// A chat, a message, content; the model and the stream stand in the path on Gemini's wire.
    Generate {
        model: &'a str,
        stream: bool,
    },
    Embed {
        model: &'a str,
        batch: bool,
    },
    Models,
    Model(&'a str),
}

impl Operation<'_> {
    /// How the statistics call it.
    pub fn kind(self, wire: Wire) -> &'static str {
        match (wire, self) {
            (Wire::OpenAi, Self::Generate { .. }) => "openai/chat",
            (Wire::Anthropic, Self::Generate { .. }) => "anthropic/messages",
            (Wire::Gemini, Self::Generate { .. }) => "gemini/generate",
            (Wire::Gemini, Self::Embed { .. }) => "gemini/embed",
            (_, Self::Embed { .. }) => "openai/embeddings",
            (_, Self::Models | Self::Model(_)) => "models",
        }
    }
}

/// What may stand after the model in a path of Gemini's.
const GEMINI_VERBS: [&str; 4] = ["generateContent", "streamGenerateContent", "embedContent", "batchEmbedContents"];

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    Unknown,
    Method,
    /// Gemini streams as server-sent events here, and not as a list.
    NotEvents,
}

impl Wire {
    /// The wire that a path belongs to. The lists of models share theirs, and a header that only one wire has tells them
    /// apart. Gemini's clients may also ask for `v1`, where a verb after the model tells it from OpenAI's `ft:…` names.
    pub fn of(path: &str, has: impl Fn(&str) -> bool) -> Self {
        let is_gemini = || {
            let name = path.strip_prefix("/v1/models/").unwrap_or_default();
            name.rsplit_once(':').is_some_and(|(_, verb)| GEMINI_VERBS.contains(&verb))
                || (path.starts_with("/v1/models") && has("x-goog-api-key"))
        };
        if path.starts_with("/v1beta") || is_gemini() {
            Self::Gemini
        } else if path == "/v1/messages" || (path.starts_with("/v1/models") && has("anthropic-version")) {
            Self::Anthropic
        } else {
            Self::OpenAi
        }
    }

    /// What a request's path asks for.
    ///
    /// # Errors
    /// When there is no such route.
    pub fn operation<'a>(self, method: &Method, path: &'a str, query: &str) -> Result<Operation<'a>, NoRoute> {
        let (operation, wanted) = match (self, path) {
            (Self::OpenAi, "/v1/chat/completions") | (Self::Anthropic, "/v1/messages") => {
                (Operation::Generate { model: "", stream: false }, Method::POST)
            }
            (Self::OpenAi, "/v1/embeddings") => (Operation::Embed { model: "", batch: false }, Method::POST),
            (Self::OpenAi | Self::Anthropic, "/v1/models") | (Self::Gemini, "/v1beta/models" | "/v1/models") => {
                (Operation::Models, Method::GET)
            }
            (Self::OpenAi | Self::Anthropic, _) => {
                let model = path.strip_prefix("/v1/models/").ok_or(NoRoute::Unknown)?;
                (Operation::Model(model), Method::GET)
            }
            (Self::Gemini, _) => {
                let model = path.strip_prefix("/v1beta/models/").or_else(|| path.strip_prefix("/v1/models/"));
                let model = model.ok_or(NoRoute::Unknown)?;
                match model.rsplit_once(':') {
                    None => (Operation::Model(model), Method::GET),
                    Some((model, "generateContent")) => (Operation::Generate { model, stream: false }, Method::POST),
                    Some((_, "streamGenerateContent")) if !query.split('&').any(|pair| pair == "alt=sse") => {
                        return Err(if *method == Method::POST { NoRoute::NotEvents } else { NoRoute::Method });
                    }
                    Some((model, "streamGenerateContent")) => {
                        (Operation::Generate { model, stream: true }, Method::POST)
                    }
                    Some((model, "embedContent")) => (Operation::Embed { model, batch: false }, Method::POST),
                    Some((model, "batchEmbedContents")) => (Operation::Embed { model, batch: true }, Method::POST),
                    Some(_) => return Err(NoRoute::Unknown),
                }
            }
        };
        if *method == wanted { Ok(operation) } else { Err(NoRoute::Method) }
    }

    pub fn whole(self, answer: &Answer) -> String {
        match self {
            Self::OpenAi => openai::whole(answer),
            Self::Anthropic => anthropic::whole(answer),
            Self::Gemini => gemini::whole(answer),
        }
    }

    pub fn script(self, answer: &Answer, include_usage: bool) -> Script {
        match self {
            Self::OpenAi => openai::script(answer, include_usage),
            Self::Anthropic => anthropic::script(answer),
            Self::Gemini => gemini::script(answer),
        }
    }

    pub fn error(self, trouble: &Trouble) -> String {
        match self {
            Self::OpenAi => openai::error(trouble),
            Self::Anthropic => anthropic::error(trouble),
            Self::Gemini => gemini::error(trouble),
        }
    }
}

/// An answer as events. Text of a token or so stands between `before` and `after` as a JSON string.
#[derive(Debug, Default)]
pub struct Script {
    pub opening: String,
    pub before: String,
    pub after: String,
    pub closing: String,
    /// What comes piece by piece.
    pub text: String,
}

/// Why there is no answer.
#[derive(Debug, Default)]
pub struct Trouble {
    pub status: u16,
    pub message: String,
    pub request_id: String,
    /// Which limit has no room: `requests` or `tokens`.
    pub limit: Option<&'static str>,
    /// After which time it may be tried again.
    pub wait: Option<Duration>,
}

/// The text as a JSON string.
pub fn escaped(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operation<'a>(method: Method, path: &'a str, query: &str) -> (Wire, Result<Operation<'a>, NoRoute>) {
        let wire = Wire::of(path, |_| false);
        (wire, wire.operation(&method, path, query))
    }

    #[test]
    fn every_route_is_found() {
        let generate = |model, stream| Ok(Operation::Generate { model, stream });
        for (path, query, wire, found) in [
            ("/v1/chat/completions", "", Wire::OpenAi, generate("", false)),
            ("/v1/embeddings", "", Wire::OpenAi, Ok(Operation::Embed { model: "", batch: false })),
            ("/v1/messages", "beta=true", Wire::Anthropic, generate("", false)),
            ("/v1beta/models/g-2.5:generateContent", "", Wire::Gemini, generate("g-2.5", false)),
            ("/v1beta/models/g:streamGenerateContent", "key=k&alt=sse", Wire::Gemini, generate("g", true)),
            ("/v1beta/models/g:streamGenerateContent", "", Wire::Gemini, Err(NoRoute::NotEvents)),
            ("/v1beta/models/g:embedContent", "", Wire::Gemini, Ok(Operation::Embed { model: "g", batch: false })),
            ("/v1beta/models/g:batchEmbedContents", "", Wire::Gemini, Ok(Operation::Embed { model: "g", batch: true })),
            ("/v1/responses", "", Wire::OpenAi, Err(NoRoute::Unknown)),
            ("/v1/models/g:generateContent", "", Wire::Gemini, generate("g", false)),
            ("/v1/models/ft:gpt:me", "", Wire::OpenAi, Err(NoRoute::Method)),
            ("/v1beta/models/g:fly", "", Wire::Gemini, Err(NoRoute::Unknown)),
            ("/v1/models", "", Wire::OpenAi, Err(NoRoute::Method)),
        ] {
            assert_eq!(operation(Method::POST, path, query), (wire, found), "{path}");
        }
        assert_eq!(operation(Method::GET, "/v1/models/a", "").1, Ok(Operation::Model("a")));
        assert_eq!(operation(Method::GET, "/v1/models/ft:gpt:me", "").1, Ok(Operation::Model("ft:gpt:me")));
        for (header, wire) in
            [("x-goog-api-key", Wire::Gemini), ("anthropic-version", Wire::Anthropic), ("", Wire::OpenAi)]
        {
            assert_eq!(Wire::of("/v1/models", |name| name == header), wire);
            assert_eq!(wire.operation(&Method::GET, "/v1/models", ""), Ok(Operation::Models));
        }
        assert_eq!(operation(Method::GET, "/v1beta/models", "").1, Ok(Operation::Models));
        assert_eq!(operation(Method::GET, "/v1/messages", "").1, Err(NoRoute::Method));
    }
}

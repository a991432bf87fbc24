//! What the answer says: a function of the seed, the model, the text and length of the prompt, and what was asked for.
//!
//! So the same question gets the same answer, streamed or whole, first or tenth, and a test can compare bytes.

use super::ask::{Ask, Want, tokens};
use super::draw::{Draw, Purpose};
use super::limiter::Cost;
use super::schema;
use super::settings::Settings;

/// When every answer says that it was made: 2025-01-01T00:00:00Z, so that equal questions get equal bytes.
pub const CREATED: u64 = 1_735_689_600;

/// An answer before it takes the form of a wire.
#[derive(Debug)]
pub struct Answer {
    pub model: String,
    /// What ids are made of.
    pub digest: u64,
    pub usage: Usage,
    pub content: Content,
    pub finish: Finish,
    /// The most tokens that it could have had.
    pub completion_max: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub prompt: u64,
    /// Those of the prompt that came from a cache.
    pub cached: u64,
    pub completion: u64,
}

#[derive(Debug)]
pub enum Content {
    Text(String),
    Call { name: String, arguments: String },
}

/// Why it ends where it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    Stop,
    Length,
    Call,
}

impl Answer {
    /// # Errors
    /// A sentence for the caller: a schema that this generator does not understand, a limit of no tokens.
    pub fn new(ask: &Ask<'_>, settings: &Settings) -> Result<Self, String> {
        if ask.max_tokens == Some(0) {
            return Err("the limit of output tokens must be at least 1".into());
        }
        let digest = digest(settings.seed, ask);
        let room = ask.max_tokens.unwrap_or(u64::MAX);
        let (content, finish, completion) = content(ask, settings, digest, room)?;
        let ceiling = settings.output_tokens.ceiling().ceil() as u64;
        Ok(Self {
            model: ask.model.to_string(),
            digest,
            usage: Usage {
                prompt: ask.prompt_tokens,
                cached: (ask.prompt_tokens as f64 * settings.cached_share) as u64,
                completion,
            },
            content,
            finish,
            completion_max: ask.max_tokens.unwrap_or(ceiling).clamp(completion, u64::from(u32::MAX)),
        })
    }

    pub fn cost(&self) -> Cost {
        Cost { prompt: self.usage.prompt, completion: self.usage.completion, completion_max: self.completion_max }
    }
}

fn content(ask: &Ask<'_>, settings: &Settings, digest: u64, room: u64) -> Result<(Content, Finish, u64), String> {
    let mut draw = Draw::new(settings.seed, Purpose::Content, digest);
    let json = match &ask.want {
        Want::Tool { name, schema } => {
            let arguments =
                schema.map_or_else(|| Ok("{}".into()), |schema| schema::instance(schema.get(), &mut draw))?;
            let count = tokens((name.len() + arguments.len()) as u64);
            if count <= room {
                return Ok((Content::Call { name: name.to_string(), arguments }, Finish::Call, count));
            }
            None
        }
        Want::Json => Some(serde_json::json!({ "echo": echo(&ask.text, 8) }).to_string()),
        Want::Schema(schema) => Some(schema::instance(schema.get(), &mut draw)?),
        Want::Text => None,
    };
    if let Some(mut json) = json {
        let whole = tokens(json.len() as u64);
        json.truncate(json.floor_char_boundary(usize::try_from(room.saturating_mul(4)).unwrap_or(usize::MAX)));
        let finish = if whole <= room { Finish::Stop } else { Finish::Length };
        return Ok((Content::Text(json), finish, whole.min(room)));
    }
    let drawn = settings.output_tokens.draw_whole(&mut Draw::new(settings.seed, Purpose::Length, digest)).max(1);
    let finish = if drawn <= room { Finish::Stop } else { Finish::Length };
    let count = drawn.min(room);
    Ok((Content::Text(echo(&ask.text, count)), finish, count))
}

/// Text of exactly so many tokens, four bytes each: what the user said, over and over.
fn echo(said: &str, count: u64) -> String {
    let length = count as usize * 4;
    let mut text = String::with_capacity(length + 64);
    let words = || said.split_whitespace();
    while text.len() < length {
        let before = text.len();
        for word in words() {
            text.push_str(word);
            text.push(' ');
            if text.len() >= length {
                break;
            }
        }
        if text.len() == before {
            text.push_str("Hello there. ");
        }
    }
    text.truncate(text.floor_char_boundary(length));
    text.extend(std::iter::repeat_n('.', length - text.len()));
    text
}

/// Of what the answer depends on.
fn digest(seed: u64, ask: &Ask<'_>) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.update(&(ask.model.len() as u64).to_le_bytes());
    hasher.update(ask.model.as_bytes());
    hasher.update(&ask.prompt_tokens.to_le_bytes());
    hasher.update(ask.text.as_bytes());
    short(&hasher.finalize())
}

/// The first eight bytes of a hash.
pub fn short(hash: &blake3::Hash) -> u64 {
    hash.as_bytes().iter().take(8).fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;
    use super::*;

    fn ask(text: &str, max_tokens: Option<u64>) -> Ask<'_> {
        Ask {
            model: "m".into(),
            prompt_tokens: 3,
            text: text.into(),
            max_tokens,
            stream: false,
            include_usage: false,
            want: Want::Text,
        }
    }

    fn text(answer: &Answer) -> &str {
        match &answer.content {
            Content::Text(text) => text,
            Content::Call { .. } => "",
        }
    }

    #[test]
    fn the_text_has_as_many_tokens_as_usage_says() {
        let settings = settings(&["--output-tokens", "uniform:1-40"]);
        for said in ["", "héé ö", "a much longer question than the answer could ever be, so it seems to me", "日本語"]
        {
            let answer = Answer::new(&ask(said, None), &settings).unwrap();
            assert_eq!(tokens(text(&answer).len() as u64), answer.usage.completion, "{said}");
            assert!((1..=40).contains(&answer.usage.completion));
            assert_eq!((answer.finish, answer.completion_max), (Finish::Stop, 40));
        }
    }

    #[test]
    fn an_answer_is_cut_at_max_tokens_and_says_so() {
        let settings = settings(&["--output-tokens", "fixed:20"]);
        let answer = Answer::new(&ask("hello", Some(5)), &settings).unwrap();
        assert_eq!(
            (answer.usage.completion, answer.finish, text(&answer)),
            (5, Finish::Length, "hello hello hello he")
        );
        let answer = Answer::new(&ask("hello", Some(20)), &settings).unwrap();
        assert_eq!((answer.usage.completion, answer.finish), (20, Finish::Stop));
        assert!(Answer::new(&ask("hello", Some(0)), &settings).is_err());
    }

    #[test]
    fn the_same_question_gets_the_same_answer_and_another_seed_another() {
        let digest = |said, args: &[&str]| Answer::new(&ask(said, None), &settings(args)).unwrap().digest;
        assert_eq!(digest("a", &[]), digest("a", &[]));
        assert_ne!(digest("a", &[]), digest("b", &[]));
        assert_ne!(digest("a", &[]), digest("a", &["--seed", "9"]));
    }
}

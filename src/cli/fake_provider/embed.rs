//! Embeddings on the wires of OpenAI and Gemini: vectors of length 1 that follow from the seed, the model and the text.
//!
//! A shorter vector is the beginning of the longer one, scaled to length 1, as with the models that can shorten.

use super::answer::short;
use super::ask::tokens;
use super::draw::{Draw, Purpose};
use super::said::Said;
use super::settings::{DIMENSIONS_MAX, Settings};
use super::wire::escaped;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{Deserializer, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt::{self, Write};

/// Most inputs of one request.
const INPUTS_MAX: usize = 2_048;
/// Most numbers of one answer: they bound its memory.
const NUMBERS_MAX: usize = 4_000_000;

/// A request for embeddings.
#[derive(Debug)]
pub struct EmbedAsk<'a> {
    pub model: Cow<'a, str>,
    pub prompt_tokens: u64,
    inputs: Vec<Input>,
    dimensions: usize,
    form: Form,
}

/// What is embedded: its hash, and how many tokens it has.
#[derive(Debug)]
struct Input {
    hash: u64,
    tokens: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Numbers,
    Base64,
    Gemini { batch: bool },
}

#[derive(Deserialize)]
struct Embeddings<'a> {
    #[serde(borrow)]
    model: Cow<'a, str>,
    input: Inputs,
    encoding_format: Option<String>,
    dimensions: Option<u32>,
}

#[derive(Deserialize)]
struct Batch<'a> {
    #[serde(borrow)]
    requests: Vec<EmbedContent<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct EmbedContent<'a> {
    #[serde(borrow)]
    content: Said<'a>,
    #[serde(alias = "output_dimensionality")]
    output_dimensionality: Option<u32>,
}

/// Reads a request of OpenAI's form.
///
/// # Errors
/// A sentence for the caller.
pub fn openai<'a>(body: &'a [u8], settings: &Settings) -> Result<EmbedAsk<'a>, String> {
    let asked: Embeddings<'_> =
        serde_json::from_slice(body).map_err(|cause| format!("the body is no embeddings request: {cause}"))?;
    let form = match asked.encoding_format.as_deref() {
        None | Some("float") => Form::Numbers,
        Some("base64") => Form::Base64,
        Some(other) => return Err(format!("encoding_format {other:?} is neither float nor base64")),
    };
    ask(asked.model, asked.input.0, asked.dimensions, form, settings)
}

/// Reads a request of Gemini's form.
///
/// # Errors
/// A sentence for the caller.
pub fn gemini<'a>(body: &'a [u8], model: &str, batch: bool, settings: &Settings) -> Result<EmbedAsk<'a>, String> {
    let wrong = |cause: serde_json::Error| format!("the body is no embedding request: {cause}");
    let requests = match batch {
        true => serde_json::from_slice::<Batch<'_>>(body).map_err(wrong)?.requests,
        false => vec![serde_json::from_slice(body).map_err(wrong)?],
    };
    let dimensions = requests.first().and_then(|request: &EmbedContent<'_>| request.output_dimensionality);
    if requests.iter().any(|request| request.output_dimensionality != dimensions) {
        return Err("outputDimensionality must be the same in all requests of a batch".into());
    }
    // All parts of a content make one vector; the last one names it, which is enough for contents of one part.
    let input = |request: &EmbedContent<'_>| Input {
        hash: short(&blake3::hash(request.content.last.as_bytes())).wrapping_add(request.content.bytes),
        tokens: tokens(request.content.bytes).max(1),
    };
    let inputs = requests.iter().map(input).collect();
    ask(model.to_owned().into(), inputs, dimensions, Form::Gemini { batch }, settings)
}

fn ask<'a>(
    model: Cow<'a, str>,
    inputs: Vec<Input>,
    dimensions: Option<u32>,
    form: Form,
    settings: &Settings,
) -> Result<EmbedAsk<'a>, String> {
    let dimensions = dimensions.unwrap_or(settings.embedding_dimensions);
    if !(1..=DIMENSIONS_MAX).contains(&dimensions) {
        return Err(format!("dimensions must be from 1 to {DIMENSIONS_MAX}, not {dimensions}"));
    }
    let dimensions = dimensions as usize;
    if inputs.is_empty() || inputs.len() > INPUTS_MAX || inputs.len() * dimensions > NUMBERS_MAX {
        return Err(format!(
            "give from 1 to {INPUTS_MAX} inputs, and not over {NUMBERS_MAX} numbers in all; these are {} inputs of {dimensions}",
            inputs.len()
        ));
    }
    Ok(EmbedAsk { model, prompt_tokens: inputs.iter().map(|input| input.tokens).sum(), inputs, dimensions, form })
}

impl EmbedAsk<'_> {
    /// The answer's body.
    pub fn answer(&self, seed: u64) -> String {
        let mut text = String::with_capacity(self.inputs.len() * (self.dimensions * 13 + 64) + 256);
        text.push_str(match self.form {
            Form::Gemini { batch: false } => "{\"embedding\":",
            Form::Gemini { batch: true } => "{\"embeddings\":[",
            Form::Numbers | Form::Base64 => "{\"object\":\"list\",\"data\":[",
        });
        for (index, input) in self.inputs.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            let vector = vector(seed, &self.model, input.hash, self.dimensions);
            match self.form {
                Form::Gemini { .. } => {
                    text.push_str("{\"values\":");
                    numbers(&mut text, &vector);
                    text.push('}');
                }
                Form::Numbers => {
                    text.push_str("{\"object\":\"embedding\",\"embedding\":");
                    numbers(&mut text, &vector);
                    _ = write!(text, ",\"index\":{index}}}");
                }
                Form::Base64 => {
                    let bytes: Vec<u8> = vector.iter().flat_map(|number| number.to_le_bytes()).collect();
                    let coded = STANDARD.encode(bytes);
                    _ = write!(text, "{{\"object\":\"embedding\",\"embedding\":\"{coded}\",\"index\":{index}}}");
                }
            }
        }
        let count = self.prompt_tokens;
        _ = match self.form {
            Form::Gemini { batch } => {
                let close = if batch { "]" } else { "" };
                write!(text, "{close},\"usageMetadata\":{{\"promptTokenCount\":{count}}}}}")
            }
            Form::Numbers | Form::Base64 => {
                let model = escaped(&self.model);
                write!(text, "],\"model\":{model},\"usage\":{{\"prompt_tokens\":{count},\"total_tokens\":{count}}}}}")
            }
        };
        text
    }
}

fn numbers(text: &mut String, vector: &[f32]) {
    text.push('[');
    for (index, number) in vector.iter().enumerate() {
        let comma = if index > 0 { "," } else { "" };
        _ = write!(text, "{comma}{number}");
    }
    text.push(']');
}

fn vector(seed: u64, model: &str, hash: u64, dimensions: usize) -> Vec<f32> {
    let name = short(&blake3::hash(model.as_bytes())).wrapping_mul(3).wrapping_add(hash);
    let mut draw = Draw::new(seed, Purpose::Vector, name);
    let mut vector: Vec<f32> = (0..dimensions).map(|_| (draw.unit() * 2.0 - 1.0) as f32).collect();
    let length = vector.iter().map(|number| f64::from(*number).powi(2)).sum::<f64>().sqrt().max(f64::MIN_POSITIVE);
    vector.iter_mut().for_each(|number| *number = (f64::from(*number) / length) as f32);
    vector
}

/// `input`: a text, a list of texts, a list of token numbers, or a list of such lists.
struct Inputs(Vec<Input>);

/// One element of a list: a whole input, or a token of the only one.
enum Element {
    Input(Input),
    Token(u64),
}

impl Input {
    fn text(text: &str) -> Self {
        Self { hash: short(&blake3::hash(text.as_bytes())), tokens: tokens(text.len() as u64).max(1) }
    }

    fn numbers(numbers: &[u64]) -> Self {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        Self { hash: short(&blake3::hash(&bytes)), tokens: (numbers.len() as u64).max(1) }
    }
}

struct InputsReader;
struct ElementReader;

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(InputsReader)
    }
}

impl<'de> Deserialize<'de> for Element {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ElementReader)
    }
}

impl<'de> Visitor<'de> for InputsReader {
    type Value = Inputs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a list of texts, a list of tokens, or a list of lists of tokens")
    }

    fn visit_str<E>(self, text: &str) -> Result<Inputs, E> {
        Ok(Inputs(vec![Input::text(text)]))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Inputs, A::Error> {
        let (mut inputs, mut numbers) = (Vec::new(), Vec::new());
        while let Some(element) = elements.next_element()? {
            match element {
                Element::Input(input) => inputs.push(input),
                Element::Token(number) => numbers.push(number),
            }
        }
        if !numbers.is_empty() {
            if !inputs.is_empty() {
                return Err(serde::de::Error::custom("texts and tokens are mixed in one list"));
            }
            inputs.push(Input::numbers(&numbers));
        }
        Ok(Inputs(inputs))
    }
}

impl<'de> Visitor<'de> for ElementReader {
    type Value = Element;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, a token, or a list of tokens")
    }

    fn visit_str<E>(self, text: &str) -> Result<Element, E> {
        Ok(Element::Input(Input::text(text)))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Element, E> {
        Ok(Element::Token(number))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Element, A::Error> {
        let mut numbers = Vec::new();
        while let Some(number) = elements.next_element::<u64>()? {
            numbers.push(number);
        }
        Ok(Element::Input(Input::numbers(&numbers)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;
    use super::*;
    use serde_json::{Value, json};

    fn embedded(body: &Value) -> Value {
        let body = body.to_string();
        let text = openai(body.as_bytes(), &settings(&[])).unwrap().answer(1);
        serde_json::from_str(&text).unwrap()
    }

    fn vector_of(answer: &Value, index: usize) -> Vec<f32> {
        serde_json::from_value(answer["data"][index]["embedding"].clone()).unwrap()
    }

    #[test]
    fn a_text_has_one_vector_of_length_one_wherever_it_stands() {
        let alone = embedded(&json!({"model": "e", "input": "hello", "dimensions": 16}));
        let second = embedded(&json!({"model": "e", "input": ["other", "hello"], "dimensions": 16}));
        let vector = vector_of(&alone, 0);
        assert_eq!(vector, vector_of(&second, 1));
        assert_ne!(vector, vector_of(&second, 0));
        assert!((vector.iter().map(|number| number * number).sum::<f32>() - 1.0).abs() < 1e-5);
        assert_eq!(second["usage"], json!({"prompt_tokens": 4, "total_tokens": 4}));
    }

    #[test]
    fn base64_holds_the_same_numbers() {
        let numbers = embedded(&json!({"model": "e", "input": "x", "dimensions": 3}));
        let coded = embedded(&json!({"model": "e", "input": "x", "dimensions": 3, "encoding_format": "base64"}));
        let bytes = STANDARD.decode(coded["data"][0]["embedding"].as_str().unwrap()).unwrap();
        let decoded: Vec<f32> =
            bytes.chunks_exact(4).map(|part| f32::from_le_bytes([part[0], part[1], part[2], part[3]])).collect();
        assert_eq!(decoded, vector_of(&numbers, 0));
    }

    #[test]
    fn tokens_are_counted_one_by_one() {
        let lists = embedded(&json!({"model": "e", "input": [[1, 2, 3], [4]], "dimensions": 2}));
        assert_eq!((lists["data"].as_array().unwrap().len(), &lists["usage"]["prompt_tokens"]), (2, &json!(4)));
        let list = embedded(&json!({"model": "e", "input": [1, 2, 3], "dimensions": 2}));
        assert_eq!((list["data"].as_array().unwrap().len(), vector_of(&list, 0)), (1, vector_of(&lists, 0)));
    }

    #[test]
    fn too_many_inputs_and_strange_ones_are_refused() {
        for body in [
            json!({"model": "e", "input": []}),
            json!({"model": "e", "input": vec!["x"; INPUTS_MAX + 1]}),
            json!({"model": "e", "input": "x", "dimensions": 0}),
            json!({"model": "e", "input": "x", "encoding_format": "hex"}),
            json!({"model": "e", "input": ["x", 1]}),
            json!({"model": "e"}),
        ] {
            assert!(openai(body.to_string().as_bytes(), &settings(&[])).is_err(), "{body}");
        }
    }
}

//! An instance of a simple JSON schema.
//!
//! Understood: types, `properties`, `required`, `items`, `enum`, `const`, `anyOf`/`oneOf` (the first), `allOf` of objects,
//! `$ref` into the document, bounds of numbers, lengths and counts, and common formats; types in capitals too, as Gemini
//! writes them. A keyword that could make the instance invalid and is not understood is an error, never a wrong answer.

use super::draw::Draw;
use serde_json::{Map, Value, json};

/// Deepest nesting that is followed; it also ends schemas that need themselves.
const DEPTH_MAX: usize = 24;
/// Most values of one instance: references can multiply what a short schema asks for.
const VALUES_MAX: usize = 10_000;
/// Longest text and list that are made because a schema demands it.
const LENGTH_MAX: u64 = 10_000;

/// Keywords whose demands are not looked at.
const NOT_UNDERSTOOD: &[&str] = &[
    "pattern",
    "not",
    "if",
    "then",
    "else",
    "contains",
    "uniqueItems",
    "propertyNames",
    "dependentRequired",
    "dependentSchemas",
    "minProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "$dynamicRef",
];

const WORDS: &[&str] = &["amber", "birch", "cedar", "delta", "ember", "fjord", "grove", "heron"];

/// JSON text that satisfies the schema.
///
/// # Errors
/// A sentence that names what is not understood, or what cannot be satisfied.
pub fn instance(schema: &str, draw: &mut Draw) -> Result<String, String> {
    let root: Value = serde_json::from_str(schema).map_err(|cause| format!("the schema is not JSON: {cause}"))?;
    let mut maker = Maker { root: &root, draw, values: 0 };
    let value = maker.value(&root, 0)?;
    serde_json::to_string(&value).map_err(|cause| cause.to_string())
}

struct Maker<'a> {
    root: &'a Value,
    draw: &'a mut Draw,
    values: usize,
}

impl Maker<'_> {
    fn value(&mut self, schema: &Value, depth: usize) -> Result<Value, String> {
        self.values += 1;
        if depth > DEPTH_MAX || self.values > VALUES_MAX {
            return Err("the schema asks for too much, or for itself without end".into());
        }
        let keywords = match schema {
            Value::Bool(true) => return Ok(Value::Null),
            Value::Object(keywords) => keywords,
            _ => return Err(format!("{schema} is no schema that anything satisfies")),
        };
        if let Some(found) = NOT_UNDERSTOOD.iter().find(|found| keywords.contains_key(**found)) {
            return Err(format!("the schema keyword {found:?} is not understood by this stand-in"));
        }
        if let Some(value) = keywords.get("const") {
            return Ok(value.clone());
        }
        if let Some(values) = keywords.get("enum").and_then(Value::as_array) {
            let index = self.draw.below(values.len().max(1) as u64) as usize;
            return values.get(index).cloned().ok_or_else(|| "an enum without values".into());
        }
        if let Some(reference) = keywords.get("$ref").and_then(Value::as_str) {
            let path = reference.strip_prefix('#').ok_or_else(|| format!("cannot follow {reference:?}"))?;
            let target = self.root.pointer(path).ok_or_else(|| format!("{reference:?} points nowhere"))?;
            return self.value(&target.clone(), depth + 1);
        }
        for choice in ["anyOf", "oneOf"] {
            if let Some(first) = keywords.get(choice).and_then(|choices| choices.get(0)) {
                return self.value(first, depth + 1);
            }
        }
        if let Some(parts) = keywords.get("allOf").and_then(Value::as_array) {
            return self.all(keywords, parts, depth);
        }
        self.typed(keywords, depth)
    }

    fn typed(&mut self, keywords: &Map<String, Value>, depth: usize) -> Result<Value, String> {
        let named = match keywords.get("type") {
            Some(Value::String(name)) => Some(name.as_str()),
            Some(Value::Array(names)) => {
                names.iter().filter_map(Value::as_str).find(|name| *name != "null").or(Some("null"))
            }
            _ => None,
        };
        let named = match named {
            Some(name) => name.to_ascii_lowercase(),
            None if keywords.contains_key("properties") => "object".into(),
            None if keywords.contains_key("items") => "array".into(),
            None => "string".into(),
        };
        match named.as_str() {
            "object" => self.object(keywords, depth),
            "array" => self.array(keywords, depth),
            "string" => self.string(keywords),
            "integer" => self.number(keywords, true),
            "number" => self.number(keywords, false),
            "boolean" => Ok(Value::Bool(self.draw.below(2) == 1)),
            "null" => Ok(Value::Null),
            other => Err(format!("the type {other:?} is not understood")),
        }
    }

    fn object(&mut self, keywords: &Map<String, Value>, depth: usize) -> Result<Value, String> {
        let mut object = Map::new();
        let none = Map::new();
        let properties = keywords.get("properties").and_then(Value::as_object).unwrap_or(&none);
        let required: Vec<&str> = keywords
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        for (name, schema) in properties {
            // What may be left out is left out deep down: so a tree of optional children ends.
            if required.contains(&name.as_str()) || depth < DEPTH_MAX / 6 {
                object.insert(name.clone(), self.value(schema, depth + 1)?);
            }
        }
        for name in required {
            if !properties.contains_key(name) {
                let schema = keywords.get("additionalProperties").filter(|schema| schema.is_object());
                let value = schema.map_or(Ok(json!("")), |schema| self.value(schema, depth + 1))?;
                object.insert(name.into(), value);
            }
        }
        Ok(Value::Object(object))
    }

    fn array(&mut self, keywords: &Map<String, Value>, depth: usize) -> Result<Value, String> {
        let least = count(keywords, "minItems")?.unwrap_or(0);
        let most = count(keywords, "maxItems")?.unwrap_or(u64::MAX);
        // As with properties: lists may be empty deep down.
        let wanted = if depth < DEPTH_MAX / 6 { 2 } else { 0 };
        let length = wanted.clamp(least, most.max(least));
        if length > LENGTH_MAX {
            return Err(format!("minItems is {length}, over {LENGTH_MAX}"));
        }
        let fixed = keywords.get("prefixItems").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        let rest = keywords.get("items");
        let any = json!({});
        let mut items = Vec::new();
        for index in 0..length.max((fixed.len() as u64).min(most)) as usize {
            let schema = match (fixed.get(index), rest) {
                (Some(schema), _) => schema,
                (None, Some(Value::Bool(false))) => break,
                (None, schema) => schema.unwrap_or(&any),
            };
            items.push(self.value(schema, depth + 1)?);
        }
        Ok(Value::Array(items))
    }

    fn string(&mut self, keywords: &Map<String, Value>) -> Result<Value, String> {
        let number = self.draw.number();
        let text = match keywords.get("format").and_then(Value::as_str) {
            Some("date-time") => format!("2025-01-{:02}T12:00:00Z", 1 + number % 28),
            Some("date") => format!("2025-01-{:02}", 1 + number % 28),
            Some("time") => format!("{:02}:00:00Z", number % 24),
            Some("duration") => format!("PT{}S", 1 + number % 60),
            Some("email") => format!("user{}@example.com", number % 1_000),
            Some("hostname") => format!("host{}.example.com", number % 1_000),
            Some("ipv4") => format!("192.0.2.{}", 1 + number % 254),
            Some("ipv6") => format!("2001:db8::{:x}", 1 + number % 65_535),
            Some("uuid") => uuid::Uuid::from_u64_pair(number, self.draw.number()).to_string(),
            Some("uri" | "url" | "iri") => format!("https://example.com/{}", number % 1_000),
            Some("enum") | None => WORDS[(number % WORDS.len() as u64) as usize].to_owned(),
            Some(other) => return Err(format!("the format {other:?} is not understood by this stand-in")),
        };
        let least = count(keywords, "minLength")?.unwrap_or(0);
        if least > LENGTH_MAX {
            return Err(format!("minLength is {least}, over {LENGTH_MAX}"));
        }
        let most = count(keywords, "maxLength")?.unwrap_or(u64::MAX).max(least);
        let short = (least as usize).saturating_sub(text.len());
        let text: String = text
            .chars()
            .chain(std::iter::repeat_n('x', short))
            .take(usize::try_from(most).unwrap_or(usize::MAX))
            .collect();
        Ok(Value::String(text))
    }

    fn number(&mut self, keywords: &Map<String, Value>, whole: bool) -> Result<Value, String> {
        let bound = |name: &str| keywords.get(name).and_then(Value::as_f64);
        let low = bound("minimum").into_iter().chain(bound("exclusiveMinimum")).reduce(f64::max);
        let high = bound("maximum").into_iter().chain(bound("exclusiveMaximum")).reduce(f64::min);
        let step = match bound("multipleOf").filter(|step| *step > 0.0) {
            Some(step) => step,
            None if whole => 1.0,
            None => return Ok(json!(self.between(low, high))),
        };
        // The first and last multiple of the step inside the bounds, which an exclusive bound is not.
        let first = low.map(|low| match (low / step).ceil() {
            first if bound("exclusiveMinimum") == Some(first * step) => first + 1.0,
            first => first,
        });
        let last = high.map(|high| match (high / step).floor() {
            last if bound("exclusiveMaximum") == Some(last * step) => last - 1.0,
            last => last,
        });
        let first = first.or(last.map(|last| last - 100.0)).unwrap_or(0.0);
        let last = last.unwrap_or(first + 100.0);
        if first > last {
            return Err("no number of the wanted step lies between the bounds".into());
        }
        let value = (first + self.draw.below((last - first).min(1_000.0) as u64 + 1) as f64) * step;
        Ok(if whole { json!(value as i64) } else { json!(value) })
    }

    /// Strictly between the bounds, where there is anything between them.
    fn between(&mut self, low: Option<f64>, high: Option<f64>) -> f64 {
        let drawn = 1.0 + self.draw.below(400) as f64 / 4.0;
        match (low, high) {
            (Some(low), Some(high)) => low + (high - low) / 2.0,
            (Some(low), None) => low + drawn,
            (None, Some(high)) => high - drawn,
            (None, None) => drawn,
        }
    }

    /// The members of all parts together: what `allOf` means for objects.
    fn all(&mut self, keywords: &Map<String, Value>, parts: &[Value], depth: usize) -> Result<Value, String> {
        let mut own = keywords.clone();
        own.remove("allOf");
        if let [only] = parts
            && !own.contains_key("properties")
        {
            return self.value(only, depth + 1);
        }
        let mut all = Map::new();
        for part in parts.iter().chain([&Value::Object(own)]) {
            match self.value(part, depth + 1)? {
                Value::Object(members) => all.extend(members),
                _ if part.get("type").is_none() && part.get("properties").is_none() => {}
                _ => return Err("allOf is understood for objects only".into()),
            }
        }
        Ok(Value::Object(all))
    }
}

fn count(keywords: &Map<String, Value>, name: &str) -> Result<Option<u64>, String> {
    keywords.get(name).filter(|value| !value.is_null()).map_or(Ok(None), |value| {
        // Gemini writes counts as text.
        let count = value.as_u64().or_else(|| value.as_str()?.parse().ok());
        count.map(Some).ok_or_else(|| format!("{name} is no count: {value}"))
    })
}

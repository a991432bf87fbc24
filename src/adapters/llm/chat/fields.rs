//! The fields of an object, taken one by one, so that what nobody took can be named.

use crate::adapters::llm::fault::Fault;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// The fields that are left of an object.
pub struct Fields<'a> {
    /// What stands before a field's name where it is told: `messages[3].`.
    path: String,
    left: BTreeMap<String, &'a RawValue>,
    wire: &'static str,
}

impl<'a> Fields<'a> {
    /// The request itself.
    pub fn read(json: &'a [u8], wire: &'static str) -> Result<Self, Fault> {
        let left = serde_json::from_slice(json).map_err(|error| {
            let place = format!("line {}, column {}", error.line(), error.column());
            Fault::bad_request(None, format!("the request is not a JSON object ({place})"))
        })?;
        Ok(Self { path: String::new(), left, wire })
    }

    /// An object within it.
    pub fn within(&self, path: &str, json: &'a RawValue) -> Result<Self, Fault> {
        let path = format!("{}{path}", self.path);
        let left = serde_json::from_str(json.get())
            .map_err(|_| Fault::bad_request(Some(&path), format!("{path} must be an object")))?;
        Ok(Self { path: format!("{path}."), left, wire: self.wire })
    }

    /// The name of a field as it is told.
    pub fn name(&self, field: &str) -> String {
        format!("{}{field}", self.path)
    }

    pub fn bad(&self, field: &str, what: &str) -> Fault {
        let name = self.name(field);
        Fault::bad_request(Some(&name), format!("{name} {what}"))
    }

    pub fn unsupported(&self, field: &str) -> Fault {
        Fault::unsupported(&self.name(field), self.wire)
    }

    /// The field's JSON; `None` where it is absent or null.
    pub fn raw(&mut self, field: &str) -> Option<&'a RawValue> {
        self.left.remove(field).filter(|value| value.get() != "null")
    }

    /// The field; `None` where it is absent or null.
    pub fn take<T: Deserialize<'a>>(&mut self, field: &str) -> Result<Option<T>, Fault> {
        let Some(value) = self.raw(field) else { return Ok(None) };
        serde_json::from_str(value.get())
            .map(Some)
            .map_err(|_| self.bad(field, "is not of the type that the API takes"))
    }

    pub fn need<T: Deserialize<'a>>(&mut self, field: &str) -> Result<T, Fault> {
        self.take(field)?.ok_or_else(|| self.bad(field, "is missing"))
    }

    /// A number, written as it came.
    pub fn number(&mut self, field: &str) -> Result<Option<&'a RawValue>, Fault> {
        match self.raw(field) {
            Some(value) if value.get().parse::<f64>().is_err() => Err(self.bad(field, "must be a number")),
            value => Ok(value),
        }
    }

    /// Leaves a field out that says nothing to the provider.
    pub fn drop(&mut self, field: &str) {
        self.left.remove(field);
    }

    /// Leaves a field out where its value is the one that it has when it is absent.
    pub fn neutral(&mut self, field: &str, values: &[&str]) {
        let is_neutral = |value: &&RawValue| {
            let packed: String = value.get().split_ascii_whitespace().collect();
            values.contains(&packed.as_str())
        };
        if self.left.get(field).is_some_and(is_neutral) {
            self.left.remove(field);
        }
    }

    /// # Errors
    /// Names the first field that nobody took and that is not null.
    pub fn finish(self) -> Result<(), Fault> {
        match self.left.iter().find(|(_, value)| value.get() != "null") {
            Some((field, _)) => Err(self.unsupported(field)),
            None => Ok(()),
        }
    }
}

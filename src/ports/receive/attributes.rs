//! The attributes of a command: what a CloudEvent says beside its data.

use super::{Code, Problem};
use crate::domain::record::ATTRIBUTE_BYTES_MAX;
use std::borrow::Cow;
use uuid::Uuid;

type Text<'a> = Option<Cow<'a, str>>;

/// The CloudEvents attributes that a command is read by; all others are ignored, as the specification allows.
#[derive(Debug, Default, PartialEq)]
pub struct Attributes<'a> {
    pub id: Text<'a>,
    pub source: Text<'a>,
    pub specversion: Text<'a>,
    pub r#type: Text<'a>,
    pub subject: Text<'a>,
    pub datacontenttype: Text<'a>,
    pub tenantid: Text<'a>,
    pub correlationid: Text<'a>,
    pub causationid: Text<'a>,
    pub traceparent: Text<'a>,
    pub actor: Text<'a>,
    pub expectedversion: Option<u64>,
}

impl<'a> Attributes<'a> {
    /// Takes one attribute in its text form, by its name without the prefix of the protocol. Names that mean nothing
    /// here are ignored.
    ///
    /// # Errors
    /// When `expectedversion` is no number.
    pub fn set(&mut self, name: &str, value: Cow<'a, str>) -> Result<(), Problem> {
        if name == "expectedversion" {
            self.expectedversion = Some(version(&value)?);
        } else if let Some(slot) = self.text_slot(name) {
            *slot = Some(value);
        }
        Ok(())
    }

    /// The place of a text attribute.
    pub(super) fn text_slot(&mut self, name: &str) -> Option<&mut Text<'a>> {
        Some(match name {
            "id" => &mut self.id,
            "source" => &mut self.source,
            "specversion" => &mut self.specversion,
            "type" => &mut self.r#type,
            "subject" => &mut self.subject,
            "datacontenttype" => &mut self.datacontenttype,
            "tenantid" => &mut self.tenantid,
            "correlationid" => &mut self.correlationid,
            "causationid" => &mut self.causationid,
            "traceparent" => &mut self.traceparent,
            "actor" => &mut self.actor,
            _ => return None,
        })
    }

    /// Checks what can be checked without knowing the command.
    pub fn check(&self) -> Result<(), Problem> {
        for (name, value) in [
            ("id", &self.id),
            ("source", &self.source),
            ("correlationid", &self.correlationid),
            ("causationid", &self.causationid),
            ("traceparent", &self.traceparent),
            ("actor", &self.actor),
        ] {
            let Some(value) = value else { continue };
            if value.len() > ATTRIBUTE_BYTES_MAX {
                let message = format!("{name} has {} bytes, at most {ATTRIBUTE_BYTES_MAX} are allowed", value.len());
                return Err(invalid(message));
            }
            if value.is_empty() && matches!(name, "id" | "source") {
                return Err(invalid(format!("{name} is empty; leave it out, or give it a value")));
            }
        }
        match self.specversion.as_deref() {
            None | Some("1.0") => Ok(()),
            Some(other) => {
                Err(invalid(format!("specversion {other:?} is not supported; use \"1.0\", or leave it out")))
            }
        }
    }

    pub(super) fn uuid(&self, name: &str, value: Option<&str>) -> Result<Option<Uuid>, Problem> {
        value
            .map(|text| {
                Uuid::parse_str(text)
                    .map_err(|_| invalid(format!("{name} {text:?} is no UUID; give one, or leave it out")))
            })
            .transpose()
    }
}

fn version(text: &str) -> Result<u64, Problem> {
    text.parse().map_err(|_| {
        invalid(format!("expectedversion {text:?} is no version; give a number from 0 on, or leave it out"))
    })
}

fn invalid(message: String) -> Problem {
    Problem::new(Code::InvalidAttribute, message)
}

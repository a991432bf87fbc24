//! A personal field: plain today, sealable tomorrow without a change of schema.
//!
//! On the wire it is the union `null | string | Sealed`; in JSON it is `null`, a string, or an object. The variants
//! stand in the order of the union's branches, which the Avro mapping relies on.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A field that can hold personal data: an owner, instructions, prompts, answers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Personal {
    #[default]
    Absent,
    Plain(String),
    Sealed(Sealed),
}

/// Ciphertext whose key can be destroyed. Nothing seals yet; the type stands here because a hash chain freezes schemas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sealed {
    pub key_id: String,
    #[serde(with = "bytes_field")]
    pub nonce: Vec<u8>,
    #[serde(with = "bytes_field")]
    pub ciphertext: Vec<u8>,
}

impl Personal {
    /// The text, where it is there and readable.
    pub fn text(&self) -> Option<&str> {
        match self {
            Self::Plain(text) => Some(text),
            Self::Absent | Self::Sealed(_) => None,
        }
    }

    pub fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

impl From<&str> for Personal {
    fn from(text: &str) -> Self {
        Self::Plain(text.into())
    }
}

impl Serialize for Personal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return match self {
                Self::Absent => serializer.serialize_none(),
                Self::Plain(text) => serializer.serialize_str(text),
                Self::Sealed(sealed) => sealed.serialize(serializer),
            };
        }
        match self {
            Self::Absent => serializer.serialize_unit_variant("Personal", 0, "Absent"),
            Self::Plain(text) => serializer.serialize_newtype_variant("Personal", 1, "Plain", text),
            Self::Sealed(sealed) => serializer.serialize_newtype_variant("Personal", 2, "Sealed", sealed),
        }
    }
}

impl<'de> Deserialize<'de> for Personal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Human {
            Text(String),
            Sealed(Sealed),
        }
        #[derive(Deserialize)]
        #[serde(rename = "Personal")]
        enum Binary {
            Absent,
            Plain(String),
            Sealed(Sealed),
        }
        if deserializer.is_human_readable() {
            return Ok(match Option::<Human>::deserialize(deserializer)? {
                None => Self::Absent,
                Some(Human::Text(text)) => Self::Plain(text),
                Some(Human::Sealed(sealed)) => Self::Sealed(sealed),
            });
        }
        Ok(match Binary::deserialize(deserializer)? {
            Binary::Absent => Self::Absent,
            Binary::Plain(text) => Self::Plain(text),
            Binary::Sealed(sealed) => Self::Sealed(sealed),
        })
    }
}

/// `bytes` in Avro, base64 text in JSON.
mod bytes_field {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use serde::de::{Error, Visitor};
    use serde::{Deserialize, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(&STANDARD.encode(bytes));
        }
        serializer.serialize_bytes(bytes)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Vec<u8>, E> {
                Ok(bytes)
            }
        }
        if deserializer.is_human_readable() {
            return STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom);
        }
        deserializer.deserialize_byte_buf(Bytes)
    }
}

//! Values on topics: which schema, then the Avro bytes.

use crate::domain::wire::Codec;
use std::borrow::Cow;

/// First bytes of Avro's single-object encoding.
const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the value has {0} bytes, which is too short for a frame")]
    Short(usize),
    #[error(
        "the value begins with {0:#04x}: neither the Confluent wire format (0x00) nor single-object encoding (0xc3)"
    )]
    Unknown(u8),
}

/// What goes before the Avro bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    bytes: [u8; 10],
    length: u8,
}

impl Head {
    pub fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// A value taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framed<'a> {
    /// The record's name without its namespace, where the frame tells it.
    pub name: Option<String>,
    /// Of the schema that `payload` is in.
    pub fingerprint: u64,
    pub payload: Cow<'a, [u8]>,
}

/// How values are framed in this process.
pub struct Framing {}

impl Framing {
    /// Without a registry.
    pub fn single_object() -> Self {
        Self {}
    }

    /// What goes before a value of this schema.
    pub fn head(&self, codec: &Codec) -> Result<Head, Error> {
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&SINGLE_OBJECT);
        bytes[2..].copy_from_slice(&codec.fingerprint.to_le_bytes());
        Ok(Head { bytes, length: 10 })
    }

    /// Takes a value apart. Asks the registry where the schema is not known yet.
    pub async fn open<'a>(&self, value: &'a [u8]) -> Result<Framed<'a>, Error> {
        match value {
            [0xC3, 0x01, rest @ ..] => {
                let (fingerprint, payload) = rest.split_first_chunk::<8>().ok_or(Error::Short(value.len()))?;
                let fingerprint = u64::from_le_bytes(*fingerprint);
                Ok(Framed { name: None, fingerprint, payload: Cow::Borrowed(payload) })
            }
            [first, ..] => Err(Error::Unknown(*first)),
            [] => Err(Error::Short(0)),
        }
    }
}

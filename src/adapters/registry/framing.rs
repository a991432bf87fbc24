//! Values on topics: which schema, then the Avro bytes.

use super::client::{self, Client, Config};
use super::ids::{Ids, Patience};
use super::subject;
use crate::domain::schemas::Schemas;
use crate::domain::wire::Codec;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

/// First bytes of Avro's single-object encoding.
const SINGLE_OBJECT: [u8; 2] = [0xC3, 0x01];
/// First byte of the Confluent wire format.
const CONFLUENT: u8 = 0x00;
/// Subjects that an error names; the others are counted.
const NAMED_MAX: usize = 5;

/// Why a value cannot be framed or taken apart. [`Error::retryable`] tells a value that cannot be read from a registry
/// that does not answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("the value has {0} bytes, which is too short for a frame")]
    Short(usize),
    #[error(
        "the value begins with {0:#04x}: neither the Confluent wire format (0x00) nor single-object encoding (0xc3)"
    )]
    Unknown(u8),
    #[error(
        "the value names schema {0}, which is none of this program's own, and there is no registry: set registry_url"
    )]
    NoRegistry(u32),
    #[error("{0} not in the schema registry: run `agentverse schemas apply`")]
    NotRegistered(String),
    #[error("the value names schema {0}, which the schema registry does not have")]
    UnknownId(u32),
    #[error("schema {id} of the registry is {name}, which this program does not know")]
    Foreign { id: u32, name: String },
    #[error("schema {id} of the registry cannot be used: {cause}")]
    Schema { id: u32, cause: String },
    #[error("the value does not fit schema {id} of the registry ({name}): {cause}")]
    Value { id: u32, name: String, cause: String },
    #[error(transparent)]
    Registry(#[from] client::Error),
}

impl Error {
    /// Whether the registry did not answer: the value itself may be good, and the same call can go well later.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Registry(error) if error.retryable())
    }
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

    fn single_object(fingerprint: u64) -> Self {
        let mut bytes = [0; 10];
        bytes[..2].copy_from_slice(&SINGLE_OBJECT);
        bytes[2..].copy_from_slice(&fingerprint.to_le_bytes());
        Self { bytes, length: 10 }
    }

    fn confluent(id: u32) -> Self {
        let mut bytes = [0; 10];
        bytes[0] = CONFLUENT;
        bytes[1..5].copy_from_slice(&id.to_be_bytes());
        Self { bytes, length: 5 }
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
pub struct Framing {
    registry: Option<Registry>,
}

struct Registry {
    /// By fingerprint.
    heads: HashMap<u64, Head>,
    /// By id: the schemas that this program writes, which most values are in.
    ours: HashMap<u32, &'static Codec>,
    others: Arc<Ids>,
}

impl Framing {
    /// Without a registry.
    pub fn single_object() -> Self {
        Self { registry: None }
    }

    /// With a registry, which has every one of these schemas: all that the program writes. Registers nothing.
    ///
    /// # Errors
    /// [`Error::NotRegistered`] names the schemas that are not there; otherwise when the registry does not answer.
    pub async fn connect(config: &Config, codecs: &[&'static Codec]) -> Result<Self, Error> {
        Self::connect_with(config, codecs, Patience::default()).await
    }

    pub(super) async fn connect_with(
        config: &Config,
        codecs: &[&'static Codec],
        patience: Patience,
    ) -> Result<Self, Error> {
        let client = Client::new(config)?;
        let (mut heads, mut ours, mut missing) = (HashMap::new(), HashMap::new(), Vec::new());
        for (codec, place) in super::lookup(&client, codecs).await? {
            match place {
                Some(place) => {
                    heads.insert(codec.fingerprint, Head::confluent(place.id));
                    ours.insert(place.id, codec);
                }
                None => missing.push(subject(codec)),
            }
        }
        if !missing.is_empty() {
            return Err(Error::NotRegistered(some_of(&missing)));
        }
        let names = codecs.iter().map(|codec| (subject(codec), *codec)).collect();
        Ok(Self { registry: Some(Registry { heads, ours, others: Ids::new(client, names, patience) }) })
    }

    /// What goes before a value of this schema.
    ///
    /// # Errors
    /// With a registry: when the schema is none of those that were looked up at the start.
    pub fn head(&self, codec: &Codec) -> Result<Head, Error> {
        match &self.registry {
            None => Ok(Head::single_object(codec.fingerprint)),
            Some(registry) => {
                let head = registry.heads.get(&codec.fingerprint).copied();
                head.ok_or_else(|| Error::NotRegistered(some_of(&[subject(codec)])))
            }
        }
    }

    /// Takes a value apart. Asks the registry where the schema is not known yet. A value that another version of one of
    /// our schemas wrote comes back in ours; its fingerprint is then ours too.
    ///
    /// # Errors
    /// [`Error::retryable`] ones say nothing about the value; after any other it can never be read by this program.
    pub async fn open<'a>(&self, value: &'a [u8]) -> Result<Framed<'a>, Error> {
        match value {
            [0xC3, 0x01, rest @ ..] => {
                let (fingerprint, payload) = rest.split_first_chunk::<8>().ok_or(Error::Short(value.len()))?;
                let fingerprint = u64::from_le_bytes(*fingerprint);
                Ok(Framed { name: None, fingerprint, payload: Cow::Borrowed(payload) })
            }
            [0xC3] => Err(Error::Short(1)),
            [CONFLUENT, rest @ ..] => {
                let (id, payload) = rest.split_first_chunk::<4>().ok_or(Error::Short(value.len()))?;
                let id = u32::from_be_bytes(*id);
                match &self.registry {
                    Some(registry) => registry.open(id, payload).await,
                    None => built_in(id, payload),
                }
            }
            [first, ..] => Err(Error::Unknown(*first)),
            [] => Err(Error::Short(0)),
        }
    }
}

impl Registry {
    async fn open<'a>(&self, id: u32, payload: &'a [u8]) -> Result<Framed<'a>, Error> {
        if let Some(codec) = self.ours.get(&id) {
            return Ok(framed(codec, Cow::Borrowed(payload)));
        }
        let writer = self.others.writer(id).await?;
        let unfit = |cause| Error::Value { id, name: writer.codec.name.to_owned(), cause };
        Ok(framed(writer.codec, writer.read(payload).map_err(unfit)?))
    }
}

/// A value of a producer that asked the registry of a node (`/schema-registry`), whose ids need no asking.
fn built_in(id: u32, payload: &[u8]) -> Result<Framed<'_>, Error> {
    let version = Schemas::of_program().by_id(id).ok_or(Error::NoRegistry(id))?;
    let name = version.schema.name().map(|name| name.name().to_owned());
    Ok(Framed { name, fingerprint: version.fingerprint, payload: Cow::Borrowed(payload) })
}

fn framed<'a>(codec: &Codec, payload: Cow<'a, [u8]>) -> Framed<'a> {
    Framed { name: Some(codec.name.to_owned()), fingerprint: codec.fingerprint, payload }
}

/// `a, b and 7 more are`.
fn some_of(names: &[String]) -> String {
    let named = names.iter().take(NAMED_MAX).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len() {
        1 => format!("schema {named} is"),
        all if all <= NAMED_MAX => format!("schemas {named} are"),
        all => format!("schemas {named} and {} more are", all - NAMED_MAX),
    }
}

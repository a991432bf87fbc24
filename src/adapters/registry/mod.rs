//! How Avro values are framed on topics, and the registry that gives schemas their ids.
//!
//! With a registry a value is in the Confluent wire format: 0x00, the schema's id (4 bytes, big endian), the Avro bytes.
//! Without one it is in Avro's single-object encoding: 0xC3 0x01, the schema's Rabin fingerprint (8 bytes, little endian),
//! the Avro bytes. Both are read always; the first byte tells them apart.
//!
//! Only [`apply()`] writes to the registry. A program that runs looks its schemas up and refuses to start without them, so
//! that no schema gets into the registry by a program being started.

mod apply;
mod client;
mod framing;
mod ids;
mod resolve;
#[cfg(test)]
mod tests;

pub use apply::{Outcome, Registered, Versions, apply, kept, lookup};
pub use client::{Client, Config, Error as ClientError, Place};
pub use framing::{Error, Framed, Framing, Head};

use crate::domain::wire::Codec;

/// The subject of a schema: its full name (RecordNameStrategy), so that one record has one id on whichever topic it is.
pub fn subject(codec: &Codec) -> String {
    codec.schema.name().map_or_else(|| codec.name.to_owned(), |name| name.fullname(None))
}

//! How Avro values are framed on topics, and the registry that gives schemas their ids.
//!
//! With a registry a value is in the Confluent wire format: 0x00, the schema's id (4 bytes, big endian), the Avro bytes.
//! Without one it is in Avro's single-object encoding: 0xC3 0x01, the schema's Rabin fingerprint (8 bytes, little endian),
//! the Avro bytes. Both are read always; the first byte tells them apart.

mod framing;

pub use framing::{Error, Framed, Framing, Head};

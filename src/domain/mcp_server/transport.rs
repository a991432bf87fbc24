//! How one talks to a server.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The transports of the Model Context Protocol. In JSON `stdio`, `streamable-http`, `sse`; an Avro symbol takes no
/// hyphen, so there the second is `streamable_http`, which JSON input may say too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Transport {
    Stdio,
    #[default]
    StreamableHttp,
    Sse,
}

names! { Transport: Stdio "stdio", StreamableHttp "streamable-http", Sse "sse" }

/// The serde form of both: its name is that of the Avro enum, by which a union finds it.
#[derive(Serialize, Deserialize)]
#[serde(rename = "Transport", rename_all = "snake_case")]
enum Symbol {
    Stdio,
    #[serde(alias = "streamable-http")]
    StreamableHttp,
    Sse,
}

impl Serialize for Transport {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            return serializer.serialize_str(self.name());
        }
        match self {
            Self::Stdio => Symbol::Stdio,
            Self::StreamableHttp => Symbol::StreamableHttp,
            Self::Sse => Symbol::Sse,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Transport {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(match Symbol::deserialize(deserializer)? {
            Symbol::Stdio => Self::Stdio,
            Symbol::StreamableHttp => Self::StreamableHttp,
            Symbol::Sse => Self::Sse,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_takes_both_spellings_and_gives_the_protocols_own() {
        for (text, transport) in [
            ("\"stdio\"", Transport::Stdio),
            ("\"streamable-http\"", Transport::StreamableHttp),
            ("\"streamable_http\"", Transport::StreamableHttp),
            ("\"sse\"", Transport::Sse),
        ] {
            assert_eq!(serde_json::from_str::<Transport>(text).unwrap(), transport);
            assert_eq!(serde_json::to_value(transport).unwrap(), transport.name());
            assert_eq!(
                postcard::from_bytes::<Transport>(&postcard::to_stdvec(&transport).unwrap()).unwrap(),
                transport
            );
        }
        assert!(serde_json::from_str::<Transport>("\"carrier-pigeon\"").is_err());
    }
}

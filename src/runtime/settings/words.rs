//! The settings' types whose values are words.

use super::{Bounds, Value, parse_number};
use crate::domain::Aggregate;

/// A type whose values are words.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$about:meta])* $variant:ident = $word:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name { $($(#[$about])* $variant,)+ }

        impl Value for $name {
            fn parse(text: &str, _bounds: &Bounds) -> Option<Self> {
                match text {
                    $($word => Some(Self::$variant),)+
                    _ => None,
                }
            }
            fn show(&self) -> String {
                match self {
                    $(Self::$variant => $word,)+
                }
                .to_owned()
            }
        }
    };
}

/// Aggregates that have another count of logs than the rest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionsOf(pub Vec<(Aggregate, u16)>);

impl Value for PartitionsOf {
    fn parse(text: &str, _bounds: &Bounds) -> Option<Self> {
        let counts = text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| {
            let (name, count) = part.split_once('=')?;
            let count = parse_number(count.trim()).filter(|count| (1..=1_024).contains(count))?;
            Some((Aggregate::from_name(name.trim())?, u16::try_from(count).ok()?))
        });
        counts.collect::<Option<_>>().map(Self)
    }
    fn show(&self) -> String {
        self.0.iter().map(|(aggregate, count)| format!("{}={count}", aggregate.name())).collect::<Vec<_>>().join(",")
    }
}

words! {
    /// How log lines look.
    LogFormat {
        /// For people.
        Pretty = "pretty",
        /// One JSON object a line.
        Json = "json",
    }
}

words! {
    /// Who can reach the HTTP surface.
    Exposure {
        /// This machine alone.
        Loopback = "loopback",
        /// Others too, through something that says who they are.
        Network = "network",
    }
}

words! {
    /// Whether something is done.
    Switch {
        On = "on",
        Off = "off",
    }
}

words! {
    /// How a link to Kafka is secured.
    Security {
        Plaintext = "plaintext",
        Tls = "tls",
        SaslPlaintext = "sasl_plaintext",
        SaslTls = "sasl_tls",
    }
}

words! {
    /// How a client shows Kafka who it is.
    Sasl {
        Plain = "plain",
        ScramSha256 = "scram_sha_256",
        ScramSha512 = "scram_sha_512",
    }
}

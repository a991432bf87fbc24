//! Keys: where they come from is the operator's to say; here they have names.

use async_trait::async_trait;
use std::fmt;
use std::sync::Arc;

/// A key. It can be used, compared and cloned, not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Arc<str>);

impl Secret {
    pub fn new(text: &str) -> Self {
        Self(text.into())
    }

    /// The key itself, for the request that it signs and nothing else.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Where a key is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Destination<'a> {
    pub host: &'a str,
    /// Whether nobody on the way can read it.
    pub encrypted: bool,
}

/// As an operator lists it among the hosts of a key.
impl fmt::Display for Destination<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.encrypted { "" } else { "http://" })?;
        f.write_str(self.host)
    }
}

/// Why there is no key. Holds the key's name, never the key.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error(
        "no key source is named {name}, and it is not the variable of a well-known provider; \
         add a key source of this name with {to} among its hosts"
    )]
    Unknown { name: String, to: String },
    #[error(
        "the key {name} does not go to {to}: whoever registers a provider could send it anywhere; \
         if it belongs there, add {to} to the hosts of the key source {name}"
    )]
    Elsewhere { name: String, to: String },
    #[error("the key {name} is not there: {cause}")]
    Missing { name: String, cause: String },
}

/// The keys.
///
/// Contract:
/// - `key` gives the key of a name for use at one destination, from memory unless that is older than its bound.
/// - Names and destinations come from whoever registers a provider. A key is given only for a destination that the
///   operator has listed for it, or that is its well-known provider's own; an unencrypted one must be listed as such.
/// - `reload` is for when the provider refused `stale`: it asks the source anew, not more often than a bound, and gives
///   what it found, which may be the same.
/// - A source that fails after it has given a key keeps that key: providers refuse what was revoked.
#[async_trait]
pub trait Keys: Send + Sync + 'static {
    async fn key(&self, name: &str, to: Destination<'_>) -> Result<Secret, KeyError>;

    async fn reload(&self, name: &str, to: Destination<'_>, stale: &Secret) -> Result<Secret, KeyError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_form_of_printing_shows_a_key() {
        let secret = Secret::new("sk-very-secret");
        let held = Some(vec![secret.clone()]);
        for text in [format!("{secret:?}"), format!("{secret:#?}"), format!("{held:?}")] {
            assert!(!text.contains("very"), "{text}");
        }
        assert_eq!(secret.expose(), "sk-very-secret");
    }
}

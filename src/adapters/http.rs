//! What the clients of HTTP services share.

/// An error with what caused it, without the URL, which the caller names and which may hold what nobody should read.
pub(in crate::adapters) fn words(error: reqwest::Error) -> String {
    super::words::words(&error.without_url())
}

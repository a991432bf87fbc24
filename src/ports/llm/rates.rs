//! What a provider says about its limits, whatever it calls them.

use std::time::Duration;

/// One limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub limit: Option<u64>,
    pub remaining: Option<u64>,
    /// From the moment of the answer until the limit is whole again.
    pub reset_after: Option<Duration>,
}

/// The news of limits that came with one answer; all absent where the provider told none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    pub requests: Window,
    pub tokens: Window,
    /// Of providers that count input and output apart.
    pub input_tokens: Window,
    pub output_tokens: Window,
    /// How long to leave the provider alone, from the moment of the answer.
    pub retry_after: Option<Duration>,
}

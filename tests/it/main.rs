//! Tests of the whole: one binary, one file per concern.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail where they stand, as tests do")]

#[cfg(test)]
mod flow;
#[cfg(test)]
mod tidy;

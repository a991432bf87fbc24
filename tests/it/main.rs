//! Tests of the whole: one binary, one file per concern.

#[cfg(test)]
mod both;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test of real processes waits in real time")]
mod chaos;
#[cfg(test)]
mod clients;
#[cfg(test)]
mod cluster;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test of real processes waits in real time")]
mod crash;
#[cfg(test)]
mod deploy;
#[cfg(test)]
mod e2e;
#[cfg(test)]
mod events;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test of real processes waits in real time")]
mod fake;
#[cfg(test)]
mod flow;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "kills processes at instants that no seed repeats")]
mod migrate;
#[cfg(test)]
mod port;
#[cfg(test)]
mod requests;
#[cfg(test)]
mod tidy;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test of real processes waits in real time")]
mod troubles;

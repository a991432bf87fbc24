//! The adapters as a whole: translations against golden pairs, calls against a server that misbehaves on demand.

mod calls;
mod failures;
mod golden;
mod refusals;
pub mod server;
mod streams;

use super::wire::Plan;
use super::{Fault, Prepared, prepare};
use crate::domain::Micros;
use crate::domain::llm_provider::WireProtocol;
use crate::ports::Clock;
use crate::ports::llm::{Call, Operation, Target, Timeouts};
use reqwest::Url;
use std::time::Duration;
use tokio::time::Instant;

/// 2026-01-02T03:04:05Z.
pub const NOW: Micros = 1_767_323_045_000_000;

pub struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Micros {
        NOW
    }
}

/// A call with time enough.
pub fn call(protocol: WireProtocol, endpoint: &str, model: &str, request: &str) -> Call {
    let long = Duration::from_secs(20);
    Call {
        target: Target {
            provider: "acme".into(),
            protocol,
            endpoint: Some(endpoint.into()),
            key: None,
            model: model.into(),
            output_tokens_max: None,
        },
        request_id: None,
        operation: Operation::ChatCompletion,
        request: request.to_owned().into(),
        stream: false,
        timeouts: Timeouts { first_byte: long, between_chunks: long, total: long },
        deadline: Instant::now() + long,
    }
}

/// What a wire makes of a call.
pub fn prepared(call: &Call) -> Result<Prepared, Fault> {
    let base = call.target.endpoint.as_deref().unwrap();
    prepare(&Plan { call, base: Url::parse(base).unwrap(), now: NOW })
}

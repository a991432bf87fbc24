//! What a client of librdkafka says beside its calls, kept for whoever asks why a call failed.

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::sync::Arc;

/// The last failure that a client told of beside its calls.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    pub code: Code,
    pub reason: String,
    pub all_down: bool,
}

/// The context of a client: its log lines become ours, its failures are kept. Clones share what they keep.
#[derive(Clone, Default)]
pub struct Watch {
    fault: Arc<Mutex<Option<Fault>>>,
}

impl Watch {
    pub(super) fn fault(&self) -> Option<Fault> {
        self.fault.lock().clone()
    }
}

impl ClientContext for Watch {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        // Who asked is told of the failure, and says it.
        tracing::debug!(target: "rdkafka", ?level, facility, "{message}");
        // A broker that hangs up on a wrong kind of link is told of here alone.
        let mut fault = self.fault.lock();
        if facility == "FAIL" && fault.as_ref().is_none_or(|fault| fault.code == Code::AllBrokersDown) {
            let all_down = fault.is_some();
            // Without the name of the thread, which stands before it.
            let reason = message.split_once("]: ").map_or(message, |(_, reason)| reason).to_owned();
            *fault = Some(Fault { code: Code::BrokerTransportFailure, reason, all_down });
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "rdkafka", %error, reason, "a link to Kafka failed");
        let Some(code) = error.rdkafka_error_code() else { return };
        let mut fault = self.fault.lock();
        match (&mut *fault, code) {
            // It says that all failed, not why: the reason came before it.
            (Some(fault), Code::AllBrokersDown) => fault.all_down = true,
            (fault, _) => {
                let all_down = code == Code::AllBrokersDown || fault.as_ref().is_some_and(|fault| fault.all_down);
                *fault = Some(Fault { code, reason: reason.to_owned(), all_down });
            }
        }
    }
}

impl ConsumerContext for Watch {}

//! The producer: one per process, idempotent, with one completion per call.
//!
//! A message carries a pointer to its call; the library's delivery reports count the call down, and the last one wakes
//! it. A future per message would cost two to three times as much.

use super::Config;
use super::client::words;
use super::lag::Heights;
use super::trouble;
use crate::ports::topic::Error;
use parking_lot::{Mutex, RwLock};
use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;

/// Between two tries while the queue is full.
const QUEUE_PAUSE: Duration = Duration::from_millis(5);
/// Room for what goes around a message of the largest size: a dead letter keeps a record and says why.
const MARGIN_BYTES: usize = 1 << 20;

/// A message on its way out.
pub struct Outgoing {
    pub topic: String,
    pub partition: u16,
    pub key: String,
    pub value: Vec<u8>,
    pub headers: OwnedHeaders,
    /// Of all headers, names and values.
    pub headers_bytes: usize,
    /// Milliseconds since the Unix epoch; `None` where the time of sending will do.
    pub timestamp: Option<i64>,
}

impl Outgoing {
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.len() + self.headers_bytes
    }

    /// Refuses what the topic would refuse, before anything of its call is sent.
    ///
    /// # Errors
    /// When the message is larger than `bytes_max`.
    pub fn check(&self, bytes_max: usize) -> Result<(), Error> {
        let bytes = self.bytes();
        if bytes <= bytes_max {
            return Ok(());
        }
        Err(Error::TooLarge(format!(
            "a message of {bytes} bytes for {} is larger than {bytes_max}; send less, or raise kafka_message_bytes_max \
             and the topic's max.message.bytes",
            self.topic
        )))
    }
}

/// What the messages of one call have in common.
pub(super) struct Call {
    left: AtomicUsize,
    failed: Mutex<Option<Error>>,
    done: Mutex<Option<oneshot::Sender<Result<(), Error>>>>,
}

impl Call {
    fn new(messages: usize) -> (Arc<Self>, oneshot::Receiver<Result<(), Error>>) {
        let (sender, receiver) = oneshot::channel();
        let done = Mutex::new(Some(sender));
        (Arc::new(Self { left: AtomicUsize::new(messages), failed: Mutex::default(), done }), receiver)
    }

    fn fail(&self, cause: Error) {
        self.failed.lock().get_or_insert(cause);
    }

    /// Counts messages as settled; the last one ends the call.
    fn settle(&self, messages: usize) {
        if self.left.fetch_sub(messages, Ordering::AcqRel) != messages {
            return;
        }
        let result = self.failed.lock().take().map_or(Ok(()), Err);
        if let Some(done) = self.done.lock().take() {
            // A caller that gave up has dropped its end.
            let _ = done.send(result);
        }
    }
}

/// Hears the delivery reports.
struct Reports {
    queued_bytes: Arc<AtomicUsize>,
    heights: Arc<Heights>,
}

impl ClientContext for Reports {
    fn error(&self, error: KafkaError, reason: &str) {
        trouble::report("the producer", &error, reason);
    }
}

impl ProducerContext for Reports {
    type DeliveryOpaque = Arc<Call>;

    fn delivery(&self, result: &DeliveryResult<'_>, call: Arc<Call>) {
        let message = match result {
            Ok(message) => {
                self.heights.raise(message.topic(), message.partition(), message.offset() + 1);
                message
            }
            Err((error, message)) => {
                call.fail(failed(message.topic(), error));
                message
            }
        };
        self.queued_bytes.fetch_sub(size(message.key_len(), message.payload_len()), Ordering::AcqRel);
        call.settle(1);
    }
}

fn failed(topic: &str, error: &KafkaError) -> Error {
    let cause = format!("{topic}: {}", words(error));
    match error.rdkafka_error_code() {
        Some(RDKafkaErrorCode::MessageSizeTooLarge) => Error::TooLarge(cause),
        _ => Error::Unavailable(cause),
    }
}

/// What a waiting message counts for: what a report can still tell of it.
fn size(key_bytes: usize, value_bytes: usize) -> usize {
    key_bytes + value_bytes
}

type Native = ThreadedProducer<Reports>;

/// The producer of this process.
pub struct Producer {
    config: ClientConfig,
    heights: Arc<Heights>,
    native: RwLock<Arc<Native>>,
    queued_bytes: Arc<AtomicUsize>,
}

impl Producer {
    pub fn new(config: &Config, heights: Arc<Heights>) -> Result<Self, Error> {
        let mut client = config.link.config();
        let message_bytes_max = config.message_bytes_max.saturating_mul(2).saturating_add(MARGIN_BYTES);
        client
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // A batch that is lost for good must not be followed by a later one: the producer stops, and is made anew.
            .set("enable.gapless.guarantee", "true")
            .set("max.in.flight.requests.per.connection", "5")
            .set("compression.type", "lz4")
            .set("linger.ms", config.linger.as_millis().to_string())
            .set("message.max.bytes", message_bytes_max.to_string())
            // The bytes are the bound.
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", (config.queue_bytes_max / 1024).max(1).to_string())
            .set("message.timeout.ms", (config.link.request_timeout * 3).as_millis().to_string());
        let queued_bytes = Arc::new(AtomicUsize::new(0));
        let native = RwLock::new(Arc::new(native(&client, &queued_bytes, &heights)?));
        Ok(Self { config: client, heights, native, queued_bytes })
    }

    /// Bytes of keys and values that are not acknowledged yet.
    pub fn queued_bytes(&self) -> usize {
        self.queued_bytes.load(Ordering::Acquire)
    }

    /// Sends messages and returns once all are acknowledged. Those of one partition arrive in the order given. While the
    /// queue is full it waits.
    ///
    /// # Errors
    /// When any of them was not acknowledged in time; some may have been written all the same.
    pub async fn send(&self, messages: Vec<Outgoing>) -> Result<(), Error> {
        if messages.is_empty() {
            return Ok(());
        }
        let (call, done) = Call::new(messages.len());
        let native = self.sound()?;
        // A caller that gives up half way leaves the rest unsent: what was not sent is settled when the guard goes.
        let mut unsent = Unsent { call: call.clone(), messages: messages.len() };
        for message in messages {
            if let Err(cause) = self.send_one(&native, message, &call).await {
                call.fail(cause);
                break;
            }
            unsent.messages -= 1;
        }
        drop(unsent);
        done.await.unwrap_or_else(|_| Err(Error::Unavailable("the producer has ended".into())))
    }

    async fn send_one(&self, native: &Native, message: Outgoing, call: &Arc<Call>) -> Result<(), Error> {
        let Outgoing { topic, partition, key, value, headers, timestamp, .. } = message;
        let mut record = BaseRecord::with_opaque_to(&topic, call.clone())
            .partition(i32::from(partition))
            .key(key.as_str())
            .payload(value.as_slice())
            .headers(headers);
        if let Some(timestamp) = timestamp {
            record = record.timestamp(timestamp);
        }
        let bytes = size(key.len(), value.len());
        loop {
            // Counted before: the report may come before `send` is back.
            self.queued_bytes.fetch_add(bytes, Ordering::AcqRel);
            let Err((error, refused)) = native.send(record) else { return Ok(()) };
            self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(failed(&topic, &error));
            }
            record = refused;
            tokio::time::sleep(QUEUE_PAUSE).await;
        }
    }

    /// The producer, made anew where the one there is has stopped for good.
    fn sound(&self) -> Result<Arc<Native>, Error> {
        let current = self.native.read().clone();
        let Some((_, reason)) = current.client().fatal_error() else { return Ok(current) };
        let mut slot = self.native.write();
        if Arc::ptr_eq(&slot, &current) {
            tracing::warn!(reason, "the producer stopped rather than leave a gap; making a new one");
            *slot = Arc::new(native(&self.config, &self.queued_bytes, &self.heights)?);
        }
        Ok(slot.clone())
    }
}

/// Messages of a call that the library has not taken.
struct Unsent {
    call: Arc<Call>,
    messages: usize,
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if self.messages > 0 {
            self.call.settle(self.messages);
        }
    }
}

fn native(config: &ClientConfig, queued_bytes: &Arc<AtomicUsize>, heights: &Arc<Heights>) -> Result<Native, Error> {
    let reports = Reports { queued_bytes: queued_bytes.clone(), heights: heights.clone() };
    config.create_with_context(reports).map_err(|error: KafkaError| {
        Error::Unavailable(format!("the producer's configuration is refused: {}; check kafka_*", words(&error)))
    })
}

//! The link to Kafka: where the brokers are, how the link is secured, and what went wrong in words.
//!
//! librdkafka reports most failures beside the call that suffers from them: a wrong password shows as a call that timed
//! out, and its cause as an event. [`Watch`] keeps the last such event, so that [`Link::check`] can say which of
//! unreachable, wrong security, bad certificate and wrong password it was, before anything waits for it.

use super::watch::Watch;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::metadata::Metadata;
use rdkafka::types::RDKafkaConfRes;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;

/// How long an attempt to read the metadata blocks before the events are looked at.
const SLICE: Duration = Duration::from_millis(200);
/// How long all brokers may be down before [`Link::check`] gives up: enough for one that just restarts its listener.
const DOWN_MAX: Duration = Duration::from_secs(3);
/// librdkafka takes no longer `socket.timeout.ms`.
const SOCKET_MS_MAX: u128 = 300_000;

/// How to reach Kafka; see `agentverse config --explain`.
#[derive(Clone)]
pub struct Link {
    /// `host:port`, separated by commas.
    pub brokers: String,
    pub security: Security,
    /// Used where `security` is one of the SASL kinds.
    pub login: Option<Login>,
    /// The certificates (PEM) that the brokers' must be signed by; `None`: the system's.
    pub tls_ca_file: Option<PathBuf>,
    /// Further librdkafka properties, which go over everything else.
    pub properties: Vec<(String, String)>,
    /// Longest that Kafka may take to answer.
    pub request_timeout: Duration,
    /// Silence after which a consumer loses its partitions. [`Link::config`] leaves it out, because only consumers know it.
    pub session_timeout: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Security {
    Plaintext,
    Tls,
    SaslPlaintext,
    SaslTls,
}

impl Security {
    /// Whether clients show who they are by SASL.
    pub fn has_login(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslTls)
    }

    /// As the setting `kafka_security` names it.
    fn word(self) -> &'static str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls => "tls",
            Self::SaslPlaintext => "sasl_plaintext",
            Self::SaslTls => "sasl_tls",
        }
    }

    /// Whether the link is encrypted.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::SaslTls)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mechanism {
    Plain,
    ScramSha256,
    ScramSha512,
}

#[derive(Clone)]
pub struct Login {
    pub mechanism: Mechanism,
    pub username: String,
    pub password: String,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("mechanism", &self.mechanism)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A property may be a password too: names only.
        let properties: Vec<_> = self.properties.iter().map(|(name, _)| name).collect();
        f.debug_struct("Link")
            .field("brokers", &self.brokers)
            .field("security", &self.security)
            .field("login", &self.login)
            .field("tls_ca_file", &self.tls_ca_file)
            .field("properties", &properties)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("no broker of Kafka can be reached at {brokers}: {cause}; check kafka_brokers, and that it runs")]
    Unreachable { brokers: String, cause: String },
    #[error(
        "Kafka at {brokers} does not accept this user: {cause}; check kafka_username, its password, and kafka_sasl_mechanism"
    )]
    Login { brokers: String, cause: String },
    #[error(
        "the encrypted link to Kafka at {brokers} cannot be made: {cause}; check kafka_tls_ca_file, and that the certificates name these hosts"
    )]
    Tls { brokers: String, cause: String },
    #[error(
        "Kafka at {brokers} expects another kind of link than kafka_security = {security}: {cause}; check kafka_security"
    )]
    Security { brokers: String, security: &'static str, cause: String },
    #[error(
        "what answers at {brokers} is no broker of Kafka that serves clients: {cause}; check the ports in kafka_brokers"
    )]
    Foreign { brokers: String, cause: String },
    #[error("kafka_tls_ca_file: {file} cannot be read: {cause}", file = file.display())]
    Certificates { file: PathBuf, cause: std::io::Error },
    /// A failure that passes, in words.
    #[error("{0}")]
    Passing(String),
    /// Any other failure, in words.
    #[error("{0}")]
    Kafka(String),
}

impl Error {
    /// Whether trying later may help.
    pub fn retryable(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Passing(_))
    }
}

impl From<KafkaError> for Error {
    fn from(error: KafkaError) -> Self {
        use Code::{
            AllBrokersDown, BrokerTransportFailure, LeaderNotAvailable, OperationTimedOut, RequestTimedOut, Resolve,
        };
        match error.rdkafka_error_code() {
            Some(
                AllBrokersDown
                | BrokerTransportFailure
                | LeaderNotAvailable
                | OperationTimedOut
                | RequestTimedOut
                | Resolve,
            ) => Self::Passing(words(&error)),
            _ => Self::Kafka(words(&error)),
        }
    }
}

impl Link {
    /// A plaintext link with default timeouts, as in tests.
    pub fn new(brokers: impl Into<String>) -> Self {
        Self {
            brokers: brokers.into(),
            security: Security::Plaintext,
            login: None,
            tls_ca_file: None,
            properties: Vec::new(),
            request_timeout: Duration::from_secs(30),
            session_timeout: Duration::from_secs(10),
        }
    }

    /// What every client of this process begins with. [`Link::properties`] go over all of it, so a user can correct each.
    pub fn config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.brokers).set("client.id", "agentverse");
        config.set("security.protocol", self.protocol());
        if let Some(login) = self.login.as_ref().filter(|_| self.security.has_login()) {
            let mechanism = match login.mechanism {
                Mechanism::Plain => "PLAIN",
                Mechanism::ScramSha256 => "SCRAM-SHA-256",
                Mechanism::ScramSha512 => "SCRAM-SHA-512",
            };
            config.set("sasl.mechanism", mechanism);
            config.set("sasl.username", &login.username).set("sasl.password", &login.password);
        }
        if let Some(file) = self.tls_ca_file.as_ref().filter(|_| self.security.has_tls()) {
            config.set("ssl.ca.location", file.to_string_lossy());
        }
        let request_ms = self.request_timeout.as_millis().clamp(1_000, SOCKET_MS_MAX);
        config.set("socket.timeout.ms", request_ms.to_string());
        config.set("socket.connection.setup.timeout.ms", request_ms.min(10_000).to_string());
        // Small requests must not wait for company, and a dead peer behind a firewall must be noticed.
        config.set("socket.nagle.disable", "true").set("socket.keepalive.enable", "true");
        // A broker that comes back is used within seconds; the default is up to ten.
        config.set("reconnect.backoff.max.ms", "2000");
        // A topic that moved or was made is seen within a minute; the default is five.
        config.set("topic.metadata.refresh.interval.ms", "60000").set("metadata.max.age.ms", "180000");
        // Topics are made before the program starts: one that is not there is an error soon, not after 30 s.
        config.set("topic.metadata.propagation.max.ms", "5000");
        let is_debugged = self.properties.iter().any(|(name, _)| name == "debug");
        config.set_log_level(if is_debugged { RDKafkaLogLevel::Debug } else { RDKafkaLogLevel::Info });
        for (name, value) in &self.properties {
            config.set(name, value);
        }
        config
    }

    /// Asks the brokers who they are. Blocks, at most for the request timeout: call it where blocking is allowed.
    ///
    /// # Errors
    /// Which of these it is: nobody there, wrong kind of link, bad certificate, wrong user or password, or a property
    /// that librdkafka does not take.
    pub fn check(&self) -> Result<(), Error> {
        self.open().map(drop)
    }

    /// A client for questions about the cluster, and the first answer: all brokers and topics.
    pub(super) fn open(&self) -> Result<(BaseConsumer<Watch>, Metadata), Error> {
        if let Some(file) = self.tls_ca_file.as_ref().filter(|_| self.security.has_tls()) {
            // The library says only that it failed.
            let read = std::fs::File::open(file).map(drop);
            read.map_err(|cause| Error::Certificates { file: file.clone(), cause })?;
        }
        let watch = Watch::default();
        let client: BaseConsumer<Watch> = self.config().create_with_context(watch.clone())?;
        let start = Instant::now();
        loop {
            // All topics at once: asking for one by name could make it.
            let answer = client.fetch_metadata(None, SLICE.min(self.request_timeout));
            while client.poll(Duration::ZERO).is_some() {}
            let error = match answer {
                Ok(metadata) => return Ok((client, metadata)),
                // A controller's listener, for one.
                Err(error) if error.rdkafka_error_code() == Some(Code::UnsupportedFeature) => {
                    return Err(self.explain(Code::UnsupportedFeature, &error.to_string()));
                }
                Err(error) => error,
            };
            let elapsed = start.elapsed();
            let fault = watch.fault();
            let is_settled = fault.as_ref().is_some_and(|fault| match fault.code {
                Code::Authentication | Code::SaslAuthenticationFailed | Code::SSL => true,
                Code::BadMessage => true,
                _ => fault.all_down && elapsed >= DOWN_MAX,
            });
            if is_settled || elapsed >= self.request_timeout {
                return Err(match fault {
                    Some(fault) => self.explain(fault.code, &fault.reason),
                    None => self.explain(Code::BrokerTransportFailure, &error.to_string()),
                });
            }
            if elapsed + SLICE < self.request_timeout {
                // Where the call fails at once, events are what there is to wait for.
                let _ = client.poll(SLICE);
            }
        }
    }

    /// What an event of the client means for a user.
    fn explain(&self, code: Code, reason: &str) -> Error {
        let (brokers, cause) = (self.brokers.clone(), reason.to_owned());
        // How a listener that expects another kind of link ends this one, whichever side was writing.
        let ended = ["closed by peer", "Broken pipe", "reset by peer"].iter().any(|end| reason.contains(end));
        let hints =
            ["security.protocol", "PLAINTEXT broker listener", "SSL listener", "SASL state", "wrong version number"];
        // A listener without TLS hangs up on who begins with it; the library does not always say so.
        let hung_up = ended && reason.contains("SSL_HANDSHAKE");
        if hung_up || hints.iter().any(|hint| reason.contains(hint)) {
            return Error::Security { brokers, security: self.security.word(), cause };
        }
        match code {
            Code::Authentication | Code::SaslAuthenticationFailed => Error::Login { brokers, cause },
            Code::SSL => Error::Tls { brokers, cause },
            Code::BadMessage | Code::UnsupportedFeature => Error::Foreign { brokers, cause },
            // One that is going away does so too, so it is tried again.
            _ if ended => {
                let hint = "a listener that expects another kind of link hangs up like this: check kafka_security";
                Error::Unreachable { brokers, cause: format!("{cause} ({hint})") }
            }
            _ => Error::Unreachable { brokers, cause },
        }
    }

    fn protocol(&self) -> &'static str {
        match self.security {
            Security::Plaintext => "plaintext",
            Security::Tls => "ssl",
            Security::SaslPlaintext => "sasl_plaintext",
            Security::SaslTls => "sasl_ssl",
        }
    }
}

/// An error of the client in words that a user can act on. Values of properties are left out: some are secrets.
pub fn words(error: &KafkaError) -> String {
    if let KafkaError::ClientConfig(result, _, name, _) = error {
        return match result {
            RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN => {
                format!("Kafka's client has no property {name:?}; check its spelling in kafka_properties")
            }
            _ => format!("Kafka's client does not take this value of the property {name:?}; check kafka_properties"),
        };
    }
    if let KafkaError::ClientCreation(cause) = error {
        let file = if cause.contains("ssl.ca.location") { "kafka_tls_ca_file" } else { "the kafka_… settings" };
        return format!("Kafka's client cannot be made: {cause}; check {file}");
    }
    let code = match error {
        KafkaError::AdminOp(code) => Some(*code),
        other => other.rdkafka_error_code(),
    };
    match code.and_then(advice) {
        Some(advice) => format!("{advice} ({error})"),
        None => error.to_string(),
    }
}

/// The same for a bare code, as the answers about single topics carry it.
pub(super) fn code_words(code: Code) -> String {
    advice(code).map_or_else(|| code.to_string(), |advice| format!("{advice} ({code})"))
}

fn advice(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::UnknownTopic | Code::UnknownTopicOrPartition | Code::UnknownPartition => {
            "the topic or partition does not exist; run `agentverse topics apply`"
        }
        Code::Authentication | Code::SaslAuthenticationFailed => {
            "Kafka does not accept this user; check kafka_username, its password, and kafka_sasl_mechanism"
        }
        Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            "Kafka knows this user, but does not allow it this; give it the right (an ACL) at the broker"
        }
        Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve => {
            "no broker of Kafka can be reached; check kafka_brokers, and that it runs"
        }
        Code::SSL => "the encrypted link to Kafka failed; check kafka_security and kafka_tls_ca_file",
        Code::MessageSizeTooLarge => {
            "the message is too large; raise kafka_message_bytes_max and the topic's max.message.bytes, or send less"
        }
        Code::NotEnoughReplicas | Code::NotEnoughReplicasAfterAppend => {
            "fewer replicas are in step than min.insync.replicas asks for; bring the brokers back"
        }
        Code::RequestTimedOut | Code::OperationTimedOut | Code::MessageTimedOut => {
            "Kafka did not answer in time; see whether it is overloaded, or raise kafka_request_ms_max"
        }
        Code::PolicyViolation => "a policy of the broker forbids it; ask who runs it",
        Code::InvalidConfig => "the broker does not take one of the topic's settings; check its manifest",
        Code::InvalidReplicationFactor => "there are fewer brokers than replicas; give `topics apply --replicas N`",
        Code::TopicAlreadyExists => "another one made it meanwhile; run the command again",
        _ => return None,
    })
}

//! What a user is told of a link that cannot be made: against ports that nobody or somebody else listens on, a broker
//! that refuses every password, and the broker of `AGENTVERSE_TEST_KAFKA`.

use super::client::{Error, Link, Login, Mechanism, Security, words};
use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

/// The broker to test against; says so where there is none.
pub(super) fn broker() -> Option<String> {
    let broker = std::env::var("AGENTVERSE_TEST_KAFKA").ok();
    if broker.is_none() {
        eprintln!("not run: AGENTVERSE_TEST_KAFKA names no broker");
    }
    broker
}

fn link(brokers: &str) -> Link {
    Link { request_timeout: Duration::from_secs(6), ..Link::new(brokers) }
}

fn with_login(link: Link, security: Security) -> Link {
    let login = Login { mechanism: Mechanism::Plain, username: "ada".to_owned(), password: "hunter2".to_owned() };
    Link { security, login: Some(login), ..link }
}

#[test]
fn a_port_that_nobody_listens_on_is_unreachable() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let error = link(&format!("127.0.0.1:{port}")).check().unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Unreachable { .. }) && error.retryable(), "{text}");
    assert!(
        text.contains(&port.to_string()) && text.contains("refused") && text.contains("check kafka_brokers"),
        "{text}"
    );
}

#[test]
fn a_listener_that_never_answers_is_unreachable_within_the_request_timeout() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut link = link(&listener.local_addr().unwrap().to_string());
    link.request_timeout = Duration::from_secs(1);
    let start = tokio::time::Instant::now();
    let error = link.check().unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}

#[test]
fn a_wrong_property_is_named_and_its_value_is_not() {
    for (name, value, part) in [
        ("linger.mz", "hunter2", "no property \"linger.mz\""),
        ("socket.timeout.ms", "hunter2", "does not take this value of the property \"socket.timeout.ms\""),
    ] {
        let mut link = link("127.0.0.1:9");
        link.properties = vec![(name.to_owned(), value.to_owned())];
        let text = link.check().unwrap_err().to_string();
        assert!(text.contains(part) && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn certificates_that_are_not_there_are_named() {
    let mut link = link("127.0.0.1:9");
    (link.security, link.tls_ca_file) = (Security::Tls, Some("/nowhere/ca.pem".into()));
    let text = link.check().unwrap_err().to_string();
    assert!(text.starts_with("kafka_tls_ca_file: /nowhere/ca.pem cannot be read"), "{text}");
}

#[test]
fn a_wrong_password_is_told_at_once_and_not_shown() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = with_login(link(&listener.local_addr().unwrap().to_string()), Security::SaslPlaintext);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // The client hangs up, or comes again: both are well.
            let _ = refuse_login(stream.unwrap());
        }
    });
    let error = link.check().unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Login { .. }), "{text}");
    assert!(text.contains("no such user") && text.contains("check kafka_username"), "{text}");
    assert!(!text.contains("hunter2") && !format!("{link:?}").contains("hunter2"));
}

/// Speaks just enough of Kafka to refuse a login: the versions it knows, the SASL handshake, and no.
fn refuse_login(mut stream: TcpStream) -> std::io::Result<()> {
    loop {
        let mut head = [0; 4];
        stream.read_exact(&mut head)?;
        let mut request = vec![0; u32::from_be_bytes(head) as usize];
        stream.read_exact(&mut request)?;
        let key = i16::from_be_bytes([request[0], request[1]]);
        let version = i16::from_be_bytes([request[2], request[3]]);
        let mut answer = request[4..8].to_vec();
        match (key, version) {
            // Versions: error, then (api, from, to) of metadata, versions, handshake and authenticate.
            (18, 0) => {
                answer.extend([0, 0, 0, 0, 0, 4]);
                for (api, to) in [(3_i16, 4_i16), (18, 0), (17, 1), (36, 0)] {
                    answer.extend([api.to_be_bytes(), [0, 0], to.to_be_bytes()].concat());
                }
            }
            // A version too new: error 35, and none.
            (18, _) => answer.extend([0, 35, 0, 0, 0, 0]),
            (17, _) => answer.extend([&[0, 0, 0, 0, 0, 1, 0, 5][..], b"PLAIN"].concat()),
            _ => answer.extend([&[0, 58, 0, 12][..], b"no such user", &[0, 0, 0, 0]].concat()),
        }
        stream.write_all(&(answer.len() as u32).to_be_bytes())?;
        stream.write_all(&answer)?;
    }
}

#[test]
fn the_properties_of_the_user_go_over_ours() {
    let mut link = with_login(Link::new("a:1"), Security::SaslTls);
    link.properties = vec![("client.id".to_owned(), "mine".to_owned())];
    let config = link.config();
    for (name, value) in [
        ("bootstrap.servers", "a:1"),
        ("client.id", "mine"),
        ("security.protocol", "sasl_ssl"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", "ada"),
        ("sasl.password", "hunter2"),
        ("socket.timeout.ms", "30000"),
    ] {
        assert_eq!(config.get(name), Some(value), "{name}");
    }
    assert!(Link::new("a:1").config().get("sasl.username").is_none());
    for security in [Security::Plaintext, Security::Tls, Security::SaslPlaintext, Security::SaslTls] {
        let made = with_login(Link::new("a:1"), security).config().create::<BaseConsumer>();
        assert!(made.is_ok(), "librdkafka takes {security:?}: {:?}", made.err());
    }
}

#[test]
fn errors_say_what_to_do() {
    for (error, part) in [
        (KafkaError::MessageProduction(Code::UnknownTopicOrPartition), "`agentverse topics apply`"),
        (KafkaError::MessageProduction(Code::MessageSizeTooLarge), "max.message.bytes"),
        (KafkaError::MessageProduction(Code::NotEnoughReplicas), "min.insync.replicas"),
        (KafkaError::Global(Code::Authentication), "kafka_username"),
        (KafkaError::Global(Code::AllBrokersDown), "kafka_brokers"),
        (KafkaError::AdminOp(Code::RequestTimedOut), "kafka_request_ms_max"),
        (KafkaError::Canceled, "Client dropped"),
    ] {
        assert!(words(&error).contains(part), "{error}: {}", words(&error));
    }
}

#[test]
fn a_broker_that_is_there_is_found() {
    let Some(broker) = broker() else { return };
    link(&broker).check().unwrap();
}

#[test]
fn another_kind_of_link_than_the_broker_expects_is_named_as_such() {
    let Some(broker) = broker() else { return };
    let secured = [
        Link { security: Security::Tls, ..link(&broker) },
        with_login(link(&broker), Security::SaslPlaintext),
        with_login(link(&broker), Security::SaslTls),
    ];
    for link in secured {
        let error = link.check().unwrap_err();
        assert!(matches!(error, Error::Security { .. }), "{:?}: {error}", link.security);
        assert!(error.to_string().contains("check kafka_security"), "{error}");
    }
}

//! The link to Kafka, from settings and from the password that they only name.

use super::Error;
use crate::adapters::kafka::client::{Link, Login, Mechanism, Security};
use crate::runtime::settings::{self, Settings};
use std::path::PathBuf;
use std::time::Duration;

/// The link to Kafka, with the password from the environment or its file.
///
/// # Errors
/// When SASL is asked for without a user or password, or `kafka_properties` is malformed.
pub fn kafka_link(settings: &Settings) -> Result<Link, Error> {
    kafka_link_from(settings, |name| std::env::var(name).ok())
}

fn kafka_link_from(settings: &Settings, environment: impl Fn(&str) -> Option<String>) -> Result<Link, Error> {
    let security = match settings.kafka_security {
        settings::Security::Plaintext => Security::Plaintext,
        settings::Security::Tls => Security::Tls,
        settings::Security::SaslPlaintext => Security::SaslPlaintext,
        settings::Security::SaslTls => Security::SaslTls,
    };
    let login = if security.has_login() { Some(kafka_login(settings, environment)?) } else { None };
    let mut link = Link::new(settings.kafka_brokers.clone());
    link.security = security;
    link.login = login;
    link.tls_ca_file = Some(&settings.kafka_tls_ca_file).filter(|file| !file.is_empty()).map(PathBuf::from);
    link.properties = properties(&settings.kafka_properties)?;
    link.request_timeout = Duration::from_millis(settings.kafka_request_ms_max);
    link.session_timeout = Duration::from_millis(settings.kafka_session_ms_max);
    Ok(link)
}

fn kafka_login(settings: &Settings, environment: impl Fn(&str) -> Option<String>) -> Result<Login, Error> {
    let security = match settings.kafka_security {
        settings::Security::SaslTls => "sasl_tls",
        _ => "sasl_plaintext",
    };
    let mechanism = match settings.kafka_sasl_mechanism {
        settings::Sasl::Plain => Mechanism::Plain,
        settings::Sasl::ScramSha256 => Mechanism::ScramSha256,
        settings::Sasl::ScramSha512 => Mechanism::ScramSha512,
    };
    let secret = super::Login {
        username: ("kafka_username", &settings.kafka_username),
        variable: "AGENTVERSE_KAFKA_PASSWORD",
        file: ("kafka_password_file", &settings.kafka_password_file),
    };
    let (username, password) = secret.read(environment)?.ok_or(Error::Username { security })?;
    Ok(Login { mechanism, username, password })
}

/// Reads `name=value;name=value`.
fn properties(text: &str) -> Result<Vec<(String, String)>, Error> {
    let mut properties = Vec::new();
    for (at, part) in text.split(';').map(str::trim).enumerate().filter(|(_, part)| !part.is_empty()) {
        let pair = part.split_once('=').map(|(name, value)| (name.trim(), value.trim()));
        let (name, value) = pair.filter(|(name, _)| !name.is_empty()).ok_or(Error::Property { part: at + 1 })?;
        properties.push((name.to_owned(), value.to_owned()));
    }
    Ok(properties)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn with_login(file: &str) -> Settings {
        Settings {
            kafka_security: settings::Security::SaslTls,
            kafka_username: "ada".to_owned(),
            kafka_password_file: file.to_owned(),
            ..Settings::default()
        }
    }

    #[test]
    fn the_defaults_are_a_plain_link_without_login() {
        let link = kafka_link_from(&Settings::default(), nothing).unwrap();
        assert_eq!((link.brokers.as_str(), link.security), ("127.0.0.1:9092", Security::Plaintext));
        assert!(link.login.is_none() && link.tls_ca_file.is_none() && link.properties.is_empty());
        assert_eq!((link.request_timeout.as_millis(), link.session_timeout.as_millis()), (30_000, 10_000));
    }

    #[test]
    fn the_environment_wins_over_the_file_whose_last_line_break_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        for (text, password) in [("s3cret\n", "s3cret"), ("s3cret\r\n", "s3cret"), (" a b\n\n", " a b\n"), ("x", "x")] {
            std::fs::write(&file, text).unwrap();
            let link = kafka_link_from(&with_login(file.to_str().unwrap()), nothing).unwrap();
            assert_eq!(link.login.unwrap().password, password);
        }
        let environment = |name: &str| (name == "AGENTVERSE_KAFKA_PASSWORD").then(|| "other".to_owned());
        let link = kafka_link_from(&with_login(file.to_str().unwrap()), environment).unwrap();
        assert_eq!(link.login.as_ref().unwrap().password, "other");
        assert_eq!(link.login.as_ref().unwrap().mechanism, Mechanism::ScramSha512);
        assert!(!format!("{link:?}").contains("other"), "{link:?}");
    }

    #[test]
    fn a_login_without_user_or_password_is_refused() {
        let unnamed = Settings { kafka_username: String::new(), ..with_login("") };
        let error = kafka_link_from(&unnamed, nothing).unwrap_err().to_string();
        assert_eq!(error, "kafka_security = sasl_tls needs a user: set kafka_username");
        let error = kafka_link_from(&with_login(""), nothing).unwrap_err().to_string();
        assert!(error.contains("kafka_username") && error.contains("AGENTVERSE_KAFKA_PASSWORD"), "{error}");
        let error = kafka_link_from(&with_login("/nowhere/x"), nothing).unwrap_err().to_string();
        assert!(error.starts_with("kafka_password_file: /nowhere/x cannot be read"), "{error}");
        let empty = tempfile::NamedTempFile::new().unwrap();
        let error = kafka_link_from(&with_login(empty.path().to_str().unwrap()), nothing).unwrap_err();
        assert!(matches!(error, Error::NoPassword { .. }), "an empty file holds no password: {error}");
    }

    #[test]
    fn properties_are_pairs_between_semicolons() {
        let read = properties(" linger.ms = 5; ssl.key.password=a=b ;;").unwrap();
        let wanted = [("linger.ms", "5"), ("ssl.key.password", "a=b")];
        assert_eq!(read, wanted.map(|(name, value)| (name.to_owned(), value.to_owned())));
        for text in ["a=1;hunter2", "a=1;=hunter2"] {
            let error = properties(text).unwrap_err().to_string();
            assert!(error.contains("part 2") && !error.contains("hunter2"), "{error}");
        }
    }
}

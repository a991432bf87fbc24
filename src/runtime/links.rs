//! From settings to the links of the adapters: addresses, logins, limits.
//!
//! A password is no setting. It comes from an environment variable of its own, or from a file that a setting names, so
//! that it shows up neither in `agentverse config` nor on a command line.

mod kafka;

pub use kafka::kafka_link;

use crate::adapters::{registry, scylla};
use crate::domain::Aggregate;
use crate::domain::schemas::outcome_codec;
use crate::domain::wire::Codec;
use crate::runtime::settings::Settings;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{setting}: {file} cannot be read: {cause}", file = file.display())]
    PasswordFile { setting: &'static str, file: PathBuf, cause: std::io::Error },
    #[error("{username} is set and there is no password: set {variable}, or {setting} to a file that holds it")]
    NoPassword { username: &'static str, variable: &'static str, setting: &'static str },
    #[error("scylla_nodes names no node: give host:port, separated by commas")]
    NoNode,
    #[error("kafka_security = {security} needs a user: set kafka_username")]
    Username { security: &'static str },
    /// Says which, not what: a property's value may be a secret.
    #[error("kafka_properties: part {part} is not of the form name=value; separate the properties by semicolons")]
    Property { part: usize },
}

/// How the database is reached.
///
/// # Errors
/// When it names no node, or the user's password cannot be had.
pub fn scylla_config(settings: &Settings) -> Result<scylla::Config, Error> {
    scylla_from(settings, environment)
}

/// How the registry is reached; `None` where there is none.
///
/// # Errors
/// When the user's password cannot be had.
pub fn registry_config(settings: &Settings) -> Result<Option<registry::Config>, Error> {
    registry_from(settings, environment)
}

/// The numbers that a fleet is created with and keeps.
pub fn fleet_constants(settings: &Settings) -> Vec<(String, i64)> {
    let partitions = settings.fleet_partitions();
    let by_aggregate = Aggregate::ALL
        .iter()
        .map(|aggregate| (format!("partitions_of.{}", aggregate.name()), i64::from(partitions.of(*aggregate))));
    let numbers = [
        ("partitions", settings.partitions),
        ("index_buckets", settings.index_buckets),
        ("view_buckets", settings.view_buckets),
        ("outcome_buckets", settings.outcome_buckets),
    ];
    numbers.map(|(name, count)| (name.to_owned(), i64::from(count))).into_iter().chain(by_aggregate).collect()
}

/// Every schema whose records go onto topics.
pub fn codecs() -> Vec<&'static Codec> {
    Aggregate::codecs().chain([outcome_codec()]).collect()
}

/// How many requests' time opening a session may take.
const CONNECT_ROUNDS: u64 = 3;

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn scylla_from(settings: &Settings, environment: impl Fn(&str) -> Option<String>) -> Result<scylla::Config, Error> {
    let nodes = settings.scylla_nodes.split(',').map(str::trim).filter(|node| !node.is_empty());
    let nodes: Vec<_> = nodes.map(str::to_owned).collect();
    if nodes.is_empty() {
        return Err(Error::NoNode);
    }
    let login = Login {
        username: ("scylla_username", &settings.scylla_username),
        variable: "AGENTVERSE_SCYLLA_PASSWORD",
        file: ("scylla_password_file", &settings.scylla_password_file),
    };
    Ok(scylla::Config {
        nodes,
        keyspace: settings.scylla_keyspace.clone(),
        datacenter: given(&settings.scylla_datacenter).map(str::to_owned),
        replication: settings.scylla_replication,
        login: login.read(environment)?,
        tls_ca_file: given(&settings.scylla_tls_ca_file).map(PathBuf::from),
        request_timeout: Duration::from_millis(settings.scylla_request_ms_max),
        connect_timeout: Duration::from_millis(
            (settings.scylla_request_ms_max * CONNECT_ROUNDS).min(settings.start_ms_max),
        ),
    })
}

fn registry_from(
    settings: &Settings,
    environment: impl Fn(&str) -> Option<String>,
) -> Result<Option<registry::Config>, Error> {
    let Some(url) = given(&settings.registry_url) else { return Ok(None) };
    let login = Login {
        username: ("registry_username", &settings.registry_username),
        variable: "AGENTVERSE_REGISTRY_PASSWORD",
        file: ("registry_password_file", &settings.registry_password_file),
    };
    Ok(Some(registry::Config {
        url: url.to_owned(),
        login: login.read(environment)?,
        tls_ca_file: given(&settings.registry_tls_ca_file).map(PathBuf::from),
        timeout: Duration::from_millis(settings.registry_request_ms_max),
    }))
}

/// A text setting that is not empty.
fn given(text: &str) -> Option<&str> {
    Some(text).filter(|text| !text.is_empty())
}

/// Where a user's name and password are: settings by name and value, and a variable.
struct Login<'a> {
    username: (&'static str, &'a str),
    variable: &'static str,
    file: (&'static str, &'a str),
}

impl Login<'_> {
    /// Name and password; the variable goes before the file. `None` where no user is named.
    fn read(&self, environment: impl Fn(&str) -> Option<String>) -> Result<Option<(String, String)>, Error> {
        let Some(name) = given(self.username.1) else { return Ok(None) };
        let password = match environment(self.variable).filter(|password| !password.is_empty()) {
            Some(password) => password,
            None => self.read_file()?,
        };
        Ok(Some((name.to_owned(), password)))
    }

    fn read_file(&self) -> Result<String, Error> {
        let (setting, path) = self.file;
        let missing = Error::NoPassword { username: self.username.0, variable: self.variable, setting };
        let file = PathBuf::from(given(path).ok_or(missing)?);
        let text = std::fs::read_to_string(&file).map_err(|cause| Error::PasswordFile { setting, file, cause })?;
        // Editors end a file with one line feed, which is no part of the password.
        let password = text.strip_suffix('\n').unwrap_or(&text);
        let password = password.strip_suffix('\r').unwrap_or(password);
        given(password).map(str::to_owned).ok_or(Error::NoPassword {
            username: self.username.0,
            variable: self.variable,
            setting,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> Settings {
        Settings {
            scylla_nodes: "a:9042, b:9042,".into(),
            scylla_username: "ann".into(),
            registry_url: "http://r:8081".into(),
            registry_username: "bob".into(),
            ..Settings::default()
        }
    }

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn of(name: &'static str, value: &'static str) -> impl Fn(&str) -> Option<String> {
        move |asked| (asked == name).then(|| value.to_owned())
    }

    #[test]
    fn settings_become_the_links() {
        let config = scylla_from(&settings(), of("AGENTVERSE_SCYLLA_PASSWORD", "s3cret")).unwrap();
        assert_eq!(config.nodes, ["a:9042", "b:9042"]);
        assert_eq!(config.login, Some(("ann".into(), "s3cret".into())));
        assert_eq!((config.replication, config.datacenter, config.tls_ca_file), (3, None, None));
        let config = registry_from(&settings(), of("AGENTVERSE_REGISTRY_PASSWORD", "pw")).unwrap().unwrap();
        assert_eq!((config.url.as_str(), config.login), ("http://r:8081", Some(("bob".into(), "pw".into()))));
        assert_eq!(config.timeout, Duration::from_secs(10));
    }

    #[test]
    fn a_password_file_loses_one_line_feed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("password");
        let settings = Settings { scylla_password_file: file.to_str().unwrap().into(), ..settings() };
        for (text, password) in [("pass", "pass"), ("pass\n", "pass"), (" p \n\n", " p \n"), ("pass\r\n", "pass")] {
            std::fs::write(&file, text).unwrap();
            let login = scylla_from(&settings, nothing).unwrap().login;
            assert_eq!(login, Some(("ann".into(), password.into())), "{text:?}");
        }
        let login = scylla_from(&settings, of("AGENTVERSE_SCYLLA_PASSWORD", "first")).unwrap().login;
        assert_eq!(login.unwrap().1, "first", "the variable goes before the file");
    }

    #[test]
    fn what_is_missing_is_named() {
        let error = scylla_from(&settings(), nothing).err().unwrap().to_string();
        for word in ["scylla_username", "AGENTVERSE_SCYLLA_PASSWORD", "scylla_password_file"] {
            assert!(error.contains(word), "{error}");
        }
        let lost = Settings { registry_password_file: "/nowhere/password".into(), ..settings() };
        let error = registry_from(&lost, nothing).err().unwrap().to_string();
        assert!(error.contains("registry_password_file: /nowhere/password"), "{error}");
        let none = Settings { scylla_nodes: " , ".into(), ..Settings::default() };
        assert!(matches!(scylla_from(&none, nothing), Err(Error::NoNode)));
    }

    #[test]
    fn without_a_user_no_password_is_asked_for_and_without_a_url_there_is_no_registry() {
        assert!(scylla_from(&Settings::default(), nothing).unwrap().login.is_none());
        assert!(registry_from(&Settings::default(), nothing).unwrap().is_none());
    }
}

//! The file that says where providers' keys come from: a JSON object with an entry for each name.
//!
//! ```json
//! {
//!   "OPENAI_API_KEY": { "file": "/run/secrets/openai" },
//!   "HOUSE_KEY": { "command": ["vault", "kv", "get", "-field=key", "llm/house"], "hosts": ["llm.example.com"] },
//!   "TEST_KEY": { "env": "TEST_KEY", "hosts": ["http://127.0.0.1"] },
//!   "REMOTE_KEY": { "http": "https://secrets.example.com/llm", "hosts": ["api.example.com"] }
//! }
//! ```
//!
//! A provider names its key by such a name (`api_key_env`). The file holds no key itself.

use crate::adapters::llm::keys::{Origin, Source};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("llm_keys_file: {} cannot be read: {cause}", path.display())]
    File { path: PathBuf, cause: std::io::Error },
    #[error(
        "llm_keys_file: {} is not of the form {{\"NAME\": {{\"env\" | \"file\" | \"command\" | \"http\": …, \"hosts\": [\"…\"]}}}}: {cause}",
        path.display()
    )]
    Form { path: PathBuf, cause: serde_json::Error },
    #[error("llm_keys_file: {}: {name} must have one of \"env\", \"file\", \"command\" and \"http\", and has {found}", path.display())]
    Origins { path: PathBuf, name: String, found: usize },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    env: Option<String>,
    file: Option<PathBuf>,
    command: Option<Vec<String>>,
    http: Option<String>,
    #[serde(default)]
    hosts: Vec<String>,
}

/// The sources by name.
///
/// # Errors
/// In words that say what is wrong, and repeat nothing of what the file holds but names.
pub fn read(path: &Path) -> Result<BTreeMap<String, Source>, Error> {
    let text = std::fs::read(path).map_err(|cause| Error::File { path: path.to_owned(), cause })?;
    let entries: BTreeMap<String, Entry> =
        serde_json::from_slice(&text).map_err(|cause| Error::Form { path: path.to_owned(), cause })?;
    let source = |(name, Entry { env, file, command, http, hosts }): (String, Entry)| {
        let command = command.filter(|command| !command.is_empty());
        let origins = [
            env.map(Origin::Environment),
            file.map(Origin::File),
            command.map(Origin::Command),
            http.map(Origin::Http),
        ];
        let mut origins: Vec<_> = origins.into_iter().flatten().collect();
        match (origins.pop(), origins.len()) {
            (Some(origin), 0) => Ok((name, Source { origin, hosts })),
            (last, rest) => {
                Err(Error::Origins { path: path.to_owned(), name, found: rest + usize::from(last.is_some()) })
            }
        }
    };
    entries.into_iter().map(source).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<BTreeMap<String, Source>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.json");
        std::fs::write(&file, text).unwrap();
        read(&file).map_err(|error| error.to_string())
    }

    #[test]
    fn each_name_has_one_source_and_its_hosts() {
        let sources = of(
            r#"{"A":{"env":"X"},"B":{"file":"/k","hosts":["h"]},"C":{"command":["a","b"]},"D":{"http":"https://s/"}}"#,
        );
        let origins: Vec<_> = sources.unwrap().into_iter().map(|(name, source)| (name, source.origin)).collect();
        let expected = [
            ("A", Origin::Environment("X".into())),
            ("B", Origin::File("/k".into())),
            ("C", Origin::Command(vec!["a".into(), "b".into()])),
            ("D", Origin::Http("https://s/".into())),
        ];
        assert_eq!(origins, expected.map(|(name, origin)| (name.to_owned(), origin)));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_name() {
        for (text, part) in [
            ("", "is not of the form"),
            (r#"{"A":{"key":"secret"}}"#, "unknown field `key`"),
            (r#"{"A":{}}"#, "A must have one of \"env\", \"file\", \"command\" and \"http\", and has 0"),
            (r#"{"A":{"command":[]}}"#, "has 0"),
            (r#"{"A":{"env":"X","file":"/k"}}"#, "has 2"),
        ] {
            let error = of(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(read(Path::new("/nowhere/keys.json")).unwrap_err().to_string().contains("cannot be read"));
    }
}

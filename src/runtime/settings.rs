//! The settings: every limit of the system by name, with its unit, default, bounds and meaning.
//!
//! A value comes from the last of these that names it: the default, the settings file (`name = value`, one a line), the
//! environment (`AGENTVERSE_<NAME>`), `--set name=value`. A value out of bounds is refused with the bound's name, at
//! start, before anything is opened. Nothing here is a secret: keys are named by environment variables elsewhere.

use std::fmt::{self, Display};
use std::path::{Path, PathBuf};

/// What a setting is about, beside its current value.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    /// `bytes`, `ms`, `rows` …; empty where the value is a word.
    pub unit: &'static str,
    pub bounds: Bounds,
    pub meaning: &'static str,
}

/// What a setting's value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bounds {
    /// From the first to the second number, both included.
    Numbers(u64, u64),
    OneOf(&'static [&'static str]),
    /// A text of at most so many bytes.
    Text(usize),
}

impl Bounds {
    /// What is wrong with a value that was not taken, with the name of the bound that it breaks.
    fn fault(&self, name: &str, text: &str) -> String {
        match (self, parse_number(text)) {
            (Self::Numbers(min, _), Some(number)) if number < *min => {
                format!("is below the lower bound of {name}, {min}")
            }
            (Self::Numbers(_, max), Some(_)) => format!("is above the upper bound of {name}, {max}"),
            (Self::Numbers(..), None) => {
                format!("is no whole number within {self} (1_000, 64KiB, 1MiB, 2GiB are read)")
            }
            (Self::OneOf(_), _) => format!("is none of {self}"),
            (Self::Text(bytes_max), _) if text.len() > *bytes_max => format!("is longer than {bytes_max} bytes"),
            (Self::Text(_), _) => "is not of the form that `agentverse config --explain` shows".into(),
        }
    }
}

impl Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Numbers(min, max) => write!(f, "{min}..={max}"),
            Self::OneOf(words) => f.write_str(&words.join("|")),
            Self::Text(bytes_max) => write!(f, "text, at most {bytes_max} bytes"),
        }
    }
}

/// Where a value came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    #[default]
    Default,
    File,
    Environment,
    CommandLine,
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::CommandLine => "command line",
        })
    }
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no setting {name:?} ({origin}); {}", hint(name))]
    Unknown { name: String, origin: Origin },
    #[error("{name} is set a second time, after line {first}: keep one of the two")]
    Twice { name: String, first: usize },
    #[error("{}, line {line}: {fault}", path.display())]
    Line { path: PathBuf, line: usize, fault: Box<Error> },
    #[error("{name} = {value:?} ({origin}) {fault}")]
    Value { name: &'static str, value: String, origin: Origin, fault: String },
    #[error("{lower} = {lower_value} must not be above {upper} = {upper_value}")]
    Order { lower: &'static str, lower_value: u64, upper: &'static str, upper_value: u64 },
    #[error("{origin}: {text:?} is not of the form name=value")]
    Form { text: String, origin: Origin },
    #[error("the settings file {} cannot be read: {source}", path.display())]
    File { path: PathBuf, source: std::io::Error },
}

/// What to do about a name that no setting has.
fn hint(name: &str) -> String {
    match guess::nearest(name) {
        Some(near) => format!("did you mean {near}?"),
        None => "`agentverse config --explain` lists them".to_owned(),
    }
}

/// A type that a setting may have.
trait Value: Sized {
    /// `None` when the text is no such value or is out of bounds.
    fn parse(text: &str, bounds: &Bounds) -> Option<Self>;
    fn show(&self) -> String;
}

/// Reads `1000`, `1_000`, `64KiB`, `1MiB`, `2GiB`.
fn parse_number(text: &str) -> Option<u64> {
    let (digits, shift) = [("KiB", 10), ("MiB", 20), ("GiB", 30)]
        .into_iter()
        .find_map(|(suffix, shift)| Some((text.strip_suffix(suffix)?.trim_end(), shift)))
        .unwrap_or((text, 0));
    digits.replace('_', "").parse::<u64>().ok()?.checked_mul(1 << shift)
}

macro_rules! numbers {
    ($($type:ty),+) => { $(impl Value for $type {
        fn parse(text: &str, bounds: &Bounds) -> Option<Self> {
            let Bounds::Numbers(min, max) = bounds else { return None };
            let number = parse_number(text).filter(|number| (*min..=*max).contains(number))?;
            Self::try_from(number).ok()
        }
        fn show(&self) -> String {
            self.to_string()
        }
    })+ };
}
numbers!(u16, u64, usize);

impl Value for String {
    fn parse(text: &str, bounds: &Bounds) -> Option<Self> {
        matches!(bounds, Bounds::Text(bytes_max) if text.len() <= *bytes_max).then(|| text.to_owned())
    }
    fn show(&self) -> String {
        self.clone()
    }
}

/// Declares the settings, each on a line: `name: type = default, bounds, unit, meaning`.
macro_rules! settings {
    ($($name:ident: $type:ty = $default:expr, $bounds:expr, $unit:literal, $meaning:literal;)+) => {
        /// Every setting with its value.
        #[derive(Clone, Debug, PartialEq)]
        pub struct Settings { $(#[doc = $meaning] pub $name: $type,)+ }

        impl Default for Settings {
            fn default() -> Self {
                Self { $($name: $default,)+ }
            }
        }

        /// Every setting, in the order in which `explain` shows them.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            name: stringify!($name), unit: $unit, bounds: $bounds, meaning: $meaning,
        }),+];

        impl Settings {
            /// Sets one value. Trims it and takes off double quotes.
            pub(super) fn set(&mut self, name: &str, text: &str, origin: Origin) -> Result<(), Error> {
                let text = text.trim();
                let text = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')).unwrap_or(text);
                match name {
                    $(stringify!($name) => {
                        self.$name = Value::parse(text, &$bounds).ok_or_else(|| Error::Value {
                            name: stringify!($name),
                            value: text.to_owned(),
                            origin,
                            fault: $bounds.fault(stringify!($name), text),
                        })?;
                        Ok(())
                    })+
                    _ => Err(Error::Unknown { name: name.to_owned(), origin }),
                }
            }

            /// The values as text, in the order of [`SETTINGS`].
            pub fn values(&self) -> Vec<String> {
                vec![$(Value::show(&self.$name)),+]
            }
        }
    };
}

mod guess;
mod table;
mod words;
pub use guess::strangers;
pub use table::{SETTINGS, Settings};
pub use words::{Exposure, LogFormat, PartitionsOf, Sasl, Security, Switch};

/// Settings, and where each value came from.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    pub settings: Settings,
    origins: std::collections::BTreeMap<String, Origin>,
}

impl Loaded {
    /// Puts the sources together. `environment` answers for a variable's name; `overrides` are `name=value`.
    ///
    /// # Errors
    /// At the first value that is unknown, malformed or out of bounds, or when two values contradict each other.
    pub fn load(
        file: Option<&Path>,
        environment: impl Fn(&str) -> Option<String>,
        overrides: &[String],
    ) -> Result<Self, Error> {
        let mut loaded = Self::default();
        if let Some(path) = file {
            loaded.read(path)?;
        }
        for setting in SETTINGS {
            if let Some(text) = environment(&environment_name(setting.name)) {
                loaded.set(setting.name, &text, Origin::Environment)?;
            }
        }
        for text in overrides {
            loaded.assign(text, Origin::CommandLine)?;
        }
        loaded.settings.check()?;
        Ok(loaded)
    }

    /// Where a setting's value came from.
    pub fn origin(&self, name: &str) -> Origin {
        self.origins.get(name).copied().unwrap_or_default()
    }

    fn read(&mut self, path: &Path) -> Result<(), Error> {
        let text = std::fs::read_to_string(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
        // Some editors begin a file with a byte order mark.
        let text = text.trim_start_matches('\u{feff}');
        let mut seen = std::collections::BTreeMap::new();
        for (line, text) in (1..).zip(text.lines().map(str::trim)) {
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let name = text.split('=').next().unwrap_or_default().trim().to_owned();
            let assigned = match seen.insert(name.clone(), line) {
                Some(first) => Err(Error::Twice { name, first }),
                None => self.assign(text, Origin::File),
            };
            assigned.map_err(|fault| Error::Line { path: path.to_owned(), line, fault: Box::new(fault) })?;
        }
        Ok(())
    }

    fn assign(&mut self, text: &str, origin: Origin) -> Result<(), Error> {
        let parts = text.split_once('=').filter(|(name, _)| !name.trim().is_empty());
        let (name, value) = parts.ok_or_else(|| Error::Form { text: text.to_owned(), origin })?;
        self.set(name.trim(), value, origin)
    }

    fn set(&mut self, name: &str, text: &str, origin: Origin) -> Result<(), Error> {
        self.settings.set(name, text, origin)?;
        self.origins.insert(name.to_owned(), origin);
        Ok(())
    }
}

/// The variable that sets a setting.
pub fn environment_name(name: &str) -> String {
    format!("AGENTVERSE_{}", name.to_uppercase())
}

impl Settings {
    /// Checks the values against each other; each alone is within its bounds already.
    fn check(&self) -> Result<(), Error> {
        let pairs = [
            ("http_wait_ms_default", self.http_wait_ms_default, "http_wait_ms_max", self.http_wait_ms_max),
            ("heartbeat_lease_ms", self.heartbeat_lease_ms, "heartbeat_offline_ms", self.heartbeat_offline_ms),
            ("batch_bytes_max", self.batch_bytes_max as u64, "segment_bytes_max", self.segment_bytes_max),
        ];
        match pairs.into_iter().find(|(_, lower, _, upper)| lower > upper) {
            Some((lower, lower_value, upper, upper_value)) => {
                Err(Error::Order { lower, lower_value, upper, upper_value })
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::table::GIB;
    use super::*;

    fn nothing(_: &str) -> Option<String> {
        None
    }

    fn overridden(text: &str) -> Result<Settings, String> {
        Loaded::load(None, nothing, &[text.to_owned()]).map(|loaded| loaded.settings).map_err(|error| error.to_string())
    }

    #[test]
    fn every_default_is_within_its_own_bounds_and_comes_back_from_its_text() {
        let defaults = Settings::default();
        let mut read = Settings { worker_threads: 7, ..Settings::default() };
        for (setting, text) in SETTINGS.iter().zip(defaults.values()) {
            read.set(setting.name, &text, Origin::File).unwrap();
            assert!(setting.meaning.ends_with('.'), "{}: the meaning is a sentence", setting.name);
        }
        assert_eq!(read, defaults);
        defaults.check().unwrap();
    }

    #[test]
    fn the_last_source_wins_and_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings");
        std::fs::write(&file, "# limits\npartitions = 4\nhttp_batch_max = 5\nlog_filter = \"warn\"\n").unwrap();
        let environment = |name: &str| (name == "AGENTVERSE_HTTP_BATCH_MAX").then(|| "6".to_owned());
        let loaded = Loaded::load(Some(&file), environment, &["shutdown_ms_max=700".to_owned()]).unwrap();
        let settings = &loaded.settings;
        assert_eq!((settings.partitions, settings.http_batch_max as u64, settings.shutdown_ms_max), (4, 6, 700));
        assert_eq!(settings.log_filter, "warn");
        let origins =
            ["partitions", "http_batch_max", "shutdown_ms_max", "worker_threads"].map(|name| loaded.origin(name));
        assert_eq!(origins, [Origin::File, Origin::Environment, Origin::CommandLine, Origin::Default]);
    }

    #[test]
    fn a_fault_in_a_file_is_said_with_its_line() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("fleet.conf");
        for (text, part) in [
            (
                "# limits\npartitionz = 4\n",
                "fleet.conf, line 2: there is no setting \"partitionz\" (file); did you mean partitions?",
            ),
            ("partitions = 4\n\npartitions = 4\n", "line 3: partitions is set a second time, after line 1"),
            ("partitions = 0\n", "line 1: partitions = \"0\" (file) is below the lower bound"),
            ("partitions\n", "line 1: file: \"partitions\" is not of the form name=value"),
            ("= 4\n", "line 1: file: \"= 4\" is not of the form name=value"),
            ("\u{feff}partitions = 0\n", "line 1: partitions = \"0\" (file) is below the lower bound"),
            ("AGENTVERSE_PARTITIONS = 4\n", "did you mean partitions?"),
        ] {
            std::fs::write(&file, text).unwrap();
            let error = Loaded::load(Some(&file), nothing, &[]).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn sizes_have_units() {
        assert_eq!(overridden("http_body_bytes_max=64KiB").unwrap().http_body_bytes_max, 65_536);
        assert_eq!(overridden("segment_bytes_max = 1 GiB").unwrap().segment_bytes_max, GIB);
        assert_eq!(parse_number("17179869184GiB"), None, "an overflow is no number");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_bound() {
        let above = overridden("partitions=2000").unwrap_err();
        assert!(above.contains("above the upper bound of partitions, 1024"), "{above}");
        for (text, part) in [
            ("partitions=0", "below the lower bound of partitions, 1"),
            ("partitions=many", "(command line) is no whole number within 1..=1024"),
            ("worker_threads=-1", "0..=1024"),
            ("log_format=xml", "pretty|json"),
            ("partitionz=1", "no setting"),
            ("partitions", "name=value"),
            ("http_wait_ms_default=40000", "http_wait_ms_max"),
        ] {
            let error = overridden(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}

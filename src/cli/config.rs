//! `agentverse config`: the settings in force, and what each means.

use super::exit::{Error, Exit};
use super::output::{self, Format};
use crate::runtime::settings::{self, Loaded, Origin, SETTINGS, Setting, Settings, environment_name};
use comfy_table::Table;
use serde_json::{Value, json};
use std::io::Write;
use std::path::PathBuf;

/// Where settings come from; every command that has settings takes these.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct SettingsArgs {
    /// A file of settings, one `name = value` a line
    #[arg(long, value_name = "FILE", env = "AGENTVERSE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Set one setting, above file and environment; give it again for a further one
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

impl SettingsArgs {
    /// Puts defaults, file, environment and `--set` together.
    ///
    /// # Errors
    /// When one of them says something that cannot be.
    pub fn load(&self) -> Result<Loaded, settings::Error> {
        Loaded::load(self.config.as_deref(), |name| std::env::var(name).ok(), &self.set)
    }
}

/// What a person waits for servers that do not answer, in milliseconds, unless `start_ms_max` is set.
const PATIENCE_MS: u64 = 15_000;

impl SettingsArgs {
    /// As [`SettingsArgs::load`], for a command that somebody waits for: servers that do not answer are waited for
    /// shortly, where a role waits long.
    ///
    /// # Errors
    /// [`Error::Usage`] as `load`.
    pub fn load_impatient(&self) -> Result<Settings, Error> {
        let mut loaded = self.load().map_err(|error| Error::Usage(error.to_string()))?;
        if loaded.origin("start_ms_max") == Origin::Default {
            loaded.settings.start_ms_max = PATIENCE_MS;
        }
        Ok(loaded.settings)
    }
}

#[derive(clap::Args, Clone, Debug, Default)]
pub struct Args {
    /// Add unit, bounds, origin and meaning of every setting
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// How to show the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// Prints the settings in force.
///
/// # Errors
/// [`Error::Usage`] when they contradict their bounds or each other.
pub fn run(args: Args) -> Result<Exit, Error> {
    let text = show(&args).map_err(|error| Error::Usage(error.to_string()))?;
    std::io::stdout().write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

/// The output. Without `--explain` the plain form is itself a settings file.
fn show(args: &Args) -> Result<String, settings::Error> {
    let loaded = args.settings.load()?;
    Ok(match (args.output, args.explain) {
        (Format::Json, _) => format!("{:#}\n", to_json(&loaded)),
        (Format::Table, true) => format!("{}\n", to_table(&loaded)),
        (Format::Table, false) => {
            rows(&loaded).map(|(setting, value)| format!("{} = {value}\n", setting.name)).collect()
        }
    })
}

fn rows(loaded: &Loaded) -> impl Iterator<Item = (&'static Setting, String)> {
    SETTINGS.iter().zip(loaded.settings.values())
}

fn to_json(loaded: &Loaded) -> Value {
    let items: Vec<_> = rows(loaded)
        .map(|(setting, value)| {
            json!({
                "name": setting.name,
                "value": value.parse::<u64>().map_or_else(|_| Value::from(value), Value::from),
                "unit": setting.unit,
                "bounds": setting.bounds.to_string(),
                "origin": loaded.origin(setting.name).to_string(),
                "environment": environment_name(setting.name),
                "meaning": setting.meaning,
            })
        })
        .collect();
    json!({ "items": items })
}

fn to_table(loaded: &Loaded) -> Table {
    let mut table = output::table(["setting", "value", "unit", "bounds", "from", "meaning"]);
    for (setting, value) in rows(loaded) {
        let origin = loaded.origin(setting.name).to_string();
        let bounds = setting.bounds.to_string();
        table.add_row([setting.name, &value, setting.unit, &bounds, &origin, setting.meaning]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(explain: bool, output: Format, set: &str) -> String {
        show(&Args { explain, output, settings: SettingsArgs { config: None, set: vec![set.to_owned()] } }).unwrap()
    }

    #[test]
    fn the_plain_output_is_a_settings_file_that_says_the_same() {
        let text = shown(false, Format::Table, "http_batch_max=17");
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings");
        std::fs::write(&file, &text).unwrap();
        let read = Loaded::load(Some(&file), |_| None, &[]).unwrap();
        assert_eq!(read.settings.http_batch_max, 17);
        assert_eq!(
            rows(&read).map(|(setting, value)| format!("{} = {value}\n", setting.name)).collect::<String>(),
            text
        );
    }

    #[test]
    fn explain_shows_every_setting_with_its_bounds_and_origin() {
        let table = shown(true, Format::Table, "partitions=5");
        for setting in SETTINGS {
            assert!(table.contains(setting.name), "{} is missing:\n{table}", setting.name);
        }
        assert!(table.contains("1..=1024") && table.contains("command line"), "{table}");
    }

    #[test]
    fn json_has_numbers_as_numbers() {
        let json: Value = serde_json::from_str(&shown(true, Format::Json, "partitions=5")).unwrap();
        let items = json["items"].as_array().unwrap();
        assert_eq!(items.len(), SETTINGS.len());
        assert_eq!(items[0]["value"], 5);
        assert_eq!(items[0]["origin"], "command line");
        assert_eq!(items[0]["environment"], "AGENTVERSE_PARTITIONS");
    }
}

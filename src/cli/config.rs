//! `agentverse config`: the settings in force, and what each means.

use super::exit;
use super::output::Format;
use crate::runtime::settings::{Error, Loaded, SETTINGS, Setting, environment_name};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Value, json};
use std::path::PathBuf;

/// Where settings come from; every command that has settings takes these.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct SettingsArgs {
    /// A file of settings, one `name = value` a line
    #[arg(long, value_name = "FILE", env = "AGENTVERSE_CONFIG")]
    pub config: Option<PathBuf>,
    /// Sets one setting, above file and environment; may be given again
    #[arg(long, value_name = "NAME=VALUE")]
    pub set: Vec<String>,
}

impl SettingsArgs {
    /// Puts defaults, file, environment and `--set` together.
    ///
    /// # Errors
    /// When one of them says something that cannot be.
    pub fn load(&self) -> Result<Loaded, Error> {
        Loaded::load(self.config.as_deref(), |name| std::env::var(name).ok(), &self.set)
    }
}

/// Shows the settings in force
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Args {
    /// Adds unit, bounds, origin and meaning of every setting
    #[arg(long)]
    pub explain: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// How to show them
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// Prints the settings.
pub fn run(args: Args) -> Result<exit::Exit, exit::Error> {
    let text = args.text(args.output == Format::Json).map_err(|error| exit::Error::Usage(error.to_string()))?;
    super::output::line(text.trim_end())?;
    Ok(exit::Exit::Done)
}

impl Args {
    /// The command's output. `as_json` is `--output json`; without `--explain` the plain form is itself a settings file.
    ///
    /// # Errors
    /// When the settings contradict themselves or their bounds.
    pub fn text(&self, as_json: bool) -> Result<String, Error> {
        let loaded = self.settings.load()?;
        Ok(match (as_json, self.explain) {
            (true, _) => format!("{:#}\n", to_json(&loaded)),
            (false, true) => format!("{}\n", to_table(&loaded)),
            (false, false) => rows(&loaded).map(|(setting, value)| format!("{} = {value}\n", setting.name)).collect(),
        })
    }
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
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["SETTING", "VALUE", "UNIT", "BOUNDS", "FROM", "MEANING"]);
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

    fn config(explain: bool, set: &str) -> Args {
        let settings = SettingsArgs { config: None, set: vec![set.to_owned()] };
        Args { explain, settings, output: Format::Table }
    }

    #[test]
    fn the_plain_output_is_a_settings_file_that_says_the_same() {
        let text = config(false, "http_batch_max=17").text(false).unwrap();
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
        let table = config(true, "partitions=5").text(false).unwrap();
        for setting in SETTINGS {
            assert!(table.contains(setting.name), "{} is missing:\n{table}", setting.name);
        }
        assert!(table.contains("1..=1024") && table.contains("command line"), "{table}");
    }

    #[test]
    fn json_has_numbers_as_numbers() {
        let json: Value = serde_json::from_str(&config(true, "partitions=5").text(true).unwrap()).unwrap();
        let items = json["items"].as_array().unwrap();
        assert_eq!(items.len(), SETTINGS.len());
        assert_eq!(items[0]["value"], 5);
        assert_eq!(items[0]["origin"], "command line");
        assert_eq!(items[0]["environment"], "AGENTVERSE_PARTITIONS");
    }
}

//! `agentverse check`: is a data folder, or a cluster's fleet, whole?

use super::config::SettingsArgs;
use super::exit::{Error, Exit};
use super::output::{self, Format};
use crate::domain::audit::Problems;
use crate::runtime::cluster::Links;
use crate::runtime::node::folder_config;
use crate::runtime::{inspect, telemetry};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder
    #[arg(long, default_value = "./agentverse-data", value_name = "DIR")]
    pub data: PathBuf,
    /// Also hold every head, view row and edge against a fold of the log
    #[arg(long)]
    pub deep: bool,
    /// Check the cluster that the settings name, not a folder; nothing may be under way in it
    #[arg(long, conflicts_with = "data")]
    pub cluster: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// How to show the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// Reads every record of a folder that no process has open, or of a fleet at rest, and says what is wrong with it.
pub fn run(args: Args) -> Result<Exit, Error> {
    let settings = args.settings.load_impatient()?;
    telemetry::install_logs(&settings).map_err(|error| Error::Usage(error.to_string()))?;
    if args.cluster {
        let report = super::block_on(async {
            let links = Links::open(&settings).await.map_err(Error::unreached)?;
            links.check(&settings, args.deep).await.map_err(Error::failed)
        })?;
        let damaged = "The fleet is damaged, or something is still under way in it; the first problems are named above. View rows that \
             are missing or older may only be late: let `agentverse project` work through the topics, and check again.";
        return show(&args, &report, &report.problems, damaged);
    }
    let config = folder_config(&settings);
    let report = super::block_on(async { inspect::check(&args.data, config, args.deep).await.map_err(failed) })?;
    let damaged = "The folder is damaged; the first problems are named above. Derived rows (`derived`, CHECKPOINT) can be removed and are built again; the log can only be restored.";
    show(&args, &report, &report.problems, damaged)
}

fn show(args: &Args, report: &impl Serialize, problems: &Problems, damaged: &str) -> Result<Exit, Error> {
    match args.output {
        Format::Json => output::json(report)?,
        Format::Table => {
            let mut value = serde_json::to_value(report).unwrap_or_default();
            // A line each below the table, where they can be read.
            if let Some(fields) = value.as_object_mut() {
                fields.remove("problems");
            }
            output::line(output::fields(&value))?;
            for problem in &problems.named {
                output::line(format!("- {problem}"))?;
            }
            output::line(match (problems.count, args.deep) {
                (0, true) => "Every chain holds, every row is what the log makes it.",
                (0, false) => "Every chain holds. --deep also compares every derived row.",
                _ => damaged,
            })?;
        }
    }
    Ok(if problems.count == 0 { Exit::Done } else { Exit::Damaged })
}

/// Only real damage leaves with the code for damage: a script that restores a backup must not do so for a typing error.
fn failed(error: inspect::Error) -> Error {
    let exit = if error.is_damage() { Exit::Damaged } else { Exit::Failed };
    Error::Failed { message: error.to_string(), exit }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::settings::Settings;
    use std::fs;
    use std::path::Path;

    fn outcome(path: &Path) -> (Exit, String) {
        let config = folder_config(&Settings::default());
        let error = crate::cli::block_on(async { inspect::check(path, config, false).await.map_err(failed) });
        let error = error.unwrap_err();
        (error.exit(), error.to_string())
    }

    #[test]
    fn a_folder_that_is_not_there_is_not_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("nowhere");
        for path in [missing.as_path(), folder.path()] {
            let (exit, message) = outcome(path);
            assert_eq!(exit, Exit::Failed);
            assert!(message.starts_with(&format!("there is no data folder at {}; ", path.display())), "{message}");
        }
        assert!(!missing.exists(), "a check makes no folder");
    }

    #[test]
    fn a_folder_of_something_else_is_not_damaged() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("letter.txt"), "dear").unwrap();
        let (exit, message) = outcome(folder.path());
        assert_eq!(exit, Exit::Failed);
        assert!(message.contains("no data folder of this program"), "{message}");
    }

    #[test]
    fn another_format_is_not_damage_and_an_unreadable_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let format = folder.path().join("FORMAT");
        fs::write(&format, r#"{"format":99,"partitions":4}"#).unwrap();
        let (exit, message) = outcome(folder.path());
        assert_eq!(exit, Exit::Failed);
        assert!(message.contains("format 99"), "{message}");
        fs::write(&format, "rubbish").unwrap();
        assert_eq!(outcome(folder.path()).0, Exit::Damaged);
    }
}

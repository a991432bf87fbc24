//! `agentverse check`: is a data folder whole?

use super::config::SettingsArgs;
use super::exit::{Error, Exit};
use super::output::{self, Format};
use crate::runtime::node::folder_config;
use crate::runtime::{inspect, telemetry};
use std::path::PathBuf;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder
    #[arg(long, default_value = "./agentverse-data", value_name = "DIR")]
    pub data: PathBuf,
    /// Also hold every head, view row and edge against a fold of the log
    #[arg(long)]
    pub deep: bool,
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// How to show the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// Reads every record of a folder that no process has open, and says what is wrong with it.
pub fn run(args: Args) -> Result<Exit, Error> {
    let settings = args.settings.load().map_err(|error| Error::Usage(error.to_string()))?.settings;
    telemetry::install_logs(&settings).map_err(|error| Error::Usage(error.to_string()))?;
    let config = folder_config(&settings);
    let damaged = |error: inspect::Error| Error::Failed { message: error.to_string(), exit: Exit::Damaged };
    let report = super::block_on(async { inspect::check(&args.data, config, args.deep).await.map_err(damaged) })?;
    match args.output {
        Format::Json => output::json(&report)?,
        Format::Table => {
            let value = serde_json::to_value(&report).unwrap_or_default();
            output::line(output::fields(&value))?;
            output::line(match (report.problem_count, args.deep) {
                (0, true) => "Every chain holds, every row is what the log makes it.",
                (0, false) => "Every chain holds. --deep also compares every derived row.",
                _ => {
                    "The folder is damaged; the first problems are named above. Derived rows (`derived`, CHECKPOINT) can be removed and are built again; the log can only be restored."
                }
            })?;
        }
    }
    Ok(if report.problem_count == 0 { Exit::Done } else { Exit::Damaged })
}

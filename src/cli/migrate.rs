//! `agentverse migrate`: from a folder to a cluster, while `agentverse dev` works on the folder.

use super::config::SettingsArgs;
use super::daemon;
use super::exit::{Error, Exit};
use super::output::{self, Format};
use crate::runtime::migrate::{self, Line, Options, Report, Told, Trouble};
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::time::Duration;

/// Moves a data folder to a cluster: every record keeps its log, its position and its hash.
///
/// Make the fleet first, with as many partitions as the folder (`schemas apply`, `topics apply`), and start no role of it.
/// Without --switch the folder is copied while `agentverse dev` works on it, as often as you like. With --switch the rest
/// is copied too, `dev` is ended (a second or so), the commands that it had accepted and not decided go to the cluster,
/// both sides are compared, and the folder is marked so that `dev` does not open it again. Then start `process`,
/// `project` and `serve`. Ctrl-C at any time: the same command goes on where it was.
///
/// Views fill themselves once `project` runs. The events topics get events from the switch on; what was before is in the
/// log.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The folder that `agentverse dev` works on
    #[arg(long, default_value = "./agentverse-data", value_name = "DIR")]
    pub data: PathBuf,
    /// Finish: end `dev`, copy the rest, compare, hand over what waits, and mark the folder as moved
    #[arg(long)]
    pub switch: bool,
    /// With --switch: how long `dev` may take to end, in seconds
    #[arg(long, default_value_t = 120.0, value_name = "SECONDS", value_parser = super::parse_seconds)]
    pub stop_timeout: f64,
    #[command(flatten)]
    pub settings: SettingsArgs,
    /// How to show the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub output: Format,
}

/// Runs to the end, or until SIGTERM or Ctrl-C.
pub fn run(args: Args) -> Result<Exit, Error> {
    let options =
        Options { data: args.data.clone(), switch: args.switch, stop_max: Duration::from_secs_f64(args.stop_timeout) };
    let report = daemon::run(&args.settings, async |settings, _, stop| {
        let bar = ProgressBar::new(0).with_style(style());
        let moved = migrate::run(&options, &settings, &stop, &|told| show(&bar, told)).await;
        bar.finish_and_clear();
        moved.map_err(failed)
    })?;
    match args.output {
        Format::Json => output::json(&report)?,
        Format::Table => print(&report, &args)?,
    }
    Ok(if report.logs.iter().all(|log| log.equal) { Exit::Done } else { Exit::Damaged })
}

fn failed(error: migrate::Error) -> Error {
    let exit = match error.trouble() {
        Trouble::Refused => Exit::Refused,
        Trouble::Damaged => Exit::Damaged,
        Trouble::Unreachable => Exit::Unreachable,
        Trouble::Other => Exit::Failed,
    };
    Error::Failed { message: error.to_string(), exit }
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{msg:40} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn show(bar: &ProgressBar, told: Told) {
    // Said on standard error whether there is a terminal or not: somebody may have to act.
    let say = |text: String| bar.suspend(|| eprintln!("{text}"));
    match told {
        Told::Comparing => bar.set_message("comparing what the cluster has"),
        Told::Checking { records } => bar.set_message(format!("reading back {records} records")),
        Told::Copied { bytes, of, records } => {
            bar.set_length(of);
            bar.set_position(bytes);
            bar.set_message(format!("{records} records copied"));
        }
        Told::Stopping { pid: Some(pid) } => say(format!("Ending process {pid}, which has the folder open.")),
        Told::Stopping { pid: None } => {
            say("Another process has the folder open and cannot be ended from here: stop `agentverse dev` now.".into());
        }
        Told::HandingOver { commands } => bar.set_message(format!("handing over {commands} commands")),
    }
}

fn print(report: &Report, args: &Args) -> Result<(), Error> {
    let mut table = output::table(["AGGREGATE", "LOGS", "RECORDS", "EVENTS", "STREAMS", "CHAINS"]);
    for (aggregate, line) in report.lines() {
        let Line { logs, unequal, records, events, streams } = line;
        let chains = if unequal == 0 { "equal".to_owned() } else { format!("{unequal} DIFFER") };
        table.add_row([aggregate.to_owned(), logs.to_string(), both(records), both(events), both(streams), chains]);
    }
    output::line(table)?;
    output::line(format!(
        "{} records are in the cluster, {} of them copied now; every one was read back.",
        report.records, report.records_copied
    ))?;
    if !report.moved {
        output::line(format!(
            "{} bytes of the folder are not copied yet. When you are ready: agentverse migrate --data {} --switch, with the \
             same settings.",
            report.bytes_left,
            args.data.display()
        ))?;
        return Ok(());
    }
    output::line(format!(
        "Handed over: {} commands that were waiting, {} dead letters.\n\
         {} is moved to {}; `agentverse dev` does not open it any more (its file MOVED says why).\n\
         Now start `agentverse process`, `project` and `serve` with the same settings. The views fill themselves from the \
         log; the events topics have events from now on, not the history.",
        report.commands_handed_over,
        report.dead_letters_handed_over,
        args.data.display(),
        report.fleet
    ))?;
    Ok(())
}

/// One number where both sides have the same.
fn both([folder, fleet]: [u64; 2]) -> String {
    if folder == fleet { folder.to_string() } else { format!("{folder} / {fleet}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sides_that_differ_are_both_shown() {
        assert_eq!((both([3, 3]), both([3, 2])), ("3".to_owned(), "3 / 2".to_owned()));
    }

    #[test]
    fn a_refusal_has_the_code_of_refusals() {
        let error = failed(migrate::Error::Partitions { folder: 4, aggregate: "agent", fleet: 8 });
        assert_eq!(error.exit(), Exit::Refused);
        assert!(error.to_string().contains("partitions = 4"), "{error}");
    }
}

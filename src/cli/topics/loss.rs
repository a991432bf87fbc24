//! `agentverse topics accept-loss`: going on where a topic does not hold any more what a log was to consume.

use crate::cli::config::SettingsArgs;
use crate::cli::exit::{Error, Exit};
use crate::cli::output::{self, Format};
use crate::ports::topic::Loss;
use crate::runtime::cluster::Links;
use crate::runtime::telemetry;
use serde_json::{Value, json};

#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    settings: SettingsArgs,
    /// Accept what is lost; without this it is shown, and nothing is done
    #[arg(long)]
    yes: bool,
    /// How to show the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// Shows which logs stand still because commands were deleted before they were consumed, and has them go on.
pub fn run(args: &Args) -> Result<Exit, Error> {
    let settings = args.settings.load_impatient()?;
    telemetry::install_logs(&settings).map_err(|error| Error::Usage(error.to_string()))?;
    let losses = crate::cli::block_on(async {
        let links = Links::open(&settings).await.map_err(Error::unreached)?;
        let losses = links.losses(settings.fleet_partitions()).await.map_err(Error::failed)?;
        if args.yes {
            for loss in &losses {
                links.accept_loss(loss).await.map_err(Error::failed)?;
            }
        }
        Ok::<_, Error>(losses)
    })?;
    show(args, &losses)?;
    Ok(if losses.is_empty() || args.yes { Exit::Done } else { Exit::Failed })
}

fn show(args: &Args, losses: &[Loss]) -> Result<(), Error> {
    if args.output == Format::Json {
        let items: Vec<Value> =
            losses.iter().map(|loss| json!({"loss": loss, "why": loss.to_string(), "accepted": args.yes})).collect();
        return Ok(output::json(&json!({ "items": items }))?);
    }
    let mut table = output::table(["log", "consumed", "first", "end"]);
    for loss in losses {
        let offsets = [loss.consumed, loss.low, loss.end].map(|number| number.to_string());
        table.add_row([loss.log.to_string()].into_iter().chain(offsets));
    }
    if !losses.is_empty() {
        output::line(table)?;
    }
    output::line(match (losses.is_empty(), args.yes) {
        (true, _) => "No log has lost commands.",
        (false, true) => "Each of these logs goes on with the first command that its topic holds.",
        (false, false) => {
            "These logs stand still: what they were to consume next is not in their topics any more. Restore it, or have \
             them go on with the first command that there is: --yes."
        }
    })?;
    Ok(())
}

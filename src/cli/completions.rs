//! `agentverse completions SHELL`.

use super::Cli;
use super::exit::{Error, Exit};
use clap::CommandFactory;
use std::io::Write;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// For bash: `source <(agentverse completions bash)`
    shell: clap_complete::Shell,
}

pub fn run(args: &Args) -> Result<Exit, Error> {
    // Into memory first: the generator panics when the reader of standard output goes away.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "agentverse", &mut script);
    std::io::stdout().lock().write_all(&script)?;
    Ok(Exit::Done)
}

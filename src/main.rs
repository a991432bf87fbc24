//! The binary: parses the arguments and runs the command.

use clap::Parser;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    agentverse::cli::run(agentverse::cli::Cli::parse()).into()
}

//! `agentverse explain COUPLING`: what the decision saw, readably.

mod document;
mod render;
#[cfg(test)]
mod tests;

use super::client::{self, Request};
use super::exit::{Error, Exit};
use super::output::{self, Format};
use super::{Remote, block_on};
use serde_json::Value;
use uuid::Uuid;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The coupling's id
    coupling: Uuid,
    #[command(flatten)]
    remote: Remote,
}

pub fn run(args: Args) -> Result<Exit, Error> {
    let tenant = args.remote.tenant()?;
    let target = format!("/v1/couplings/{}/explain", args.coupling);
    let answer = block_on(async {
        Ok(client::request(&args.remote.url, args.remote.timeout(), Request::get(target, Some(tenant))).await?)
    })?;
    match args.remote.output {
        Format::Json => output::json(&answer.json::<Value>()?)?,
        Format::Table => output::line(render::render(&answer.json()?, output::width()))?,
    }
    Ok(Exit::Done)
}

//! `agentverse explain COUPLING`: what the decision saw, readably.

mod document;
mod render;
#[cfg(test)]
mod tests;

use super::client::{self, Request};
use super::exit::{Error, Exit};
use super::output::{self, Format};
use super::url::append_query;
use super::{Remote, block_on};
use serde_json::Value;
use uuid::Uuid;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The coupling's id
    coupling: Uuid,
    /// As it was decided then: a time as in 2026-01-31T12:00:00Z, or a version
    #[arg(long, value_name = "TIME|VERSION")]
    as_of: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

pub fn run(args: Args) -> Result<Exit, Error> {
    let tenant = args.remote.tenant()?;
    let mut target = format!("/v1/couplings/{}/explain", args.coupling);
    if let Some(moment) = &args.as_of {
        append_query(&mut target, "as_of", moment);
    }
    let answer = block_on(async {
        Ok(client::request(&args.remote.url, args.remote.timeout(), Request::get(target, Some(tenant))).await?)
    })?;
    match args.remote.output {
        Format::Json => output::json(&answer.json::<Value>()?)?,
        Format::Table => output::line(render::render(&answer.json()?, output::width()))?,
    }
    Ok(Exit::Done)
}

//! `agentverse get KIND ID`.

use super::client::{self, Request};
use super::exit::{Error, Exit};
use super::output::{self, Format};
use super::url::append_query;
use super::{Remote, block_on, kind};
use crate::domain::Aggregate;
use serde_json::Value;
use uuid::Uuid;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The kind of resource: agent, mcp-server, llm-provider, coupling, tenant, …; the plural is the same
    #[arg(value_parser = kind::parse)]
    kind: Aggregate,
    id: Uuid,
    /// As it stood then: a time as in 2026-01-31T12:00:00Z, or a version
    #[arg(long, value_name = "TIME|VERSION")]
    as_of: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

pub fn run(args: Args) -> Result<Exit, Error> {
    let tenant = tenant_of(&args.remote, args.kind, args.id)?;
    let mut target = format!("/v1/{}/{}", args.kind.plural(), args.id);
    if let Some(moment) = &args.as_of {
        append_query(&mut target, "as_of", moment);
    }
    let answer = block_on(async {
        Ok(client::request(&args.remote.url, args.remote.timeout(), Request::get(target, Some(tenant))).await?)
    })?;
    let resource: Value = answer.json()?;
    match args.remote.output {
        Format::Json => output::json(&resource)?,
        Format::Table => output::line(output::fields(&resource))?,
    }
    Ok(Exit::Done)
}

/// A tenant is its own tenant; everything else needs one named.
pub(super) fn tenant_of(remote: &Remote, kind: Aggregate, id: Uuid) -> Result<Uuid, Error> {
    match (remote.tenant, kind) {
        (None, Aggregate::Tenant) => Ok(id),
        _ => remote.tenant(),
    }
}

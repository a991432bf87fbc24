//! `agentverse catalog`: the built-in catalogue as commands, for any fleet.

use super::exit::{Error, Exit};
use crate::domain::{AnyCommand, Envelope};
use crate::runtime::catalog::Catalog;
use serde_json::{Value, json};
use std::io::{BufWriter, Write};

/// Prints the commands that give all tenants the built-in LLM providers, MCP servers and agent templates, one CloudEvent
/// a line, as `agentverse send` takes them:
///
/// agentverse catalog | agentverse send --tenant shared
///
/// Sent again they change nothing; those of a later version of the program bring what changed.
#[derive(Debug, clap::Args)]
pub struct Args {}

pub fn run(_: &Args) -> Result<Exit, Error> {
    let catalog = Catalog::built_in().map_err(|error| Error::failed(error.to_string()))?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for (envelope, command) in catalog.commands() {
        writeln!(out, "{}", event(&envelope, &command))?;
    }
    out.flush()?;
    Ok(Exit::Done)
}

fn event(envelope: &Envelope, command: &AnyCommand) -> Value {
    let mut event = json!({
        "specversion": "1.0",
        "id": envelope.command_id,
        "source": envelope.source,
        "type": format!("{}.{}", command.aggregate().name(), command.name()),
        "subject": envelope.stream.id,
        "tenantid": envelope.stream.tenant.to_string(),
        "data": command.to_json(),
    });
    if let Some(actor) = &envelope.actor {
        event["actor"] = json!(actor);
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::TenantId;
    use crate::ports::receive::{Admission, Claim, Problem, Received, Receiver, Shape};
    use uuid::Uuid;

    struct Shared;

    impl Admission for Shared {
        fn admit(&self, claim: &Claim) -> Result<Option<TenantId>, Problem> {
            Ok(claim.tenant)
        }
    }

    #[test]
    fn every_line_is_read_as_the_command_that_the_demo_sends() {
        let receiver = Receiver {
            admission: &Shared,
            generate: &Uuid::nil,
            idempotency_key: None,
            traceparent: None,
            commands_max: 1,
        };
        for (envelope, command) in Catalog::built_in().unwrap().commands() {
            let line = event(&envelope, &command).to_string();
            let Received::One(read) = receiver.structured(line.as_bytes(), Shape::One).unwrap() else {
                panic!("{line}")
            };
            let read = read.unwrap();
            assert_eq!((read.envelope, read.command), (envelope, command), "{line}");
        }
    }
}

//! `agentverse watch`: what happens, as it happens.
//!
//! It goes on by itself after a lost connection, with the id of the last message that it had: nothing is missed and
//! nothing is shown twice, however often the connection breaks, and whichever node answers then. With `--from beginning
//! --until-now --output json` it is an export of all events as JSON lines.

use super::client::ClientError;
use super::exit::{Error, Exit};
use super::output::Format;
use super::stream::{self, Event};
use super::url::append_query;
use super::{Remote, block_on, history, kind, output};
use crate::domain::Aggregate;
use serde_json::Value;
use std::io::{self, BufWriter, Write};
use std::time::Duration;
use uuid::Uuid;

/// Every event, as it happens, of one tenant; over loopback, where none is named, of all.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only events of this kind of resource: agent, mcp-server, coupling, …; may be given more than once
    #[arg(long, value_name = "KIND", value_parser = kind::parse)]
    aggregate: Vec<Aggregate>,
    /// Only events of this type, as agent.AgentRegistered; may be given more than once
    #[arg(long = "type", value_name = "TYPE")]
    types: Vec<String>,
    /// Only events of the resource with this id
    #[arg(long, value_name = "UUID")]
    id: Option<Uuid>,
    /// Where to begin: now, beginning, a time as in 2026-01-31T12:00:00Z, or the id of a message of the feed
    #[arg(long, default_value = "now", value_name = "WHERE")]
    from: String,
    /// End with what there is, instead of waiting for more
    #[arg(long)]
    until_now: bool,
    #[command(flatten)]
    remote: Remote,
}

/// The server says something at least every 15 s; twice that, and a little, means that nobody is there any more.
const SILENCE_MAX: Duration = Duration::from_secs(35);
/// Between a lost connection and the next try: the first time, and at most.
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// Most characters of an event's data, and of who caused it; JSON has the whole.
const DATA_CHARS_MAX: usize = 60;
const ACTOR_CHARS_MAX: usize = 24;

pub fn run(args: Args) -> Result<Exit, Error> {
    block_on(async {
        let mut watch = Watch::new(&args);
        tokio::select! {
            watched = watch.run() => watched,
            // Who watches has seen enough; who exports has not got all.
            _ = tokio::signal::ctrl_c() => match args.until_now {
                false => Ok(Exit::Done),
                true => Err(Error::failed("interrupted: what was written is not all that there is")),
            },
        }
    })
}

struct Watch<'a> {
    args: &'a Args,
    target: String,
    /// The id of the last message.
    last: Option<String>,
    out: BufWriter<io::Stdout>,
    /// Whether the server answered once: from then on what goes wrong is waited out.
    has_begun: bool,
}

impl<'a> Watch<'a> {
    fn new(args: &'a Args) -> Self {
        let mut target = "/v1/events".to_owned();
        for aggregate in &args.aggregate {
            append_query(&mut target, "aggregate", aggregate.name());
        }
        for name in &args.types {
            append_query(&mut target, "type", name);
        }
        if let Some(id) = args.id {
            append_query(&mut target, "id", &id.to_string());
        }
        append_query(&mut target, "from", &args.from);
        if args.until_now {
            append_query(&mut target, "until", "now");
        }
        Self { args, target, last: None, out: BufWriter::new(io::stdout()), has_begun: false }
    }

    async fn run(&mut self) -> Result<Exit, Error> {
        let (mut pause, mut said) = (PAUSE, String::new());
        loop {
            let before = self.last.clone();
            let why = match self.connected().await {
                Ok(true) => return Ok(Exit::Done),
                Ok(false) => "the server ended the stream".to_owned(),
                Err(Error::Client(error)) if self.has_begun && is_passing(&error) => error.to_string(),
                Err(error) => return Err(error),
            };
            self.out.flush()?;
            if self.last != before {
                (pause, said) = (PAUSE, String::new());
            }
            // A server that is away for long is told of once.
            if why != said {
                eprintln!("agentverse: {why}; going on where it ended");
            }
            said = why;
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    /// One connection, until it ends: whether everything came that was asked for.
    async fn connected(&mut self) -> Result<bool, Error> {
        let remote = &self.args.remote;
        let ask = stream::Ask { target: &self.target, tenant: remote.tenant, last: self.last.as_deref() };
        let events = stream::get(&remote.url, remote.timeout(), remote.timeout().max(SILENCE_MAX), ask).await?;
        let Some(mut events) = events else { return Ok(true) };
        if std::mem::replace(&mut self.has_begun, true) {
            eprintln!("agentverse: connected again");
        }
        while let Some(event) = events.next().await? {
            self.tell(&event)?;
            if event.id.is_some() {
                self.last = event.id;
            }
            if event.name == "end" {
                self.out.flush()?;
                return Ok(true);
            }
            if !events.has_more() {
                self.out.flush()?;
            }
        }
        Ok(false)
    }

    fn tell(&mut self, event: &Event) -> Result<(), Error> {
        match event.name.as_str() {
            "mark" | "end" => {}
            "behind" => {
                let data: Value = serde_json::from_str(&event.data).unwrap_or_default();
                let (records, seconds) = (&data["records"], data["seconds"].as_f64().unwrap_or(0.0));
                eprintln!("agentverse: {records} records and {seconds:.1} s behind; nothing is left out");
            }
            _ if self.args.remote.output == Format::Json => writeln!(self.out, "{}", event.data)?,
            _ => writeln!(self.out, "{}", line(&serde_json::from_str(&event.data).unwrap_or_default()))?,
        }
        Ok(())
    }
}

/// Whether the same request may succeed later.
fn is_passing(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { .. } | ClientError::TimedOut { .. } | ClientError::Broken { .. } => true,
        ClientError::Problem(problem) => problem.is_transient(),
    }
}

/// When, what, of what, by whom, and what it says.
fn line(event: &Value) -> String {
    let text = |name: &str| output::text(event.get(name).unwrap_or(&Value::Null));
    let actor = Some(text("actor")).filter(|actor| !actor.is_empty()).unwrap_or_else(|| text("source"));
    let data = history::gist(event.get("data").unwrap_or(&Value::Null));
    let (time, kind, id) = (text("recorded_at"), text("type"), text("subject"));
    let (actor, data) = (output::shorten(&actor, ACTOR_CHARS_MAX), output::shorten(&data, DATA_CHARS_MAX));
    format!("{time}  {kind:<40} {id}  {actor:<ACTOR_CHARS_MAX$}  {data}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use serde_json::json;

    #[test]
    fn a_line_says_when_what_of_what_and_by_whom() {
        let shown = line(&json!({
            "recorded_at": "2026-01-02T03:04:05Z", "type": "agent.AgentRevised", "subject": "67e55044", "actor": "hr-feed",
            "source": "unnamed", "data": {"profile": {"name": "Ada"}, "revision": 2},
        }));
        let words: Vec<_> = shown.split_whitespace().collect();
        assert_eq!(words[..4], ["2026-01-02T03:04:05Z", "agent.AgentRevised", "67e55044", "hr-feed"], "{shown}");
        assert!(shown.ends_with("revision 2, profile …"), "{shown}");
        let by_none = line(&json!({ "source": "catalogue", "data": { "text": "x".repeat(1_000) } }));
        assert!(by_none.contains("catalogue") && by_none.chars().count() < 180, "{by_none}");
    }

    #[test]
    fn what_is_asked_for_is_in_the_address() {
        #[derive(Parser)]
        struct Cli {
            #[command(flatten)]
            args: Args,
        }
        let given =
            ["x", "--aggregate", "agents", "--type", "agent.AgentRevised", "--from", "2026-01-01T00:00:00+01:00"];
        let args = Cli::parse_from(given.into_iter().chain(["--until-now"])).args;
        let target = Watch::new(&args).target;
        assert_eq!(
            target,
            "/v1/events?aggregate=agent&type=agent.AgentRevised&from=2026-01-01T00%3A00%3A00%2B01%3A00&until=now"
        );
    }
}

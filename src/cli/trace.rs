//! `agentverse trace CORRELATION_ID`.

use super::client::{self, Request};
use super::exit::{Error, Exit};
use super::output::{self, Format};
use super::url::{append_query, escape};
use super::{Remote, block_on};
use jiff::Timestamp;
use serde_json::Value;

/// Most characters of a reason, and of who sent a command; JSON has the whole.
const REASON_CHARS_MAX: usize = 80;
const SENDER_CHARS_MAX: usize = 32;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// The correlation id that the request was sent with; of a command that was sent without one, the command's id
    correlation_id: String,
    /// The source that the command was sent with, where the id is a command's and no UUID
    #[arg(long)]
    source: Option<String>,
    #[command(flatten)]
    remote: Remote,
}

pub fn run(args: Args) -> Result<Exit, Error> {
    let remote = &args.remote;
    let tenant = Some(remote.tenant()?);
    let mut target = String::from("/v1/trace/");
    escape(&mut target, &args.correlation_id);
    if let Some(source) = &args.source {
        append_query(&mut target, "source", source);
    }
    let asked = client::request(&remote.url, remote.timeout(), Request::get(target, tenant));
    let trace: Value = block_on(async { Ok(asked.await?) })?.json()?;
    match remote.output {
        Format::Json => output::json(&trace)?,
        Format::Table => output::line(tree(&trace).trim_end())?,
    }
    Ok(Exit::Done)
}

/// The trace for people: a line for each event, and for each command that made none, below the one that caused it.
fn tree(trace: &Value) -> String {
    let roots = items(trace, "roots");
    let mut page = Page { text: String::new(), began_at: roots.first().and_then(at) };
    let counted = |name: &str, one: &str| {
        let count = trace[name].as_u64().unwrap_or_default();
        format!("{count} {one}{}", if count == 1 { "" } else { "s" })
    };
    let began = roots.first().map(|root| output::text(&root["recorded_at"])).unwrap_or_default();
    page.line(&format!(
        "{}, {}, {} refused; from {began} on",
        counted("command_count", "command"),
        counted("event_count", "event"),
        trace["refused_count"].as_u64().unwrap_or_default()
    ));
    page.commands("", roots);
    if trace["truncated"] == true {
        page.line("There are more: the setting trace_commands_max says how many are shown, the earliest.");
    }
    page.text
}

struct Page {
    text: String,
    /// What times are counted from.
    began_at: Option<Timestamp>,
}

impl Page {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    /// Commands below the same cause. Calls itself, for JSON is read only so deep.
    fn commands(&mut self, indent: &str, commands: &[Value]) {
        for (number, command) in commands.iter().enumerate() {
            let is_last = number + 1 == commands.len();
            let events = items(command, "events");
            let own = items(command, "commands");
            if events.is_empty() {
                self.branch(indent, is_last, &self.nothing(command), own, &[]);
            }
            for (number, event) in events.iter().enumerate() {
                let is_last_event = number + 1 == events.len();
                // What names the command and none of its events stands below the last.
                let own = if is_last_event { own } else { &[] };
                let line = self.happened(command, event);
                self.branch(indent, is_last && is_last_event, &line, items(event, "commands"), own);
            }
        }
    }

    fn branch(&mut self, indent: &str, is_last: bool, line: &str, first: &[Value], then: &[Value]) {
        let (corner, further) = if is_last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        self.line(&format!("{indent}{corner}{line}"));
        let indent = format!("{indent}{further}");
        match (first, then) {
            (first, []) => self.commands(&indent, first),
            ([], then) => self.commands(&indent, then),
            (first, then) => self.commands(&indent, &[first, then].concat()),
        }
    }

    fn happened(&self, command: &Value, event: &Value) -> String {
        let text = |value: &Value| output::text(value);
        let kind = text(&event["type"]);
        format!(
            "{kind}  {}  version {}{}",
            text(&command["subject"]),
            event["version"],
            self.when_and_who(command, event)
        )
    }

    /// Of a command that made no event.
    fn nothing(&self, command: &Value) -> String {
        let what = match command["reason"].as_object() {
            Some(reason) => {
                let of = |name: &str| reason.get(name).map(output::text).unwrap_or_default();
                output::shorten(&format!("refused, {}: {}", of("code"), of("message")), REASON_CHARS_MAX)
            }
            None => "changed nothing".to_owned(),
        };
        let (aggregate, subject) = (output::text(&command["aggregate"]), output::text(&command["subject"]));
        format!("{aggregate}  {subject}  {what}{}", self.when_and_who(command, command))
    }

    fn when_and_who(&self, command: &Value, event: &Value) -> String {
        let mut told = match (self.began_at, at(event)) {
            (Some(began_at), Some(at)) if at > began_at => {
                format!("  +{:.3} s", at.duration_since(began_at).as_secs_f64())
            }
            _ => String::new(),
        };
        let sender = command["actor"].as_str().or(command["source"].as_str()).unwrap_or_default();
        if command["source"] != "agentverse" || command["actor"].is_string() {
            let sender = output::text(&Value::from(sender));
            told += &format!("  by {}", output::shorten(&sender, SENDER_CHARS_MAX));
        }
        told
    }
}

fn at(value: &Value) -> Option<Timestamp> {
    value["recorded_at"].as_str()?.parse().ok()
}

fn items<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().map_or(&[], Vec::as_slice)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn command(subject: &str, events: &Value, below: &Value) -> Value {
        json!({
            "subject": subject, "aggregate": "agent", "source": "agentverse", "actor": null, "reason": null,
            "recorded_at": "2026-01-31T12:00:00.000000Z", "events": events, "commands": below,
        })
    }

    fn event(name: &str, below: &Value) -> Value {
        json!({"type": name, "version": 2, "recorded_at": "2026-01-31T12:00:01.500000Z", "commands": below})
    }

    #[test]
    fn each_event_stands_below_its_cause() {
        let mut refused = command("d", &json!([]), &json!([]));
        refused["reason"] = json!({"code": "ended", "message": "it has ended\u{1b}"});
        refused["actor"] = json!("ada");
        let inner = command("c", &json!([event("x.Third", &json!([]))]), &json!([]));
        let two = [event("x.First", &json!([inner])), event("x.Second", &json!([]))];
        let root = command("b", &json!(two), &json!([refused]));
        let other = command("e", &json!([]), &json!([]));
        let trace = json!({
            "command_count": 4, "event_count": 3, "refused_count": 1, "truncated": true, "roots": [root, other],
        });
        let expected = "\
4 commands, 3 events, 1 refused; from 2026-01-31T12:00:00.000000Z on
├─ x.First  b  version 2  +1.500 s
│  └─ x.Third  c  version 2  +1.500 s
├─ x.Second  b  version 2  +1.500 s
│  └─ agent  d  refused, ended: it has ended   by ada
└─ agent  e  changed nothing
There are more: the setting trace_commands_max says how many are shown, the earliest.
";
        assert_eq!(tree(&trace), expected);
    }
}

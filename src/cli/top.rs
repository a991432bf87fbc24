//! `agentverse top`: what requests to LLMs do right now, live in a terminal.
//!
//! It asks one or more nodes each second, and the usage of tenants every few seconds. A node that does not answer is said
//! to be away and asked again; the others are shown.

mod frame;
mod gather;
mod rows;
mod screen;

use super::exit::{Error, Exit};
use super::output::{self, Format};
use super::url::BaseUrl;
use super::{block_on, daemon, parse_seconds, parse_tenant};
use crate::ports::Clock;
use crate::ports::clock::SystemClock;
use comfy_table::{Cell, CellAlignment, Table};
use frame::Frame;
use gather::{Node, Seen, Tenant, Tenants};
use ratatui::crossterm::event::{self, Event};
use rows::{MODEL_COLUMNS, TENANT_COLUMNS};
use screen::{Asked, Screen};
use std::io::IsTerminal;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// Between two looks at the usage of tenants.
const USAGE_EVERY: Duration = Duration::from_secs(5);
/// Between two looks whether the end was asked for, while no key is pressed.
const KEY_LOOK: Duration = Duration::from_millis(100);
/// Keys that wait to be taken; further ones are dropped.
const KEYS_MAX: usize = 64;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Base URL of a node that runs `dev` or `work`; may be given several times, and what they say is added up
    #[arg(long = "url", env = "AGENTVERSE_URL", value_delimiter = ',', value_name = "URL")]
    #[arg(default_value = "http://127.0.0.1:7400")]
    urls: Vec<BaseUrl>,
    /// Only this tenant: needed where the node is not on this machine
    #[arg(long, env = "AGENTVERSE_TENANT", value_name = "UUID", value_parser = parse_tenant)]
    tenant: Option<Uuid>,
    /// Seconds between two looks
    #[arg(long, default_value_t = 1.0, value_name = "SECONDS", value_parser = parse_seconds)]
    interval: f64,
    /// How long a node may take to answer, in seconds
    #[arg(long, default_value_t = 3.0, value_name = "SECONDS", value_parser = parse_seconds)]
    timeout: f64,
    /// Tenants whose usage is looked at, in the order of their ids; the ten that spent the most are shown
    #[arg(long, default_value_t = 100, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    tenants: u16,
    /// Look once, print, and end; so it does where standard output is no terminal
    #[arg(long)]
    once: bool,
    /// How to print what is seen once
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// What nodes say, and what the tenants' usage is.
type Looked = Vec<(String, Seen)>;
type Usage = Result<Vec<Tenant>, String>;

impl Args {
    fn nodes(&self) -> Vec<Node> {
        let timeout = Duration::from_secs_f64(self.timeout);
        self.urls.iter().map(|url| Node::new(url.clone(), timeout)).collect()
    }

    fn ask(&self) -> Tenants {
        Tenants { tenant: self.tenant, most: self.tenants, now: SystemClock.now() }
    }
}

pub fn run(args: Args) -> Result<Exit, Error> {
    match args.once || !std::io::stdout().is_terminal() {
        true => block_on(once(&args)),
        false => block_on(live(&args)),
    }
}

async fn once(args: &Args) -> Result<Exit, Error> {
    let mut nodes = args.nodes();
    let (seen, trouble) = gather::look(&mut nodes, args.tenant).await;
    if let Some(error) = trouble {
        return Err(error.into());
    }
    let usage = gather::tenants(&mut nodes, args.ask()).await.map_err(|error| error.to_string());
    let frame = Frame::new(&seen, &usage);
    match args.output {
        Format::Json => output::json(&frame.to_json())?,
        Format::Table => tables(&frame).iter().try_for_each(output::line)?,
    }
    Ok(Exit::Done)
}

/// The tables that the screen has.
fn tables(frame: &Frame) -> Vec<Table> {
    let mut nodes = output::table(["NODE", "STATE", "LOGS", "UNDER WAY", "CALLS"]);
    for node in &frame.nodes {
        let numbers = [node.owned_logs, node.running, node.open_calls].map(|number| number.to_string());
        let state = node.trouble.as_deref().unwrap_or("up");
        nodes.add_row([&[node.url.clone(), state.to_owned()], &numbers[..]].concat());
    }
    let mut queue = output::table(["QUEUE", "WAITING", "OLDEST ms", "BEGUN/min", "WAIT P50 ms", "WAIT P95 ms"]);
    for class in &frame.queue {
        let ms = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
        let numbers = [class.waiting, class.oldest_wait_ms, class.begun].map(|number| number.to_string());
        let waits = [class.wait_ms_p50, class.wait_ms_p95].map(ms);
        queue.add_row([std::slice::from_ref(&class.priority), &numbers[..], &waits[..]].concat());
    }
    let (by_models, by_tenants) = Screen::default().orders();
    let models = filled(&MODEL_COLUMNS, rows::models(frame, by_models));
    match &frame.no_tenants {
        None => vec![nodes, queue, models, filled(&TENANT_COLUMNS, rows::tenants(frame, by_tenants))],
        Some(why) => {
            let mut none = output::table(["TENANTS"]);
            none.add_row([why.as_str()]);
            vec![nodes, queue, models, none]
        }
    }
}

fn filled(columns: &[&str], rows: Vec<Vec<rows::Cell>>) -> Table {
    let mut table = output::table(columns.iter().copied());
    for row in rows {
        table.add_row(row.into_iter().enumerate().map(|(at, cell)| {
            let cell = Cell::new(cell.text);
            if at == 0 { cell } else { cell.set_alignment(CellAlignment::Right) }
        }));
    }
    table
}

async fn live(args: &Args) -> Result<Exit, Error> {
    let stop = CancellationToken::new();
    tokio::spawn(daemon::stop_on_signal(stop.clone())?);
    let _ended = stop.clone().drop_guard();
    let (saw, seen) = watch::channel(Looked::new());
    let (told, usage) = watch::channel(Usage::Err("asking".into()));
    let (nodes, tenant, interval) = (args.nodes(), args.tenant, Duration::from_secs_f64(args.interval));
    tokio::spawn(async move { keep_looking(nodes, tenant, interval, saw).await });
    let (nodes, ask) = (args.nodes(), args.ask());
    tokio::spawn(async move { keep_counting(nodes, ask, told).await });
    let mut terminal = ratatui::try_init()?;
    let keys = keys(stop.clone());
    let result = show(&mut terminal, seen, usage, keys, stop).await;
    ratatui::try_restore()?;
    result.map(|()| Exit::Done)
}

/// Ends when nobody watches any more.
async fn keep_looking(mut nodes: Vec<Node>, tenant: Option<Uuid>, every: Duration, saw: watch::Sender<Looked>) {
    while !saw.is_closed() {
        let next = tokio::time::Instant::now() + every;
        saw.send_replace(gather::look(&mut nodes, tenant).await.0);
        tokio::time::sleep_until(next).await;
    }
}

async fn keep_counting(mut nodes: Vec<Node>, ask: Tenants, told: watch::Sender<Usage>) {
    while !told.is_closed() {
        let ask = Tenants { now: SystemClock.now(), ..ask };
        drop(told.send_replace(gather::tenants(&mut nodes, ask).await.map_err(|error| error.to_string())));
        tokio::time::sleep(USAGE_EVERY).await;
    }
}

/// Reads keys on a thread of its own: reading blocks.
fn keys(stop: CancellationToken) -> mpsc::Receiver<Event> {
    let (sender, receiver) = mpsc::channel(KEYS_MAX);
    std::thread::spawn(move || {
        while !stop.is_cancelled() && !sender.is_closed() {
            match event::poll(KEY_LOOK) {
                Ok(false) => {}
                Ok(true) => match event::read() {
                    Ok(event) => drop(sender.try_send(event)),
                    Err(_) => return,
                },
                Err(_) => return,
            }
        }
    });
    receiver
}

async fn show(
    terminal: &mut ratatui::DefaultTerminal,
    mut seen: watch::Receiver<Looked>,
    mut usage: watch::Receiver<Usage>,
    mut keys: mpsc::Receiver<Event>,
    stop: CancellationToken,
) -> Result<(), Error> {
    let mut screen = Screen::default();
    loop {
        screen.frame = Frame::new(&seen.borrow_and_update(), &usage.borrow_and_update());
        terminal.draw(|area| screen.draw(area))?;
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = seen.changed() => if changed.is_err() { return Ok(()) },
            changed = usage.changed() => if changed.is_err() { return Ok(()) },
            event = keys.recv() => match event {
                // The terminal went away.
                None => return Ok(()),
                Some(Event::Key(key)) if screen.key(key) == Asked::Quit => return Ok(()),
                // Drawn anew, also after a change of its size.
                Some(_) => {}
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn args(words: &[&str]) -> Args {
        let cli = Cli::try_parse_from(["agentverse", "top"].iter().chain(words)).unwrap();
        match cli.command {
            Command::Top(args) => args,
            _ => panic!("another command"),
        }
    }

    #[test]
    fn several_nodes_can_be_named_either_way() {
        assert_eq!(args(&["--url", "http://a", "--url", "http://b"]).urls.len(), 2);
        assert_eq!(args(&["--url", "http://a,http://b,http://c"]).urls.len(), 3);
        assert_eq!(args(&["--url", "http://a"]).interval, 1.0);
    }

    #[test]
    fn what_is_printed_once_has_every_table() {
        let shown: Vec<String> = tables(&frame::tests::frame()).iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 4);
        for (table, part) in [(0, "cannot reach http://c"), (1, "interactive"), (2, "p/a/large"), (3, "Umbra")] {
            assert!(shown[table].contains(part), "{part} in\n{}", shown[table]);
        }
    }

    #[tokio::test]
    async fn a_node_that_is_away_is_told_and_the_rest_goes_on() {
        let closed = |port: u16| format!("http://127.0.0.1:{port}").parse().unwrap();
        // Port 1 is nobody's.
        let mut nodes =
            vec![Node::new(closed(1), Duration::from_secs(1)), Node::new(closed(1), Duration::from_secs(1))];
        let (seen, error) = gather::look(&mut nodes, None).await;
        assert!(seen.iter().all(|(_, seen)| matches!(seen, Seen::Away(why) if why.contains("cannot reach"))));
        assert!(error.is_some(), "none answered");
        assert!(gather::tenants(&mut nodes, Tenants { tenant: None, most: 1, now: 0 }).await.is_err());
    }
}

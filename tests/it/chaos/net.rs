//! A network namespace in which the servers are reached at their own addresses, through a relay, and can be cut off.
//!
//! Inside, the loopback interface is all there is. A relay in there listens where the servers would and hands each
//! connection through a Unix socket, which no namespace divides, to a relay outside. Taking the interface down is what a
//! pulled cable is: nothing is refused and nothing is closed, packets just go nowhere.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const NAME: &str = "agentverse-chaos";

/// The namespace and its relays; taken away when dropped.
pub struct Namespace {
    relays: Vec<Child>,
}

const RELAY: &str = r"
import asyncio, sys
async def pipe(reader, writer):
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()
async def main(inside, folder, targets):
    async def serve(target):
        host, port = target.split(':')
        path = f'{folder}/{host}-{port}'
        async def hand(reader, writer):
            try:
                far = await (asyncio.open_unix_connection(path) if inside else asyncio.open_connection(host, int(port)))
            except OSError:
                writer.close()
                return
            await asyncio.gather(pipe(reader, far[1]), pipe(far[0], writer))
        await (asyncio.start_server(hand, host, int(port)) if inside else asyncio.start_unix_server(hand, path))
    for target in targets:
        await serve(target)
    print('ready', flush=True)
    await asyncio.Event().wait()
asyncio.run(main(sys.argv[1] == 'in', sys.argv[2], sys.argv[3:]))
";

fn ip(args: &[&str]) -> bool {
    let status = Command::new("ip").args(args).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

impl Namespace {
    /// `None` where this user may not make one: it is said.
    pub fn new(folder: &std::path::Path, targets: &[String]) -> Option<Self> {
        ip(&["netns", "del", NAME]);
        if !ip(&["netns", "add", NAME]) || !ip(&["-n", NAME, "link", "set", "lo", "up"]) {
            eprintln!("not run: cutting the network needs the right to make network namespaces (`ip netns add`)");
            return None;
        }
        let relay = |inside: bool| {
            let mut command = if inside { Self::command("python3") } else { Command::new("python3") };
            command.args(["-c", RELAY, if inside { "in" } else { "out" }]).arg(folder).args(targets);
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
        };
        let mut namespace = Self { relays: vec![relay(false), relay(true)] };
        for relay in &mut namespace.relays {
            let mut line = String::new();
            let mut output = std::io::BufReader::new(relay.stdout.take().unwrap());
            std::io::BufRead::read_line(&mut output, &mut line).unwrap();
            assert_eq!(line, "ready\n", "a relay did not start");
        }
        Some(namespace)
    }

    /// A command that runs inside.
    pub fn command(program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", NAME, program]);
        command
    }

    /// Takes the network away for so long.
    pub fn cut(&self, time: Duration) {
        let until = Instant::now() + time;
        assert!(ip(&["-n", NAME, "link", "set", "lo", "down"]));
        std::thread::sleep(until.saturating_duration_since(Instant::now()));
        assert!(ip(&["-n", NAME, "link", "set", "lo", "up"]));
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        for relay in &mut self.relays {
            let _ = relay.kill();
            let _ = relay.wait();
        }
        ip(&["netns", "del", NAME]);
    }
}

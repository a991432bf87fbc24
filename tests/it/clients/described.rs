//! The description against the binary, by tools that know nothing else of it: it is valid, its examples fit, and
//! schemathesis finds no error of the server and no answer that is not described. A short run; a long one is in
//! `benches/README.md`.

use super::{PROGRAMS, succeeded};
use crate::e2e::server::{Folder, Server};
use std::path::Path;
use std::process::Command;

/// What the program ends with where its packages cannot be had.
const UNAVAILABLE: i32 = 69;

#[test]
fn a_tool_that_knows_the_description_alone_finds_nothing_that_it_does_not_say() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let url = format!("http://{}", server.address);
    let program = Path::new(PROGRAMS).join("schemathesis/run.sh");
    let tools = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-schemathesis");
    let mut command = Command::new("bash");
    command.arg(program).args([&url, server.client().tenant.as_deref().unwrap()]);
    command.args(["--phases=examples,fuzzing", "--max-examples=3", "--seed=1", "--no-color"]);
    let Ok(output) = command.env("AGENTVERSE_SCHEMATHESIS", tools).output() else {
        eprintln!("clients: not run, bash is missing");
        return;
    };
    if output.status.code() == Some(UNAVAILABLE) {
        eprintln!("clients: not run, {}", String::from_utf8_lossy(&output.stderr).trim_end());
        return;
    }
    succeeded("run.sh", &output);
    server.stop();
    assert_eq!(folder.check()["problem_count"], 0);
}

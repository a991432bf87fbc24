//! The TypeScript examples, as strictly compiled as the compiler can, against the binary; one of them with types that are
//! made from the description that the binary serves.
//!
//! They are installed and built below the target folder, of the versions of their lock file. Where Node.js or its packages
//! are missing, the test says so and ends well.

use super::{PROGRAMS, succeeded, try_to};
use crate::e2e::server::{Folder, Server};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Ends badly under a Node.js that has no `fetch` to rely on.
const IS_RECENT: &str = "process.exit(Number(process.versions.node.split('.')[0]) < 20)";

/// A folder with the programs' sources and the packages that they need.
fn installed() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("clients-node");
    let sources = Path::new(PROGRAMS).join("typescript");
    let (wanted, done) = (sources.join("package-lock.json"), folder.join("installed.json"));
    try_to("run Node.js 20 or later", Command::new("node").args(["-e", IS_RECENT]))?;
    fs::create_dir_all(&folder).unwrap();
    for entry in fs::read_dir(&sources).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    if fs::read(&done).ok() != fs::read(&wanted).ok() {
        // No package's own script is run: none is needed.
        let quiet = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
        try_to("install the packages of Node.js", Command::new("npm").args(quiet).current_dir(&folder))?;
        fs::copy(&wanted, &done).unwrap();
    }
    Some(folder)
}

/// A program of the packages, by its path, or one that was built.
fn node(folder: &Path, program: &str) -> Command {
    let mut command = Command::new("node");
    command.arg(program).current_dir(folder);
    command
}

#[test]
fn typescript_clients_compile_and_do_what_the_documentation_says() {
    let Some(folder) = installed() else { return };
    let data = Folder::new();
    let server = Server::start(&data);
    let client = server.provisioned();
    let url = format!("http://{}", client.address);
    let _ = fs::remove_dir_all(folder.join("built"));
    let described = [&format!("{url}/openapi.json"), "--default-non-nullable=false", "--output=described.d.ts"];
    let mut generate = node(&folder, "node_modules/openapi-typescript/bin/cli.js");
    succeeded("openapi-typescript", &generate.args(described).output().unwrap());
    succeeded("tsc", &node(&folder, "node_modules/typescript/bin/tsc").output().unwrap());
    let run = |program: &str| {
        let mut command = node(&folder, program);
        succeeded(program, &command.args([&url, client.tenant.as_deref().unwrap()]).output().unwrap())
    };

    let said = run("built/avro_over_http.js");
    assert!(said.starts_with("4 ways"), "{said}");
    let agents = client.walk("/v1/agents?category=engineering", 10);
    assert_eq!(agents.len(), 4);
    let said = run("built/typed_api.js");
    assert!(said.starts_with("a typed client"), "{said}");
    server.stop();
    assert_eq!(data.check()["problem_count"], 0);
}

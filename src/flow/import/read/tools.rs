//! MCP servers with the tools that they list, schemas and all, as LiveMCPBench collects them: `tools` is an object of
//! answers to `tools/list` by server, or the list itself.

use super::{package, remote, tools};
use crate::domain::checks::check_endpoint;
use crate::domain::common::TEXT_BYTES_MAX;
use crate::domain::mcp_server::{ReviseMcpServer, Transport};
use crate::flow::import::entry::{Cutter, Fault, Fields, Rank, Read};
use crate::flow::import::wanted::{KnownTool, Server, Wanted};
use serde_json::Value;

/// Members of a list under which its entries are.
pub const LISTS: &[&str] = &["servers"];

/// # Errors
/// When the entry is not of this format, or cannot be kept here.
pub fn read(value: &Value) -> Result<Read, Fault> {
    let fields = Fields::of(value)?;
    let name = fields.needed(&["name", "server_name"])?;
    let mut cutter = Cutter::default();
    let (transport, endpoint, package) = how_to_reach(fields)?;
    let listing = ReviseMcpServer {
        name: Some(cutter.name("name", name)),
        category: fields.text(&["category"])?.map(|category| cutter.name("category", category)),
        description: fields.text(&["description"])?.map(|it| cutter.text("description", it, TEXT_BYTES_MAX)),
        transport,
        endpoint,
        package,
        capabilities: None,
    };
    let tools = all_tools(fields, &mut cutter)?;
    let wanted = Wanted::Server(Box::new(Server { listing, tools }));
    Ok(Read::Wanted { key: name.to_owned(), rank: Rank::default(), wanted, cuts: cutter.cuts })
}

/// The tools of all that the entry lists; `None` where it lists nothing.
fn all_tools(fields: Fields<'_>, cutter: &mut Cutter) -> Result<Option<Vec<KnownTool>>, Fault> {
    let answers = match fields.get(&["tools"]) {
        None => return Ok(None),
        Some((_, Value::Array(list))) => return tools(list, cutter).map(Some),
        Some((_, Value::Object(answers))) => answers,
        Some(_) => return Err(Fault::field("tools", "must be a list, or an object of lists by server")),
    };
    let mut all = Vec::new();
    for answer in answers.values() {
        let list = match answer {
            Value::Array(list) => Some(list.as_slice()),
            Value::Object(answer) => Fields(answer).list(&["tools"])?,
            _ => None,
        };
        all.extend_from_slice(list.ok_or_else(|| Fault::field("tools", "a server's answer has no list of tools"))?);
    }
    tools(&all, cutter).map(Some)
}

type Reached = (Option<Transport>, Option<String>, Option<String>);

/// Transport, endpoint and package, as far as the client's configuration tells them.
fn how_to_reach(fields: Fields<'_>) -> Result<Reached, Fault> {
    if let Some(found) = remote(fields.list(&["remotes"])?.unwrap_or_default())? {
        return Ok((Some(found.0), Some(found.1), None));
    }
    let servers = fields.0.get("config").and_then(|config| config.get("mcpServers")?.as_object());
    let Some(first) = servers.and_then(|servers| servers.values().next()?.as_object()) else {
        return Ok((None, None, None));
    };
    if let Some(url) = first.get("url").and_then(Value::as_str).filter(|url| check_endpoint("url", Some(url)).is_ok()) {
        let kind = first.get("type").or_else(|| first.get("transport")).and_then(Value::as_str);
        let transport = kind.and_then(super::transport).unwrap_or_default();
        return Ok((Some(transport), Some(url.to_owned()), None));
    }
    let args = first.get("args").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let args: Vec<&str> = args.iter().filter_map(Value::as_str).collect();
    let command = first.get("command").and_then(Value::as_str);
    let package = match command {
        Some("npx" | "bunx") => plain(&args).map(|name| package("npm", versionless(name))).transpose()?,
        Some("uvx" | "uv" | "pipx") => python(&args).map(|name| package("pypi", versionless(name))).transpose()?,
        _ => None,
    };
    Ok((command.map(|_| Transport::Stdio), None, package))
}

/// The first argument that is no option.
fn plain<'a>(args: &[&'a str]) -> Option<&'a str> {
    args.iter().copied().find(|arg| !arg.starts_with('-'))
}

/// The package that a runner of Python's fetches: the one that is named for it, else the program itself.
fn python<'a>(args: &[&'a str]) -> Option<&'a str> {
    let named = args.windows(2).find(|pair| ["--from", "--with"].contains(&pair[0])).map(|pair| pair[1]);
    named.or_else(|| plain(args).filter(|arg| *arg != "run"))
}

/// `name@version` without its version; a scope's own `@` comes first.
fn versionless(name: &str) -> &str {
    let end = name.rfind('@').filter(|at| *at > 0).or_else(|| name.find("=="));
    &name[..end.unwrap_or(name.len())]
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn server(value: &Value) -> Server {
        match read(value).unwrap() {
            Read::Wanted { wanted: Wanted::Server(server), .. } => *server,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_tools_of_all_answers_are_taken_with_their_schemas() {
        let tool = json!({"name": "t", "description": null, "inputSchema": {"type": "object"}, "annotations": null});
        let server = server(&json!({"name": "S", "category": "Code", "tools": {
            "one": {"server_name": "one", "tools": [tool]}, "two": {"tools": [{"name": "u"}]}}}));
        let tools = server.tools.unwrap();
        assert_eq!(tools[0].input_schema.as_deref(), Some(r#"{"type":"object"}"#));
        assert_eq!((tools.len(), &tools[1].input_schema), (2, &None));
        assert!(read(&json!({"name": "S", "tools": {"one": 1}})).is_err());
        assert!(
            matches!(read(&json!({"name": "S", "tools": []})), Ok(Read::Wanted { wanted: Wanted::Server(s), .. }) if s.tools == Some(vec![]))
        );
    }

    #[test]
    fn the_package_comes_from_the_command_that_starts_it() {
        for (command, args, package) in [
            ("npx", json!(["-y", "@a/b@latest"]), Some("npm:@a/b")),
            ("npx", json!(["-y", "c@1.6.2", "--flag"]), Some("npm:c")),
            ("uvx", json!(["d-mcp", "--x"]), Some("pypi:d-mcp")),
            ("uvx", json!(["--from", "e", "e_server"]), Some("pypi:e")),
            ("uv", json!(["run", "--with", "f", "f", "run"]), Some("pypi:f")),
            ("uv", json!(["run", "server.py"]), None),
            ("python", json!(["x.py"]), None),
        ] {
            let server =
                server(&json!({"name": "S", "config": {"mcpServers": {"s": {"command": command, "args": args}}}}));
            assert_eq!(server.listing.package.as_deref(), package, "{command} {args}");
            assert_eq!(server.listing.transport, Some(Transport::Stdio));
        }
        let remote =
            server(&json!({"name": "S", "config": {"mcpServers": {"s": {"type": "sse", "url": "https://a.b/sse"}}}}));
        assert_eq!(
            (remote.listing.transport, remote.listing.endpoint.as_deref()),
            (Some(Transport::Sse), Some("https://a.b/sse"))
        );
    }
}

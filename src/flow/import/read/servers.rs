//! A list of MCP servers by their packages, as ToolSDK's registry publishes it.
//!
//! Its tools come without schemas, and an empty list of them says nothing. A server without a name is called by its id.

use super::{package, remote, texts, tools};
use crate::domain::common::TEXT_BYTES_MAX;
use crate::domain::mcp_server::{ReviseMcpServer, Transport};
use crate::flow::import::entry::{Cutter, Fault, Fields, Rank, Read};
use crate::flow::import::wanted::{Server, Wanted};
use serde_json::Value;

/// Members of a list under which its entries are.
pub const LISTS: &[&str] = &["servers", "packages"];

/// # Errors
/// When the entry is not of this format, or cannot be kept here.
pub fn read(value: &Value) -> Result<Read, Fault> {
    let fields = Fields::of(value)?;
    let package_name = fields.text(&["packageName"])?.filter(|name| !name.trim().is_empty());
    let key = match package_name {
        Some(name) => name,
        None => fields.needed(&["id"]).map_err(|_| Fault::field("packageName", "is missing, and so is id"))?,
    };
    let name = fields.text(&["name"])?.filter(|name| !name.trim().is_empty()).unwrap_or(key);
    let mut cutter = Cutter::default();
    let remotes = fields.list(&["remotes"])?;
    let remote = remote(remotes.unwrap_or_default());
    let packaged = package_name.map(|name| package(registry(fields), name)).transpose()?;
    let remote = match (remote, &packaged) {
        (Err(fault), Some(_)) => {
            cutter.left_out("remotes", super::no_remote(&fault));
            None
        }
        (remote, _) => remote?,
    };
    let transport = remote.as_ref().map(|(transport, _)| *transport);
    let transport = transport.or_else(|| packaged.as_ref().map(|_| Transport::Stdio));
    let known_tools = fields.list(&["tools"])?.filter(|tools| !tools.is_empty());
    let tags = fields.list(&["tags"])?.map(|tags| texts("tags", tags)).transpose()?;
    let listing = ReviseMcpServer {
        name: Some(cutter.name("name", name)),
        category: fields.text(&["category"])?.map(|category| cutter.name("category", category)),
        description: fields.text(&["description"])?.map(|it| cutter.text("description", it, TEXT_BYTES_MAX)),
        transport,
        // A list that is there says all remotes there are.
        endpoint: remotes.map(|_| remote.map(|(_, url)| url).unwrap_or_default()),
        package: packaged,
        capabilities: tags.map(|tags| cutter.labels("tags", tags)),
    };
    let tools = known_tools.map(|values| tools(values, &mut cutter)).transpose()?;
    let wanted = Wanted::Server(Box::new(Server { listing, tools }));
    Ok(Read::Wanted { key: key.to_owned(), rank: Rank::default(), wanted, cuts: cutter.cuts })
}

/// Where packages of this runtime come from; a runtime without a registry of its own stands for itself.
fn registry(fields: Fields<'_>) -> &str {
    match fields.0.get("runtime").and_then(Value::as_str) {
        Some("node") => "npm",
        Some("python") => "pypi",
        Some("docker") => "oci",
        Some(other) if !other.is_empty() => other,
        _ => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn server(value: &Value) -> (String, Server) {
        match read(value).unwrap() {
            Read::Wanted { wanted: Wanted::Server(server), key, .. } => (key, *server),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_server_has_its_package_by_its_runtime_and_its_tools_without_schemas() {
        let (key, server) = server(&json!({"packageName": "@a/b", "id": "b", "name": "B", "runtime": "node",
            "category": "search", "description": "d", "tools": [{"name": "t", "description": "does"}]}));
        assert_eq!((key.as_str(), server.listing.name.as_deref()), ("@a/b", Some("B")));
        assert_eq!(
            (server.listing.package.as_deref(), server.listing.transport),
            (Some("npm:@a/b"), Some(Transport::Stdio))
        );
        assert_eq!((server.listing.endpoint, server.tools.unwrap()[0].input_schema.clone()), (None, None));
    }

    #[test]
    fn the_id_stands_for_the_name_and_for_the_package_and_no_tools_are_no_knowledge() {
        let (key, named) = server(&json!({"packageName": "p", "id": "i", "runtime": "go", "tools": []}));
        assert_eq!((key.as_str(), named.listing.name.as_deref(), &named.tools), ("p", Some("p"), &None));
        assert_eq!(named.listing.package.as_deref(), Some("go:p"));
        let (key, remote) = server(
            &json!({"id": "i", "remotes": [{"type": "streamable-http", "url": "https://a.b/mcp", "auth": {"type": "oauth2"}}]}),
        );
        assert_eq!(
            (key.as_str(), remote.listing.package, remote.listing.endpoint.as_deref()),
            ("i", None, Some("https://a.b/mcp"))
        );
        assert_eq!(remote.listing.transport, Some(Transport::StreamableHttp));
        let unusable = json!({"packageName": "p", "remotes": [{"url": "not a url"}]});
        let Ok(Read::Wanted { cuts, .. }) = read(&unusable) else { panic!("{unusable}") };
        assert_eq!(cuts[0].field, "remotes");
        assert!(cuts[0].reason.contains("no endpoint") && cuts[0].reason.contains("must be a URL"), "{cuts:?}");
        assert_eq!(read(&json!({"name": "x"})).unwrap_err().field.as_deref(), Some("packageName"));
    }
}

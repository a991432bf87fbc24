//! The official MCP registry: `server.json`, alone or in a list, of whatever schema version.
//!
//! A list's entry has the document in `server` and what the registry adds beside it, in `_meta`; earlier dumps have it all
//! in one object. Names came in camel case and in snake case. The document says all there is of packages and remotes: one
//! that has none any more has none.

use super::{package, remote, transport};
use crate::domain::common::TEXT_BYTES_MAX;
use crate::domain::mcp_server::{ReviseMcpServer, Transport};
use crate::flow::import::entry::{Cutter, Fault, Fields, Rank, Read, version};
use crate::flow::import::wanted::{Server, Wanted};
use serde_json::Value;

/// Members of a list under which its entries are.
pub const LISTS: &[&str] = &["servers"];

/// # Errors
/// When the entry is not of this format, or cannot be kept here.
pub fn read(value: &Value) -> Result<Read, Fault> {
    let outer = Fields::of(value)?;
    let server = outer.object(&["server"])?.unwrap_or(outer);
    let notes = notes(outer, server);
    if status(&notes, server) == Some("deleted") {
        return Ok(Read::Withdrawn);
    }
    let name = server.needed(&["name"])?;
    let mut cutter = Cutter::default();
    let remote = remote(server.list(&["remotes"])?.unwrap_or_default());
    let packaged = first_package(server.list(&["packages"])?.unwrap_or_default())?;
    // A package is enough where no remote can be kept.
    let remote = match (remote, &packaged) {
        (Err(fault), Some(_)) => {
            cutter.left_out("remotes", super::no_remote(&fault));
            None
        }
        (remote, _) => remote?,
    };
    let transport = match (&remote, &packaged) {
        (Some((transport, _)), _) => Some(*transport),
        (None, packaged) => packaged.as_ref().map(|(transport, _)| *transport),
    };
    let tags = server.list(&["tags"])?.map(|tags| super::texts("tags", tags)).transpose()?;
    let listing = ReviseMcpServer {
        name: Some(cutter.name("name", name)),
        category: server.text(&["category"])?.map(|category| cutter.name("category", category)),
        description: server.text(&["description"])?.map(|it| cutter.text("description", it, TEXT_BYTES_MAX)),
        transport,
        endpoint: Some(remote.map(|(_, url)| url).unwrap_or_default()),
        package: Some(packaged.map(|(_, package)| package).unwrap_or_default()),
        capabilities: tags.map(|tags| cutter.labels("tags", tags)),
    };
    let wanted = Wanted::Server(Box::new(Server { listing, tools: None }));
    Ok(Read::Wanted { key: name.to_owned(), rank: rank(&notes, server)?, wanted, cuts: cutter.cuts })
}

/// What the registry says of the entry, wherever this version of it does.
fn notes<'a>(outer: Fields<'a>, server: Fields<'a>) -> Vec<Fields<'a>> {
    let metas = [outer, server].into_iter().filter_map(|fields| fields.0.get("_meta")?.as_object());
    let mut notes: Vec<_> = metas.flat_map(|meta| meta.values()).filter_map(|it| it.as_object().map(Fields)).collect();
    let beside = outer.0.iter().filter(|(name, _)| name.starts_with("x-io.modelcontextprotocol.registry"));
    notes.extend(beside.filter_map(|(_, it)| it.as_object().map(Fields)));
    notes.extend(server.0.get("version_detail").and_then(Value::as_object).map(Fields));
    notes
}

fn status<'a>(notes: &[Fields<'a>], server: Fields<'a>) -> Option<&'a str> {
    let all = notes.iter().copied().chain([server]);
    all.filter_map(|fields| fields.0.get("status")?.as_str()).next()
}

/// The latest by name, else the newest, else the highest version.
fn rank(notes: &[Fields<'_>], server: Fields<'_>) -> Result<Rank, Fault> {
    let find = |names: [&'static str; 2]| notes.iter().find_map(|fields| fields.get(&names)).map(|(_, value)| value);
    let time = |names| find(names).and_then(Value::as_str)?.parse::<jiff::Timestamp>().ok();
    let published = ["publishedAt", "published_at"];
    let at = time(published).or_else(|| time(["updatedAt", "updated_at"])).or_else(|| time(["release_date"; 2]));
    let in_detail = server.0.get("version_detail").and_then(|detail| detail.get("version")?.as_str());
    let text = server.text(&["version"])?.or(in_detail).unwrap_or_default();
    Ok(Rank {
        is_latest: find(["isLatest", "is_latest"]).and_then(Value::as_bool).unwrap_or_default(),
        published_at: at.map(jiff::Timestamp::as_microsecond),
        version: version(text),
    })
}

/// The transport and the package of the first one.
fn first_package(packages: &[Value]) -> Result<Option<(Transport, String)>, Fault> {
    let Some(first) = packages.first() else { return Ok(None) };
    let fields = Fields::of(first).map_err(|_| Fault::field("packages", "must be a list of objects"))?;
    let registry = fields.text(&["registryType", "registry_type", "registry_name", "registryName"])?;
    let identifier = fields.text(&["identifier", "name"])?.filter(|name| !name.trim().is_empty());
    let identifier = identifier.ok_or_else(|| Fault::field("packages.identifier", "is missing"))?;
    // Absent in the schemas that knew local servers only.
    let kind = match fields.get(&["transport"]) {
        Some((_, Value::Object(how))) => Fields(how).text(&["type"])?.unwrap_or("stdio"),
        Some((_, Value::String(how))) => how,
        _ => "stdio",
    };
    let transport = transport(kind)
        .ok_or_else(|| Fault::field("packages.transport", format!("{kind:?} is no transport that is known here")))?;
    Ok(Some((transport, package(registry.unwrap_or("unknown"), identifier)?)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn server(value: &Value) -> (ReviseMcpServer, Rank) {
        match read(value).unwrap() {
            Read::Wanted { wanted: Wanted::Server(server), rank, .. } => (server.listing, rank),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_entry_of_the_list_is_read() {
        let (listing, rank) = server(&json!({
            "server": {"name": "a.b/c", "description": "d", "version": "1.2.0", "repository": {},
                "remotes": [{"type": "sse", "url": "https://x.y/sse"}, {"type": "streamable-http", "url": "https://x.y/mcp"}],
                "packages": [{"registryType": "oci", "identifier": "docker.io/x/y:1", "transport": {"type": "stdio"}}]},
            "_meta": {"io.modelcontextprotocol.registry/official":
                {"status": "active", "publishedAt": "2025-09-08T23:47:09.452138Z", "isLatest": true}},
        }));
        assert_eq!(
            (listing.transport, listing.endpoint.as_deref()),
            (Some(Transport::StreamableHttp), Some("https://x.y/mcp"))
        );
        assert_eq!((listing.package.as_deref(), listing.category), (Some("oci:docker.io/x/y:1"), None));
        assert!(rank.is_latest && rank.published_at == Some(1_757_375_229_452_138), "{rank:?}");
    }

    #[test]
    fn earlier_schemas_are_read_too() {
        let (listing, rank) = server(&json!({"name": "a.b/c", "description": "d", "status": "deprecated",
            "version_detail": {"version": "0.9.1", "release_date": "2025-06-01T00:00:00Z", "is_latest": true},
            "packages": [{"registry_name": "pypi", "name": "c-mcp", "version": "0.9.1"}]}));
        assert_eq!((listing.transport, listing.package.as_deref()), (Some(Transport::Stdio), Some("pypi:c-mcp")));
        assert_eq!((rank.is_latest, rank.version), (true, (vec![0, 9, 1], true)));
        let (listing, _) = server(&json!({"name": "a", "version": "1", "packages": [
            {"registry_type": "npm", "identifier": "@a/b", "transport": {"type": "streamable-http", "url": "http://localhost"}}]}));
        assert_eq!(
            (listing.transport, listing.package.as_deref()),
            (Some(Transport::StreamableHttp), Some("npm:@a/b"))
        );
    }

    #[test]
    fn neither_package_nor_remote_is_allowed_and_a_remote_that_cannot_be_kept_needs_a_package() {
        let (listing, _) = server(&json!({"server": {"name": "a", "version": "1"}}));
        assert_eq!(
            (listing.transport, listing.endpoint.as_deref(), listing.package.as_deref()),
            (None, Some(""), Some(""))
        );
        let mut entry = json!({"name": "a", "remotes": [{"type": "sse", "url": "{host}/sse"}]});
        assert_eq!(read(&entry).unwrap_err().field.as_deref(), Some("remotes.url"));
        entry["packages"] = json!([{"registryType": "npm", "identifier": "a"}]);
        assert!(matches!(read(&entry), Ok(Read::Wanted { cuts, .. }) if cuts[0].field == "remotes"));
    }

    #[test]
    fn what_was_deleted_upstream_is_not_there_and_what_is_wrong_names_its_field() {
        let deleted = json!({"server": {"name": "a"}, "_meta": {"x/official": {"status": "deleted"}}});
        assert_eq!(read(&deleted), Ok(Read::Withdrawn));
        for (entry, field) in [
            (json!({"server": {"description": "x"}}), "name"),
            (json!({"name": "a", "packages": {}}), "packages"),
            (json!({"name": "a", "packages": [{"registryType": "npm"}]}), "packages.identifier"),
            (json!({"name": "a", "description": 7}), "description"),
        ] {
            assert_eq!(read(&entry).unwrap_err().field.as_deref(), Some(field), "{entry}");
        }
    }
}

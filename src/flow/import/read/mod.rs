//! The readers: one file per format, each from one entry to what it wants.

pub mod agents;
pub mod cards;
pub mod litellm;
pub mod models_dev;
pub mod oasf;
pub mod registry;
pub mod servers;
pub mod templates;
pub mod tools;

use super::entry::{Cutter, Fault, Fields};
use super::wanted::KnownTool;
use crate::domain::checks::check_endpoint;
use crate::domain::common::NAME_BYTES_MAX;
use crate::domain::mcp_server::digest::canonical_text;
use crate::domain::mcp_server::{SCHEMA_BYTES_MAX, TOOL_DESCRIPTION_BYTES_MAX, TOOLS_MAX, Transport};
use serde_json::Value;

/// How a transport is called in the formats there are; `None` for one that the protocol does not have.
pub fn transport(name: &str) -> Option<Transport> {
    match name {
        "stdio" => Some(Transport::Stdio),
        "streamable-http" | "streamable_http" | "streamable" | "http" => Some(Transport::StreamableHttp),
        "sse" => Some(Transport::Sse),
        _ => None,
    }
}

/// The transport and the URL of the remote that is best to use: streamable HTTP before the others, else in their order.
///
/// # Errors
/// When there are remotes and none has a URL that can be kept here; it names the first.
pub fn remote(remotes: &[Value]) -> Result<Option<(Transport, String)>, Fault> {
    let mut usable = Vec::new();
    let mut first_fault = None;
    for value in remotes {
        let fields = Fields::of(value).map_err(|_| Fault::field("remotes", "must be a list of objects"))?;
        let url = fields.text(&["url"])?.unwrap_or_default();
        let kind = fields.text(&["type", "transport_type", "transport"])?.unwrap_or("streamable-http");
        match (transport(kind), check_endpoint("remotes.url", Some(url))) {
            (Some(transport), Ok(())) => usable.push((transport, url.to_owned())),
            (Some(_), Err(rejection)) => {
                let why = rejection.message.strip_prefix("remotes.url: ").unwrap_or(&rejection.message);
                first_fault.get_or_insert_with(|| Fault::field("remotes.url", why));
            }
            (None, _) => {
                let why = format!("the transport {kind:?} is none that is known here");
                first_fault.get_or_insert_with(|| Fault::field("remotes.type", why));
            }
        }
    }
    usable.sort_by_key(|(transport, _)| *transport != Transport::StreamableHttp);
    match (usable.into_iter().next(), first_fault) {
        (None, Some(fault)) => Err(fault),
        (found, _) => Ok(found),
    }
}

/// What is told of an entry that has no remote which can be kept, and is taken for its package.
pub fn no_remote(fault: &Fault) -> String {
    let field = fault.field.as_deref().unwrap_or("remotes");
    format!("none can be kept, so that the server has no endpoint: {field} {}", fault.reason)
}

/// `registry:identifier`.
///
/// # Errors
/// When it is longer than can be kept: a package that is cut is another one.
pub fn package(registry: &str, identifier: &str) -> Result<String, Fault> {
    let package = format!("{registry}:{identifier}");
    if package.len() > NAME_BYTES_MAX {
        let why = format!("has {} bytes with its registry, at most {NAME_BYTES_MAX} are allowed", package.len());
        return Err(Fault::field("package", why));
    }
    Ok(package)
}

/// The tools of a list, each once.
///
/// # Errors
/// When one has no name, or what cannot be cut is too long.
pub fn tools(values: &[Value], cutter: &mut Cutter) -> Result<Vec<KnownTool>, Fault> {
    if values.len() > TOOLS_MAX {
        return Err(Fault::field("tools", format!("has {} entries, at most {TOOLS_MAX} are allowed", values.len())));
    }
    let mut tools: Vec<KnownTool> = Vec::with_capacity(values.len());
    for (index, value) in values.iter().enumerate() {
        let at = |fault: Fault| {
            let field = fault.field.map_or_else(String::new, |field| format!(".{field}"));
            Fault { field: Some(format!("tools[{index}]{field}")), reason: fault.reason }
        };
        let tool = tool(value, cutter).map_err(at)?;
        if tools.iter().any(|known| known.name == tool.name) {
            cutter.left_out("tools", format!("has {:?} more than once; the first counts", tool.name));
        } else {
            tools.push(tool);
        }
    }
    Ok(tools)
}

fn tool(value: &Value, cutter: &mut Cutter) -> Result<KnownTool, Fault> {
    let fields = Fields::of(value).map_err(|_| Fault::whole("the tool is no JSON object"))?;
    let name = fields.needed(&["name"])?;
    if name.len() > NAME_BYTES_MAX {
        return Err(Fault::field("name", format!("has {} bytes, at most {NAME_BYTES_MAX} are allowed", name.len())));
    }
    let description = fields.text(&["description"])?;
    let input_schema = match fields.get(&["inputSchema", "input_schema", "parameters"]) {
        None => None,
        Some((_, schema @ Value::Object(_))) => Some(canonical_text(&schema.to_string())),
        Some((_, Value::String(text))) => Some(canonical_text(text)),
        Some((name, _)) => return Err(Fault::field(name, "must be a JSON object, or its text")),
    };
    if let Some(bytes) = input_schema.as_ref().map(String::len).filter(|bytes| *bytes > SCHEMA_BYTES_MAX) {
        let why = format!("has {bytes} bytes in canonical form, at most {SCHEMA_BYTES_MAX} are allowed");
        return Err(Fault::field("inputSchema", why));
    }
    let cut = |text: &str| cutter.text("tools", text, TOOL_DESCRIPTION_BYTES_MAX);
    Ok(KnownTool { name: name.to_owned(), description: description.map(cut), input_schema })
}

/// Texts of a list; what is none is a fault.
///
/// # Errors
/// As said.
pub fn texts<'a>(field: &'static str, values: &'a [Value]) -> Result<Vec<&'a str>, Fault> {
    let text = |value: &'a Value| value.as_str().ok_or_else(|| Fault::field(field, "must be a list of texts"));
    values.iter().map(text).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_best_remote_is_taken_that_can_be_kept() {
        let remotes = json!([
            {"type": "sse", "url": "https://a.example/sse"},
            {"transport_type": "streamable", "url": "https://a.example/mcp"},
            {"type": "streamable-http", "url": "{base}/mcp"},
        ]);
        let remotes = remotes.as_array().unwrap();
        assert_eq!(remote(remotes), Ok(Some((Transport::StreamableHttp, "https://a.example/mcp".into()))));
        assert_eq!(remote(&remotes[..1]).unwrap().unwrap().0, Transport::Sse);
        assert_eq!(remote(&remotes[2..]).unwrap_err().field.as_deref(), Some("remotes.url"));
        assert_eq!(remote(&[]), Ok(None));
    }

    #[test]
    fn tools_are_read_whether_or_not_their_schemas_are_known() {
        let mut cutter = Cutter::default();
        let values = json!([
            {"name": "a", "description": null},
            {"name": "b", "description": "x", "inputSchema": {"type": "object", "b": 1, "a": 1.0}},
            {"name": "a", "description": "again"},
        ]);
        let tools = super::tools(values.as_array().unwrap(), &mut cutter).unwrap();
        assert_eq!((tools.len(), &tools[0].description, &tools[0].input_schema), (2, &None, &None));
        assert_eq!(tools[1].input_schema.as_deref(), Some(r#"{"a":1,"b":1,"type":"object"}"#));
        assert_eq!(cutter.cuts[0].reason, "has \"a\" more than once; the first counts");
        let nameless = json!([{"name": "a"}, {"description": "x"}]);
        let fault = super::tools(nameless.as_array().unwrap(), &mut Cutter::default()).unwrap_err();
        assert_eq!(fault.field.as_deref(), Some("tools[1].name"));
    }
}

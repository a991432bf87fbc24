//! What a format makes of an entry before it is read: a file of another kind must not become resources because its
//! entries happen to have names.
//!
//! Each format is told by members that it demands in all of its versions, and by no more than those: what a format
//! leaves open is not demanded here. An entry that lacks them is refused with the one that is missing and with the
//! format that it does look like. Some entries have nothing that only their format has; these are taken, unless they
//! look like one of another format.
//!
//! Lines of agents have the form that their mapping says, so that any object may be one. Without a mapping, one that is
//! plainly an entry of a list of servers, cards or skills is refused; one with instructions or tools is not: agents
//! have those too.

#[cfg(test)]
mod tests;

use super::Kind;
use super::entry::Fault;
use super::scan::{Found, Values, members};
use serde_json::{Map, Value};

/// Members of a document that are looked at to see of which format it is.
const SEEN_MEMBERS: usize = 32;
/// Bytes of them that are read.
const SEEN_BYTES_MAX: usize = 1 << 20;

/// How an entry stands to a format.
#[derive(Debug, PartialEq, Eq)]
enum Form {
    /// It has what only this format has.
    Plain,
    /// It has all that the format demands, and nothing by which to know it.
    Open,
    /// This member, which the format demands, is not there; a sentence on it.
    Lacks(&'static str, &'static str),
}

/// Kinds by which an entry can be known, the most peculiar first.
const KNOWN: [Kind; 8] = [
    Kind::McpServers,
    Kind::A2aCards,
    Kind::OasfSkills,
    Kind::McpRegistry,
    Kind::McpTools,
    Kind::AgentTemplates,
    Kind::ModelsDev,
    Kind::LiteLlm,
];

/// Whether an entry can be of this kind. What is no object is left to the reader. `is_mapped` says that the fields of
/// agents were named.
///
/// # Errors
/// What is missing, and what the entry looks like.
pub fn check(kind: Kind, value: &Value, is_mapped: bool) -> Result<(), Fault> {
    let Some(entry) = value.as_object() else { return Ok(()) };
    if kind == Kind::Agents {
        let other = looks_like(value).filter(|other| !is_mapped && other.is_no_agent());
        return match other {
            None => Ok(()),
            Some(other) => {
                let why = "; to make agents of such lines name the field that tells them apart as the key";
                Err(Fault::whole(format!("{}{why}", hint(other))))
            }
        };
    }
    let (field, why) = match form(kind, entry) {
        Form::Plain => return Ok(()),
        Form::Open => match looks_like(value) {
            None => return Ok(()),
            Some(other) => return Err(Fault::whole(hint(other))),
        },
        Form::Lacks(field, why) => (field, why),
    };
    let hint = looks_like(value).filter(|other| *other != kind).map(|other| format!("; {}", hint(other)));
    Err(Fault::field(field, format!("{why}{}", hint.unwrap_or_default())))
}

/// The other kind of which a document of models plainly is, if it is.
pub fn other_document(kind: Kind, bytes: &[u8], found: &Found<'_>) -> Option<Fault> {
    let other = looks_like(&beginning(bytes, found)?)?;
    (other != kind).then(|| Fault::whole(hint(other)))
}

/// The other kind of which a document plainly is one entry, although it has a member that is called as a list of this
/// kind is: a card has skills, and a server has packages.
pub fn other_entry(kind: Kind, bytes: &[u8], found: &Found<'_>) -> Option<Fault> {
    let beginning = beginning(bytes, found)?;
    let entry = beginning.as_object()?;
    let is_other = |other: &Kind| *other != kind && other.source_of_offers().is_none();
    let other = KNOWN.into_iter().filter(is_other).find(|other| form(*other, entry) == Form::Plain)?;
    Some(Fault::whole(hint(other)))
}

fn hint(other: Kind) -> String {
    format!("this looks like {0}: import it as {0}", other.name())
}

impl Kind {
    fn is_no_agent(self) -> bool {
        matches!(self, Self::McpServers | Self::McpRegistry | Self::A2aCards | Self::OasfSkills)
    }
}

/// The kind of which an entry plainly is, or the first entry of a list of such.
fn looks_like(value: &Value) -> Option<Kind> {
    let entry = match value {
        Value::Array(list) => return looks_like(list.first()?),
        Value::Object(entry) => entry,
        _ => return None,
    };
    let is_plain = |kind: &Kind| form(*kind, entry) == Form::Plain;
    KNOWN.into_iter().find(is_plain).or_else(|| {
        let listed = |kind: &Kind| {
            let lists = kind.lists().iter().filter_map(|name| entry.get(*name)?.as_array()?.first()?.as_object());
            lists.into_iter().any(|first| form(*kind, first) == Form::Plain)
        };
        KNOWN.into_iter().find(listed)
    })
}

/// The first pieces of a document, of lists their first entries.
fn beginning(bytes: &[u8], found: &Found<'_>) -> Option<Value> {
    let read = |found: Found<'_>| match found.bytes.first() {
        Some(b'[') => {
            let first = Values::of_list(bytes, found.at).next();
            let first = first.and_then(|first| serde_json::from_slice(first.bytes).ok());
            Some(Value::Array(first.into_iter().collect()))
        }
        _ => serde_json::from_slice(found.bytes).ok(),
    };
    if found.bytes.first() != Some(&b'{') {
        return read(*found);
    }
    let (mut seen, mut left) = (Map::new(), SEEN_BYTES_MAX);
    for (name, member) in members(bytes, found.at).into_iter().take(SEEN_MEMBERS) {
        let name = serde_json::from_slice(name).unwrap_or_default();
        let is_list = member.bytes.starts_with(b"[");
        if !is_list && member.bytes.len() > left {
            continue;
        }
        left -= if is_list { 0 } else { member.bytes.len() };
        seen.insert(name, read(member).unwrap_or_default());
    }
    Some(Value::Object(seen))
}

fn form(kind: Kind, entry: &Map<String, Value>) -> Form {
    let entry = Entry(entry);
    match kind {
        Kind::McpRegistry => registry(entry),
        Kind::McpServers => servers(entry),
        Kind::McpTools => tools(entry),
        Kind::AgentTemplates => templates(entry),
        Kind::A2aCards => card(entry),
        Kind::OasfSkills => skill(entry),
        Kind::ModelsDev => models_dev(entry),
        Kind::LiteLlm => litellm(entry),
        Kind::Agents => Form::Open,
    }
}

/// `server.json`: every version of its schema has a version, in the earliest within `version_detail`. What the registry
/// adds, the schema's address, packages and remotes are of this format alone; a document may have none of these, and is
/// known by the namespace of its name then.
fn registry(entry: Entry<'_>) -> Form {
    let server = entry.object("server").map_or(entry, Entry);
    if !server.has(&["version", "version_detail"]) {
        return Form::Lacks("version", "is missing; every server.json has it");
    }
    let is_of_schema = server.text("$schema").is_some_and(|schema| schema.contains("modelcontextprotocol"));
    let is_of_registry = server.has(&["version_detail"])
        || entry.has(&["_meta"])
        || entry.0.keys().any(|name| name.starts_with("x-io.modelcontextprotocol.registry"));
    if is_of_schema || is_of_registry || server.has(&["packages", "remotes"]) || entry.object("server").is_some() {
        return Form::Plain;
    }
    let is_namespaced = |name: &str| name.contains('/') && !name.starts_with('@');
    match server.text("name").is_some_and(is_namespaced) {
        true => Form::Open,
        false => Form::Lacks("name", "has no namespace, as io.github.acme/search has, and no $schema is said"),
    }
}

/// ToolSDK's list: its schema demands a type, a runtime and a package; a remote server may be listed by its id.
fn servers(entry: Entry<'_>) -> Form {
    let is_typed = entry.text("type") == Some("mcp-server");
    let has_package = entry.text("packageName").is_some();
    match () {
        () if is_typed || has_package => Form::Plain,
        () if entry.has(&["runtime"]) || entry.list("remotes").is_some() => Form::Open,
        () => Form::Lacks("packageName", "is missing, and so are type, runtime and remotes"),
    }
}

/// A server with its tools: an object of answers by server, tools with their schemas, or the configuration of a client.
/// A bare list of tools may be anybody's.
fn tools(entry: Entry<'_>) -> Form {
    let has_schema = |tool: &Value| ["inputSchema", "input_schema"].iter().any(|name| tool.get(*name).is_some());
    let listed = entry.list("tools");
    let is_answered = entry.object("tools").is_some() || listed.is_some_and(|tools| tools.iter().any(has_schema));
    let is_configured = entry.object("config").is_some_and(|config| config.contains_key("mcpServers"));
    match () {
        () if is_answered || is_configured => Form::Plain,
        () if entry.has(&["tools"]) => Form::Open,
        () => Form::Lacks("tools", "is missing, and so is config.mcpServers; a server is listed with its tools"),
    }
}

/// A file of a repository, or our own definition, which says what the agents of it are for.
fn templates(entry: Entry<'_>) -> Form {
    let own = entry.object("definition").map_or(entry, Entry);
    let is_placed = (own.text("repo").or(own.text("repository"))).is_some() && own.text("path").is_some();
    let is_prompt = ["instructions", "prompt", "body"].iter().any(|name| own.text(name).is_some());
    match () {
        () if entry.object("definition").is_some() || is_placed || is_prompt => Form::Plain,
        () if own.has(&["category", "role", "purpose", "parameters"]) => Form::Open,
        () => Form::Lacks("instructions", "is missing, and so are repo and path, prompt, category, role and purpose"),
    }
}

/// An agent card: from 0.1 to 1.0 the protocol demands skills, capabilities and where the agent is. JSON that is made
/// from Protocol Buffers leaves out a list that is empty: one of the first two is enough.
fn card(entry: Entry<'_>) -> Form {
    if !entry.has(&["skills", "capabilities"]) {
        return Form::Lacks("skills", "is missing, and so is capabilities; every A2A agent card has them");
    }
    if !entry.has(&["url", "supportedInterfaces", "additionalInterfaces"]) {
        return Form::Lacks(
            "url",
            "is missing, and so is supportedInterfaces; every A2A agent card says where its agent is",
        );
    }
    let is_list = entry.list("skills").is_none_or(|skills| skills.iter().all(Value::is_object));
    let is_capable = entry.object("capabilities").is_some() || entry.list("skills").is_some();
    if is_list && is_capable { Form::Plain } else { Form::Open }
}

/// A class of the taxonomy: all but the first extend another.
fn skill(entry: Entry<'_>) -> Form {
    if entry.text("name") == Some(super::read::oasf::ROOT) {
        return Form::Plain;
    }
    if !entry.has(&["extends"]) {
        return Form::Lacks("extends", "is missing; every skill of the taxonomy extends another, at last base_skill");
    }
    match entry.has(&["uid", "caption", "attributes"]) {
        true => Form::Plain,
        false => {
            Form::Lacks("uid", "is missing, and so are caption and attributes; every class of the taxonomy has them")
        }
    }
}

/// Providers, each with its models.
fn models_dev(entry: Entry<'_>) -> Form {
    let is_regrouped = entry.object("providers").is_some() && entry.list("models").is_some();
    let is_published = entry.0.values().any(|provider| provider.get("models").is_some_and(Value::is_object));
    if is_regrouped || is_published { Form::Plain } else { Form::Open }
}

/// Models, each with its provider.
fn litellm(entry: Entry<'_>) -> Form {
    let is_published = entry.0.values().any(|model| model.get("litellm_provider").is_some());
    if is_published { Form::Plain } else { Form::Open }
}

/// The members of an entry; null is as good as absent.
#[derive(Clone, Copy)]
struct Entry<'a>(&'a Map<String, Value>);

impl<'a> Entry<'a> {
    fn has(self, names: &[&str]) -> bool {
        names.iter().any(|name| self.0.get(*name).is_some_and(|value| !value.is_null()))
    }

    fn text(self, name: &str) -> Option<&'a str> {
        self.0.get(name)?.as_str().filter(|text| !text.trim().is_empty())
    }

    fn list(self, name: &str) -> Option<&'a Vec<Value>> {
        self.0.get(name)?.as_array()
    }

    fn object(self, name: &str) -> Option<&'a Map<String, Value>> {
        self.0.get(name)?.as_object()
    }
}

//! KIND: a resource by any of its usual spellings.

use crate::domain::Aggregate;

/// Takes the singular and the plural, with hyphens or underscores, in any case: `agent`, `agents`, `mcp-server`,
/// `mcp_servers`, `MCP-Servers`.
///
/// # Errors
/// A sentence that lists the kinds there are.
pub fn parse(text: &str) -> Result<Aggregate, String> {
    let plural = text.to_ascii_lowercase().replace('_', "-");
    let singular = plural.replace('-', "_");
    Aggregate::from_plural(&plural).or_else(|| Aggregate::from_name(&singular)).ok_or_else(|| {
        let known: Vec<_> = Aggregate::ALL.iter().map(|kind| kind.plural()).collect();
        format!("there is no kind {text:?}; the kinds are {}", known.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_of_a_kind_is_taken() {
        for text in ["mcp-server", "mcp-servers", "mcp_server", "mcp_servers", "MCP-Servers"] {
            assert_eq!(parse(text), Ok(Aggregate::McpServer), "{text}");
        }
        for kind in Aggregate::ALL {
            assert_eq!(parse(kind.name()), Ok(*kind));
            assert_eq!(parse(kind.plural()), Ok(*kind));
        }
    }

    #[test]
    fn an_unknown_kind_names_the_known_ones() {
        let error = parse("robots").unwrap_err();
        assert!(error.contains("robots") && error.contains("agents, mcp-servers"), "{error}");
    }
}

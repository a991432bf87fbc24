//! Checks that several aggregates make: the tenant's gate, endpoints, reasons that travel.

use super::common::{TEXT_BYTES_MAX, check_length};
use super::tenant::standing;
use super::{Context, Lookup, Rejection, StreamId, TenantId};

/// Longest endpoint, in bytes.
pub const ENDPOINT_BYTES_MAX: usize = 2048;

/// What [`check_tenant`] has to see.
pub fn tenant_lookup(tenant: TenantId) -> Vec<Lookup> {
    standing::lookup(tenant).into_iter().collect()
}

/// The stream that speaks for a tenant; for the shared catalogue one that nothing is ever recorded in.
pub fn tenant_stream(tenant: TenantId) -> StreamId {
    standing::stream(tenant)
}

/// Refuses while the command's tenant is suspended or closed.
///
/// # Errors
/// `tenant_suspended`, `tenant_closed`.
pub fn check_tenant(context: &Context<'_>) -> Result<(), Rejection> {
    standing::check_open(context.envelope.tenant(), context.world).map(|_| ())
}

/// An `http` or `https` URL with a host, without blanks or credentials, within [`ENDPOINT_BYTES_MAX`]. Absent is right.
/// The URL is not repeated in the message: what is wrong with it may be a secret in it.
///
/// # Errors
/// `invalid`.
pub fn check_endpoint(field: &str, endpoint: Option<&str>) -> Result<(), Rejection> {
    let Some(endpoint) = endpoint else { return Ok(()) };
    check_length(field, endpoint, ENDPOINT_BYTES_MAX)?;
    let Some((scheme, rest)) = endpoint.split_once("://") else {
        return Err(Rejection::invalid(field, "must be a URL that starts with http:// or https://"));
    };
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(Rejection::invalid(field, "must be a URL that starts with http:// or https://"));
    }
    if endpoint.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(Rejection::invalid(field, "must not contain blanks or control characters"));
    }
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Rejection::invalid(field, "must not carry a user or a password; history keeps what is recorded"));
    }
    if authority.is_empty() || authority.starts_with(':') {
        return Err(Rejection::invalid(field, "must name a host"));
    }
    Ok(())
}

/// An optional text where an empty one stands for none.
pub fn some_text(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// The reason of a follow-up command: what happened, then the reason given for it, cut to what a reason may have.
pub fn because(what: &str, reason: &str) -> String {
    if reason.is_empty() {
        return what.to_owned();
    }
    let mut text = format!("{what}: {reason}");
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_web_address_without_secrets() {
        for right in
            ["https://mcp.example.com/sse?x=1", "http://localhost:8080", "HTTPS://{region}.example.com/@scope/mcp"]
        {
            assert_eq!(check_endpoint("endpoint", Some(right)), Ok(()), "{right}");
        }
        let long = format!("https://example.com/{}", "x".repeat(ENDPOINT_BYTES_MAX));
        for wrong in [
            "",
            "example.com",
            "ftp://example.com",
            "https://",
            "https:///path",
            "https://:443/",
            "https://a b.com",
            "https://a.com/\n",
            "https://me:secret@example.com/",
            "https://secret@example.com",
            &long,
        ] {
            let rejection = check_endpoint("endpoint", Some(wrong)).expect_err(wrong);
            assert_eq!(rejection.code, "invalid");
            assert!(!rejection.message.contains("secret"), "{}", rejection.message);
        }
        assert_eq!(check_endpoint("endpoint", None), Ok(()));
    }

    #[test]
    fn a_reason_that_travels_stays_within_what_a_reason_may_have() {
        assert_eq!(because("the server was deregistered", ""), "the server was deregistered");
        assert_eq!(because("the server was deregistered", "moved"), "the server was deregistered: moved");
        let long = because("gone", &"ü".repeat(TEXT_BYTES_MAX / 2));
        assert!(long.len() <= TEXT_BYTES_MAX && long.ends_with('ü'));
    }
}

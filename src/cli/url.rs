//! Addresses: the base URL of a server, and the escaping of what goes into a path or a query.

use std::fmt::{self, Write as _};
use std::str::FromStr;

/// `http://host[:port][/prefix]`. TLS is the business of a proxy in front of the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseUrl {
    /// `host:port`, an IPv6 host in brackets: what a socket connects to and what the `Host` header says.
    pub authority: String,
    /// Empty, or `/…` without a slash at its end.
    pub prefix: String,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url:?} is not a base URL: {reason}; write it like http://127.0.0.1:7400")]
pub struct UrlError {
    url: String,
    reason: &'static str,
}

impl FromStr for BaseUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let error = |reason| UrlError { url: text.into(), reason };
        let Some((scheme, rest)) = text.split_once("://") else { return Err(error("it has no scheme")) };
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(error("only http is supported"));
        }
        if rest.contains(['?', '#', '@']) || rest.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(error("user, query, fragment and blanks have no place in it"));
        }
        let (authority, prefix) = match rest.find('/') {
            Some(slash) => rest.split_at(slash),
            None => (rest, ""),
        };
        let (host, port) = match authority.rfind(':') {
            Some(colon) if !authority.ends_with(']') => (&authority[..colon], &authority[colon + 1..]),
            _ => (authority, "80"),
        };
        let bracketed = host.starts_with('[') && host.ends_with(']');
        if host.is_empty() || (host.contains(':') && !bracketed) {
            return Err(error("the host is missing or malformed"));
        }
        let Ok(port) = port.parse::<u16>() else { return Err(error("the port is not a number up to 65535")) };
        Ok(Self { authority: format!("{host}:{port}"), prefix: prefix.trim_end_matches('/').to_owned() })
    }
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.prefix)
    }
}

/// Appends `text` with everything escaped but RFC 3986's unreserved characters.
pub fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte as char),
            // Writing to a String cannot fail.
            _ => _ = write!(out, "%{byte:02X}"),
        }
    }
}

/// Appends `?key=value`, or `&key=value` when the target has a query already.
pub fn append_query(target: &mut String, key: &str, value: &str) {
    target.push(if target.contains('?') { '&' } else { '?' });
    escape(target, key);
    target.push('=');
    escape(target, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        match text.parse::<BaseUrl>() {
            Ok(url) => format!("{}|{}", url.authority, url.prefix),
            Err(error) => error.reason.to_owned(),
        }
    }

    #[test]
    fn base_urls_are_split_into_authority_and_prefix() {
        assert_eq!(parsed("http://127.0.0.1:7400"), "127.0.0.1:7400|");
        assert_eq!(parsed("http://fleet.example/"), "fleet.example:80|");
        assert_eq!(parsed("HTTP://[::1]:7400/av/"), "[::1]:7400|/av");
        assert_eq!(parsed("http://[::1]"), "[::1]:80|");
    }

    #[test]
    fn what_is_no_base_url_is_refused_with_a_reason() {
        assert_eq!(parsed("127.0.0.1:7400"), "it has no scheme");
        assert_eq!(parsed("https://fleet.example"), "only http is supported");
        assert_eq!(parsed("http://:7400"), "the host is missing or malformed");
        assert_eq!(parsed("http://::1:7400"), "the host is missing or malformed");
        assert_eq!(parsed("http://host:70000"), "the port is not a number up to 65535");
        assert_eq!(parsed("http://host/?a=b"), "user, query, fragment and blanks have no place in it");
        assert_eq!(parsed("http://host\r\nX: y"), "user, query, fragment and blanks have no place in it");
    }

    #[test]
    fn queries_are_escaped() {
        let mut target = String::from("/v1/agents");
        append_query(&mut target, "category", "R&D ü");
        append_query(&mut target, "limit", "5");
        assert_eq!(target, "/v1/agents?category=R%26D%20%C3%BC&limit=5");
    }
}

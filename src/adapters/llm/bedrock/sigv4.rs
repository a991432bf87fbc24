//! Amazon's request signature, version 4.

use crate::adapters::llm::wire::segment;
use crate::domain::common::hex;
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Who signs, and for what.
pub struct Signer<'a> {
    pub key_id: &'a str,
    pub secret: &'a str,
    pub region: &'a str,
    pub service: &'a str,
}

/// What is signed.
pub struct Request<'a> {
    pub method: &'a str,
    /// As it is sent, percent-encoded.
    pub path: &'a str,
    /// As it is sent, without the question mark.
    pub query: &'a str,
    /// All that are to be signed, `host` and `x-amz-date` among them.
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a [u8],
}

impl Signer<'_> {
    /// The value of `Authorization`. `at` is the request's `x-amz-date`: `YYYYMMDDTHHMMSSZ`.
    pub fn authorization(&self, request: &Request<'_>, at: &str) -> String {
        let day = at.get(..8).unwrap_or(at);
        let scope = format!("{day}/{}/{}/aws4_request", self.region, self.service);
        let (canonical, signed) = canonical(request);
        let to_sign = format!("AWS4-HMAC-SHA256\n{at}\n{scope}\n{}", hex(&Sha256::digest(canonical)));
        let mut key = hmac(format!("AWS4{}", self.secret).as_bytes(), day.as_bytes());
        for part in [self.region, self.service, "aws4_request"] {
            key = hmac(&key, part.as_bytes());
        }
        let signature = hex(&hmac(&key, to_sign.as_bytes()));
        format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={signed}, Signature={signature}", self.key_id)
    }
}

/// The request in the one form that both sides hash, and the names of its headers.
fn canonical(request: &Request<'_>) -> (String, String) {
    let mut headers: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (name, value) in request.headers {
        let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
        headers.entry(name.to_ascii_lowercase()).or_default().push(value);
    }
    let lines: String = headers.iter().map(|(name, values)| format!("{name}:{}\n", values.join(","))).collect();
    let signed = headers.into_keys().collect::<Vec<_>>().join(";");
    // The path goes in encoded once more; a query as it is, in order.
    let path = request.path.split('/').map(segment).collect::<Vec<_>>().join("/");
    let mut query: Vec<_> = request.query.split('&').filter(|part| !part.is_empty()).collect();
    query.sort_unstable();
    let payload = hex(&Sha256::digest(request.body));
    let canonical = format!("{}\n{path}\n{}\n{lines}\n{signed}\n{payload}", request.method, query.join("&"));
    (canonical, signed)
}

/// HMAC with SHA-256 (RFC 2104).
fn hmac(key: &[u8], text: &[u8]) -> [u8; 32] {
    let mut block = [0u8; 64];
    if key.len() > block.len() {
        block[..32].copy_from_slice(&Sha256::digest(key));
    } else {
        block[..key.len()].copy_from_slice(key);
    }
    let inner = Sha256::new().chain_update(block.map(|byte| byte ^ 0x36)).chain_update(text).finalize();
    Sha256::new().chain_update(block.map(|byte| byte ^ 0x5c)).chain_update(inner).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGNER: Signer<'_> = Signer {
        key_id: "AKIDEXAMPLE",
        secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        region: "us-east-1",
        service: "service",
    };
    const HOST: (&str, &str) = ("Host", "example.amazonaws.com");
    const DATE: (&str, &str) = ("X-Amz-Date", "20150830T123600Z");

    fn signature(method: &str, path: &str, query: &str, more: &[(&str, &str)], body: &str) -> String {
        let headers: Vec<_> = [HOST, DATE].iter().chain(more).copied().collect();
        let request = Request { method, path, query, headers: &headers, body: body.as_bytes() };
        let text = SIGNER.authorization(&request, DATE.1);
        text.rsplit_once("Signature=").unwrap().1.to_owned()
    }

    const FORM: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded");
    const FORM_UTF8: (&str, &str) = ("Content-Type", "application/x-www-form-urlencoded; charset=utf8");
    const LONG_PATH: &str = "/-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    const LONG_QUERY: &str = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    /// Method, path, query, more headers, body, signature.
    type Case<'a> = (&'a str, &'a str, &'a str, &'a [(&'a str, &'a str)], &'a str, &'a str);

    /// Amazon's Signature Version 4 test suite: the requests that need no normalising of paths, which no request of ours does.
    #[rustfmt::skip]
    const SUITE: &[Case<'_>] = &[
        ("GET", "/", "", &[], "", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
        ("GET", "/", "", &[("My-Header1", "value2"), ("My-Header1", "value2"), ("My-Header1", "value1")], "", "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"),
        ("GET", "/", "", &[("My-Header1", "value4"), ("My-Header1", "value1"), ("My-Header1", "value3"), ("My-Header1", "value2")], "", "08c7e5a9acfcfeb3ab6b2185e75ce8b1deb5e634ec47601a50643f830c755c01"),
        ("GET", "/", "", &[("My-Header1", " value1"), ("My-Header2", " \"a   b   c\"")], "", "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
        ("GET", LONG_PATH, "", &[], "", "07ef7494c76fa4850883e2b006601f940f8a34d404d0cfa977f52a65bbf5f24f"),
        ("GET", "/", "Param1=value1", &[], "", "a67d582fa61cc504c4bae71f336f98b97f1ea3c7a6bfe1b6e45aec72011b9aeb"),
        ("GET", "/", "Param1=value2&Param1=Value1", &[], "", "eedbc4e291e521cf13422ffca22be7d2eb8146eecf653089df300a15b2382bd1"),
        ("GET", "/", "Param2=value2&Param1=value1", &[], "", "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
        ("GET", "/", "Param1=value2&Param1=value1", &[], "", "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694"),
        ("GET", "/", LONG_QUERY, &[], "", "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
        ("GET", "/", "%E1%88%B4=bar", &[], "", "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04"),
        ("POST", "/", "", &[], "", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
        ("POST", "/", "", &[("My-Header1", "value1")], "", "c5410059b04c1ee005303aed430f6e6645f61f4dc9e1461ec8f8916fdf18852c"),
        ("POST", "/", "", &[("My-Header1", "VALUE1")], "", "cdbc9802e29d2942e5e10b5bccfdd67c5f22c7c4e8ae67b53629efa58b974b7d"),
        ("POST", "/", "Param1=value1", &[], "", "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
        ("POST", "/", "", &[FORM], "Param1=value1", "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a"),
        ("POST", "/", "", &[FORM_UTF8], "Param1=value1", "1a72ec8f64bd914b0e42e42607c7fbce7fb2c7465f63e3092b3b0d39fa77a6fe"),
    ];

    #[test]
    fn signatures_are_those_of_amazons_test_suite() {
        for (method, path, query, headers, body, expected) in SUITE {
            assert_eq!(&signature(method, path, query, headers, body), expected, "{method} {path}?{query} {headers:?}");
        }
    }

    #[test]
    fn a_session_token_is_signed_and_named() {
        let token = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        let headers = [HOST, DATE, ("X-Amz-Security-Token", token)];
        let request = Request { method: "POST", path: "/", query: "", headers: &headers, body: b"" };
        assert_eq!(
            SIGNER.authorization(&request, DATE.1),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
             SignedHeaders=host;x-amz-date;x-amz-security-token, \
             Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
        );
    }

    #[test]
    fn hmac_is_that_of_rfc_4231() {
        let long = [0xaa; 131];
        assert_eq!(
            hex(&hmac(&long, b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
        assert_eq!(
            hex(&hmac(b"Jefe", b"what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}

//! What went wrong within a call, before it is known to whom it is said; and what providers' errors mean.

use super::times;
use crate::ports::llm::{Complaint, Kind, Waited};
use serde_json::Value;
use std::time::Duration;

/// Most characters of a provider's own message that go on.
const MESSAGE_CHARS_MAX: usize = 4_000;
/// Longest code or parameter that is taken for one.
const WORD_BYTES_MAX: usize = 96;

/// A failure. [`Complaint::message`] is for the one who asked, `cause` for logs.
#[derive(Debug)]
pub struct Fault {
    pub kind: Kind,
    pub complaint: Box<Complaint>,
    pub cause: Option<String>,
    /// As the body says; headers may say it too.
    pub retry_after: Option<Duration>,
}

impl Fault {
    /// A failure that this program noticed, in its own words.
    pub fn new(kind: Kind, cause: impl Into<String>) -> Self {
        let cause = cause.into();
        let complaint = Complaint {
            message: cause.clone(),
            kind: type_of(kind).to_owned(),
            param: None,
            code: Some(kind.name().to_owned()),
        };
        Self { kind, complaint: Box::new(complaint), cause: Some(cause), retry_after: None }
    }

    pub fn timeout(waited: Waited) -> Self {
        let fault = Self::new(Kind::Timeout(waited), "the provider took too long");
        Self { cause: None, ..fault }
    }

    pub fn garbage(cause: impl Into<String>) -> Self {
        Self::new(Kind::Garbage, cause)
    }

    /// What is not read to its end: `what` has more than `bytes_max` bytes.
    pub fn too_large(what: &str, bytes_max: usize) -> Self {
        Self::new(Kind::TooLarge, format!("{what} has more than {bytes_max} bytes; ask for less"))
    }

    /// An answer that is no JSON, or not the JSON that was expected. The parser's text may quote it: only the place is said.
    pub fn unreadable(what: &str, error: &serde_json::Error) -> Self {
        Self::garbage(format!("{what} cannot be read (line {}, column {})", error.line(), error.column()))
    }

    pub fn cut() -> Self {
        Self::new(Kind::Cut, "the answer ended before the model said that it was done")
    }

    /// The request is wrong. `message` must not quote values of the request.
    pub fn bad_request(param: Option<&str>, message: impl Into<String>) -> Self {
        let mut fault = Self::new(Kind::BadRequest, message);
        fault.complaint.param = param.map(str::to_owned);
        fault.complaint.code = Some("invalid_request".to_owned());
        fault
    }

    /// What is asked for cannot be said in the provider's terms.
    pub fn unsupported(param: &str, wire: &str) -> Self {
        let message = format!(
            "{param} cannot be expressed for providers that speak {wire}; leave it out or couple to another model"
        );
        let mut fault = Self::bad_request(Some(param), message);
        fault.complaint.code = Some("unsupported_parameter".to_owned());
        fault
    }

    /// The provider is described wrongly, which is not the request's fault.
    pub fn bad_target(cause: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, cause)
    }

    /// An error that the provider gave, as a status and a body, or within a stream.
    pub fn of_answer(status: u16, body: &[u8]) -> Self {
        Told::read(body).into_fault(status)
    }

    /// The same for an error that has a name outside its body.
    pub fn of_named(status: u16, name: &str, body: &[u8]) -> Self {
        let mut told = Told::read(body);
        told.kind = told.kind.or_else(|| word(name.to_owned()));
        told.into_fault(status)
    }
}

/// The type that OpenAI's API gives to such an error.
fn type_of(kind: Kind) -> &'static str {
    match kind {
        Kind::Auth => "authentication_error",
        Kind::RateLimited => "rate_limit_error",
        Kind::Quota => "insufficient_quota",
        Kind::BadRequest | Kind::ContextLength | Kind::ContentFilter | Kind::NotFound => "invalid_request_error",
        Kind::Timeout(_) => "timeout_error",
        Kind::Connect | Kind::Overloaded | Kind::Server => "server_error",
        Kind::Garbage | Kind::TooLarge | Kind::Cut => "server_error",
    }
}

/// What a provider's error says, whichever of the usual forms it has.
#[derive(Default)]
struct Told {
    message: Option<String>,
    kind: Option<String>,
    param: Option<String>,
    code: Option<String>,
    retry_after: Option<Duration>,
    /// A status within the body: some say 200 first and mean this.
    status: Option<u16>,
}

impl Told {
    fn read(body: &[u8]) -> Self {
        let mut json: Value = serde_json::from_slice(body).unwrap_or_default();
        // Some wrap it in an array.
        if let Value::Array(items) = &mut json {
            json = items.first_mut().map(Value::take).unwrap_or_default();
        }
        let inner = if json["error"].is_object() { &json["error"] } else { &json };
        let text = |value: &Value| match value {
            Value::String(text) if !text.is_empty() => Some(text.clone()),
            _ => None,
        };
        let first = |names: &[&str]| names.iter().find_map(|name| text(&inner[*name]));
        let details = inner["details"].as_array().map(Vec::as_slice).unwrap_or_default();
        let detail = |name: &str| details.iter().find_map(|detail| text(&detail[name]));
        Self {
            message: first(&["message", "Message", "detail", "error"]),
            kind: first(&["type", "status", "__type"]).and_then(word),
            param: first(&["param"]).and_then(word),
            code: first(&["code"]).or_else(|| detail("reason")).and_then(word),
            status: inner["code"]
                .as_u64()
                .and_then(|code| u16::try_from(code).ok())
                .filter(|code| (400..600).contains(code)),
            retry_after: detail("retryDelay").and_then(|text| times::duration(&text)),
        }
    }

    fn into_fault(self, status: u16) -> Fault {
        let status = if status < 400 { self.status.unwrap_or(status) } else { status };
        if self.message.is_none() && (200..300).contains(&status) {
            return Fault::garbage("the answer is neither what was asked for nor an error");
        }
        let message =
            self.message.unwrap_or_else(|| format!("the provider answered with status {status} and no reason"));
        let kind = kind(status, self.kind.as_deref(), self.code.as_deref(), &message);
        let complaint = Complaint {
            message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
            kind: self.kind.unwrap_or_else(|| type_of(kind).to_owned()),
            param: self.param,
            code: self.code,
        };
        Fault { kind, complaint: Box::new(complaint), cause: None, retry_after: self.retry_after }
    }
}

/// A text that is an identifier: it goes into logs, where nothing of a prompt may go.
fn word(text: String) -> Option<String> {
    // Amazon's names come as `Name:http://…` or `namespace#Name`.
    let text = text.split(":http").next().unwrap_or_default();
    let text = text.rsplit('#').next().unwrap_or_default();
    let fits = |char: char| char.is_ascii_alphanumeric() || "_-.[]".contains(char);
    (!text.is_empty() && text.len() <= WORD_BYTES_MAX && text.chars().all(fits)).then(|| text.to_owned())
}

/// Codes and types that mean the same whatever the status.
const NAMED: &[(&str, Kind)] = &[
    ("context_length_exceeded", Kind::ContextLength),
    ("string_above_max_length", Kind::ContextLength),
    ("content_filter", Kind::ContentFilter),
    ("content_policy_violation", Kind::ContentFilter),
    ("ResponsibleAIPolicyViolation", Kind::ContentFilter),
    ("insufficient_quota", Kind::Quota),
    ("billing_error", Kind::Quota),
    ("billing_hard_limit_reached", Kind::Quota),
    ("invalid_api_key", Kind::Auth),
    ("authentication_error", Kind::Auth),
    ("permission_error", Kind::Auth),
    ("API_KEY_INVALID", Kind::Auth),
    ("PERMISSION_DENIED", Kind::Auth),
    ("UNAUTHENTICATED", Kind::Auth),
    ("AccessDeniedException", Kind::Auth),
    ("UnrecognizedClientException", Kind::Auth),
    ("ExpiredTokenException", Kind::Auth),
    ("rate_limit_error", Kind::RateLimited),
    ("rate_limit_exceeded", Kind::RateLimited),
    ("RESOURCE_EXHAUSTED", Kind::RateLimited),
    ("throttlingException", Kind::RateLimited),
    ("ThrottlingException", Kind::RateLimited),
    ("overloaded_error", Kind::Overloaded),
    ("UNAVAILABLE", Kind::Overloaded),
    ("serviceUnavailableException", Kind::Overloaded),
    ("ServiceUnavailableException", Kind::Overloaded),
    ("ModelNotReadyException", Kind::Overloaded),
    ("api_error", Kind::Server),
    ("server_error", Kind::Server),
    ("timeout_error", Kind::Server),
    ("INTERNAL", Kind::Server),
    ("internalServerException", Kind::Server),
    ("InternalServerException", Kind::Server),
    ("ModelErrorException", Kind::Server),
    ("modelStreamErrorException", Kind::Server),
    ("ModelStreamErrorException", Kind::Server),
    ("ModelTimeoutException", Kind::Server),
    ("not_found_error", Kind::NotFound),
    ("ResourceNotFoundException", Kind::NotFound),
];

/// Words by which providers without a code say that the prompt is too long.
const TOO_LONG: &[&str] = &[
    "context length",
    "context window",
    "maximum context",
    "prompt is too long",
    "input is too long",
    "too many input tokens",
    "input token count",
    "exceeds the maximum number of tokens",
];

fn kind(status: u16, name: Option<&str>, code: Option<&str>, message: &str) -> Kind {
    let named = |text: Option<&str>| NAMED.iter().find(|(name, _)| Some(*name) == text).map(|(_, kind)| *kind);
    if let Some(kind) = named(code).or_else(|| named(name)) {
        return kind;
    }
    let lower = message.to_ascii_lowercase();
    match status {
        400 | 413 | 422 if TOO_LONG.iter().any(|words| lower.contains(words)) => Kind::ContextLength,
        401 | 403 | 407 => Kind::Auth,
        402 => Kind::Quota,
        404 | 405 | 410 => Kind::NotFound,
        429 => Kind::RateLimited,
        // 498 is Groq's, 529 Anthropic's.
        498 | 503 | 529 => Kind::Overloaded,
        // A conflict of locks, a provider's own timeout, a model that failed: another try is another roll.
        408 | 409 | 424 | 425 | 500.. => Kind::Server,
        400..500 => Kind::BadRequest,
        // In the middle of a stream, or under a status that promised an answer.
        200..300 => Kind::Server,
        _ => Kind::Garbage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_providers_error_is_understood() {
        for (status, body, kind, code) in [
            (
                400,
                r#"{"error":{"message":"too long","type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}"#,
                Kind::ContextLength,
                Some("context_length_exceeded"),
            ),
            (
                401,
                r#"{"error":{"message":"Incorrect API key","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#,
                Kind::Auth,
                Some("invalid_api_key"),
            ),
            (
                429,
                r#"{"error":{"message":"quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}"#,
                Kind::Quota,
                Some("insufficient_quota"),
            ),
            (
                429,
                r#"{"error":{"message":"slow","type":"tokens","param":null,"code":"rate_limit_exceeded"}}"#,
                Kind::RateLimited,
                Some("rate_limit_exceeded"),
            ),
            (
                529,
                r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"},"request_id":"req_1"}"#,
                Kind::Overloaded,
                None,
            ),
            (
                400,
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 210000 tokens > 200000 maximum"}}"#,
                Kind::ContextLength,
                None,
            ),
            (
                400,
                r#"{"error":{"code":400,"message":"API key not valid.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID"}]}}"#,
                Kind::Auth,
                Some("API_KEY_INVALID"),
            ),
            (
                503,
                r#"[{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}]"#,
                Kind::Overloaded,
                None,
            ),
            (
                400,
                r#"{"error":{"message":"filtered","type":null,"param":"prompt","code":"content_filter","status":400}}"#,
                Kind::ContentFilter,
                Some("content_filter"),
            ),
            (404, r#"{"detail":"Not Found"}"#, Kind::NotFound, None),
            (422, r#"{"detail":[{"loc":["body"],"msg":"bad"}]}"#, Kind::BadRequest, None),
            (500, "<html>oops</html>", Kind::Server, None),
            (502, "", Kind::Server, None),
            (402, r#"{"error":"no credits"}"#, Kind::Quota, None),
            (307, "", Kind::Garbage, None),
            (200, r#"{"error":{"code":429,"message":"upstream is busy"}}"#, Kind::RateLimited, None),
            (200, r#"{"error":{"message":"upstream broke"}}"#, Kind::Server, None),
        ] {
            let fault = Fault::of_answer(status, body.as_bytes());
            assert_eq!((fault.kind, fault.complaint.code.as_deref()), (kind, code), "{body}");
            assert!(!fault.complaint.message.is_empty() && !fault.complaint.message.contains('<'), "{body}");
        }
    }

    #[test]
    fn a_wait_in_the_body_is_read_and_a_name_outside_of_it() {
        let body = r#"{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"19.5s"}]}}"#;
        let fault = Fault::of_answer(429, body.as_bytes());
        assert_eq!((fault.kind, fault.retry_after), (Kind::RateLimited, Some(Duration::from_millis(19_500))));
        let name = "ThrottlingException:http://internal.amazon.com/coral/";
        assert_eq!(Fault::of_named(400, name, br#"{"message":"Too many requests"}"#).kind, Kind::RateLimited);
    }

    #[test]
    fn what_goes_into_logs_is_an_identifier() {
        let fault = Fault::of_answer(400, br#"{"error":{"message":"m","code":"you said: hello world","param":"a b"}}"#);
        assert_eq!((fault.complaint.code.as_deref(), fault.complaint.param.as_deref()), (None, None));
    }

    proptest! {
        #[test]
        fn no_body_panics(body in ".*", status in 100u16..600) {
            let _ = Fault::of_answer(status, body.as_bytes());
        }
    }
}

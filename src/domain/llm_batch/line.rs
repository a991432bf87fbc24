//! One line of a batch's file: `{"custom_id": …, "method": "POST", "url": …, "body": {…}}`.

use super::LineProblem;
use crate::domain::llm_request::Operation;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// Longest `custom_id`, in bytes.
pub const CUSTOM_ID_BYTES_MAX: usize = 512;

/// A request as its line says it.
#[derive(Clone, Debug)]
pub struct Line<'a> {
    pub custom_id: Cow<'a, str>,
    pub operation: Operation,
    /// A JSON object, untouched.
    pub body: &'a str,
}

/// The requests of a text: its lines that are not blank.
pub fn requests(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.trim().is_empty())
}

/// The path that an operation is asked at.
pub fn url(operation: Operation) -> &'static str {
    match operation {
        Operation::ChatCompletion => "/v1/chat/completions",
        Operation::Embeddings => "/v1/embeddings",
    }
}

/// The operation that is asked at a path.
pub fn operation(url: &str) -> Option<Operation> {
    [Operation::ChatCompletion, Operation::Embeddings].into_iter().find(|operation| self::url(*operation) == url)
}

#[derive(Deserialize)]
struct Shape<'a> {
    #[serde(borrow, default)]
    custom_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    url: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    body: Option<&'a RawValue>,
}

/// Reads one line. What the line says is never repeated in the problem, but for its url.
///
/// # Errors
/// The problem, of this line of the file.
pub fn read(text: &str, line: i64) -> Result<Line<'_>, LineProblem> {
    let problem = |code: &str, message: String, param: Option<&str>| LineProblem {
        line: Some(line),
        code: code.to_owned(),
        message,
        param: param.map(str::to_owned),
    };
    let missing = |param: &str| {
        problem("missing_required_parameter", format!("Missing required parameter: {param}."), Some(param))
    };
    // A struct would also be read from a list.
    let is_object = text.trim_start().starts_with('{');
    let shape: Shape<'_> = serde_json::from_str(text).ok().filter(|_| is_object).ok_or_else(|| {
        let message = "This line is not parseable as a JSON object with custom_id, method, url and body.".to_owned();
        problem("invalid_json_line", message, None)
    })?;
    let custom_id = shape.custom_id.filter(|id| !id.is_empty()).ok_or_else(|| missing("custom_id"))?;
    if custom_id.len() > CUSTOM_ID_BYTES_MAX {
        let message = format!("custom_id has more than {CUSTOM_ID_BYTES_MAX} bytes.");
        return Err(problem("invalid_custom_id", message, Some("custom_id")));
    }
    if shape.method.ok_or_else(|| missing("method"))? != "POST" {
        return Err(problem("invalid_method", "The method must be POST.".to_owned(), Some("method")));
    }
    let url = shape.url.ok_or_else(|| missing("url"))?;
    let operation = operation(&url).ok_or_else(|| {
        let message = format!(
            "The url must be one of: {}, {}.",
            self::url(Operation::ChatCompletion),
            self::url(Operation::Embeddings)
        );
        problem("invalid_url", message, Some("url"))
    })?;
    let body = shape.body.ok_or_else(|| missing("body"))?.get();
    if !body.starts_with('{') {
        return Err(problem("invalid_request", "The body must be a JSON object.".to_owned(), Some("body")));
    }
    Ok(Line { custom_id, operation, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_and_its_body_is_untouched() {
        let text = r#"{"custom_id":"a\"1","method":"POST","url":"/v1/embeddings","body": {"model": "m" , "input":1.0}}"#;
        let line = read(text, 7).unwrap();
        assert_eq!((&*line.custom_id, line.operation), ("a\"1", Operation::Embeddings));
        assert_eq!(line.body, r#"{"model": "m" , "input":1.0}"#);
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told_with_its_number_and_without_its_content() {
        let long = format!(r#"{{"custom_id":"{}","method":"POST"}}"#, "x".repeat(CUSTOM_ID_BYTES_MAX + 1));
        for (text, code, param) in [
            ("secret", "invalid_json_line", None),
            (r#"["secret"]"#, "invalid_json_line", None),
            (r#"{"custom_id":7}"#, "invalid_json_line", None),
            (r#"{"method":"POST"}"#, "missing_required_parameter", Some("custom_id")),
            (r#"{"custom_id":""}"#, "missing_required_parameter", Some("custom_id")),
            (&long, "invalid_custom_id", Some("custom_id")),
            (r#"{"custom_id":"a"}"#, "missing_required_parameter", Some("method")),
            (r#"{"custom_id":"a","method":"GET"}"#, "invalid_method", Some("method")),
            (r#"{"custom_id":"a","method":"POST"}"#, "missing_required_parameter", Some("url")),
            (r#"{"custom_id":"a","method":"POST","url":"/v1/secret"}"#, "invalid_url", Some("url")),
            (r#"{"custom_id":"a","method":"POST","url":"/v1/embeddings"}"#, "missing_required_parameter", Some("body")),
            (r#"{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":"secret"}"#, "invalid_request", Some("body")),
        ] {
            let problem = read(text, 7).unwrap_err();
            assert_eq!((problem.code.as_str(), problem.param.as_deref(), problem.line), (code, param, Some(7)), "{text}");
            assert!(!problem.message.contains("secret"), "{text}");
        }
    }

    #[test]
    fn blank_lines_are_no_requests() {
        assert_eq!(requests("a\n\n  \r\nb\r\nc").collect::<Vec<_>>(), ["a", "b", "c"]);
    }
}

//! Instructions with named parameters: `{name}` is replaced by a value, `{{` and `}}` stand for braces.
//!
//! Values are put in as they are: braces in a value mean nothing.

use super::Parameter;
use crate::domain::Rejection;
use crate::domain::common::INSTRUCTIONS_BYTES_MAX;
use std::collections::BTreeMap;

enum Piece<'a> {
    Text(&'a str),
    Parameter(&'a str),
}

/// The instructions with every parameter replaced by its value, or by its default where `values` has none.
///
/// # Errors
/// `template_parameter_unknown` for a value that is not declared; `template_parameter_missing` for a declared parameter
/// without value and default, used or not; `invalid` for malformed instructions, and for more than
/// [`INSTRUCTIONS_BYTES_MAX`] bytes of result.
pub fn render(
    instructions: &str,
    parameters: &[Parameter],
    values: &BTreeMap<String, String>,
) -> Result<String, Rejection> {
    check_values(parameters, values)?;
    for parameter in parameters {
        if parameter.default_value.is_none() && !values.contains_key(&parameter.name) {
            return Err(missing(parameter));
        }
    }
    let mut out = String::with_capacity(instructions.len());
    for piece in pieces(instructions) {
        out.push_str(match piece? {
            Piece::Text(text) => text,
            Piece::Parameter(name) => {
                let given = values.get(name).map(String::as_str);
                let parameter = parameters.iter().find(|parameter| parameter.name == name);
                let default = || parameter.and_then(|parameter| parameter.default_value.as_deref());
                given.or_else(default).ok_or_else(|| undeclared(name))?
            }
        });
        // Checked on the way: a thousand uses of a long value must not be built first.
        if out.len() > INSTRUCTIONS_BYTES_MAX {
            let why =
                format!("would have more than {INSTRUCTIONS_BYTES_MAX} bytes with these parameters; shorten them");
            return Err(Rejection::invalid("instructions", why));
        }
    }
    Ok(out)
}

/// Every value must be one of a declared parameter.
///
/// # Errors
/// `template_parameter_unknown`, with the declared names.
pub fn check_values(parameters: &[Parameter], values: &BTreeMap<String, String>) -> Result<(), Rejection> {
    match values.keys().find(|name| !parameters.iter().any(|parameter| parameter.name == **name)) {
        None => Ok(()),
        Some(name) => {
            let declared: Vec<_> = parameters.iter().map(|parameter| parameter.name.as_str()).collect();
            let declared = if declared.is_empty() { "none".to_owned() } else { declared.join(", ") };
            let message = format!("the template has no such parameter; it declares: {declared}");
            Err(Rejection::new("template_parameter_unknown", message).with("parameter", name))
        }
    }
}

/// Every parameter that the instructions use must be declared. Asked when a template is defined.
///
/// # Errors
/// `invalid`, for malformed instructions too.
pub fn check_declared(instructions: &str, parameters: &[Parameter]) -> Result<(), Rejection> {
    for piece in pieces(instructions) {
        if let Piece::Parameter(name) = piece?
            && !parameters.iter().any(|parameter| parameter.name == name)
        {
            return Err(undeclared(name));
        }
    }
    Ok(())
}

/// A letter or `_`, then letters, digits and `_`, all ASCII.
pub fn is_parameter_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn undeclared(name: &str) -> Rejection {
    let why = format!("uses {{{name}}}, which is not among the parameters; declare it, or write {{{{ for a brace");
    Rejection::invalid("instructions", why).with("parameter", name)
}

fn missing(parameter: &Parameter) -> Rejection {
    let message = "the template needs a value for this parameter; give it in template_parameters";
    Rejection::new("template_parameter_missing", message)
        .with("parameter", &parameter.name)
        .with("description", &parameter.description)
}

fn malformed(at: usize, why: &str) -> Rejection {
    Rejection::invalid("instructions", format!("at byte {at}: {why}"))
}

/// Splits instructions into texts and parameters; ends with the first error.
fn pieces(instructions: &str) -> impl Iterator<Item = Result<Piece<'_>, Rejection>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let rest = &instructions[at..];
        if rest.is_empty() {
            return None;
        }
        let start = at;
        let piece = if let Some(rest) = rest.strip_prefix("{{") {
            at = instructions.len() - rest.len();
            Ok(Piece::Text("{"))
        } else if let Some(rest) = rest.strip_prefix("}}") {
            at = instructions.len() - rest.len();
            Ok(Piece::Text("}"))
        } else if rest.starts_with('}') {
            Err(malformed(start, "a } without {; write }} for a brace"))
        } else if let Some(inside) = rest.strip_prefix('{') {
            match inside.split_once('}') {
                None => Err(malformed(start, "a { that is not closed; write {{ for a brace")),
                Some((name, _)) if !is_parameter_name(name) => Err(malformed(
                    start,
                    "between { and } stands a name of letters, digits and _; write {{ for a brace",
                )),
                Some((name, rest)) => {
                    at = instructions.len() - rest.len();
                    Ok(Piece::Parameter(name))
                }
            }
        } else {
            let text = &rest[..rest.find(['{', '}']).unwrap_or(rest.len())];
            at += text.len();
            Ok(Piece::Text(text))
        };
        if piece.is_err() {
            at = instructions.len();
        }
        Some(piece)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parameter(name: &str, default_value: Option<&str>) -> Parameter {
        Parameter { name: name.into(), description: String::new(), default_value: default_value.map(Into::into) }
    }

    fn values(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn values_and_defaults_take_the_place_of_their_names() {
        let parameters = [parameter("team", None), parameter("tone", Some("calm"))];
        let rendered = render("Help {team}, be {tone}, {team}!", &parameters, &values(&[("team", "sales")]));
        assert_eq!(rendered.as_deref(), Ok("Help sales, be calm, sales!"));
    }

    #[test]
    fn doubled_braces_are_literal_and_braces_in_values_mean_nothing() {
        let parameters = [parameter("a", None)];
        let rendered = render("{{\"k\": \"{a}\"}} {{a}}", &parameters, &values(&[("a", "{a}}")]));
        assert_eq!(rendered.as_deref(), Ok("{\"k\": \"{a}}\"} {a}"));
    }

    #[test]
    fn a_value_of_an_undeclared_parameter_is_refused_with_the_declared_ones() {
        let rejection = render("x", &[parameter("a", Some(""))], &values(&[("b", "1")])).unwrap_err();
        assert_eq!(rejection.code, "template_parameter_unknown");
        assert_eq!(rejection.details["parameter"], "b");
        assert!(rejection.message.ends_with("it declares: a"), "{}", rejection.message);
    }

    #[test]
    fn a_required_parameter_without_value_is_refused_even_when_unused() {
        let rejection = render("x", &[parameter("a", None)], &values(&[])).unwrap_err();
        assert_eq!(rejection.code, "template_parameter_missing");
        assert_eq!(rejection.details["parameter"], "a");
    }

    #[test]
    fn malformed_instructions_are_refused_with_the_place() {
        for (text, at) in [("ab{", 2), ("a}b", 1), ("{}", 0), ("{a b}", 0), ("é{a{b}", 2), ("{{}", 2), ("{1a}", 0)] {
            let rejection = check_declared(text, &[parameter("a", None)]).unwrap_err();
            assert_eq!(rejection.code, "invalid", "{text}");
            assert!(rejection.message.contains(&format!("at byte {at}:")), "{text}: {}", rejection.message);
        }
    }

    #[test]
    fn a_parameter_in_use_must_be_declared() {
        let rejection = check_declared("{a}{b}", &[parameter("a", None)]).unwrap_err();
        assert_eq!((rejection.code.as_str(), rejection.details["parameter"].as_str()), ("invalid", "b"));
        assert_eq!(check_declared("{a}{b}", &[parameter("a", None), parameter("b", None)]), Ok(()));
    }

    #[test]
    fn a_result_beyond_the_limit_is_refused_before_it_is_built() {
        let value = "x".repeat(8 * 1024);
        let rejection = render(&"{a}".repeat(40_000), &[parameter("a", None)], &values(&[("a", &value)])).unwrap_err();
        assert_eq!(rejection.code, "invalid");
    }

    proptest! {
        /// Doubling the braces of any text makes instructions that render to that text.
        #[test]
        fn escaped_text_comes_back(text in any::<String>()) {
            let escaped = text.replace('{', "{{").replace('}', "}}");
            prop_assert_eq!(render(&escaped, &[], &BTreeMap::new()), Ok(text));
        }

        /// No instructions panic, and what passes the check at definition renders whenever all values are given.
        #[test]
        fn what_is_declared_renders(text in "[{}a-c_ é]{0,24}", value in "[{}a-z]{0,4}") {
            let parameters = ["a", "b", "c", "_"].map(|name| parameter(name, None));
            let given = values(&[("a", &value), ("b", &value), ("c", &value), ("_", &value)]);
            prop_assert_eq!(
                check_declared(&text, &parameters).is_ok(),
                render(&text, &parameters, &given).is_ok()
            );
        }

        /// The rendered text is the parts with the values between them, whatever the values hold.
        #[test]
        fn values_are_put_in_as_they_are(parts in prop::collection::vec("[a-z ]{0,5}", 1..6), value in any::<String>()) {
            let rendered = render(&parts.join("{p}"), &[parameter("p", None)], &values(&[("p", &value)]));
            prop_assert_eq!(rendered, Ok(parts.join(&value)));
        }
    }
}

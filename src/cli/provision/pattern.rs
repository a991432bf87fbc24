//! Texts with placeholders: `branch-{n:05}` is `branch-00042` for the 42nd.
//!
//! `{field}` stands for its value and `{field:05}` for a number that is padded with zeros to five digits; `{{` and `}}` are
//! braces. Values are put in as they are: braces in a value mean nothing.

use std::fmt::Write as _;

/// Most digits that a number is padded to.
const WIDTH_MAX: usize = 20;

/// What a placeholder can stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// The number within the generator or the group.
    N,
    Group,
    Project,
    Region,
    Tenant,
    /// The tenant's number within its generator.
    TenantN,
}

impl Field {
    /// Of a tenant's name.
    pub const OF_TENANTS: &'static [Field] = &[Self::N, Self::Region];
    /// Of an agent's texts.
    pub const OF_AGENTS: &'static [Field] =
        &[Self::N, Self::Group, Self::Project, Self::Region, Self::Tenant, Self::TenantN];

    fn name(self) -> &'static str {
        match self {
            Self::N => "n",
            Self::Group => "group",
            Self::Project => "project",
            Self::Region => "region",
            Self::Tenant => "tenant",
            Self::TenantN => "tenant_n",
        }
    }

    fn is_number(self) -> bool {
        matches!(self, Self::N | Self::TenantN)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    Field(Field, usize),
}

/// A text whose placeholders are known ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pattern(Vec<Piece>);

/// The values that placeholders stand for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    pub n: u64,
    pub group: &'a str,
    pub project: &'a str,
    pub region: &'a str,
    pub tenant: &'a str,
    pub tenant_n: u64,
}

impl Pattern {
    /// # Errors
    /// A sentence when a brace is left open, or a placeholder is none of `fields`.
    pub fn new(text: &str, fields: &[Field]) -> Result<Self, String> {
        let mut pieces = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            let brace = &rest[at..=at];
            let after = &rest[at + 1..];
            if after.starts_with(brace) {
                plain.push_str(brace);
                rest = &after[1..];
                continue;
            }
            let inside = (brace == "{").then(|| after.split_once('}')).flatten();
            let Some((inside, after)) = inside else {
                return Err(format!(
                    "{text:?} has a brace that stands alone; write {{{{ or }}}} for one that is meant"
                ));
            };
            if !plain.is_empty() {
                pieces.push(Piece::Text(std::mem::take(&mut plain)));
            }
            pieces.push(placeholder(text, inside, fields)?);
            rest = after;
        }
        plain.push_str(rest);
        if !plain.is_empty() {
            pieces.push(Piece::Text(plain));
        }
        Ok(Self(pieces))
    }

    pub fn has(&self, field: Field) -> bool {
        self.0.iter().any(|piece| matches!(piece, Piece::Field(found, _) if *found == field))
    }

    pub fn render(&self, scope: &Scope<'_>) -> String {
        let mut out = String::new();
        for piece in &self.0 {
            let (number, width) = match piece {
                Piece::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Piece::Field(Field::N, width) => (scope.n, *width),
                Piece::Field(Field::TenantN, width) => (scope.tenant_n, *width),
                Piece::Field(field, _) => {
                    out.push_str(match field {
                        Field::Group => scope.group,
                        Field::Project => scope.project,
                        Field::Region => scope.region,
                        _ => scope.tenant,
                    });
                    continue;
                }
            };
            // Writing to a String cannot fail.
            _ = write!(out, "{number:0width$}");
        }
        out
    }
}

fn placeholder(text: &str, inside: &str, fields: &[Field]) -> Result<Piece, String> {
    let (name, width) = inside.split_once(':').map_or((inside, None), |(name, width)| (name, Some(width)));
    let Some(field) = fields.iter().find(|field| field.name() == name) else {
        let known = fields.iter().map(|field| format!("{{{}}}", field.name())).collect::<Vec<_>>().join(", ");
        return Err(format!(
            "{text:?} has the placeholder {{{inside}}}, of which there is none here; there are {known}"
        ));
    };
    let Some(width) = width else { return Ok(Piece::Field(*field, 0)) };
    let digits = width.strip_prefix('0').and_then(|width| width.parse().ok());
    match digits.filter(|digits| field.is_number() && (1..=WIDTH_MAX).contains(digits)) {
        Some(digits) => Ok(Piece::Field(*field, digits)),
        None => Err(format!(
            "{text:?} has the placeholder {{{inside}}}; only numbers are padded, with zeros to 1 to {WIDTH_MAX} digits: {{n:05}}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCOPE: Scope<'static> =
        Scope { n: 7, group: "sales", project: "{n}", region: "eu", tenant: "Acme", tenant_n: 42 };

    fn rendered(text: &str) -> String {
        Pattern::new(text, Field::OF_AGENTS).unwrap().render(&SCOPE)
    }

    #[test]
    fn placeholders_stand_for_their_values_and_braces_in_values_mean_nothing() {
        assert_eq!(rendered("{tenant}/{region}/{group}-{n:04}"), "Acme/eu/sales-0007");
        assert_eq!(rendered("{tenant_n:03}{{n}}{project}é"), "042{n}{n}é");
        assert_eq!(rendered("{n:01}{{{n}}}"), "7{7}");
        assert_eq!(rendered(""), "");
    }

    #[test]
    fn what_is_no_placeholder_is_named_with_those_there_are() {
        for (text, word) in [
            ("a{", "stands alone"),
            ("a}b", "stands alone"),
            ("{m}", "{n}, {group}, {project}, {region}, {tenant}, {tenant_n}"),
            ("{ n }", "of which there is none"),
            ("{n:5}", "padded"),
            ("{n:021}", "1 to 20 digits"),
            ("{n:0}", "padded"),
            ("{region:05}", "only numbers"),
        ] {
            let error = Pattern::new(text, Field::OF_AGENTS).unwrap_err();
            assert!(error.contains(word), "{text}: {error}");
        }
        assert!(Pattern::new("{tenant}", Field::OF_TENANTS).unwrap_err().ends_with("there are {n}, {region}"));
    }

    #[test]
    fn a_pattern_knows_its_placeholders() {
        let pattern = Pattern::new("{{tenant}}-{n}", Field::OF_AGENTS).unwrap();
        assert!(pattern.has(Field::N) && !pattern.has(Field::Tenant));
    }
}

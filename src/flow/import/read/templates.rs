//! Agent templates: those that are published as files in repositories, and those in our own form.
//!
//! A published one is keyed by its repository and path, since names repeat; one without both is keyed by its name, and is
//! the template that is found by that name. Instructions of a published one are plain text: its braces stand for
//! themselves.

use super::texts;
use crate::domain::agent_template::Parameter;
use crate::domain::common::{Requirements, TEXT_BYTES_MAX};
use crate::flow::import::entry::{Cutter, Fault, Fields, Rank, Read};
use crate::flow::import::wanted::{Template, Wanted};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// Members of a list under which its entries are.
pub const LISTS: &[&str] = &["templates", "entries", "agents"];
/// Folders of a path that say nothing of what is in them.
const PLAIN_FOLDERS: [&str; 5] = ["agents", "plugins", "categories", "templates", "src"];
/// Category of a template whose path says none.
const UNSORTED: &str = "uncategorized";

/// # Errors
/// When the entry is not of this format, or cannot be kept here.
pub fn read(value: &Value) -> Result<Read, Fault> {
    let outer = Fields::of(value)?;
    let fields = outer.object(&["definition"])?.unwrap_or(outer);
    let name = fields.needed(&["name"])?;
    let mut cutter = Cutter::default();
    let place = (fields.text(&["repo", "repository"])?, fields.text(&["path"])?);
    let (key, category, is_published) = match place {
        (Some(repo), Some(path)) => (format!("{repo}/{path}"), Some(category(path)), true),
        _ => (name.to_lowercase(), None, false),
    };
    let given = fields.text(&["category"])?.filter(|category| !category.trim().is_empty());
    let category = given.or(category);
    let instructions = fields.text(&["instructions", "prompt", "body"])?;
    let instructions = instructions.map(|text| match is_published && fields.get(&["parameters"]).is_none() {
        true => text.replace('{', "{{").replace('}', "}}"),
        false => text.to_owned(),
    });
    let mut labels = |names: &[&'static str], field: &'static str| -> Result<Option<Vec<String>>, Fault> {
        let values = fields.list(names)?.map(|values| texts(field, values)).transpose()?;
        Ok(values.map(|values| cutter.labels(field, values)))
    };
    let (skills, domains) = (labels(&["skills"], "skills")?, labels(&["domains"], "domains")?);
    let template = Template {
        name: cutter.name("name", name),
        category: category.map(|category| cutter.name("category", category)),
        role: fields.text(&["role"])?.map(|role| cutter.name("role", role)),
        purpose: fields.text(&["purpose", "description"])?.map(|it| cutter.text("description", it, TEXT_BYTES_MAX)),
        instructions,
        parameters: typed::<Vec<Parameter>>(fields, "parameters")?,
        skills,
        domains,
        requirements: typed::<Requirements>(fields, "requirements")?,
    };
    let wanted = Wanted::Template(Box::new(template));
    Ok(Read::Wanted { key, rank: Rank::default(), wanted, cuts: cutter.cuts })
}

fn typed<T: DeserializeOwned>(fields: Fields<'_>, name: &'static str) -> Result<Option<T>, Fault> {
    let Some((_, value)) = fields.get(&[name]) else { return Ok(None) };
    T::deserialize(value).map(Some).map_err(|error| Fault::field(name, error.to_string()))
}

/// The folder nearest to the file that says what it is about, without the number that sorts it.
fn category(path: &str) -> &str {
    let folders = path.rsplit('/').skip(1).map(|folder| {
        let number = folder.bytes().take_while(u8::is_ascii_digit).count();
        folder[number..].strip_prefix(['-', '_']).filter(|_| number > 0).unwrap_or(folder)
    });
    folders.into_iter().find(|folder| !folder.is_empty() && !PLAIN_FOLDERS.contains(folder)).unwrap_or(UNSORTED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn template(value: &Value) -> (String, Template) {
        match read(value).unwrap() {
            Read::Wanted { wanted: Wanted::Template(template), key, .. } => (key, *template),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_published_template_is_keyed_by_its_place_and_filed_by_its_folder() {
        let (key, read) = template(&json!({"name": "n", "description": "d", "model": "opus", "tools": "Read, Write",
            "repo": "a/b", "path": "plugins/payments/agents/n.md", "prompt": "Say {this}"}));
        assert_eq!((key.as_str(), read.category.as_deref()), ("a/b/plugins/payments/agents/n.md", Some("payments")));
        assert_eq!((read.purpose.as_deref(), read.instructions.as_deref()), (Some("d"), Some("Say {{this}}")));
        assert_eq!((read.skills, read.role), (None, None), "the file says nothing of them");
        for (path, expected) in [
            ("categories/06-developer-experience/r.md", "developer-experience"),
            ("r.md", UNSORTED),
            ("agents/r.md", UNSORTED),
        ] {
            assert_eq!(category(path), expected, "{path}");
        }
    }

    #[test]
    fn a_template_in_our_own_form_is_found_by_its_name() {
        let (key, read) = template(&json!({"definition": {"name": "Researcher", "category": "research",
            "instructions": "Look into {topic}.", "parameters": [{"name": "topic"}], "skills": ["a"]}}));
        assert_eq!((key.as_str(), read.instructions.as_deref()), ("researcher", Some("Look into {topic}.")));
        assert_eq!((read.parameters.unwrap().len(), read.skills), (1, Some(vec!["a".into()])));
        let fault = super::read(&json!({"name": "x", "parameters": [{"nam": 1}]})).unwrap_err();
        assert_eq!(fault.field.as_deref(), Some("parameters"));
        assert_eq!(super::read(&json!({"repo": "a/b", "path": "c.md"})).unwrap_err().field.as_deref(), Some("name"));
    }
}

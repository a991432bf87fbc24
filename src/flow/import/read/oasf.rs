//! The Open Agentic Schema Framework's taxonomy of skills: one object a class, as its schema has them in files, or all of
//! them in a list.
//!
//! A class says what it `extends`, the classes above it say the rest: all of it is read before the first is held against
//! what is here. The class that all others extend is no skill and is left out, as are domains and modules, which are of
//! other taxonomies that use the same names.

use crate::domain::common::{NAME_BYTES_MAX, TEXT_BYTES_MAX};
use crate::domain::skill::{ANCESTORS_MAX, DefineSkill};
use crate::flow::import::entry::{Cutter, Fault, Fields, Item, Rank, Read, Refused};
use crate::flow::import::wanted::Wanted;
use serde_json::Value;
use std::collections::HashMap;

/// Members of an object under which its entries are listed.
pub const LISTS: &[&str] = &["skills"];
/// The class that all others extend.
pub const ROOT: &str = "base_skill";

/// The class with its parent as its only ancestor; [`Parents::complete`] adds those above.
///
/// # Errors
/// When the entry is no class, or cannot be kept here.
pub fn read(value: &Value) -> Result<Read, Fault> {
    let class = Fields::of(value)?;
    let name = class.needed(&["name"])?;
    if name == ROOT {
        return Ok(Read::Skipped("it is what all skills extend, and no skill itself"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(Fault::field("name", format!("has {} bytes, at most {NAME_BYTES_MAX} are allowed", name.len())));
    }
    let parent = class.text(&["extends"])?.filter(|parent| *parent != ROOT);
    let uid = match class.get(&["uid"]) {
        None => None,
        Some((_, uid)) => Some(uid.as_i64().ok_or_else(|| Fault::field("uid", "must be a whole number"))?),
    };
    let mut cutter = Cutter::default();
    let mut text = |field: &'static str| -> Result<String, Fault> {
        Ok(cutter.text(field, class.text(&[field])?.unwrap_or_default(), TEXT_BYTES_MAX))
    };
    let wanted = DefineSkill {
        name: name.to_owned(),
        caption: text("caption")?,
        description: text("description")?,
        ancestors: parent.map(str::to_owned).into_iter().collect(),
        uid,
    };
    let key = name.to_lowercase();
    Ok(Read::Wanted { key, rank: Rank::default(), wanted: Wanted::Skill(Box::new(wanted)), cuts: cutter.cuts })
}

/// What is above what, as the classes say it; also of classes that are refused for something else.
#[derive(Debug, Default)]
pub struct Parents(HashMap<String, Option<String>>);

impl Parents {
    pub fn note(&mut self, value: &Value) {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        if let Some(name) = text("name") {
            self.0.insert(name.to_owned(), text("extends").map(str::to_owned));
        }
    }

    /// Gives every skill all that is above it; one whose ancestors cannot be told is refused.
    pub fn complete(&self, entries: &mut [Result<Item, Refused>]) {
        for entry in entries {
            let Ok(Item { wanted: Wanted::Skill(skill), line, key, .. }) = entry else { continue };
            match self.above(&skill.name, skill.ancestors.first()) {
                Ok(ancestors) => skill.ancestors = ancestors,
                Err(why) => {
                    let fault = Fault::field("extends", why);
                    *entry = Err(Refused { line: *line, key: Some(key.clone()), fault });
                }
            }
        }
    }

    fn above(&self, name: &str, parent: Option<&String>) -> Result<Vec<String>, String> {
        let mut ancestors: Vec<String> = Vec::new();
        let mut next = parent;
        while let Some(above) = next.filter(|above| *above != ROOT) {
            if above == name || ancestors.contains(above) {
                return Err(format!("leads back to {above}; a skill cannot stand above itself"));
            }
            if ancestors.len() == ANCESTORS_MAX {
                return Err(format!("leads through more than {ANCESTORS_MAX} skills"));
            }
            let Some(further) = self.0.get(above) else {
                return Err(format!("leads to {above}, which is not there; import the whole taxonomy together"));
            };
            if further.is_none() {
                return Err(format!("leads to {above}, which is no skill: at last every skill extends {ROOT}"));
            }
            ancestors.push(above.clone());
            next = further.as_ref();
        }
        Ok(ancestors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::import::{Document, Fate, Kind};
    use serde_json::json;

    fn class(name: &str, extends: &str) -> Value {
        json!({"uid": 1, "caption": name.to_uppercase(), "description": "d", "extends": extends, "name": name, "attributes": {}})
    }

    /// Names with their ancestors.
    type Above = Vec<(String, Vec<String>)>;
    /// Keys with the fields that are wrong.
    type Wrong = Vec<(Option<String>, Option<String>)>;

    fn told(text: &str) -> (Above, Wrong, u64) {
        let document = Document::read(Kind::OasfSkills, text.as_bytes());
        let (mut read, mut refused) = (Vec::new(), Vec::new());
        let skipped = document.count(Fate::Skipped) as u64;
        for entry in document.entries {
            match entry {
                Ok(Item { key, wanted: Wanted::Skill(skill), .. }) => read.push((key, skill.ancestors)),
                Ok(item) => panic!("{item:?}"),
                Err(refusal) => refused.push((refusal.key, refusal.fault.field)),
            }
        }
        (read, refused, skipped)
    }

    #[test]
    fn a_skill_has_all_that_is_above_it_wherever_that_stands_in_the_file() {
        let root = json!({"name": "base_skill", "caption": "Skill", "description": "d", "attributes": {"id": {}}});
        let classes = [
            class("planning", "reasoning"),
            root,
            class("route_planning", "planning"),
            class("reasoning", "base_skill"),
        ];
        let expected: Above = vec![
            ("planning".into(), vec!["reasoning".into()]),
            ("route_planning".into(), vec!["planning".into(), "reasoning".into()]),
            ("reasoning".into(), vec![]),
        ];
        let whole =
            json!({"skills": classes, "domains": [class("legal", "base_domain")], "modules": [{}, {}]}).to_string();
        assert_eq!(told(&whole), (expected.clone(), vec![], 4));
        let alone: String = classes.iter().map(|class| format!("\u{1e}{class}\n")).collect();
        assert_eq!(told(&alone), (expected, vec![], 1), "one file a class, as the schema has them");
    }

    #[test]
    fn one_that_is_wrong_is_refused_and_those_below_it_are_not() {
        let mut bad = class("planning", "reasoning");
        bad["description"] = json!(7);
        let classes = json!([bad, class("route_planning", "planning"), class("reasoning", "base_skill"),
            class("lost", "gone"), class("a", "b"), class("b", "a"), class("x", "base_skill"),
            class("legal", "base_domain"), {"name": "base_domain", "caption": "Domain", "attributes": {}}]);
        let mut classes = classes;
        classes[6]["name"] = json!(null);
        let (read, refused, _) = told(&classes.to_string());
        assert_eq!(read[0], ("route_planning".into(), vec!["planning".into(), "reasoning".into()]));
        assert_eq!(read.len(), 2);
        let expected = [
            (Some("planning"), "description"),
            (Some("lost"), "extends"),
            (Some("a"), "extends"),
            (Some("b"), "extends"),
            (None, "name"),
            (Some("legal"), "extends"),
            (Some("base_domain"), "extends"),
        ];
        let expected: Vec<_> = expected.map(|(key, field)| (key.map(str::to_owned), Some(field.to_owned()))).into();
        assert_eq!(refused, expected);
    }
}

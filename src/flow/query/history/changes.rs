//! What an event changed of what readers see: the difference between the resource before it and after it.
//!
//! A change is an operation of JSON Patch (RFC 6902) that knows what it takes away: `before` alone is a *remove*, `after`
//! alone an *add*, both a *replace*. Done in their order from nothing, all of them make the resource. Objects are compared
//! field by field. A list of plain values is one value, shown whole, for its order may mean something. A list of objects
//! is compared element by element, after what is the same at its beginning and at its end: one tool more is one change.

use serde_json::{Map, Value};

/// One change.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// A JSON Pointer (RFC 6901) into the resource.
    pub path: String,
    /// `None` where there was nothing.
    pub before: Option<Value>,
    /// `None` where nothing is left.
    pub after: Option<Value>,
}

/// The changes that lead from one object to another.
pub fn changes(before: &Map<String, Value>, after: &Map<String, Value>) -> Vec<Change> {
    let mut found = Vec::new();
    objects(&mut found, "", before, after);
    found
}

fn objects(found: &mut Vec<Change>, path: &str, before: &Map<String, Value>, after: &Map<String, Value>) {
    for (name, old) in before {
        let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
        match after.get(name) {
            Some(new) => values(found, path, old, new),
            None => found.push(Change { path, before: Some(old.clone()), after: None }),
        }
    }
    for (name, new) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
        found.push(Change { path, before: None, after: Some(new.clone()) });
    }
}

fn values(found: &mut Vec<Change>, path: String, before: &Value, after: &Value) {
    match (before, after) {
        (old, new) if old == new => {}
        (Value::Object(old), Value::Object(new)) => objects(found, &path, old, new),
        (Value::Array(old), Value::Array(new)) if old.iter().chain(new).all(|it| it.is_object() || it.is_array()) => {
            lists(found, &path, old, new);
        }
        (old, new) => found.push(Change { path, before: Some(old.clone()), after: Some(new.clone()) }),
    }
}

fn lists(found: &mut Vec<Change>, path: &str, before: &[Value], after: &[Value]) {
    let same = |(old, new): &(&Value, &Value)| old == new;
    let start = before.iter().zip(after).take_while(same).count();
    let (old, new) = (&before[start..], &after[start..]);
    let end = old.iter().rev().zip(new.iter().rev()).take_while(same).count();
    let (old, new) = (&old[..old.len() - end], &new[..new.len() - end]);
    for (index, (old, new)) in (start..).zip(old.iter().zip(new)) {
        values(found, format!("{path}/{index}"), old, new);
    }
    let both = old.len().min(new.len());
    // From the last on: what is taken away moves those behind it.
    for (index, old) in (start + both..).zip(&old[both..]).collect::<Vec<_>>().into_iter().rev() {
        found.push(Change { path: format!("{path}/{index}"), before: Some(old.clone()), after: None });
    }
    for (index, new) in (start + both..).zip(&new[both..]) {
        found.push(Change { path: format!("{path}/{index}"), before: None, after: Some(new.clone()) });
    }
}

/// Does changes as RFC 6902 says, holding each against what it found.
#[cfg(test)]
pub fn patched(object: &Map<String, Value>, changes: &[Change]) -> Map<String, Value> {
    let mut whole = Value::Object(object.clone());
    for Change { path, before, after } in changes {
        let (parent, name) = path.rsplit_once('/').unwrap();
        let name = name.replace("~1", "/").replace("~0", "~");
        match (whole.pointer_mut(parent).unwrap(), after) {
            (Value::Object(fields), Some(after)) => assert_eq!(&fields.insert(name, after.clone()), before, "{path}"),
            (Value::Object(fields), None) => assert_eq!(&fields.remove(&name), before, "{path}"),
            (Value::Array(items), after) => {
                let index: usize = name.parse().unwrap();
                let found = before.as_ref().map(|_| items.remove(index));
                assert_eq!(&found, before, "{path}");
                after.iter().for_each(|after| items.insert(index, after.clone()));
            }
            (other, _) => panic!("{path} leads into {other}"),
        }
    }
    match whole {
        Value::Object(fields) => fields,
        other => panic!("{other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn told(before: Value, after: Value) -> Vec<Value> {
        let object = |value: Value| value.as_object().unwrap().clone();
        let told = |change: Change| match (change.before, change.after) {
            (Some(before), Some(after)) => json!([change.path, before, after]),
            (Some(before), None) => json!([change.path, "-", before]),
            (None, after) => json!([change.path, "+", after]),
        };
        changes(&object(before), &object(after)).into_iter().map(told).collect()
    }

    #[test]
    fn fields_lists_and_elements_each_change_as_little_as_they_can() {
        assert_eq!(told(json!({"a": 1, "b": {"c": null}}), json!({"a": 1, "b": {"c": null}})), Vec::<Value>::new());
        let before = json!({"name": "a", "limits": {"x": 1, "y": 2}, "gone": true, "skills": ["r", "s"]});
        let after = json!({"name": "b", "limits": {"x": 1, "y": 3}, "a/b~": null, "skills": ["s", "r"]});
        let expected = [
            json!(["/gone", "-", true]),
            json!(["/limits/y", 2, 3]),
            json!(["/name", "a", "b"]),
            json!(["/skills", ["r", "s"], ["s", "r"]]),
            json!(["/a~1b~0", "+", null]),
        ];
        assert_eq!(told(before, after), expected);
        let tool = |name: &str, digest: u8| json!({"name": name, "digest": digest});
        let (a, b, c) = (tool("a", 1), tool("b", 2), tool("c", 3));
        let tools = |tools: &[&Value]| json!({ "tools": tools });
        assert_eq!(told(tools(&[&a, &c]), tools(&[&a, &b, &c])), [json!(["/tools/1", "+", b])]);
        assert_eq!(
            told(tools(&[&a, &b, &c]), tools(&[&c])),
            [json!(["/tools/1", "-", b]), json!(["/tools/0", "-", a])]
        );
        assert_eq!(told(tools(&[&a, &b]), tools(&[&a, &tool("b", 9)])), [json!(["/tools/1/digest", 2, 9])]);
        assert_eq!(told(tools(&[]), tools(&[&a])), [json!(["/tools/0", "+", a])]);
    }

    fn value() -> impl Strategy<Value = Value> {
        let plain = prop_oneof![Just(Value::Null), any::<bool>().prop_map(Value::from), (0..3).prop_map(Value::from)];
        plain.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map("[ab/~]{1,2}", inner, 0..4)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Map<String, Value>> {
        prop::collection::btree_map("[abc/~]{1,2}", value(), 0..5).prop_map(|fields| fields.into_iter().collect())
    }

    proptest! {
        #[test]
        fn changes_done_in_their_order_lead_from_the_one_to_the_other(before in object(), after in object()) {
            let found = changes(&before, &after);
            prop_assert_eq!(patched(&before, &found), after.clone());
            prop_assert!(changes(&after, &after).is_empty());
        }
    }
}

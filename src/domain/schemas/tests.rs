use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::path::Path;

const OLD: &str = r#"{"type": "record", "name": "a.B", "fields": [{"name": "x", "type": "int"}]}"#;
const NEW: &str = r#"{"type": "record", "name": "a.B", "doc": "It\\ \"is\" new.", "fields": [
    {"name": "x", "type": "int"}, {"name": "y", "type": ["null", "string"], "default": null}
]}"#;

fn agent() -> &'static Version {
    &Schemas::of_program().versions("agentverse.agent.RegisterAgent").unwrap()[0]
}

#[test]
fn every_file_under_schemas_is_a_subject_and_nothing_else_is() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    let mut files = BTreeSet::new();
    for folder in std::fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()) {
        for file in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            if file.extension().is_some_and(|extension| extension == "avsc") {
                let part = |path: &Path| path.file_stem().unwrap().to_string_lossy().into_owned();
                files.insert(format!("agentverse.{}.{}", part(&folder), part(&file)));
            }
        }
    }
    let subjects: BTreeSet<_> = Schemas::of_program().subjects().map(str::to_owned).collect();
    assert!(files.len() > 100);
    assert_eq!(subjects, files);
}

#[test]
fn no_two_schemas_share_an_id_and_every_id_leads_to_its_schema() {
    let schemas = Schemas::of_program();
    let ids: BTreeSet<_> = schemas.all().map(|version| version.id).collect();
    assert_eq!(ids.len(), schemas.all().count());
    for version in schemas.all() {
        assert!((1 << 30..1 << 31).contains(&version.id));
        assert_eq!(schemas.by_id(version.id).unwrap().text, version.text);
    }
    assert!(schemas.by_id(1).is_none());
}

#[test]
fn an_id_is_what_the_documentation_says_for_ever() {
    assert_eq!(id_of(0), 0x4000_0000);
    assert_eq!(id_of(u64::MAX), 0x7fff_ffff);
    assert_eq!(id_of(0x1234_5678_9abc_def0), 0x5abc_def0);
    let idle = &Schemas::of_program().versions("agentverse.agent.IdleAgent").unwrap()[0];
    assert_eq!(idle.id, id_of(Aggregate::Agent.codec("IdleAgent").unwrap().fingerprint));
}

#[test]
fn earlier_texts_are_versions_before_the_current_one() {
    let current = parse(NEW).unwrap();
    let schemas = Schemas::new([(&current, NEW)].into_iter(), &[("a.B", &[OLD])]);
    let versions = schemas.versions("a.B").unwrap();
    let shown: Vec<_> = versions.iter().map(|version| (version.number, version.text.as_str())).collect();
    assert_eq!(shown, [(1, compact(OLD).as_str()), (2, compact(NEW).as_str())]);
    assert_eq!(schemas.by_id(versions[0].id).unwrap().number, 1);
    assert_eq!(conflicts(&current, versions), Vec::<String>::new());
    // The same form in other words is no version of its own.
    let schemas = Schemas::new([(&current, NEW)].into_iter(), &[("a.B", &[NEW])]);
    assert_eq!(schemas.versions("a.B").unwrap().len(), 1);
    for (_, texts) in EARLIER {
        assert!(texts.iter().all(|text| parse(text).is_ok()));
    }
}

#[test]
fn texts_lose_white_space_alone() {
    assert!(compact(NEW).contains(r#""doc":"It\\ \"is\" new.","fields":[{"name":"x","type":"int"},{"#));
    for version in Schemas::of_program().all() {
        assert!(same(&parse(&version.text).unwrap(), &version.schema, false), "{}", version.subject);
    }
}

#[test]
fn a_schema_in_other_words_is_the_same_and_with_other_documentation_only_when_normalized() {
    let one = parse(OLD).unwrap();
    let worded = r#"{"fields":[{"type":{"type":"int"},"name":"x"}],"namespace":"a","name":"B","type":"record"}"#;
    assert!(same(&one, &parse(worded).unwrap(), false));
    let documented = parse(&OLD.replace("\"fields\"", "\"doc\": \"other\", \"fields\"")).unwrap();
    assert!(!same(&one, &documented, false) && same(&one, &documented, true));
    assert!(!same(&one, &parse(NEW).unwrap(), true));
}

#[test]
fn every_schema_and_every_version_of_it_read_each_other_and_what_conflicts_is_named() {
    let program = Schemas::of_program();
    for subject in program.subjects() {
        let versions = program.versions(subject).unwrap();
        for version in versions {
            assert_eq!(conflicts(&version.schema, versions), Vec::<String>::new(), "{subject}");
        }
    }
    let with = |field: &str| {
        let text = agent().text.replacen("\"fields\":[", &format!("\"fields\":[{field},"), 1);
        conflicts(&parse(&text).unwrap(), [agent()])
    };
    assert_eq!(with(r#"{"name":"added","type":["null","string"],"default":null}"#), Vec::<String>::new());
    assert_eq!(
        with(r#"{"name":"added","type":"string"}"#),
        [
            "the schema cannot read what version 1 wrote: field \"added\" has no default in the reader, and the writer has \
          no such field"
        ]
    );
    let other = parse(&agent().text.replacen("\"type\":\"string\"", "\"type\":\"int\"", 1)).unwrap();
    let found = conflicts(&other, [agent()]);
    assert!(found.len() == 2 && found[1].contains(": field \""), "{found:?}");
}

#[test]
fn a_type_may_be_defined_at_another_place() {
    let pair = |fields: &str| parse(&format!(r#"{{"type":"record","name":"a.B","fields":[{fields}]}}"#)).unwrap();
    let fixed = r#"{"type":"fixed","name":"F","size":4}"#;
    let one = pair(&format!(r#"{{"name":"x","type":{fixed}}},{{"name":"y","type":"F"}}"#));
    let other = pair(&format!(r#"{{"name":"y","type":{fixed}}},{{"name":"x","type":"F"}}"#));
    let text = serde_json::to_string(&one).unwrap();
    let schemas = Schemas::new([(&one, text.as_str())].into_iter(), &[]);
    assert_eq!(conflicts(&other, schemas.all()), Vec::<String>::new());
    let endless = pair(r#"{"name":"x","type":["null","a.B"],"default":null}"#);
    let found = conflicts(&endless, schemas.all());
    assert!(found[0].contains("contains itself"), "{found:?}");
}

#[test]
fn fewer_symbols_are_a_conflict() {
    let with = |symbols: &str| {
        parse(&format!(
            r#"{{"type":"record","name":"a.B","fields":[{{"name":"x","type":{{"type":"enum","name":"E","symbols":[{symbols}]}}}}]}}"#
        ))
        .unwrap()
    };
    let one = with(r#""p","q""#);
    let text = serde_json::to_string(&one).unwrap();
    let schemas = Schemas::new([(&one, text.as_str())].into_iter(), &[]);
    let found = conflicts(&with(r#""p""#), schemas.all());
    assert!(found.len() == 1 && found[0].starts_with("the schema cannot read what version 1 wrote"), "{found:?}");
}

proptest! {
    #[test]
    fn a_schema_cut_or_altered_never_panics(at in 0usize..4_000, letter in any::<char>(), cut in any::<bool>()) {
        let mut text: String = agent().text.chars().take(if cut { at } else { usize::MAX }).collect();
        if !cut {
            text = text.char_indices().map(|(place, kept)| if place == at { letter } else { kept }).collect();
        }
        if let Ok(schema) = parse(&text) {
            let _ = conflicts(&schema, [agent()]);
            let _ = same(&schema, &agent().schema, false);
        }
    }
}

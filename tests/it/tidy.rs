//! The habits of the house, as ordinary tests: which way dependencies point, what stands where, how long things are.
//!
//! Every rule is a function of text or of a list of paths, and has a test beside it that shows it a bad one.

mod arrows;
mod rooms;
mod shape;
mod source;

use source::{File, files};
use std::collections::BTreeSet;
use std::path::Path;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn rust_files(folder: &str) -> Vec<File> {
    files(root(), folder).into_iter().filter(|file| file.path.ends_with(".rs")).collect()
}

fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

#[test]
fn dependencies_point_one_way() {
    let sources = rust_files("src");
    assert!(sources.len() > 20, "the sources were not found");
    assert_none(sources.iter().flat_map(|file| arrows::faults(&file.path, &file.text)).collect());
}

#[test]
fn the_domain_is_pure() {
    let sources = rust_files("src/domain");
    let is_test = |file: &File| {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        let parent = sources.iter().find(|other| other.path == format!("{folder}/mod.rs"));
        parent.is_some_and(|parent| shape::is_test_module(&file.path, &parent.text))
    };
    let faults =
        sources.iter().filter(|file| !is_test(file)).flat_map(|file| shape::impurities(&file.path, &file.text));
    assert_none(faults.collect());
}

#[test]
fn files_and_functions_are_short() {
    let mut used = BTreeSet::new();
    let mut faults = Vec::new();
    for file in ["src", "tests", "benches"].into_iter().flat_map(rust_files) {
        faults.extend(shape::lengths(&file.path, &file.text, shape::EXCEPTIONS, &mut used));
    }
    let unused = shape::EXCEPTIONS.iter().filter(|exception| !used.contains(*exception));
    faults.extend(unused.map(|exception| format!("{exception} is no exception any more: take it off the list")));
    assert_none(faults);
}

#[test]
fn nothing_is_unfinished_and_no_path_of_a_machine_is_named() {
    let mut faults = Vec::new();
    for entry in rooms::top_level(root()) {
        // The lock file and the licence are not ours to word.
        if rooms::is_ignored(root(), &entry) || [".git", "Cargo.lock", "LICENSE"].contains(&entry.as_str()) {
            continue;
        }
        faults.extend(files(root(), &entry).iter().flat_map(|file| shape::stray_words(&file.path, &file.text)));
    }
    assert_none(faults);
}

#[test]
fn the_top_level_is_as_agreed() {
    let entries: Vec<_> =
        rooms::top_level(root()).into_iter().filter(|entry| !rooms::is_ignored(root(), entry)).collect();
    assert!(entries.iter().any(|entry| entry == "Cargo.toml"));
    assert_none(rooms::unexpected_entries(&entries));
}

#[test]
fn every_aggregate_has_its_rooms() {
    let present: BTreeSet<String> = ["src/domain", "schemas", "topics", "tests/golden"]
        .into_iter()
        .filter(|folder| root().join(folder).is_dir())
        .flat_map(|folder| files(root(), folder))
        .map(|file| file.path)
        .collect();
    let aggregates = rooms::aggregates();
    assert!(aggregates.len() >= 6, "the aggregates were not found");
    assert_none(rooms::faults(&aggregates, &present));
}

#[test]
fn topics_say_what_they_hold() {
    let topics: Vec<_> = files(root(), "topics").into_iter().filter(|file| rooms::is_manifest(&file.path)).collect();
    assert!(!topics.is_empty());
    assert_none(topics.iter().flat_map(|file| rooms::topic_faults(&file.path, &file.text)).collect());
}

//! Kustomizations: what they name exists, and what stands beside them is named.

use super::tree::{Document, list, text, texts};
use std::collections::BTreeSet;

/// What a kustomization lacks, and what it leaves out. `files` are all files there are, from the root.
pub fn faults(kustomization: &Document, files: &BTreeSet<String>) -> Vec<String> {
    let folder = kustomization.path.rsplit_once('/').map_or("", |(folder, _)| folder);
    let roots = roots(files);
    let mut faults = Vec::new();
    let mut named = BTreeSet::from([kustomization.path.clone()]);
    for reference in references(kustomization) {
        let path = join(folder, &reference);
        if !files.contains(&path) && !roots.contains(&path) {
            faults.push(format!("{}: names {reference}, which does not exist", kustomization.path));
        }
        named.insert(path);
    }
    // Folders below that are kustomizations name their own; `.yml` is what Prometheus reads, and no resource.
    let beside = files.iter().filter(|path| {
        owner(path, &roots) == Some(folder)
            && (path.ends_with("yaml") || path.ends_with("json") || path.ends_with("conf"))
    });
    faults.extend(
        beside.filter(|path| !named.contains(*path)).map(|path| format!("{path}: its kustomization does not name it")),
    );
    faults
}

/// The folders that are kustomizations.
pub fn roots(files: &BTreeSet<String>) -> BTreeSet<String> {
    files.iter().filter_map(|path| path.strip_suffix("/kustomization.yaml")).map(str::to_owned).collect()
}

/// The nearest folder above a file that is a kustomization.
fn owner<'a>(path: &'a str, roots: &BTreeSet<String>) -> Option<&'a str> {
    let mut folder = path;
    while let Some((above, _)) = folder.rsplit_once('/') {
        if roots.contains(above) {
            return Some(above);
        }
        folder = above;
    }
    None
}

/// What a kustomization names: folders and files, relative to its own.
pub fn references(kustomization: &Document) -> Vec<String> {
    let value = &kustomization.value;
    let patches = list(value, "/patches").iter().map(|patch| text(patch, "/path"));
    let generated = list(value, "/configMapGenerator").iter().flat_map(|generator| texts(generator, "/files"));
    // A file may be given another name: `name=path`.
    let generated = generated.map(|file| file.split_once('=').map_or(file, |(_, path)| path));
    let all = texts(value, "/resources").into_iter().chain(patches).chain(generated);
    all.filter(|path| !path.is_empty()).map(str::to_owned).collect()
}

/// A relative path from a folder, without `.` and `..`.
pub fn join(folder: &str, relative: &str) -> String {
    let mut parts: Vec<_> = folder.split('/').collect();
    for part in relative.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[cfg(test)]
fn example(text: &str) -> Document {
    super::tree::parse("k/kustomization.yaml", text).unwrap().remove(0)
}

#[test]
fn what_is_named_must_exist_and_what_exists_must_be_named() {
    let files =
        ["k/kustomization.yaml", "k/a.yaml", "k/p.yaml", "k/x/s.conf", "k/sub/kustomization.yaml", "k/sub/b.yaml"];
    let files: BTreeSet<_> = files.map(str::to_owned).into();
    let whole = "resources: [a.yaml, sub]\npatches: [{path: p.yaml}]\nconfigMapGenerator: [{files: [n=x/s.conf]}]\n";
    assert_eq!(faults(&example(whole), &files), Vec::<String>::new());
    for (from, to, part) in [
        ("a.yaml, sub", "a.yaml, sub, gone.yaml", "gone.yaml, which does not exist"),
        ("a.yaml, sub", "a.yaml, ../sub", "../sub, which does not exist"),
        ("a.yaml, sub", "sub", "k/a.yaml: its kustomization"),
        ("p.yaml", "../p.yaml", "k/p.yaml: its kustomization"),
        ("n=x/s.conf", "n=s.conf", "s.conf, which does not exist"),
    ] {
        let faults = faults(&example(&whole.replace(from, to)), &files);
        assert!(faults.iter().any(|fault| fault.contains(part)), "{part}: {faults:?}");
    }
}

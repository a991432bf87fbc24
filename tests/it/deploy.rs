//! What is deployed: that every file can be read, asks the program for what it has, and keeps the promises of its form.
//!
//! Each rule is a function of what it reads, with a test beside it that shows it a bad example. What only a real tool
//! can judge is asked of that tool where it is on the PATH, and said where it is not.

mod compose;
mod dashboards;
mod kustomize;
mod promql;
mod roles;
mod settings;
mod sizing;
mod tree;
mod workloads;

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use tree::{Document, assert_none, documents, files, is_yaml, list, parse, read, root, text, texts};

const COMPOSE: &str = "deploy/compose/compose.yaml";
const ALERTS: &str = "deploy/observability/alerts.yml";
const REGIONS: &[&str] = &["ap-southeast", "eu-central", "us-east"];

fn one(path: &str) -> Value {
    let mut documents = parse(path, &read(path)).unwrap();
    assert_eq!(documents.len(), 1, "{path}");
    documents.remove(0).value
}

/// A tool, when it can be run; otherwise says that what it checks was not checked.
fn tool(name: &str, version: &[&str]) -> Option<Command> {
    if Command::new(name).args(version).output().is_ok_and(|output| output.status.success()) {
        return Some(Command::new(name));
    }
    eprintln!("{name} is not on the PATH: what only it can check was not checked");
    None
}

fn output(mut command: Command) -> Result<String, String> {
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&[output.stdout, output.stderr].concat())) }
}

#[test]
fn every_file_can_be_read() {
    let paths = files("deploy");
    let yaml: Vec<_> = paths.iter().filter(|path| is_yaml(path)).collect();
    assert!(yaml.len() >= 20, "the files were not found");
    assert_none(&yaml.iter().filter_map(|path| parse(path, &read(path)).err()).collect::<Vec<_>>());
    for path in paths.iter().filter(|path| path.ends_with(".json")) {
        serde_json::from_str::<Value>(&read(path)).unwrap_or_else(|fault| panic!("{path}: {fault}"));
    }
}

#[test]
fn the_compose_project_is_sound() {
    let project = one(COMPOSE);
    assert_none(&compose::faults(&project, |path| root().join("deploy/compose").join(path).exists()));
    let own = format!("agentverse:{}", env!("CARGO_PKG_VERSION"));
    for role in roles::ROLES.iter().chain(&["schemas-apply", "topics-apply"]) {
        let service = &project["services"][*role];
        assert_eq!(text(service, "/image"), own, "{role}");
        assert!(texts(service, "/command").contains(&"/etc/agentverse/agentverse.conf"), "{role}");
    }
    let settings = settings::load("deploy/compose/agentverse.conf", &BTreeMap::new()).unwrap();
    for server in settings.kafka_brokers.split(',').chain([settings.scylla_nodes.as_str()]) {
        let host = server.split(':').next().unwrap();
        assert!(project["services"].get(host).is_some(), "{server} is no service");
    }
}

#[test]
fn the_image_is_built_from_what_reaches_its_builder() {
    let dockerfile = read("deploy/Dockerfile");
    let lines: Vec<_> = dockerfile.lines().map(str::trim).collect();
    let sources = lines.iter().filter_map(|line| line.strip_prefix("COPY ")).filter(|line| !line.starts_with("--from"));
    let sources: Vec<_> =
        sources.flat_map(|line| line.split(' ').rev().skip(1).map(str::to_owned).collect::<Vec<_>>()).collect();
    let ignore = read(".dockerignore");
    assert!(sources.len() >= 6, "{sources:?}");
    for source in &sources {
        assert!(root().join(source).exists(), "{source} does not exist");
        assert!(ignore.lines().any(|line| line == format!("!{source}")), "{source} is kept from the builder");
    }
    // What the program takes in at compile time must be among what is copied.
    for path in files("src").iter().filter(|path| path.ends_with(".rs")) {
        for part in read(path).split("include_str!(\"").skip(1) {
            let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
            let taken = kustomize::join(folder, part.split('"').next().unwrap());
            assert!(sources.iter().any(|source| taken.starts_with(source)), "{taken} is not copied into the image");
        }
    }
    let manifest = read("Cargo.toml");
    let rust = manifest.lines().find_map(|line| line.strip_prefix("rust-version = ")).unwrap().trim_matches('"');
    assert!(lines.iter().any(|line| line.starts_with(&format!("FROM rust:{rust}-"))), "built with another Rust");
    assert!(lines.contains(&format!("ARG VERSION={}", env!("CARGO_PKG_VERSION")).as_str()));
    assert!(lines.contains(&"USER 10001:10001"), "the image would run as root");
    assert!(dockerfile.contains("--locked"));
}

/// What stands under `deploy/k8s` as a resource, or as a patch of one.
fn manifests() -> Vec<Document> {
    let all = documents("deploy/k8s").into_iter();
    all.filter(|document| !document.is("Kustomization") && document.value.is_object()).collect()
}

#[test]
fn every_manifest_says_what_it_is() {
    let manifests = manifests();
    assert!(manifests.len() >= 30, "the manifests were not found");
    assert_none(&manifests.iter().flat_map(workloads::identity_faults).collect::<Vec<_>>());
    let base: Vec<_> = manifests.into_iter().filter(|it| it.path.starts_with("deploy/k8s/base/")).collect();
    let names: BTreeSet<_> = base.iter().map(|it| (it.text("/kind"), it.name())).collect();
    assert_eq!(names.len(), base.len(), "a resource stands twice");
}

#[test]
fn kubernetes_takes_the_names_of_topics_and_manifests() {
    // Of a topic's name in Kafka, Kubernetes takes no underscore: that one stands in spec.topicName.
    let is_taken = |name: &str| {
        let fits = |char: char| char.is_ascii_lowercase() || char.is_ascii_digit() || "-.".contains(char);
        let ends = |char: Option<char>| char.is_some_and(|char| char.is_ascii_alphanumeric());
        name.len() <= 253 && name.chars().all(fits) && ends(name.chars().next()) && ends(name.chars().next_back())
    };
    assert!(!is_taken("a_b") && !is_taken("A") && !is_taken("a.") && is_taken("agentverse.llm-request.v1"));
    let all = documents("topics").into_iter().filter(|it| it.is("KafkaTopic")).chain(manifests());
    let bad = all.filter(|it| !is_taken(it.name())).map(|it| format!("{}: {}", it.path, it.name()));
    assert_none(&bad.collect::<Vec<_>>());
}

#[test]
fn kustomizations_name_what_there_is() {
    let files: BTreeSet<_> = files("deploy").into_iter().collect();
    let all: Vec<_> = documents("deploy").into_iter().filter(|it| it.path.ends_with("/kustomization.yaml")).collect();
    assert_eq!(all.len(), 5 + REGIONS.len(), "base with its three steps, the dashboards, and the regions");
    assert_none(&all.iter().flat_map(|it| kustomize::faults(it, &files)).collect::<Vec<_>>());
}

#[test]
fn what_runs_is_bounded_and_has_no_rights_that_it_does_not_need() {
    let base: Vec<_> = manifests().into_iter().filter(|it| it.path.starts_with("deploy/k8s/base/")).collect();
    let deployments: BTreeSet<_> = base.iter().filter(|it| it.is("Deployment")).map(Document::name).collect();
    assert_eq!(deployments, roles::ROLES.iter().copied().chain(["registry"]).collect());
    assert_none(&workloads::faults(&base));
}

#[test]
fn each_region_sets_what_the_program_takes() {
    let regions: BTreeSet<_> =
        files("deploy/k8s/overlays").iter().filter_map(|path| path.split('/').nth(3).map(str::to_owned)).collect();
    assert_eq!(regions, REGIONS.iter().map(|region| (*region).to_owned()).collect());
    let literals = |path: &str| -> Vec<String> {
        let kustomization = one(path);
        let generators = list(&kustomization, "/configMapGenerator").iter();
        generators.flat_map(|it| texts(it, "/literals")).map(str::to_owned).collect()
    };
    for region in REGIONS {
        let folder = format!("deploy/k8s/overlays/{region}");
        let all = [literals("deploy/k8s/base/kustomization.yaml"), literals(&format!("{folder}/kustomization.yaml"))];
        let all = all.concat();
        let variables = settings::variables(&all.iter().map(String::as_str).collect::<Vec<_>>());
        assert_eq!(variables.len(), all.len(), "{region}: a literal stands twice or is none: {all:?}");
        assert_none(&settings::unknown_variables(region, variables.keys().map(String::as_str)));
        let settings = settings::load("deploy/k8s/base/agentverse.conf", &variables).unwrap();
        let patch = one(&format!("{folder}/scylla.yaml"));
        let patched = patch.as_array().unwrap().iter().find(|it| text(it, "/path") == "/spec/datacenter/name").unwrap();
        assert_eq!(settings.scylla_datacenter, text(patched, "/value"), "{region}: its logs' home is no datacentre");
        assert_eq!(settings.scylla_replication, 3);
    }
}

#[test]
fn regions_render_and_are_sound_as_rendered() {
    for region in REGIONS {
        let Some(mut kubectl) = tool("kubectl", &["version", "--client"]) else { return };
        kubectl.arg("kustomize").arg(root().join("deploy/k8s/overlays").join(region));
        let rendered = output(kubectl).unwrap_or_else(|fault| panic!("{region}: {fault}"));
        let documents = parse(region, &rendered).unwrap();
        assert_none(&documents.iter().flat_map(workloads::identity_faults).collect::<Vec<_>>());
        assert_none(&workloads::faults(&documents));
        let without = |label: &str| {
            let label = format!("/metadata/labels/{}", label.replace('/', "~1"));
            let bare = documents.iter().filter(|it| it.text(&label).is_empty());
            bare.map(|it| format!("{region}: {} {} has no {label}", it.text("/kind"), it.name())).collect::<Vec<_>>()
        };
        // Without the first, `kubectl apply -l agentverse/step=…` would leave it out.
        assert_none(&without("agentverse/step"));
        assert_none(&without("agentverse/region"));
    }
}

#[test]
fn alerts_ask_for_metrics_that_there_are() {
    let alerts = one(ALERTS);
    let rules: Vec<_> = list(&alerts, "/groups").iter().flat_map(|group| list(group, "/rules")).collect();
    assert!(rules.len() >= 10, "the rules were not found");
    let mut faults = Vec::new();
    for rule in &rules {
        let name = text(rule, "/alert");
        faults.extend(promql::unknown_metrics(name, text(rule, "/expr")));
        for field in ["/alert", "/expr", "/labels/severity", "/annotations/summary", "/annotations/description"] {
            if text(rule, field).is_empty() {
                faults.push(format!("{name}: has no {field}"));
            }
        }
    }
    assert_none(&faults);
    let tests = one("deploy/observability/alerts_test.yml");
    let cases = list(&tests, "/tests").iter().flat_map(|test| list(test, "/alert_rule_test"));
    let fired: BTreeSet<_> =
        cases.filter(|case| !list(case, "/exp_alerts").is_empty()).map(|case| text(case, "/alertname")).collect();
    let named: BTreeSet<_> = rules.iter().map(|rule| text(rule, "/alert")).collect();
    assert_eq!(named, fired, "an alert has no test in which it fires, or a test no alert");
}

#[test]
fn kubernetes_carries_the_same_alerts() {
    let rule = one("deploy/k8s/base/roles/alerts.yaml");
    assert_eq!(rule["spec"]["groups"], one(ALERTS)["groups"], "copy the groups of {ALERTS} below spec");
}

fn all_dashboards() -> BTreeMap<String, Value> {
    let paths = files("deploy/observability/dashboards").into_iter();
    paths.map(|path| (path.clone(), serde_json::from_str(&read(&path)).unwrap())).collect()
}

#[test]
fn dashboards_ask_for_metrics_that_there_are() {
    let all = all_dashboards();
    let names: Vec<_> = all.keys().map(|path| path.rsplit_once('/').unwrap().1).collect();
    let promised = ["agent-performance", "cost-analytics", "llm-provider-status", "mcp-server-health"];
    assert_eq!(names, promised.map(|name| format!("{name}.json")));
    let mut faults = Vec::new();
    let mut asked = String::new();
    for (path, dashboard) in &all {
        let queries = dashboards::variable_queries(dashboard).into_iter();
        let found = queries.flat_map(|query| promql::unknown_metrics("variables", query));
        faults.extend(found.chain(dashboards::faults(dashboard)).map(|fault| format!("{path}: {fault}")));
        asked.extend(dashboards::expressions(dashboard).into_iter().map(|(_, expression)| expression));
    }
    assert_none(&faults);
    for name in agentverse::metrics::PROMISED {
        assert!(asked.contains(name), "no dashboard shows {name}");
    }
}

#[test]
fn prometheus_understands_what_it_is_given() {
    let folder = root().join("deploy/observability");
    let promtool = |args: &[&str]| {
        let mut promtool = tool("promtool", &["--version"])?;
        promtool.current_dir(&folder).args(args);
        Some(output(promtool))
    };
    let Some(checked) = promtool(&["check", "rules", "alerts.yml"]) else { return };
    checked.unwrap_or_else(|fault| panic!("alerts.yml: {fault}"));
    for args in
        [["test", "rules", "alerts_test.yml"].as_slice(), &["check", "config", "--syntax-only", "prometheus.yml"]]
    {
        promtool(args).unwrap().unwrap_or_else(|fault| panic!("{args:?}: {fault}"));
    }
    // The dashboards' expressions, as rules: the one form in which promtool reads PromQL from a file.
    let expressions = all_dashboards().into_values().flat_map(|it| dashboards::expressions(&it));
    let rules: Vec<_> = expressions
        .enumerate()
        .map(|(number, (_, expression))| {
            serde_json::json!({"record": format!("asked:{number}"), "expr": dashboards::filled(&expression)})
        })
        .collect();
    assert!(rules.len() > 50, "the expressions were not found");
    let given = tempfile::tempdir().unwrap();
    let file = given.path().join("rules.yml");
    let write = |rules: &[Value]| {
        let groups = serde_json::json!({"groups": [{"name": "dashboards", "rules": rules}]});
        std::fs::write(&file, groups.to_string()).unwrap();
        promtool(&["check", "rules", file.to_str().unwrap()]).unwrap()
    };
    write(&rules).unwrap_or_else(|fault| panic!("{fault}"));
    let broken = [serde_json::json!({"record": "asked:0", "expr": "sum(rate(up[5m])"})];
    assert!(write(&broken).is_err(), "promtool takes what is no PromQL");
}

//! The roles: each is deployed in both forms, scraped, missed when it is gone, and has the time that it needs to stop.

use super::tree::{Document, documents, entries, list, read, text, texts};
use super::{ALERTS, COMPOSE, one};
use agentverse::runtime::settings::{Loaded, Settings};
use serde_json::Value;
use std::collections::BTreeSet;

/// What runs for as long as the fleet does.
pub const ROLES: &[&str] = &["process", "project", "serve", "work"];

/// In any order, with `|` between them.
fn alternatives(text: &str) -> BTreeSet<&str> {
    text.split('|').collect()
}

fn named(kind: &str, name: &str) -> Vec<Document> {
    let all = documents("deploy/k8s").into_iter();
    all.filter(|document| document.is(kind) && document.name() == name).collect()
}

#[test]
fn every_role_is_scraped_and_missed_when_it_is_gone() {
    let all: BTreeSet<_> = ROLES.iter().copied().collect();
    let scraped = one("deploy/observability/prometheus.yml");
    let jobs: BTreeSet<_> = list(&scraped, "/scrape_configs")
        .iter()
        .filter(|job| {
            let role = text(job, "/relabel_configs/0/replacement");
            role == text(job, "/job_name") && texts(job, "/dns_sd_configs/0/names") == [role]
        })
        .map(|job| text(job, "/job_name"))
        .collect();
    assert_eq!(jobs, all, "compose");
    let monitor = &named("PodMonitor", "roles")[0].value;
    let taken: BTreeSet<_> = texts(monitor, "/spec/selector/matchExpressions/0/values").into_iter().collect();
    assert_eq!(taken, all, "Kubernetes");
    let alerts = one(ALERTS);
    let gone = text(&alerts, "/groups/0/rules/0/expr");
    for role in ROLES {
        assert!(gone.contains(&format!("absent(up{{role=\"{role}\"}})")), "{role}: {gone}");
    }
    let dashboards = super::files("deploy/observability/dashboards");
    for path in dashboards.iter().map(String::as_str).chain([ALERTS]) {
        let content = read(path).replace('\\', "");
        let asked = content.split("up{role=~\"").skip(1).map(|rest| rest.split('"').next().unwrap());
        let asked: Vec<_> = asked.map(alternatives).collect();
        assert!(!asked.is_empty() && asked.iter().all(|roles| *roles == all), "{path}: {asked:?}");
    }
}

/// What a compose service's own variables make of the settings.
fn compose_settings(service: &Value) -> Settings {
    let variables = entries(service, "/environment");
    let value = |name: &str| variables.get(name).and_then(|value| value.as_str()).map(str::to_owned);
    Loaded::load(Some(&super::root().join("deploy/compose/agentverse.conf")), value, &[]).unwrap().settings
}

#[test]
fn compose_waits_for_what_a_role_still_does_when_it_is_told_to_stop() {
    let project = one(COMPOSE);
    for role in ROLES {
        let service = &project["services"][*role];
        let grace: u64 = text(service, "/stop_grace_period").trim_end_matches('s').parse().unwrap();
        let settings = compose_settings(service);
        assert!(grace * 1_000 > settings.shutdown_ms_max + settings.http_drain_ms_max, "{role}: {grace} s");
    }
}

#[test]
fn there_are_no_more_workers_than_logs_of_requests() {
    let scalers = named("HorizontalPodAutoscaler", "work");
    assert_eq!(scalers.len(), 1 + super::REGIONS.len());
    for scaler in scalers {
        let most = scaler.value.pointer("/spec/maxReplicas").and_then(Value::as_u64).unwrap();
        assert!(most <= Settings::default().partitions.into(), "{}: {most} workers, some without a log", scaler.path);
    }
}

/// The names of a file of key sources, each with the one place that it names: `env`, `file` …, and what stands there.
fn sources(path: &str) -> Vec<(String, String, String)> {
    let sources: Value = serde_json::from_str(&read(path)).unwrap();
    let origin = |(name, source): (&str, &Value)| {
        let mut origins: Vec<_> = entries(source, "").into_iter().filter(|(field, _)| *field != "hosts").collect();
        assert_eq!(origins.len(), 1, "{path}: {name}");
        let (field, value) = origins.remove(0);
        (name.to_owned(), field.to_owned(), value.as_str().unwrap().to_owned())
    };
    entries(&sources, "").into_iter().map(origin).collect()
}

#[test]
fn workers_are_told_where_keys_come_from_and_only_workers_have_them() {
    let project = one(COMPOSE);
    let work = &project["services"]["work"];
    let mounted = texts(work, "/volumes").into_iter().find(|it| it.contains("llm-key-sources.json")).unwrap();
    let (from, to) = mounted.split_once(':').unwrap();
    assert_eq!(compose_settings(work).llm_keys_file, to.trim_end_matches(":ro"));
    let variables = entries(work, "/environment");
    for (name, field, variable) in sources(&format!("deploy/compose/{}", from.trim_start_matches("./"))) {
        assert!(field == "env" && variables.contains_key(variable.as_str()), "{name}: {variable} is not set");
    }

    let pod = named("Deployment", "work").remove(0).value.pointer("/spec/template/spec").unwrap().clone();
    let container = &pod["containers"][0];
    let mounts = list(container, "/volumeMounts");
    let path_of = |volume: &str| mounts.iter().find(|it| text(it, "/name") == volume).map(|it| text(it, "/mountPath"));
    let file = list(container, "/env").iter().find(|it| text(it, "/name") == "AGENTVERSE_LLM_KEYS_FILE").unwrap();
    let expected = format!("{}/llm-key-sources.json", path_of("llm-key-sources").unwrap());
    assert_eq!(text(file, "/value"), expected);
    for (name, field, path) in sources("deploy/k8s/base/llm-key-sources.json") {
        assert_eq!((&*field, path), ("file", format!("{}/{name}", path_of("llm-keys").unwrap())));
    }
    let holds = |document: &&Document| document.value.to_string().contains("agentverse-llm-keys");
    let all = documents("deploy/k8s");
    let holders: Vec<_> = all.iter().filter(holds).map(|document| (document.text("/kind"), document.name())).collect();
    assert_eq!(holders, [("Deployment", "work")]);
}

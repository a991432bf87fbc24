//! The compose project: what every service must have.

use super::settings::unknown_variables;
use super::tree::{entries, list, text, texts};
use serde_json::Value;
use std::collections::BTreeSet;

/// Our own image, which holds one binary and nothing that could ask it for its health.
const OWN: &str = "agentverse:";

/// What is wrong with a compose project. `exists` answers for a path beside its file.
pub fn faults(project: &Value, exists: impl Fn(&str) -> bool) -> Vec<String> {
    let services = entries(project, "/services");
    let volumes: BTreeSet<_> = entries(project, "/volumes").into_keys().collect();
    let mut faults = Vec::new();
    for (name, service) in &services {
        let mut found = service_faults(service);
        found.extend(dependency_faults(service, &services));
        found.extend(volume_faults(service, &volumes, &exists));
        found.extend(unknown_variables("environment", entries(service, "/environment").into_keys()));
        faults.extend(found.into_iter().map(|fault| format!("{name}: {fault}")));
    }
    if services.is_empty() {
        faults.push("there are no services".to_owned());
    }
    faults
}

/// Whether an image names a version that does not move: `latest` and no tag at all do.
pub fn is_pinned(image: &str) -> bool {
    let tag = image.rsplit_once('/').map_or(image, |(_, last)| last).split_once(':').map_or("", |(_, tag)| tag);
    image.contains("@sha256:") || tag.trim_start_matches('v').starts_with(|char: char| char.is_ascii_digit())
}

fn service_faults(service: &Value) -> Vec<String> {
    let image = text(service, "/image");
    let mut faults = Vec::new();
    if !is_pinned(image) {
        faults.push(format!("the image {image:?} is not pinned to a version"));
    }
    for limit in ["cpus", "memory"] {
        if text(service, &format!("/deploy/resources/limits/{limit}")).is_empty() {
            faults.push(format!("has no limit of {limit}"));
        }
    }
    for port in list(service, "/ports") {
        if !port.as_str().is_some_and(|port| port.starts_with("127.0.0.1:")) {
            faults.push(format!("the port {port} is open to other machines"));
        }
    }
    if image.starts_with(OWN) {
        if service.pointer("/read_only") != Some(&Value::Bool(true)) || texts(service, "/cap_drop") != ["ALL"] {
            faults.push("a role needs neither a writable root nor capabilities".to_owned());
        }
        if service.get("healthcheck").is_some() {
            faults.push("the image has nothing to check health with".to_owned());
        }
    } else if list(service, "/healthcheck/test").len() < 2 {
        faults.push("has no health check".to_owned());
    }
    faults
}

fn dependency_faults(service: &Value, services: &std::collections::BTreeMap<&str, &Value>) -> Vec<String> {
    let mut faults = Vec::new();
    for (other, how) in entries(service, "/depends_on") {
        let Some(target) = services.get(other) else {
            faults.push(format!("depends on {other}, which is no service"));
            continue;
        };
        match text(how, "/condition") {
            "service_healthy" if target.get("healthcheck").is_none() => {
                faults.push(format!("waits for the health of {other}, which is never checked"));
            }
            "service_completed_successfully" if text(target, "/restart") != "no" => {
                faults.push(format!("waits for the end of {other}, which is started again"));
            }
            "service_healthy" | "service_completed_successfully" => {}
            condition => faults.push(format!("depends on {other} under the condition {condition:?}")),
        }
    }
    faults
}

fn volume_faults(service: &Value, named: &BTreeSet<&str>, exists: &impl Fn(&str) -> bool) -> Vec<String> {
    let mut faults = Vec::new();
    for volume in texts(service, "/volumes") {
        let source = volume.split(':').next().unwrap_or(volume);
        if source.starts_with('.') && !exists(source) {
            faults.push(format!("mounts {source}, which does not exist"));
        }
        if source.starts_with('.') && !volume.ends_with(":ro") {
            faults.push(format!("may write to {source}"));
        }
        if !source.starts_with('.') && !named.contains(source) {
            faults.push(format!("the volume {source} is not declared"));
        }
    }
    faults
}

#[test]
fn images_that_move_are_not_pinned() {
    for image in ["", "kafka", "apache/kafka:latest", "localhost:5000/kafka", "kafka:main"] {
        assert!(!is_pinned(image), "{image}");
    }
    for image in ["apache/kafka:4.1.0", "prom/prometheus:v3.5.0", "localhost:5000/kafka:4", "kafka@sha256:00"] {
        assert!(is_pinned(image), "{image}");
    }
}

#[cfg(test)]
fn sound() -> Value {
    let limits = serde_json::json!({"resources": {"limits": {"cpus": "1", "memory": "1G"}}});
    serde_json::json!({
        "services": {
            "server": {"image": "server:1", "deploy": limits, "healthcheck": {"test": ["CMD", "true"]},
                "ports": ["127.0.0.1:1:1"], "volumes": ["data:/data", "./a:/a:ro"]},
            "apply": {"image": "agentverse:1", "deploy": limits, "read_only": true, "cap_drop": ["ALL"],
                "restart": "no", "depends_on": {"server": {"condition": "service_healthy"}}},
            "role": {"image": "agentverse:1", "deploy": limits, "read_only": true, "cap_drop": ["ALL"],
                "environment": {"AGENTVERSE_LOG_FORMAT": "json"},
                "depends_on": {"apply": {"condition": "service_completed_successfully"}}}
        },
        "volumes": {"data": null}
    })
}

#[test]
fn each_way_to_break_a_service_is_named() {
    use serde_json::json;
    assert_eq!(faults(&sound(), |path| path == "./a"), Vec::<String>::new());
    assert_eq!(faults(&sound(), |_| false).len(), 1, "a mount that does not exist");
    let cases = [
        ("/services/server/image", json!("server:latest"), "not pinned"),
        ("/services/server/ports", json!(["9092:9092"]), "open to other machines"),
        ("/services/server/ports", json!(["0.0.0.0:1:1"]), "open to other machines"),
        ("/services/server/deploy", json!({}), "no limit of memory"),
        ("/services/server/healthcheck", json!({}), "no health check"),
        ("/services/server/volumes", json!(["other:/data"]), "not declared"),
        ("/services/server/volumes", json!(["./a:/a"]), "may write"),
        ("/services/role/read_only", json!(false), "writable root"),
        ("/services/role/depends_on", json!({"gone": {"condition": "service_healthy"}}), "no service"),
        ("/services/role/depends_on", json!({"apply": {"condition": "service_healthy"}}), "never checked"),
        ("/services/role/depends_on", json!({"apply": {"condition": "service_started"}}), "condition"),
        ("/services/role/environment", json!({"AGENTVERSE_LOG_FORM": "json"}), "AGENTVERSE_LOG_FORM"),
        ("/services/apply/restart", json!("always"), "started again"),
    ];
    for (pointer, value, part) in cases {
        let mut broken = sound();
        *broken.pointer_mut(pointer).unwrap() = value;
        let faults = faults(&broken, |path| path == "./a");
        assert!(faults.iter().any(|fault| fault.contains(part)), "{pointer}: {part}: {faults:?}");
    }
}

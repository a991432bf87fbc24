//! What runs on Kubernetes: probes, bounds, rights, disruption budgets, network policies.

use super::compose::is_pinned;
use super::settings::unknown_variables;
use super::tree::{Document, entries, list, text, texts};
use agentverse::runtime::settings::{Loaded, Settings};
use serde_json::Value;
use std::collections::BTreeMap;

/// What our image is called; its tag is the version of the program.
const OWN: &str = "agentverse";
const OWN_VERSION: &str = env!("CARGO_PKG_VERSION");

/// What a document lacks to be a resource. Patches and kustomizations are none.
pub fn identity_faults(document: &Document) -> Vec<String> {
    let missing =
        ["/apiVersion", "/kind", "/metadata/name"].into_iter().filter(|field| document.text(field).is_empty());
    missing.map(|field| format!("{}: a document lacks {field}", document.path)).collect()
}

/// What is wrong with the workloads of one rendered or written set of resources.
pub fn faults(documents: &[Document]) -> Vec<String> {
    let workloads = documents.iter().filter(|document| document.is("Deployment") || document.is("Job"));
    let mut faults: Vec<_> = workloads.flat_map(|workload| workload_faults(workload, documents)).collect();
    let denies = |document: &Document| {
        document.is("NetworkPolicy")
            && entries(&document.value, "/spec/podSelector").is_empty()
            && ["/spec/ingress", "/spec/egress"].iter().all(|rules| document.value.pointer(rules).is_none())
            && texts(&document.value, "/spec/policyTypes") == ["Ingress", "Egress"]
    };
    if !documents.iter().any(denies) {
        faults.push("no network policy denies what none allows".to_owned());
    }
    faults
}

fn workload_faults(workload: &Document, documents: &[Document]) -> Vec<String> {
    let mut faults = pod_faults(workload);
    let labels = workload.value.pointer("/spec/template/metadata/labels").cloned().unwrap_or_default();
    let selected_by = |kind: &str, pointer: &str| {
        let mut candidates = documents.iter().filter(|document| document.is(kind));
        candidates.any(|document| selects(&document.value, pointer, &labels))
    };
    if !selected_by("NetworkPolicy", "/spec/podSelector/matchLabels") {
        faults.push("no network policy selects it".to_owned());
    }
    if workload.is("Deployment") {
        faults.extend(deployment_faults(workload));
        if !selected_by("PodDisruptionBudget", "/spec/selector/matchLabels") {
            faults.push("no disruption budget selects it".to_owned());
        }
        let scales = |document: &Document| {
            ["ScaledObject", "HorizontalPodAutoscaler"].contains(&document.text("/kind"))
                && document.text("/spec/scaleTargetRef/name") == workload.name()
        };
        match (documents.iter().any(scales), workload.value.pointer("/spec/replicas").is_some()) {
            (true, true) => faults.push("its replicas would be reset under its scaler".to_owned()),
            (false, false) => faults.push("nothing says how many there are".to_owned()),
            _ => {}
        }
    }
    faults.into_iter().map(|fault| format!("{} {}: {fault}", workload.text("/kind"), workload.name())).collect()
}

/// Whether a selector that is not empty takes a pod with these labels.
fn selects(document: &Value, pointer: &str, labels: &Value) -> bool {
    let wanted = entries(document, pointer);
    !wanted.is_empty() && wanted.into_iter().all(|(name, value)| labels.get(name) == Some(value))
}

fn deployment_faults(deployment: &Document) -> Vec<String> {
    let pod = deployment.value.pointer("/spec/template/spec").cloned().unwrap_or_default();
    let settings = own_settings(&pod);
    let mut faults = Vec::new();
    let own = list(&pod, "/containers").iter().any(|container| is_own(text(container, "/image")));
    for container in list(&pod, "/containers") {
        for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
            if text(container, &format!("/{probe}/httpGet/path")).is_empty() {
                faults.push(format!("has no {probe}"));
            }
        }
        let number = |field: &str| container.pointer(&format!("/startupProbe/{field}")).and_then(Value::as_u64);
        let start_s = number("periodSeconds").unwrap_or(10) * number("failureThreshold").unwrap_or(3);
        if own && start_s * 1_000 < settings.start_ms_max {
            faults.push(format!("is killed after {start_s} s, while start_ms_max lets it catch up"));
        }
    }
    let grace_s = pod.pointer("/terminationGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(0);
    if own && grace_s * 1_000 <= settings.shutdown_ms_max + settings.http_drain_ms_max {
        faults.push(format!("is killed after {grace_s} s, while shutdown_ms_max lets it end what is in flight"));
    }
    if list(&pod, "/topologySpreadConstraints")
        .iter()
        .all(|it| text(it, "/topologyKey") != "topology.kubernetes.io/zone")
    {
        faults.push("is not spread over zones".to_owned());
    }
    faults
}

/// The settings that the variables of a pod make.
fn own_settings(pod: &Value) -> Settings {
    let variables = list(pod, "/containers").iter().flat_map(|container| list(container, "/env"));
    let variables: BTreeMap<_, _> = variables.map(|it| (text(it, "/name"), text(it, "/value").to_owned())).collect();
    let value = |name: &str| variables.get(name).filter(|value| !value.is_empty()).cloned();
    Loaded::load(None, value, &[]).map(|loaded| loaded.settings).unwrap_or_default()
}

fn is_own(image: &str) -> bool {
    image.rsplit_once('/').map_or(image, |(_, last)| last).split(':').next() == Some(OWN)
}

fn pod_faults(workload: &Document) -> Vec<String> {
    let pod = workload.value.pointer("/spec/template/spec").cloned().unwrap_or_default();
    let yes = |value: &Value, pointer: &str| value.pointer(pointer) == Some(&Value::Bool(true));
    let no = |value: &Value, pointer: &str| value.pointer(pointer) == Some(&Value::Bool(false));
    let mut faults = Vec::new();
    let mut must = |holds: bool, fault: &str| {
        if !holds {
            faults.push(fault.to_owned());
        }
    };
    must(yes(&pod, "/securityContext/runAsNonRoot"), "may run as root");
    must(text(&pod, "/securityContext/seccompProfile/type") == "RuntimeDefault", "has no seccomp profile");
    must(no(&pod, "/automountServiceAccountToken"), "holds a token of the API server");
    must(no(&pod, "/enableServiceLinks"), "names of services become variables, which may be settings");
    must(!list(&pod, "/containers").is_empty(), "has no containers");
    for container in list(&pod, "/containers") {
        for bound in ["requests/cpu", "requests/memory", "limits/cpu", "limits/memory"] {
            must(!text(container, &format!("/resources/{bound}")).is_empty(), &format!("has no {bound}"));
        }
        must(yes(container, "/securityContext/readOnlyRootFilesystem"), "its root can be written to");
        must(no(container, "/securityContext/allowPrivilegeEscalation"), "may gain privileges");
        must(texts(container, "/securityContext/capabilities/drop") == ["ALL"], "keeps capabilities");
        let image = text(container, "/image");
        must(is_pinned(image), &format!("the image {image:?} is not pinned to a version"));
        if is_own(image) {
            must(image.ends_with(&format!(":{OWN_VERSION}")), &format!("{image} is not the version {OWN_VERSION}"));
        }
        let names = list(container, "/env").iter().map(|variable| text(variable, "/name"));
        for fault in unknown_variables("env", names) {
            must(false, &fault);
        }
    }
    faults
}

#[cfg(test)]
const SOUND: &str = r#"
kind: Deployment
metadata: {name: role}
spec:
  template:
    metadata: {labels: {app: role, more: x}}
    spec:
      automountServiceAccountToken: false
      enableServiceLinks: false
      terminationGracePeriodSeconds: 45
      securityContext: {runAsNonRoot: true, seccompProfile: {type: RuntimeDefault}}
      topologySpreadConstraints: [{topologyKey: topology.kubernetes.io/zone}]
      containers:
        - image: registry.example:5000/agentverse:VERSION
          env: [{name: AGENTVERSE_KAFKA_PASSWORD}]
          startupProbe: {httpGet: {path: /a}, periodSeconds: 10, failureThreshold: 70}
          livenessProbe: {httpGet: {path: /b}}
          readinessProbe: {httpGet: {path: /c}}
          resources: {requests: {cpu: 1m, memory: 1Mi}, limits: {cpu: 1m, memory: 1Mi}}
          securityContext:
            readOnlyRootFilesystem: true
            allowPrivilegeEscalation: false
            capabilities: {drop: [ALL]}
---
{kind: PodDisruptionBudget, metadata: {name: b}, spec: {selector: {matchLabels: {app: role}}}}
---
{kind: ScaledObject, metadata: {name: s}, spec: {scaleTargetRef: {name: role}}}
---
{kind: NetworkPolicy, metadata: {name: n}, spec: {podSelector: {matchLabels: {app: role}}, egress: []}}
---
{kind: NetworkPolicy, metadata: {name: d}, spec: {podSelector: {}, policyTypes: [Ingress, Egress]}}
"#;

#[cfg(test)]
fn faults_of(text: &str) -> Vec<String> {
    faults(&super::tree::parse("x.yaml", &text.replace("VERSION", OWN_VERSION)).unwrap())
}

#[test]
fn each_way_to_break_a_workload_is_named() {
    assert_eq!(faults_of(SOUND), Vec::<String>::new());
    for (from, to, part) in [
        ("runAsNonRoot: true", "runAsNonRoot: false", "may run as root"),
        ("RuntimeDefault", "Unconfined", "seccomp"),
        ("automountServiceAccountToken: false", "automountServiceAccountToken: true", "token"),
        ("enableServiceLinks: false", "enableServiceLinks: true", "variables"),
        ("Seconds: 45", "Seconds: 30", "shutdown_ms_max"),
        (
            "env: [{name: AGENTVERSE_KAFKA_PASSWORD}]",
            "env: [{name: AGENTVERSE_SHUTDOWN_MS_MAX, value: \"90000\"}]",
            "shutdown_ms_max",
        ),
        ("kubernetes.io/zone", "kubernetes.io/rack", "zones"),
        (":VERSION", ":0.0.0", "is not the version"),
        (":VERSION", "", "not pinned"),
        ("KAFKA_PASSWORD", "KAFKA_PASSWORDS", "no setting"),
        ("failureThreshold: 70", "failureThreshold: 3", "start_ms_max"),
        ("livenessProbe", "liveProbe", "no livenessProbe"),
        ("readinessProbe: {httpGet", "readinessProbe: {tcp", "no readinessProbe"),
        ("limits: {cpu: 1m, memory: 1Mi}", "limits: {cpu: 1m}", "no limits/memory"),
        ("readOnlyRootFilesystem: true", "readOnlyRootFilesystem: false", "written to"),
        ("allowPrivilegeEscalation: false", "allowPrivilegeEscalation: true", "privileges"),
        ("drop: [ALL]", "drop: [NET_RAW]", "capabilities"),
        ("selector: {matchLabels: {app: role}}", "selector: {matchLabels: {app: other}}", "disruption budget"),
        (
            "podSelector: {matchLabels: {app: role}}",
            "podSelector: {matchLabels: {app: other}}",
            "network policy selects",
        ),
        ("scaleTargetRef: {name: role}", "scaleTargetRef: {name: other}", "how many"),
        ("  template:\n", "  replicas: 2\n  template:\n", "reset"),
        ("policyTypes: [Ingress, Egress]", "policyTypes: [Ingress]", "no network policy denies"),
    ] {
        let broken = SOUND.replacen(from, to, 1);
        assert_ne!(broken, SOUND, "{from}");
        let faults = faults_of(&broken);
        assert!(faults.iter().any(|fault| fault.contains(part)), "{to}: {part}: {faults:?}");
    }
}

#[test]
fn a_document_without_a_name_is_named() {
    let documents = super::tree::parse("x.yaml", "{apiVersion: v1, kind: A, metadata: {}}").unwrap();
    assert_eq!(identity_faults(&documents[0]), ["x.yaml: a document lacks /metadata/name"]);
}

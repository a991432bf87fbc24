//! Provisioning through the real binary: killed on the way it goes on where it was, the same again changes nothing, and
//! what of a manifest changed is all that is sent.

use super::http::Client;
use super::server::{Folder, Server, eventually, run};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use tempfile::TempDir;

const MANIFEST: &str = "
apiVersion: agentverse/v1
kind: Provisioning
defaults:
  tier: opal
  regions: [eu-west, us-east]
  monthly_budget_usd: 12.5
  projects: [{name: research}]
  agents:
    - group: analysts
      count: 20
      name: '{tenant}-analyst-{n:03}'
      template: Research Analyst
      parameters: {company: '{tenant}', field: '{region}'}
      project: research
    - {group: clerks, count: 10, category: office, activate: false}
tenants:
  - {name: 'branch-{n:02}', count: 20}
";
const TENANTS: usize = 20;
const AGENTS: u64 = 600;

/// A folder with a manifest.
struct Desk(TempDir);

impl Desk {
    fn new(manifest: &str) -> Self {
        let desk = Self(tempfile::tempdir().unwrap());
        desk.write(manifest);
        desk
    }

    fn write(&self, manifest: &str) {
        fs::write(self.path(), manifest).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("fleet.yaml")
    }

    fn progress(&self) -> PathBuf {
        self.0.path().join("fleet.yaml.progress")
    }

    /// `agentverse provision <args>` in JSON: its exit code, its tenants, its summary, and what it said.
    fn provision(&self, server: &Server<'_>, args: &[&str]) -> (Option<i32>, Vec<Value>, Value, String) {
        let (path, url) = (self.path(), format!("http://{}", server.address));
        let common = [path.to_str().unwrap(), "--url", &url, "--output", "json"];
        let output = run(&[&["provision", args[0]], &common[..], &args[1..]].concat(), None);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        let lines = String::from_utf8(output.stdout).unwrap();
        let mut lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let summary = lines.pop().map(|last| last["summary"].clone()).unwrap_or_default();
        (output.status.code(), lines, summary, told)
    }
}

fn counts(tally: &Value) -> [u64; 5] {
    ["wanted", "created", "changed", "unchanged", "refused"].map(|name| tally[name].as_u64().unwrap_or(u64::MAX))
}

/// The manifest's tenants, as the node has them.
fn tenants(server: &Server<'_>) -> Vec<Value> {
    let mut tenants = Client { address: server.address.clone(), tenant: None }.walk("/v1/tenants", 1_000);
    tenants.retain(|tenant| tenant["name"].as_str().unwrap().starts_with("branch-"));
    tenants
}

fn agents(server: &Server<'_>, tenant: &Value, query: &str) -> Vec<Value> {
    server.client_of(tenant["id"].as_str().unwrap()).walk(&format!("/v1/agents{query}"), 1_000)
}

/// Begins an apply that would take a minute.
fn begin(desk: &Desk, server: &Server<'_>) -> Child {
    Command::new(env!("CARGO_BIN_EXE_agentverse"))
        .args(["provision", "apply", desk.path().to_str().unwrap(), "--rate", "20", "--parallel", "2"])
        .args(["--url", &format!("http://{}", server.address)])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn kill(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

fn lines(path: &Path) -> usize {
    fs::read_to_string(path).map(|text| text.lines().count()).unwrap_or_default()
}

#[test]
fn an_apply_that_was_killed_twice_is_finished_with_exact_counts_and_the_same_again_changes_nothing() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let desk = Desk::new(MANIFEST);
    let (code, told, summary, said) = desk.provision(&server, &["plan"]);
    assert_eq!((code, told.len(), counts(&summary["agents"])), (Some(0), TENANTS, [AGENTS, AGENTS, 0, 0, 0]), "{said}");
    assert_eq!(tenants(&server).len(), 0, "a plan changes nothing");

    // Killed within its first tenants, and once more when some are done.
    let first = begin(&desk, &server);
    eventually("agents of the first run", || {
        tenants(&server).iter().any(|it| !agents(&server, it, "").is_empty()).then_some(())
    });
    kill(first);
    let second = begin(&desk, &server);
    eventually("two tenants that are done", || (lines(&desk.progress()) >= 3).then_some(()));
    kill(second);
    let done = lines(&desk.progress()) as u64 - 1;
    let (code, told, summary, said) = desk.provision(&server, &["apply"]);
    assert_eq!((code, &summary["complete"], told.len()), (Some(0), &json!(true), TENANTS), "{summary} {said}");
    assert_eq!(summary["tenants"]["done_before"], done, "{summary}");
    let [_, created, changed, unchanged, refused] = counts(&summary["agents"]);
    assert_eq!((created + changed + unchanged + 30 * done, refused), (AGENTS, 0), "{summary}");
    assert!(!desk.progress().exists(), "the next run looks at everything");

    let there = tenants(&server);
    assert_eq!(there.len(), TENANTS);
    for tenant in &there {
        assert_eq!((&tenant["tier"], &tenant["monthly_budget_micro_usd"]), (&json!("opal"), &json!(12_500_000)));
        assert!(tenant["projects"]["research"].is_object(), "{tenant}");
        let agents = agents(&server, tenant, "");
        let count = |category: &str, status: &str| {
            agents.iter().filter(|it| it["category"] == category && it["status"] == status).count()
        };
        assert_eq!(
            (agents.len(), count("research", "active"), count("office", "provisioning")),
            (30, 20, 10),
            "{tenant}"
        );
        // Registered and activated once each, however often that was sent.
        assert!(agents.iter().all(|it| it["version"].as_u64().unwrap() <= 2 && it["revision"] == 1), "{tenant}");
        let named: Vec<_> =
            agents.iter().filter(|it| it["template"]["parameters"]["company"] == tenant["name"]).collect();
        assert_eq!(named.len(), 20);
    }
    for verb in ["apply", "plan", "status"] {
        let (code, _, summary, said) = desk.provision(&server, &[verb]);
        assert_eq!((code, counts(&summary["tenants"])), (Some(0), [20, 0, 0, 20, 0]), "{verb}: {summary} {said}");
        assert_eq!(counts(&summary["agents"]), [AGENTS, 0, 0, AGENTS, 0], "{verb}: {summary}");
        assert_eq!(summary["commands"], 0, "{verb}");
    }
    server.stop();
    folder.check();
}

#[test]
fn what_changed_in_a_manifest_is_all_that_is_sent() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let small = MANIFEST.replace("count: 20}", "count: 3}");
    let desk = Desk::new(&small);
    let apply = |args: &[&str]| {
        let (code, told, summary, said) = desk.provision(&server, &[&["apply"], args].concat());
        assert_eq!(summary["complete"], true, "{summary} {said}");
        (code, told, summary)
    };
    let (_, _, summary) = apply(&[]);
    assert_eq!((counts(&summary["agents"]), &summary["commands"]), ([90, 90, 0, 0, 0], &json!(6 + 3 * 50)));

    // A tier, a group that grows, a group whose owner is said, a group that shrinks.
    let changed = small
        .replace("tier: opal", "tier: emerald")
        .replace("count: 20\n", "count: 25\n")
        .replace("count: 10, category: office", "count: 8, category: office, owner: 'ops@{region}'");
    desk.write(&changed);
    let (code, told, summary, _) = desk.provision(&server, &["plan", "--only", "branch-02", "--detail"]);
    assert_eq!((code, counts(&summary["agents"])), (Some(0), [33, 5, 8, 20, 0]), "{summary}");
    let details = told[0]["details"].as_array().unwrap();
    assert_eq!((&told[0]["fields"], details.len()), (&json!(["tier"]), 13));
    assert!(
        details
            .iter()
            .any(|it| it["name"] == "clerks-8" && it["outcome"] == "changed" && it["fields"] == json!(["owner"])),
        "{details:?}"
    );
    let (code, _, summary, _) = desk.provision(&server, &["status"]);
    assert_eq!((code, counts(&summary["tenants"])), (Some(1), [3, 0, 3, 0, 0]), "{summary}");
    let (code, told, summary) = apply(&[]);
    assert_eq!((code, counts(&summary["agents"])), (Some(0), [99, 15, 24, 60, 0]), "{summary}");
    assert_eq!(summary["commands"], 3 + 24 + 2 * 15);
    assert_eq!((&told[0]["outcome"], &told[0]["fields"]), (&json!("changed"), &json!(["tier"])));
    assert_eq!(summary["agents"]["surplus"], 6, "told, and left alone");
    for tenant in tenants(&server) {
        assert_eq!(tenant["tier"], "emerald");
        let owner = format!("ops@{}", tenant["region"].as_str().unwrap());
        let query = format!("?owner={}", owner.replace('@', "%40"));
        assert_eq!((agents(&server, &tenant, &query).len(), agents(&server, &tenant, "").len()), (8, 35));
    }
    let (_, _, summary) = apply(&["--retire-surplus"]);
    assert_eq!((&summary["agents"]["retired"], &summary["commands"]), (&json!(6), &json!(6)));
    for tenant in tenants(&server) {
        assert_eq!(agents(&server, &tenant, "?status=decommissioned").len(), 2);
    }
    let (code, _, summary) = apply(&["--retire-surplus"]);
    assert_eq!((code, &summary["agents"]["surplus"], &summary["commands"]), (Some(0), &json!(0), &json!(0)));
    // Decommissioned is final: it is told, and nothing is made in their place.
    desk.write(&changed.replace("count: 8, category: office", "count: 9, category: office"));
    let (_, _, summary) = apply(&[]);
    assert_eq!((&summary["agents"]["decommissioned"], &summary["commands"]), (&json!(3), &json!(0)), "{summary}");
    let (code, _, summary, _) = desk.provision(&server, &["status"]);
    assert_eq!(code, Some(0), "what was ended is nothing to wait for: {summary}");
    server.stop();
    folder.check();
}

#[test]
fn what_is_refused_is_named_and_stops_nothing_else() {
    let folder = Folder::new();
    let server = Server::start(&folder);
    let desk = Desk::new(&MANIFEST.replace("count: 20}", "count: 3}"));
    assert_eq!(desk.provision(&server, &["apply", "--only", "branch-01"]).0, Some(0));
    let first = tenants(&server).remove(0);
    let id = first["id"].as_str().unwrap();
    let client = server.client_of(id);
    client.command(&json!({"id": "stop", "type": "tenant.SuspendTenant", "subject": id, "data": {"reason": "unpaid"}}));
    eventually("the suspension", || (client.read(&format!("/v1/tenants/{id}"))["status"] == "suspended").then_some(()));
    let (code, told, summary, _) = desk.provision(&server, &["apply"]);
    assert_eq!((code, counts(&summary["tenants"])), (Some(3), [3, 2, 0, 0, 1]), "{summary}");
    assert_eq!(counts(&summary["agents"]), [90, 60, 0, 0, 30]);
    let refused = told.iter().find(|it| it["outcome"] == "refused").unwrap();
    let why = refused["refusals"][0]["message"].as_str().unwrap();
    assert!(why.contains("suspended") && why.contains("resume it"), "{refused}");

    // What the node would refuse of every agent is one sentence beforehand.
    let other = MANIFEST.replace("template: Research Analyst", "template: Nobody");
    desk.write(&other);
    for verb in ["plan", "apply"] {
        let (code, told, _, said) = desk.provision(&server, &[verb]);
        assert_eq!((code, told.len()), (Some(3), 0), "{said}");
        assert!(said.contains("line 10") && said.contains("nothing was sent") && said.contains("Nobody"), "{said}");
    }
    desk.write(&MANIFEST.replace("field: '{region}'", "colour: red"));
    let (code, _, _, said) = desk.provision(&server, &["apply"]);
    assert!(code == Some(3) && said.contains("it declares: company, field"), "{said}");
    desk.write("apiVersion: agentverse/v1\nkind: Provisioning\ntenants:\n- name: A\n  tier: gold\n");
    let (code, _, _, said) = desk.provision(&server, &["apply"]);
    assert!(code == Some(2) && said.contains("line 5") && said.contains("sapphire"), "{said}");
    desk.write(MANIFEST);
    let (code, _, _, said) = desk.provision(&server, &["plan", "--only", "branch-99"]);
    assert!(code == Some(2) && said.contains("no tenant \"branch-99\""), "{said}");
    let address = server.address.clone();
    server.stop();
    let output = run(
        &[
            "provision",
            "status",
            desk.path().to_str().unwrap(),
            "--retry-for",
            "0.5",
            "--url",
            &format!("http://{address}"),
        ],
        None,
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(6) && said.contains("is the server running"), "{said}");
}

//! Dashboards: that they ask for what is shown, say what it means, and fit the grid.

use super::promql::unknown_metrics;
use super::tree::{list, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// Variables of Grafana itself.
const BUILT_IN: &[&str] = &["__rate_interval", "__range", "__range_s"];

/// What is wrong with a dashboard.
pub fn faults(dashboard: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if text(dashboard, "/uid").is_empty() || text(dashboard, "/title").is_empty() {
        faults.push("has no uid or no title".to_owned());
    }
    let variables: BTreeSet<_> = list(dashboard, "/templating/list").iter().map(|it| text(it, "/name")).collect();
    for (place, expression) in expressions(dashboard) {
        faults.extend(unknown_metrics(&place, &expression));
        faults.extend(unknown_variables(&place, &expression, &variables));
    }
    let panels = list(dashboard, "/panels");
    for panel in panels.iter().filter(|panel| text(panel, "/type") != "row") {
        let title = text(panel, "/title");
        if title.is_empty() || text(panel, "/description").is_empty() {
            faults.push(format!("{title:?}: a panel says what it shows"));
        }
        let unit = [text(panel, "/fieldConfig/defaults/unit"), text(panel, "/options/yAxis/unit")].concat();
        if unit.is_empty() || list(panel, "/targets").is_empty() {
            faults.push(format!("{title}: has no unit or asks for nothing"));
        }
        if text(panel, "/datasource/uid") != "${datasource}" {
            faults.push(format!("{title}: asks another source than the chosen one"));
        }
    }
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    if panels.is_empty() || ids.len() != panels.len() {
        faults.push("has no panels, or two with the same id".to_owned());
    }
    faults.extend(overlaps(panels));
    faults
}

/// Every expression of a dashboard, and where it stands.
pub fn expressions(dashboard: &Value) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for panel in list(dashboard, "/panels") {
        let targets = list(panel, "/targets").iter();
        found.extend(targets.map(|target| (text(panel, "/title").to_owned(), text(target, "/expr").to_owned())));
    }
    let annotations = list(dashboard, "/annotations/list").iter();
    found.extend(annotations.map(|it| (text(it, "/name").to_owned(), text(it, "/expr").to_owned())));
    found
}

/// The queries by which variables get their values.
pub fn variable_queries(dashboard: &Value) -> Vec<&str> {
    let queries = list(dashboard, "/templating/list").iter().map(|it| text(it, "/query/query"));
    queries.filter(|query| !query.is_empty()).collect()
}

/// An expression as Prometheus gets it, with an example for each variable.
pub fn filled(expression: &str) -> String {
    let mut text = expression.replace("$__rate_interval", "5m").replace("$__range_s", "3600").replace("$__range", "1h");
    for variable in ["$instance", "$route"] {
        text = text.replace(variable, ".*");
    }
    ["$input_price", "$output_price", "$storage_price"].iter().fold(text, |text, price| text.replace(price, "1.5"))
}

fn unknown_variables(place: &str, expression: &str, declared: &BTreeSet<&str>) -> Vec<String> {
    let names = expression.split('$').skip(1).map(|rest| {
        let end = rest.find(|char: char| !char.is_ascii_alphanumeric() && char != '_').unwrap_or(rest.len());
        &rest[..end]
    });
    let unknown = names.filter(|name| !declared.contains(name) && !BUILT_IN.contains(name));
    unknown.map(|name| format!("{place}: there is no variable ${name}")).collect()
}

/// Panels that lie on each other or reach out of the 24 columns.
fn overlaps(panels: &[Value]) -> Vec<String> {
    let mut taken = BTreeSet::new();
    let mut faults = Vec::new();
    for panel in panels {
        let number = |field: &str| panel["gridPos"][field].as_u64().unwrap_or(0);
        let (x, y, w, h) = (number("x"), number("y"), number("w"), number("h"));
        let cells = (x..x + w).flat_map(|x| (y..y + h).map(move |y| (x, y)));
        let free = cells.fold(w > 0 && h > 0 && x + w <= 24, |free, cell| taken.insert(cell) && free);
        if !free {
            faults.push(format!("{}: has no place of its own on the grid", text(panel, "/title")));
        }
    }
    faults
}

#[test]
fn each_way_to_break_a_dashboard_is_named() {
    use serde_json::json;
    let panel = |id: u32, x: u32| {
        json!({"id": id, "title": "T", "description": "D", "type": "stat", "datasource": {"uid": "${datasource}"},
            "fieldConfig": {"defaults": {"unit": "s"}}, "gridPos": {"x": x, "y": 0, "w": 12, "h": 4},
            "targets": [{"expr": "sum(rate(agentverse_append_records_total{instance=~\"$instance\"}[$__rate_interval]))"}]})
    };
    let sound = json!({"uid": "u", "title": "T", "templating": {"list": [{"name": "instance"}]},
        "panels": [panel(1, 0), panel(2, 12)]});
    assert_eq!(faults(&sound), Vec::<String>::new());
    for (pointer, value, part) in [
        ("/uid", json!(""), "no uid"),
        ("/templating/list", json!([]), "no variable $instance"),
        ("/panels/0/targets/0/expr", json!("agentverse_gone_total"), "agentverse_gone_total"),
        ("/panels/0/targets", json!([]), "asks for nothing"),
        ("/panels/0/description", json!(""), "says what it shows"),
        ("/panels/0/fieldConfig", json!({}), "no unit"),
        ("/panels/0/datasource/uid", json!("mine"), "another source"),
        ("/panels/0/id", json!(2), "same id"),
        ("/panels/0/gridPos/x", json!(6), "place of its own"),
        ("/panels/1/gridPos/w", json!(13), "place of its own"),
    ] {
        let mut broken = sound.clone();
        *broken.pointer_mut(pointer).unwrap() = value;
        let faults = faults(&broken);
        assert!(faults.iter().any(|fault| fault.contains(part)), "{pointer}: {part}: {faults:?}");
    }
}

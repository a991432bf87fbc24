//! The metrics: declared once, described, with their units. Usable by every layer but the domain; uses none.
//!
//! Names are `agentverse_<stage>_<noun>_<unit>[_total]`, where a count's noun is its unit; `_total` marks counters. Four
//! names were promised by the product and stand as they were promised: [`PROMISED`].
//!
//! The hot path takes a handle of [`handles`], made once, so that no name or label is hashed per event. The recorder must
//! be installed first (`runtime::telemetry` does it at start): handles made before that count nothing, for ever.

mod sums;

pub use sums::{call_costed, couplings_decided};

// What each macro below is banned for elsewhere is done here, once.
use ::metrics::{Counter, Gauge, Histogram, Label, Unit};
use std::sync::LazyLock;
use std::time::Duration;

/// What kind of number a metric is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the process lives.
    Counter,
    /// Goes up and down. NaN until something is known.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

/// One metric as it is declared.
#[derive(Clone, Copy, Debug)]
pub struct Declared {
    pub name: &'static str,
    pub kind: Kind,
    pub unit: Unit,
    pub help: &'static str,
}

/// The stages that a name may begin with, after `agentverse_`.
pub const STAGES: &[&str] =
    &["receive", "decide", "append", "derive", "project", "react", "feed", "replica", "request", "http", "folder"];

/// The names that the product promised, and that follow no other rule.
pub const PROMISED: &[&str] = &[
    "agentverse_agent_response_time",
    "agentverse_mcp_connection_status",
    "agentverse_llm_token_usage",
    "agentverse_coupling_success_rate",
];

/// Declares metrics: kind, name, unit, help, and the handles of it, each with the labels that tell them apart. A metric
/// without handles has labels that are known at run time only, and a function below.
macro_rules! metrics {
    ($($kind:ident $name:literal $unit:ident $help:literal
        { $($field:ident $(($key:literal = $value:literal))?),* })+) => {
        /// Every metric that there is, in the order of the journey.
        pub const DECLARED: &[Declared] =
            &[$(Declared { name: $name, kind: Kind::$kind, unit: Unit::$unit, help: $help }),+];

        /// The handles, one field per metric and label value.
        pub struct Handles { $($(#[doc = $help] pub $field: $kind,)*)+ }

        impl Handles {
            /// Registers every metric with the current recorder.
            pub(crate) fn register() -> Self {
                Self { $($($field: <$kind as Register>::register($name, &[$(($key, $value))?]),)*)+ }
            }
        }
    };
}

metrics! {
    Counter "agentverse_receive_commands_total" Count "Commands made durable in their topic." { receive_commands }
    Counter "agentverse_receive_bytes_total" Bytes "Avro bytes of the commands made durable." { receive_bytes }
    Counter "agentverse_receive_refusals_total" Count "Commands turned away while too much waited." { receive_overloaded }
    Counter "agentverse_receive_forwards_total" Count
        "Commands that came on another partition than their stream's and were sent on." { receive_forwarded }
    Gauge "agentverse_receive_lost_logs" Count
        "Logs that stand still because their topics lost commands that they were to consume." { receive_lost_logs }
    Gauge "agentverse_receive_waiting_commands" Count "Commands that are durable and not yet in a log." { receive_waiting }
    Histogram "agentverse_receive_accept_seconds" Seconds
        "From a parsed request to its commands being durable." { receive_accept }

    Counter "agentverse_decide_commands_total" Count "Commands decided, by what became of them." {
        decide_applied ("outcome" = "applied"), decide_unchanged ("outcome" = "unchanged"),
        decide_refused ("outcome" = "refused"), decide_repeated ("outcome" = "repeated"),
        decide_dead_lettered ("outcome" = "dead_lettered")
    }
    Histogram "agentverse_decide_batch_seconds" Seconds
        "Loading the heads of one batch and deciding it." { decide_batch }

    Counter "agentverse_append_records_total" Count "Records confirmed in the logs." { append_records }
    Counter "agentverse_append_bytes_total" Bytes "Canonical bytes of the records confirmed." { append_bytes }
    Histogram "agentverse_append_batch_records" Count "Records per append." { append_batch }
    Histogram "agentverse_append_batch_seconds" Seconds "From sending an append to its confirmation." { append_latency }
    Counter "agentverse_append_claims_total" Count
        "Claims of a log: one per log at start, more where ownership moved or an append's end was unknown." { append_claims }
    Counter "agentverse_append_fences_total" Count
        "Appends that a log refused because another owner had claimed it: a paused or replaced processor met the fence." { append_fenced }

    Counter "agentverse_derive_records_total" Count "Records whose derived rows are acknowledged." { derive_records }
    Histogram "agentverse_derive_batch_seconds" Seconds "One run of index, publish, outcomes, reactions." { derive_batch }

    Counter "agentverse_project_records_total" Count "Events projected into the views." { project_records }
    Counter "agentverse_project_rows_total" Count "View rows written; fewer than events where a flush joined some." { project_rows }
    Histogram "agentverse_project_batch_seconds" Seconds "Writing the rows of one run of events." { project_batch }

    Counter "agentverse_replica_rows_total" Count "Rows taken into the replica that this node searches in." { replica_rows }
    Gauge "agentverse_replica_lag_seconds" Seconds
        "From recording to searchability, of the newest record that became searchable last." { replica_lag }
    Histogram "agentverse_replica_commit_seconds" Seconds "Making rows searchable." { replica_commit }
    Histogram "agentverse_replica_search_seconds" Seconds "One search in the replica." { replica_search }

    Counter "agentverse_react_commands_total" Count "Follow-up commands sent." { react_commands }
    Counter "agentverse_react_stops_total" Count
        "Reactions not sent because the chain of causes reached its hop limit." { react_stops }

    Gauge "agentverse_feed_open_readers" Count "Readers of the feed of events." { feed_readers }
    Counter "agentverse_feed_events_total" Count "Events sent to readers of the feed, each as often as it was sent." { feed_events }
    Counter "agentverse_feed_falls_total" Count
        "Times that a reader of the feed fell behind, or came back far behind, and was told." { feed_falls }
    Histogram "agentverse_feed_delay_seconds" Seconds
        "From an event's record to its being sent to a reader of the feed that keeps up." { feed_delay }

    Gauge "agentverse_request_waiting_requests" Count "LLM requests that wait for their turn, by priority." {
        request_waiting_interactive ("priority" = "interactive"), request_waiting_normal ("priority" = "normal"),
        request_waiting_batch ("priority" = "batch")
    }
    Gauge "agentverse_request_spilled_requests" Count
        "LLM requests that stay on their logs because the queue has no room." { request_spilled }
    Histogram "agentverse_request_wait_seconds" Seconds
        "From a request's arrival to its turn, each time that it has one." { request_wait }
    Counter "agentverse_request_calls_total" Count "Calls to LLM providers, by what they came to." {
        request_calls_answered ("outcome" = "answered"), request_calls_failed ("outcome" = "failed"),
        request_calls_limited ("outcome" = "rate_limited"), request_calls_dropped ("outcome" = "dropped"),
        request_calls_unsent ("outcome" = "unsent")
    }
    Histogram "agentverse_request_call_seconds" Seconds "One call to an LLM provider." { request_call }
    Counter "agentverse_request_cost_micro_dollars_total" Count
        "What calls to LLM providers cost, in millionths of a dollar, by the prices on record when they were made." { request_cost }
    Counter "agentverse_request_unpriced_calls_total" Count
        "Calls that used tokens of a model without a price: what they cost is not known." { request_unpriced }
    Gauge "agentverse_request_open_calls" Count "Calls to LLM providers under way." { request_open_calls }
    Counter "agentverse_request_endings_total" Count "LLM requests that ended without an answer, by how." {
        request_failed ("status" = "failed"), request_expired ("status" = "expired"),
        request_cancelled ("status" = "cancelled")
    }
    Counter "agentverse_request_lost_records_total" Count
        "Calls of which neither the log nor the topics took the record: they may be made again." { request_lost_records }
    Counter "agentverse_request_budget_alerts_total" Count "Budgets found to be used at 80 %, or up, by level." {
        budget_alert ("level" = "alert"), budget_exhausted ("level" = "exhausted")
    }
    Gauge "agentverse_request_open_batches" Count "Batches of LLM requests under way." { request_open_batches }
    Gauge "agentverse_request_open_breakers" Count "Models whose breakers are not closed." { request_open_breakers }

    Counter "agentverse_http_requests_total" Count "Requests answered, by method, route and status." {}
    Histogram "agentverse_http_request_seconds" Seconds "From the head of a request to its answer, by route." {}
    Gauge "agentverse_http_open_requests" Count "Requests being answered." { http_open }
    Counter "agentverse_http_stalled_connections_total" Count
        "Connections closed because their clients took nothing of what was sent to them." { http_stalled }

    Counter "agentverse_folder_syncs_total" Count "Syncs of the folder's segment files." { folder_syncs }
    Histogram "agentverse_folder_sync_seconds" Seconds "One sync." { folder_sync }
    Counter "agentverse_folder_written_bytes_total" Bytes "Bytes written to segment files, frames included." { folder_written }
    Histogram "agentverse_folder_checkpoint_seconds" Seconds "One checkpoint of what is derived." { folder_checkpoint }

    Histogram "agentverse_agent_response_time" Seconds
        "From the arrival of an agent's model request to its answer, waiting and further attempts included." { agent_response_time }
    Gauge "agentverse_mcp_connection_status" Count
        "MCP servers by the health last reported. NaN while nothing probes them." {
        mcp_active ("health" = "active"), mcp_degraded ("health" = "degraded"), mcp_offline ("health" = "offline")
    }
    Histogram "agentverse_llm_token_usage" Count
        "Tokens per answered call to an LLM provider, as gen_ai.client.token.usage." {
        llm_input_tokens ("gen_ai_token_type" = "input"), llm_output_tokens ("gen_ai_token_type" = "output")
    }
    Gauge "agentverse_coupling_success_rate" Count
        "Share (0..1) of the couplings decided since the process started that were established. NaN before the first."
        { coupling_success_rate }
}

/// How a handle is made; the label lists above are empty or hold one pair.
trait Register {
    fn register(name: &'static str, labels: &[(&'static str, &'static str)]) -> Self;
}

fn labels_of(labels: &[(&'static str, &'static str)]) -> Vec<Label> {
    labels.iter().map(|(key, value)| Label::from_static_parts(key, value)).collect()
}

impl Register for Counter {
    #[expect(clippy::disallowed_macros, reason = "the one place that makes handles")]
    fn register(name: &'static str, labels: &[(&'static str, &'static str)]) -> Self {
        let counter = ::metrics::counter!(name, labels_of(labels));
        // Shows at once, as 0, instead of with its first event.
        counter.increment(0);
        counter
    }
}

impl Register for Gauge {
    #[expect(clippy::disallowed_macros, reason = "the one place that makes handles")]
    fn register(name: &'static str, labels: &[(&'static str, &'static str)]) -> Self {
        let gauge = ::metrics::gauge!(name, labels_of(labels));
        if PROMISED.contains(&name) {
            gauge.set(f64::NAN);
        }
        gauge
    }
}

impl Register for Histogram {
    #[expect(clippy::disallowed_macros, reason = "the one place that makes handles")]
    fn register(name: &'static str, labels: &[(&'static str, &'static str)]) -> Self {
        ::metrics::histogram!(name, labels_of(labels))
    }
}

static HANDLES: LazyLock<Handles> = LazyLock::new(Handles::register);

/// The handles, made at the first call: after the recorder is installed.
pub fn handles() -> &'static Handles {
    &HANDLES
}

/// Tells the current recorder what every metric means.
#[expect(clippy::disallowed_macros, reason = "the one place that describes metrics")]
pub fn describe_all() {
    for metric in DECLARED {
        match metric.kind {
            Kind::Counter => ::metrics::describe_counter!(metric.name, metric.unit, metric.help),
            Kind::Gauge => ::metrics::describe_gauge!(metric.name, metric.unit, metric.help),
            Kind::Histogram => ::metrics::describe_histogram!(metric.name, metric.unit, metric.help),
        }
    }
}

/// Counts an answered request. `route` is the pattern (`/v1/agents/{id}`), never the path: labels must stay few.
#[expect(clippy::disallowed_macros, reason = "labels known at run time only")]
pub fn http_request(method: &'static str, route: &'static str, status: u16, took: Duration) {
    ::metrics::counter!("agentverse_http_requests_total", "method" => method, "route" => route,
        "status" => status_label(status))
    .increment(1);
    ::metrics::histogram!("agentverse_http_request_seconds", "route" => route).record(took.as_secs_f64());
}

/// The status as a label: the codes that the interface answers with, and the class of any other.
fn status_label(status: u16) -> &'static str {
    match status {
        200 => "200",
        202 => "202",
        400 => "400",
        403 => "403",
        404 => "404",
        405 => "405",
        409 => "409",
        413 => "413",
        415 => "415",
        422 => "422",
        500 => "500",
        503 => "503",
        100..=199 => "1xx",
        201..=299 => "2xx",
        300..=399 => "3xx",
        401..=499 => "4xx",
        _ => "5xx",
    }
}

/// Measures how long something takes, for a histogram of seconds.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(std::time::Instant);

impl Stopwatch {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock for a metric")]
    pub fn start() -> Self {
        Self(std::time::Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    /// Records the seconds since the start.
    pub fn record(&self, histogram: &Histogram) {
        histogram.record(self.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// What a name breaks of the rules, for a metric that follows them.
    fn fault(name: &str, kind: Kind, unit: Unit) -> Option<&'static str> {
        let rest = name.strip_prefix("agentverse_")?;
        let words: Vec<_> = rest.strip_suffix("_total").unwrap_or(rest).split('_').collect();
        let unit_fits = match unit {
            Unit::Seconds => words.last() == Some(&"seconds"),
            Unit::Bytes => words.last() == Some(&"bytes"),
            _ => words.last().is_some_and(|noun| noun.ends_with('s') && *noun != "seconds" && *noun != "bytes"),
        };
        match () {
            () if !STAGES.contains(&words[0]) => Some("names no stage"),
            () if rest.ends_with("_total") != (kind == Kind::Counter) => Some("_total marks counters, and only them"),
            () if !unit_fits => Some("does not end with its unit"),
            () => None,
        }
    }

    #[test]
    fn names_follow_the_rule_and_stand_once() {
        let names: BTreeSet<_> = DECLARED.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), DECLARED.len(), "a name is declared twice");
        for metric in DECLARED.iter().filter(|metric| !PROMISED.contains(&metric.name)) {
            assert!(metric.name.starts_with("agentverse_"), "{}", metric.name);
            assert_eq!(fault(metric.name, metric.kind, metric.unit), None, "{}", metric.name);
            assert!(metric.help.ends_with('.'), "{}: help is a sentence", metric.name);
        }
        for stage in STAGES {
            assert!(
                names.iter().any(|name| name.starts_with(&format!("agentverse_{stage}_"))),
                "{stage} has no metric"
            );
        }
        assert!(PROMISED.iter().all(|name| names.contains(name)), "a promised name is missing");
    }

    #[test]
    fn the_rule_finds_bad_names() {
        assert!(fault("agentverse_cook_meals_total", Kind::Counter, Unit::Count).is_some());
        assert!(fault("agentverse_http_requests", Kind::Counter, Unit::Count).is_some());
        assert!(fault("agentverse_http_request_ms", Kind::Histogram, Unit::Seconds).is_some());
        assert!(fault("agentverse_http_requests_total", Kind::Gauge, Unit::Count).is_some());
    }

    #[test]
    fn every_status_has_a_label_of_its_class() {
        for status in 100..=599u16 {
            let label = status_label(status);
            assert_eq!(label.as_bytes()[0], b'0' + (status / 100) as u8, "{status} -> {label}");
        }
    }

    #[test]
    fn every_declared_metric_shows_once_it_is_registered() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        ::metrics::with_local_recorder(&recorder, || {
            describe_all();
            let handles = Handles::register();
            handles.append_batch.record(1.0);
            http_request("GET", "/v1/agents", 200, Duration::from_millis(3));
        });
        let text = handle.render();
        let shown: BTreeSet<_> =
            text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
        let declared: BTreeSet<_> = DECLARED.iter().map(|metric| metric.name).collect();
        assert_eq!(shown, declared);
        assert!(text.contains("agentverse_coupling_success_rate NaN"), "{text}");
        assert!(text.contains(r#"agentverse_decide_commands_total{outcome="refused"} 0"#), "{text}");
    }
}

//! Telemetry: log lines to standard error, metrics for `/metrics`. Set up once, before anything else runs.
//!
//! Nothing secret gets here: spans and events carry ids, counts and codes, never a payload, a header or a personal
//! field; that is for those to keep who log.

use super::settings::{LogFormat, Settings};
use crate::metrics;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt;

/// Seconds: from a memory access to a request that timed out.
const SECONDS: &[f64] = &[
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0,
    10.0, 30.0,
];
/// Records of one append.
const RECORDS: &[f64] = &[1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1_000.0, 2_000.0, 5_000.0, 10_000.0];
/// Tokens of one request, as OpenTelemetry recommends for `gen_ai.client.token.usage`.
const TOKENS: &[f64] = &[
    1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0,
    67108864.0,
];

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("log_filter {filter:?} cannot be read: {source}; write levels by module, as in warn,agentverse=debug")]
    Filter { filter: String, source: tracing_subscriber::filter::ParseError },
    #[error("logging was set up before: {0}")]
    Logs(#[from] tracing_subscriber::util::TryInitError),
    #[error("the metrics recorder cannot be installed: {0}")]
    Metrics(#[from] BuildError),
}

/// What the process shows of itself.
#[derive(Clone)]
pub struct Telemetry {
    prometheus: PrometheusHandle,
}

impl Telemetry {
    /// Installs the logger and the metrics recorder, for the life of the process.
    ///
    /// # Errors
    /// When the filter cannot be read, or telemetry was installed before.
    pub fn install(settings: &Settings) -> Result<Self, Error> {
        install_logs(settings)?;
        let prometheus = recorder_builder()?.install_recorder()?;
        metrics::describe_all();
        // Made now, after the recorder: a handle made before it would count nothing.
        metrics::handles();
        Ok(Self { prometheus })
    }

    /// The metrics in Prometheus's text form, as `text/plain; version=0.0.4`.
    pub fn render(&self) -> String {
        self.prometheus.render()
    }

    /// Moves what histograms have collected into their buckets. Call it every few seconds: memory grows between two
    /// calls (or two renders) with what was observed.
    pub fn upkeep(&self) {
        self.prometheus.run_upkeep();
    }
}

/// Logs alone, for commands that serve no metrics.
///
/// # Errors
/// When the filter cannot be read, or logging was set up before.
pub fn install_logs(settings: &Settings) -> Result<(), Error> {
    let filter = filter(&settings.log_filter)?;
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match settings.log_format {
        LogFormat::Json => builder.json().flatten_event(true).finish().try_init()?,
        LogFormat::Pretty => builder.with_ansi(colours()).with_target(false).finish().try_init()?,
    }
    Ok(())
}

fn filter(text: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(text).map_err(|source| Error::Filter { filter: text.to_owned(), source })
}

/// Colours on a terminal only, and not where `NO_COLOR` asks for none.
fn colours() -> bool {
    std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

fn recorder_builder() -> Result<PrometheusBuilder, BuildError> {
    PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full("agentverse_agent_response_time".to_owned()), SECONDS)?
        .set_buckets_for_metric(Matcher::Full("agentverse_append_batch_records".to_owned()), RECORDS)?
        .set_buckets_for_metric(Matcher::Full("agentverse_llm_token_usage".to_owned()), TOKENS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{DECLARED, Kind};

    #[test]
    fn every_histogram_has_buckets_and_only_declared_metrics_show() {
        // A recorder of this test's own: the process has one, and other tests count in it.
        let recorder = recorder_builder().unwrap().build_recorder();
        let telemetry = Telemetry { prometheus: recorder.handle() };
        ::metrics::with_local_recorder(&recorder, || {
            metrics::describe_all();
            metrics::Handles::register().append_batch.record(3.0);
            metrics::http_request("GET", "/healthz", 200, std::time::Duration::from_millis(1));
        });
        telemetry.upkeep();
        let text = telemetry.render();
        for metric in DECLARED.iter().filter(|metric| metric.kind == Kind::Histogram) {
            // A histogram without buckets of its own would be rendered as a summary, which cannot be added up.
            assert!(text.contains(&format!("# TYPE {} histogram", metric.name)), "{}\n{text}", metric.name);
        }
        for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let name = line.split(' ').next().unwrap();
            assert!(DECLARED.iter().any(|metric| metric.name == name), "{name} is shown and not declared");
        }
        assert!(text.contains(r#"agentverse_append_batch_records_bucket{le="5"} 1"#), "{text}");
    }

    #[test]
    fn a_filter_that_cannot_be_read_is_refused() {
        let error = filter("agentverse=loudly").unwrap_err().to_string();
        assert!(error.contains("agentverse=loudly"), "{error}");
    }
}

//! What settings mean to the parts that they are handed to.

use super::settings::Settings;
use crate::api::ApiSettings;
use crate::domain::Partitions;
use crate::domain::usage::Retention;
use crate::flow::import::ImportSettings;
use crate::flow::lease::LeaseTimes;
use crate::flow::process::Limits;
use std::time::Duration;

impl Settings {
    /// The HTTP surface's part.
    pub fn api(&self) -> ApiSettings {
        ApiSettings {
            body_bytes_max: self.http_body_bytes_max,
            body_timeout: Duration::from_millis(self.http_body_ms_max),
            header_timeout: Duration::from_millis(self.http_header_ms_max),
            commands_max: self.http_batch_max,
            wait_timeout: Duration::from_millis(self.http_wait_ms_default),
            wait_timeout_max: Duration::from_millis(self.http_wait_ms_max),
            connections_max: self.http_connections_max,
            followers_max: self.http_followers_max,
            event_readers_max: self.event_readers_max,
            event_reader_bytes_max: self.event_reader_bytes_max,
            stalled_max: Duration::from_millis(self.http_stalled_ms_max),
            drain_timeout: Duration::from_millis(self.http_drain_ms_max),
            imports: ImportSettings {
                bytes_max: self.import_bytes_max,
                line_bytes_max: self.import_line_bytes_max,
                entries_max: self.import_entries_max,
                batch_max: self.import_batch_max,
                batches_max: self.import_batches_max,
                listed_max: self.import_listed_max,
                imports_max: self.imports_max,
            },
        }
    }

    /// The processors' part, on the embedded engine.
    pub fn limits(&self) -> Limits {
        Limits {
            batch_records_max: self.batch_records_max,
            batch_bytes_max: self.batch_bytes_max,
            command_bytes_max: self.command_bytes_max,
            pinned_heads_max: self.pinned_heads_max,
            reaction_page_max: self.reaction_page_max,
            lane_commands_max: self.lane_commands_max,
        }
    }

    /// The processors' part, in the cluster: what one conditional batch of the database may carry.
    pub fn cluster_limits(&self) -> Limits {
        Limits {
            batch_bytes_max: self.scylla_batch_bytes_max,
            command_bytes_max: self.scylla_command_bytes_max.min(self.command_bytes_max),
            ..self.limits()
        }
    }

    /// How many logs each aggregate has in the cluster.
    pub fn fleet_partitions(&self) -> Partitions {
        let all = Partitions::from(self.partitions);
        self.partitions_of.0.iter().fold(all, |all, (aggregate, count)| all.with(*aggregate, *count))
    }

    /// How long usage is kept, by the size of its windows.
    pub fn usage_retention(&self) -> Retention {
        let (minutes, five_minutes) = (self.usage_minutes_retained_s, self.usage_five_minutes_retained_s);
        Retention::of_seconds(minutes, five_minutes, self.usage_hours_retained_s)
    }

    pub fn lease_times(&self) -> LeaseTimes {
        LeaseTimes {
            degraded_after: Duration::from_millis(self.heartbeat_lease_ms),
            offline_after: Duration::from_millis(self.heartbeat_offline_ms),
            tracked_max: self.heartbeat_tracked_max,
        }
    }
}

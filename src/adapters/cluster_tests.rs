//! Kafka and the database together: the suites of all ports over one rig, as a cluster's processes are wired, with the
//! topics over the very journal that the index and the views belong to.
//!
//! Runs where `AGENTVERSE_TEST_KAFKA` names a broker and `AGENTVERSE_TEST_CQL` a node.

use super::kafka::KafkaTopics;
use super::kafka::tests::Ground;
use super::registry::Framing;
use super::scylla::tests::{ScyllaRig, rig};
use crate::ports::conformance::{self, Ports, Rig};
use std::sync::Arc;

/// A keyspace and topics of its own.
struct ClusterRig {
    database: ScyllaRig,
    brokers: Ground,
    open: Option<Arc<KafkaTopics>>,
}

impl ClusterRig {
    /// `None`, and a word about it, where there are no servers to test against.
    async fn new() -> Option<Self> {
        let (brokers, database) = (Ground::new().await?, rig(None).await?);
        let mut rig = Self { database, brokers, open: None };
        rig.reopen();
        Some(rig)
    }

    /// The topics over the journal as it is open now.
    fn reopen(&mut self) {
        let framing = Arc::new(Framing::single_object());
        let topics = KafkaTopics::open(self.brokers.config.clone(), framing, self.database.ports().journal);
        self.open = Some(Arc::new(topics.expect("clients")));
    }
}

impl Rig for ClusterRig {
    fn ports(&self) -> Ports {
        let topics = self.open.clone().expect("open");
        Ports { topics, ..self.database.ports() }
    }

    /// Every client is thrown away and made anew; what the servers did not acknowledge is gone.
    fn crash(&mut self) {
        self.open = None;
        self.database.crash();
        self.reopen();
    }

    fn waiting_max(&self) -> usize {
        self.brokers.waiting_max()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_and_the_database_conform_together() {
    let Some(mut rig) = ClusterRig::new().await else { return };
    conformance::journal::suite(&mut rig).await;
    conformance::topic::suite(&mut rig).await;
    conformance::index::suite(&mut rig).await;
    conformance::views::suite(&mut rig).await;
}

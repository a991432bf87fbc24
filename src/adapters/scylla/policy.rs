//! Where conditional statements go: to a log's replicas in one fixed order.
//!
//! Two coordinators that propose for one partition at a time outbid each other's ballots. The driver orders replicas for
//! single conditional statements that ScyllaDB says are such; it does not for batches, nor on Cassandra. Every statement
//! of this profile is conditional, so its requests are all marked as what they are.

use scylla::cluster::{ClusterState, NodeRef};
use scylla::errors::RequestAttemptError;
use scylla::policies::load_balancing::{FallbackPlan, LoadBalancingPolicy, RoutingInfo};
use scylla::routing::Shard;
use std::sync::Arc;
use std::time::Duration;

#[derive(Debug)]
pub struct Conditional(Arc<dyn LoadBalancingPolicy>);

impl Conditional {
    pub fn over(policy: Arc<dyn LoadBalancingPolicy>) -> Self {
        Self(policy)
    }
}

fn marked<'a>(request: &RoutingInfo<'a>) -> RoutingInfo<'a> {
    let mut request = request.clone();
    request.is_confirmed_lwt = true;
    request
}

impl LoadBalancingPolicy for Conditional {
    fn pick<'a>(
        &'a self,
        request: &'a RoutingInfo<'a>,
        cluster: &'a ClusterState,
    ) -> Option<(NodeRef<'a>, Option<Shard>)> {
        // The first of the plan that an equal request gets; `pick` itself could only borrow from a request that ends here.
        let first = self.0.pick(&marked(request), cluster).map(|(node, shard)| (node.host_id, shard));
        let (host, shard) = first?;
        cluster.get_nodes_info().iter().find(|node| node.host_id == host).map(|node| (node, shard))
    }

    fn fallback<'a>(&'a self, request: &'a RoutingInfo<'a>, cluster: &'a ClusterState) -> FallbackPlan<'a> {
        let marked = marked(request);
        let hosts: Vec<_> = self.0.fallback(&marked, cluster).map(|(node, shard)| (node.host_id, shard)).collect();
        Box::new(hosts.into_iter().filter_map(move |(host, shard)| {
            cluster.get_nodes_info().iter().find(|node| node.host_id == host).map(|node| (node, shard))
        }))
    }

    fn on_request_success(&self, request: &RoutingInfo<'_>, latency: Duration, node: NodeRef<'_>) {
        self.0.on_request_success(request, latency, node);
    }

    fn on_request_failure(
        &self,
        request: &RoutingInfo<'_>,
        latency: Duration,
        node: NodeRef<'_>,
        error: &RequestAttemptError,
    ) {
        self.0.on_request_failure(request, latency, node, error);
    }

    fn name(&self) -> String {
        format!("Conditional({})", self.0.name())
    }
}

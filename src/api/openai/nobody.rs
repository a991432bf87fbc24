//! A tenant that is not there. Nothing asks for it before a request: its provisioning may still be under way, and the shared
//! catalogue is there for it too. But where a name leads nowhere, it is most likely the tenant that is wrong.

use super::Completions;
use super::fault::Fault;
use crate::domain::tenant::{Status, standing};
use crate::domain::{Aggregate, AnyState, TenantId};
use hyper::StatusCode;

/// What is told of a name that was not found: where even the tenant is not known, that.
pub async fn or_else(completions: &Completions, tenant: TenantId, fault: Fault) -> Fault {
    let code = fault.complaint.code.as_deref().unwrap_or_default();
    if !["model_not_found", "not_found", "no_active_coupling"].contains(&code) || tenant.is_shared() {
        return fault;
    }
    let stream = standing::stream(tenant);
    let Ok(heads) = completions.index.heads(stream.log(completions.partitions), &[stream]).await else { return fault };
    let head = heads.into_iter().flatten().next();
    let is_there = head.is_some_and(|head| match head.state_of(Aggregate::Tenant) {
        Ok(AnyState::Tenant(state)) => state.status != Status::Absent,
        // What cannot be read is there.
        _ => true,
    });
    if is_there {
        return fault;
    }
    let message = format!(
        "there is no tenant {tenant}; name yours in the header AgentVerse-Tenant or as the API key, or provision it with \
         POST /v1/tenants"
    );
    Fault::new(StatusCode::NOT_FOUND, "invalid_request_error", "tenant_not_found", message)
}

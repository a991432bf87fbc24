//! What the deciders of a tenant's other streams ask of it: whether it takes commands, and whether it has a project.

use super::{State, Status, Tenant};
use crate::domain::{Aggregate, Lookup, Rejection, StreamId, TenantId, World};

/// The tenant's own stream.
pub fn stream(tenant: TenantId) -> StreamId {
    StreamId::new(tenant, Aggregate::Tenant, tenant.0)
}

/// What to look up before [`check_open`]; the shared catalogue has no stream of its own.
pub fn lookup(tenant: TenantId) -> Option<Lookup> {
    (!tenant.is_shared()).then(|| Lookup::Stream(stream(tenant)))
}

/// The tenant's state, where it is known.
///
/// A tenant that is not known is taken for open: order across streams is not promised, and its provisioning may still
/// be under way.
///
/// # Errors
/// `tenant_suspended` or `tenant_closed`.
pub fn check_open(tenant: TenantId, world: &World) -> Result<Option<&State>, Rejection> {
    let Some((_, state)) = world.get::<Tenant>(&stream(tenant)) else { return Ok(None) };
    match state.status {
        Status::Absent => Ok(None),
        Status::Active => Ok(Some(state)),
        Status::Suspended => {
            Err(Rejection::new("tenant_suspended", "the tenant is suspended; resume it with ResumeTenant first")
                .with("tenant", tenant)
                .with("reason", &state.reason))
        }
        Status::Closed => Err(Rejection::new("tenant_closed", "the tenant is closed for good; use another tenant")
            .with("tenant", tenant)
            .with("reason", &state.reason)),
    }
}

/// The project must be one of the tenant's.
///
/// # Errors
/// `project_unknown`.
pub fn check_project(tenant: &State, name: &str) -> Result<(), Rejection> {
    if tenant.projects.contains_key(name) { Ok(()) } else { Err(unknown_project(name)) }
}

pub(super) fn unknown_project(name: &str) -> Rejection {
    Rejection::new(
        "project_unknown",
        "this tenant has no project of that name; add it with AddProject, or correct the name",
    )
    .with("project", name)
}

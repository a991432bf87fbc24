//! The one place that decides who may do what. Today a caller is who it says it is: it names its tenant, and all that
//! it reads or changes is held against that. Keys and roles will come in here.
//!
//! - Every request names its tenant, by the header `AgentVerse-Tenant` or, for a command, by the event's `tenantid`;
//!   where both are there they agree.
//! - The shared catalogue (the nil UUID) is written only by who names it; its servers, providers and templates are read
//!   by everyone.
//! - `ProvisionTenant` has its own tenant as subject; it may leave the tenant out, which is then made from its id.
//! - The list of tenants shows the caller's own; on a loopback connection it needs no tenant, and then shows all.
//! - The feed of events takes the tenant from its address too, for a browser's `EventSource` sends no headers; over
//!   loopback it needs none, and then shows everybody's.

use super::problem::{MALFORMED, NOT_FOUND, Problem, TENANT_MISMATCH, TENANT_REQUIRED};
use crate::domain::{Aggregate, StreamId, TenantId};
use crate::flow::query::Reach;
use crate::flow::receive::{Admission, Claim, Code, Problem as Unreceived};
use hyper::HeaderMap;
use uuid::Uuid;

/// The header that names the tenant.
pub const TENANT_HEADER: &str = "agentverse-tenant";

/// Whether the connection came over the loopback interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loopback(pub bool);

/// Who a caller is, as far as we know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    named: Option<TenantId>,
    loopback: bool,
}

impl Access {
    /// Reads who calls from the head of a request.
    ///
    /// # Errors
    /// When the header is there twice, or is no UUID.
    pub fn of(headers: &HeaderMap, loopback: Loopback) -> Result<Self, Problem> {
        let mut values = headers.get_all(TENANT_HEADER).iter();
        let named = match (values.next(), values.next()) {
            (None, _) => None,
            (Some(value), None) => {
                let tenant = value.to_str().ok().and_then(|text| text.trim().parse().ok());
                Some(tenant.ok_or_else(|| Problem::new(&MALFORMED, "the header AgentVerse-Tenant must be a UUID"))?)
            }
            (Some(_), Some(_)) => {
                return Err(Problem::new(&MALFORMED, "the header AgentVerse-Tenant is there twice; send it once"));
            }
        };
        Ok(Self { named, loopback: loopback.0 })
    }

    /// The tenant that the caller acts for.
    ///
    /// # Errors
    /// When the request names none.
    pub fn tenant(&self) -> Result<TenantId, Problem> {
        self.named.ok_or_else(|| {
            Problem::new(&TENANT_REQUIRED, "name your tenant in the header AgentVerse-Tenant, as a UUID")
        })
    }

    /// The tenants whose resources of this kind the caller may read, its own first.
    ///
    /// # Errors
    /// When the request names none.
    pub fn readable(&self, aggregate: Aggregate) -> Result<Vec<TenantId>, Problem> {
        let tenant = self.tenant()?;
        let mut tenants = vec![tenant];
        if is_catalogued(aggregate) && !tenant.is_shared() {
            tenants.push(TenantId::SHARED);
        }
        Ok(tenants)
    }

    /// Which tenants the caller may list, and, where it is only some, their ids.
    ///
    /// # Errors
    /// When the request names none and did not come over loopback.
    pub fn listable_tenants(&self) -> Result<(Reach, Option<Vec<Uuid>>), Problem> {
        if self.named.is_none() && self.loopback {
            return Ok((Reach::All, None));
        }
        let tenant = self.tenant()?;
        Ok((Reach::Tenants(vec![tenant]), Some(vec![tenant.0])))
    }

    /// The tenant whose events the caller reads, where it named one in the address too; `None` where it reads
    /// everybody's.
    ///
    /// # Errors
    /// When it names two, or none and did not come over loopback.
    pub fn fed(&self, named: Option<TenantId>) -> Result<Option<TenantId>, Problem> {
        match (self.named, named) {
            (Some(header), Some(named)) if header != named => {
                let detail = format!("AgentVerse-Tenant is {header}, the parameter tenant {named}; make them agree");
                Err(Problem::new(&TENANT_MISMATCH, detail))
            }
            (None, None) if self.loopback => Ok(None),
            (None, None) => {
                let detail = "name your tenant in the header AgentVerse-Tenant or the parameter tenant, as a UUID";
                Err(Problem::new(&TENANT_REQUIRED, detail))
            }
            (header, named) => Ok(header.or(named)),
        }
    }

    /// Whether a reader of a tenant's events is shown those of a stream; `None` reads everybody's.
    pub fn is_shown(reader: Option<TenantId>, stream: &StreamId) -> bool {
        let is_catalogue = stream.tenant.is_shared() && is_catalogued(stream.aggregate);
        reader.is_none_or(|tenant| tenant == stream.tenant || is_catalogue)
    }

    /// A resource that is not there, and one that is another tenant's, answer alike.
    pub fn not_found(aggregate: Aggregate, id: Uuid) -> Problem {
        let what = aggregate.name().replace('_', " ");
        Problem::new(&NOT_FOUND, format!("there is no {what} {id} in this tenant; check the id and AgentVerse-Tenant"))
    }
}

/// Whether the shared catalogue holds resources of this kind, which every tenant reads.
pub fn is_catalogued(aggregate: Aggregate) -> bool {
    matches!(aggregate, Aggregate::McpServer | Aggregate::LlmProvider | Aggregate::AgentTemplate | Aggregate::Skill)
}

impl Admission for Access {
    fn admit(&self, claim: &Claim) -> Result<Option<TenantId>, Unreceived> {
        let mismatch = |message: String| Err(Unreceived::new(Code::TenantMismatch, message));
        if let (Some(header), Some(event)) = (self.named, claim.tenant)
            && header != event
        {
            return mismatch(format!("AgentVerse-Tenant is {header}, the event's tenantid {event}; make them agree"));
        }
        let named = self.named.or(claim.tenant);
        if claim.command == "ProvisionTenant" {
            return match (named, claim.subject) {
                (Some(tenant), Some(subject)) if tenant.0 != subject => {
                    mismatch(format!("the subject {subject} of ProvisionTenant is not its own tenant, {tenant}"))
                }
                (named, subject) => Ok(named.or(subject.map(TenantId))),
            };
        }
        named.map(Some).ok_or_else(|| {
            let message = "name your tenant, in the header AgentVerse-Tenant or the event's tenantid, as a UUID";
            Unreceived::new(Code::TenantRequired, message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: TenantId = TenantId(Uuid::from_u128(10));
    const B: TenantId = TenantId(Uuid::from_u128(11));

    fn access(named: Option<TenantId>) -> Access {
        Access { named, loopback: true }
    }

    fn claim(command: &'static str, tenant: Option<TenantId>, subject: Option<Uuid>) -> Claim {
        let aggregate = if command == "ProvisionTenant" { Aggregate::Tenant } else { Aggregate::Agent };
        Claim { aggregate, command, tenant, subject }
    }

    #[test]
    fn header_and_event_must_agree_and_one_is_needed() {
        let agent = |event| claim("RegisterAgent", event, None);
        assert_eq!(access(Some(A)).admit(&agent(None)), Ok(Some(A)));
        assert_eq!(access(None).admit(&agent(Some(A))), Ok(Some(A)));
        assert_eq!(access(Some(A)).admit(&agent(Some(A))), Ok(Some(A)));
        let code = |named, event| access(named).admit(&agent(event)).map_err(|problem| problem.code);
        assert_eq!(code(Some(A), Some(B)), Err(Code::TenantMismatch));
        assert_eq!(code(Some(TenantId::SHARED), Some(B)), Err(Code::TenantMismatch));
        assert_eq!(code(None, None), Err(Code::TenantRequired));
    }

    #[test]
    fn a_tenant_provisions_itself_and_no_other() {
        let provision = |event, subject| claim("ProvisionTenant", event, subject);
        assert_eq!(access(None).admit(&provision(None, None)), Ok(None));
        assert_eq!(access(None).admit(&provision(None, Some(A.0))), Ok(Some(A)));
        assert_eq!(access(Some(A)).admit(&provision(None, None)), Ok(Some(A)));
        let other = access(Some(A)).admit(&provision(None, Some(B.0)));
        assert_eq!(other.map_err(|problem| problem.code), Err(Code::TenantMismatch));
    }

    #[test]
    fn the_shared_catalogue_is_read_by_all_and_only_what_it_catalogues() {
        assert_eq!(access(Some(A)).readable(Aggregate::McpServer), Ok(vec![A, TenantId::SHARED]));
        assert_eq!(access(Some(A)).readable(Aggregate::Agent), Ok(vec![A]));
        assert_eq!(access(Some(TenantId::SHARED)).readable(Aggregate::McpServer), Ok(vec![TenantId::SHARED]));
        assert!(access(None).readable(Aggregate::McpServer).is_err());
    }

    #[test]
    fn the_list_of_tenants_needs_no_tenant_on_loopback_alone() {
        assert_eq!(access(None).listable_tenants(), Ok((Reach::All, None)));
        assert!(Access { named: None, loopback: false }.listable_tenants().is_err());
        assert_eq!(access(Some(A)).listable_tenants(), Ok((Reach::Tenants(vec![A]), Some(vec![A.0]))));
    }

    #[test]
    fn the_feed_is_of_one_tenant_or_over_loopback_of_all() {
        assert_eq!(access(Some(A)).fed(None), Ok(Some(A)));
        assert_eq!(access(None).fed(Some(B)), Ok(Some(B)));
        assert_eq!(access(None).fed(None), Ok(None));
        assert_eq!(access(Some(A)).fed(Some(B)).unwrap_err().kind, &TENANT_MISMATCH);
        let far = Access { named: None, loopback: false };
        assert_eq!(far.fed(None).unwrap_err().kind, &TENANT_REQUIRED);
        assert_eq!(far.fed(Some(A)), Ok(Some(A)));
    }

    #[test]
    fn a_tenant_header_is_one_uuid() {
        let mut headers = HeaderMap::new();
        headers.append(TENANT_HEADER, A.to_string().parse().unwrap());
        assert_eq!(Access::of(&headers, Loopback(true)), Ok(access(Some(A))));
        headers.append(TENANT_HEADER, A.to_string().parse().unwrap());
        assert!(Access::of(&headers, Loopback(true)).is_err());
        headers.insert(TENANT_HEADER, "acme".parse().unwrap());
        assert!(Access::of(&headers, Loopback(true)).is_err());
    }
}

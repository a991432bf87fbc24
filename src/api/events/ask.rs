//! What a reader of the feed asks for: whose events, of what, and from where on.

use super::cursor::{Scope, Stand};
use crate::api::access::Access;
use crate::api::params::Params;
use crate::api::problem::{INVALID_CURSOR, INVALID_ID, INVALID_QUERY, Problem};
use crate::domain::id::partition_of;
use crate::domain::record::{Record, RecordKind};
use crate::domain::{Aggregate, Micros, Partitions, TenantId};
use crate::flow::feed::Wanted;
use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName};
use std::sync::Arc;
use uuid::Uuid;

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

#[derive(Debug, PartialEq, Eq)]
pub struct Ask {
    /// Whose events, with what the shared catalogue shows to everyone; `None`: everybody's.
    pub tenant: Option<TenantId>,
    pub scope: Scope,
    /// Only the events of this stream.
    id: Option<Uuid>,
    /// Only these; empty means all.
    types: Vec<(Aggregate, &'static str)>,
    pub from: From,
    /// Whether to end with what there is.
    pub is_ending: bool,
}

/// Where to begin.
#[derive(Debug, PartialEq, Eq)]
pub enum From {
    Now,
    Beginning,
    Time(Micros),
    /// After a message; whether a reader that comes back says so.
    After(Stand, bool),
}

impl Ask {
    /// # Errors
    /// When a parameter has no such value, or the caller may not see what it asks for.
    pub fn of(uri: &Uri, headers: &HeaderMap, access: &Access, fleet: Fleet) -> Result<Self, Problem> {
        let mut params = Params::of(uri)?;
        let tenant = params.one("tenant")?.map(|text| tenant(&text)).transpose()?;
        let aggregates = aggregates(&params.all("aggregate"))?;
        let types = params.all("type").iter().map(|name| event(name)).collect::<Result<Vec<_>, _>>()?;
        let id = params.one("id")?.map(|text| id(&text)).transpose()?;
        let begin = params.one("from")?;
        let is_ending = params.choice("until", &[("now", true)])?.unwrap_or(false);
        params.finish()?;
        let tenant = access.fed(tenant)?;
        if let Some((of, name)) = types.iter().find(|(of, _)| !aggregates.is_empty() && !aggregates.contains(of)) {
            let detail =
                format!("type={}.{name} is of none of the aggregates asked for; leave out aggregate", of.name());
            return Err(Problem::new(&INVALID_QUERY, detail));
        }
        let scope = scope(&aggregates, &types, id, fleet.partitions);
        let resumed = headers.get(LAST_EVENT_ID).map(|value| value.to_str().unwrap_or("?").trim());
        let from = match (resumed, begin.as_deref()) {
            // Who comes back has the same address as before: what it has seen goes before where it began.
            (Some(text), _) if !text.is_empty() => From::After(stand(text, &scope, fleet.partitions)?, true),
            (_, None | Some("now")) => From::Now,
            (_, Some("beginning")) => From::Beginning,
            (_, Some(text)) => match moment(text, fleet.now)? {
                Some(time) => From::Time(time),
                None => From::After(stand(text, &scope, fleet.partitions)?, false),
            },
        };
        Ok(Self { tenant, scope, id, types, from, is_ending })
    }

    /// Tells the records that are asked for. Of refusals nothing is told: they are not published, and stand in the
    /// history of their resource.
    pub fn wanted(&self) -> Wanted {
        let (tenant, id, types) = (self.tenant, self.id, self.types.clone());
        Arc::new(move |record: &Record| {
            let stream = record.stream();
            record.kind == RecordKind::Event
                && id.is_none_or(|id| id == stream.id)
                && (types.is_empty()
                    || types.iter().any(|(of, name)| *of == stream.aggregate && *name == record.schema))
                && Access::is_shown(tenant, &stream)
        })
    }
}

/// What of the fleet a question depends on.
#[derive(Clone, Copy)]
pub struct Fleet {
    pub partitions: Partitions,
    pub now: Micros,
}

fn invalid(detail: impl Into<String>) -> Problem {
    Problem::new(&INVALID_QUERY, detail)
}

fn tenant(text: &str) -> Result<TenantId, Problem> {
    text.parse().map_err(|_| invalid("tenant must be a UUID"))
}

fn id(text: &str) -> Result<Uuid, Problem> {
    Uuid::parse_str(text).map_err(|_| Problem::new(&INVALID_ID, "id must be a UUID"))
}

fn aggregates(names: &[String]) -> Result<Vec<Aggregate>, Problem> {
    let mut found = Vec::new();
    for name in names {
        let aggregate = Aggregate::from_name(name).ok_or_else(|| {
            let known = Aggregate::ALL.iter().map(|aggregate| aggregate.name()).collect::<Vec<_>>().join(", ");
            invalid(format!("there is no aggregate {name:?}; there are: {known}"))
        })?;
        if !found.contains(&aggregate) {
            found.push(aggregate);
        }
    }
    Ok(found)
}

/// An event by its type, `<aggregate>.<Event>`.
fn event(name: &str) -> Result<(Aggregate, &'static str), Problem> {
    let named = name.split_once('.').and_then(|(of, event)| Some((Aggregate::from_name(of)?, event)));
    let found = named.and_then(|(of, event)| Some((of, *of.events().iter().find(|known| **known == event)?)));
    found.ok_or_else(|| {
        // Of an aggregate that there is, its own; else all of them.
        let of = |aggregate: &Aggregate| named.is_none_or(|(named, _)| named == *aggregate);
        let known: Vec<_> = Aggregate::ALL.iter().copied().filter(of).flat_map(types_of).collect();
        invalid(format!("there is no event of the type {name:?}; there are: {}", known.join(", ")))
    })
}

/// The types of an aggregate's events.
pub fn types_of(aggregate: Aggregate) -> impl Iterator<Item = String> {
    aggregate.events().iter().map(move |event| format!("{}.{event}", aggregate.name()))
}

/// The logs in which anything that is asked for can stand.
fn scope(
    aggregates: &[Aggregate],
    types: &[(Aggregate, &'static str)],
    id: Option<Uuid>,
    partitions: Partitions,
) -> Scope {
    let is_in = |aggregate: &Aggregate| match (types.is_empty(), aggregates.is_empty()) {
        (true, true) => true,
        (true, false) => aggregates.contains(aggregate),
        (false, _) => types.iter().any(|(of, _)| of == aggregate),
    };
    let one = |aggregate: Aggregate| id.map(|id| partition_of(id, partitions.of(aggregate)));
    let sections = Aggregate::ALL.iter().copied().filter(is_in).map(|aggregate| (aggregate, one(aggregate)));
    Scope { is_all: types.is_empty() && aggregates.is_empty(), sections: sections.collect() }
}

/// A time; `None` where it is none by its form.
fn moment(text: &str, now: Micros) -> Result<Option<Micros>, Problem> {
    let is_time = text.len() > 10 && text.as_bytes()[4] == b'-' && text.as_bytes()[7] == b'-' && text.contains(':');
    if !is_time {
        return Ok(None);
    }
    let time: Result<jiff::Timestamp, _> = text.parse();
    let wrong = "from must be now, beginning, a time as in 2026-01-31T12:00:00Z (RFC 3339), or the id of a message";
    let time = time.map_err(|_| invalid(wrong))?.as_microsecond();
    if time > now {
        return Err(invalid("from lies in the future; leave it out to begin now"));
    }
    Ok(Some(time))
}

/// Where a reader of these logs stood.
fn stand(text: &str, scope: &Scope, partitions: Partitions) -> Result<Stand, Problem> {
    let stand = Stand::decode(text, partitions)?;
    let known: std::collections::HashMap<_, _> =
        stand.scope.logs(partitions).into_iter().zip(stand.positions.iter().copied()).collect();
    let logs = scope.logs(partitions);
    let is_new = |aggregate: Aggregate| stand.scope.sections.iter().all(|(of, _)| *of != aggregate);
    let mut positions = Vec::with_capacity(logs.len());
    for log in logs {
        match known.get(&log) {
            Some(position) => positions.push(*position),
            // An aggregate that the program which gave the id did not have: all of it came later.
            None if stand.scope.is_all && scope.is_all && is_new(log.aggregate) => positions.push(0),
            None => {
                let detail =
                    "this id was given to a reader of other events: use the same aggregate, type and id with it";
                return Err(Problem::new(&INVALID_CURSOR, detail));
            }
        }
    }
    Ok(Stand { scope: scope.clone(), positions, last: stand.last })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::access::Loopback;
    use crate::domain::StreamId;
    use crate::ports::conformance;

    const TENANT: TenantId = TenantId(Uuid::from_u128(5));

    fn fleet() -> Fleet {
        Fleet { partitions: 4.into(), now: 1_800_000_000_000_000 }
    }

    fn ask(query: &str, last: Option<&str>) -> Result<Ask, Problem> {
        let mut headers = HeaderMap::new();
        headers.extend(last.map(|last| (LAST_EVENT_ID, last.parse().unwrap())));
        let access = Access::of(&headers, Loopback(true)).unwrap();
        Ask::of(&format!("/v1/events?{query}").parse().unwrap(), &headers, &access, fleet())
    }

    #[test]
    fn where_to_begin_is_a_word_a_time_or_an_id() {
        for (query, from) in [
            ("", From::Now),
            ("from=now", From::Now),
            ("from=beginning", From::Beginning),
            ("from=2026-01-01T00:00:00Z", From::Time(1_767_225_600_000_000)),
        ] {
            assert_eq!(ask(query, None).unwrap().from, from, "{query}");
        }
        let told = |query| ask(query, None).unwrap_err().detail;
        assert!(told("from=2099-01-01T00:00:00Z").contains("future"));
        assert!(told("from=2026-13-01T00:00:00Z").contains("RFC 3339"));
        assert!(told("from=yesterday").contains("from=beginning"));
        let scope = ask("aggregate=agent", None).unwrap().scope;
        let stand = Stand { positions: vec![1, 2, 3, 4], scope, last: None };
        let text = stand.encode(fleet().partitions);
        let resumed = ask("aggregate=agent&from=beginning", Some(&text)).unwrap();
        assert_eq!(resumed.from, From::After(stand, true), "what was seen goes before where it began");
        assert!(ask("aggregate=coupling", Some(&text)).unwrap_err().detail.contains("other events"));
        assert!(matches!(
            ask(&format!("type=agent.AgentRegistered&from={text}"), None).unwrap().from,
            From::After(_, false)
        ));
    }

    #[test]
    fn only_the_logs_are_read_in_which_it_can_stand() {
        let sections = |query: &str| ask(query, None).unwrap().scope.sections;
        assert_eq!(sections("").len(), Aggregate::ALL.len());
        assert_eq!(sections("type=agent.AgentRegistered"), [(Aggregate::Agent, None)]);
        let id = Uuid::from_u128(77);
        let partition = partition_of(id, 4);
        assert_eq!(sections(&format!("aggregate=agent&id={id}")), [(Aggregate::Agent, Some(partition))]);
    }

    #[test]
    fn what_there_is_not_is_refused_with_what_there_is() {
        let told = |query| ask(query, None).unwrap_err().detail;
        let of_agents = told("type=agent.Registered");
        assert!(of_agents.contains("agent.AgentRegistered") && !of_agents.contains("coupling."), "{of_agents}");
        assert!(told("type=nothing").contains("coupling.CouplingEstablished"));
        assert!(told("aggregate=agents").contains("agent, "));
        assert!(told("aggregate=coupling&type=agent.AgentRegistered").contains("none of the aggregates"));
        assert!(told("id=42").contains("UUID"));
        assert!(told("kind=event").contains("known: tenant, aggregate, type, id, from, until"));
    }

    #[test]
    fn a_tenant_gets_its_own_events_and_those_of_the_shared_catalogue() {
        let shown = |tenant: Option<TenantId>, of: TenantId, aggregate| {
            let query = tenant.map(|tenant| format!("tenant={tenant}")).unwrap_or_default();
            let stream = StreamId::new(of, aggregate, Uuid::from_u128(9));
            ask(&query, None).unwrap().wanted()(&conformance::event(stream, 1, 1, 0))
        };
        assert!(shown(Some(TENANT), TENANT, Aggregate::Agent));
        assert!(shown(Some(TENANT), TenantId::SHARED, Aggregate::McpServer));
        assert!(!shown(Some(TENANT), TenantId::SHARED, Aggregate::Agent));
        assert!(!shown(Some(TENANT), TenantId(Uuid::from_u128(6)), Aggregate::Agent));
        assert!(shown(None, TenantId(Uuid::from_u128(6)), Aggregate::Agent), "over loopback, with no tenant named");
    }
}

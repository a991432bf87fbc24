//! What lists take beside filters: words, an order, a time since when, and which fields to show; and counts.
//!
//! These come from the replica that the node keeps for searches, which is a moment behind the views: who must find what
//! was just written sends it with `wait=searchable`.

use super::access::{Access, Loopback};
use super::params::{self, Params};
use super::problem::{INVALID_CURSOR, INVALID_QUERY, Problem};
use super::resources::{self, Listing};
use super::{Services, answer, cursor};
use crate::domain::{Aggregate, AnyState, Micros, words};
use crate::flow::query::{Filter, Page, Reach, SearchQuery};
use crate::ports::search::{Among, Order};
use axum::extract::Request;
use axum::response::Response;
use hyper::{StatusCode, Uri};
use serde_json::{Map, Value, json};

/// Most words of `q`.
pub const WORDS_MAX: usize = 16;
/// Groups of a count that does not say how many, and most that it can ask for.
pub const GROUPS_DEFAULT: u64 = 100;
pub const GROUPS_MAX: u64 = 1_000;
/// What every resource has beside its own fields.
const COMMON: [&str; 6] = ["id", "tenant", "version", "status", "created_at", "updated_at"];

/// The parameters of a list beside its filters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shape {
    pub words: Vec<String>,
    /// `None` where the list did not ask for one.
    pub order: Option<Order>,
    pub updated_since: Option<Micros>,
    pub fields: Option<Vec<String>>,
}

impl Shape {
    /// Reads them.
    ///
    /// # Errors
    /// When one of them has no such value, or the resource is not searched.
    pub fn of(params: &mut Params, aggregate: Aggregate) -> Result<Self, Problem> {
        let words = words_of(params, aggregate)?;
        let order = params.one("sort")?.map(|text| order(&text, aggregate, &words)).transpose()?;
        let updated_since = since(params)?;
        let fields = params.one("fields")?.map(|text| fields(&text, aggregate)).transpose()?;
        Ok(Self { words, order, updated_since, fields })
    }

    /// Whether the replica alone can answer.
    pub fn is_search(&self) -> bool {
        !self.words.is_empty() || self.order.as_ref().is_some_and(|order| *order != Order::Id)
    }

    /// The best first, where words are looked for and nothing else is asked.
    fn order(&self) -> Order {
        let best = if self.words.is_empty() { Order::Id } else { Order::Relevance };
        self.order.clone().unwrap_or(best)
    }

    /// What must stay the same from page to page.
    pub fn spelled_out(&self) -> Vec<String> {
        let mut parts = Vec::new();
        if self.is_search() {
            parts.push(format!("q={}", self.words.join(" ")));
            parts.push(format!("sort={:?}", self.order()));
        }
        parts.extend(self.updated_since.map(|since| format!("updated_since={since}")));
        parts
    }

    /// Leaves the fields that were asked for, and the id.
    pub fn pick(&self, item: Value) -> Value {
        let (Some(fields), Value::Object(mut all)) = (&self.fields, item.clone()) else { return item };
        let picked = COMMON[..1].iter().copied().chain(fields.iter().map(String::as_str));
        Value::Object(picked.filter_map(|name| all.remove_entry(name)).collect::<Map<_, _>>())
    }
}

/// One page of a search, with the cursor of the next.
pub async fn page(services: &Services, listing: &Listing, shape: &Shape) -> Result<(Page, Option<String>), Problem> {
    let parts: Vec<&str> = listing.parts.iter().map(String::as_str).collect();
    let after = match &listing.cursor {
        Some(text) => {
            let bytes = cursor::decode_bytes(&parts, text)?;
            let foreign =
                |_| Problem::new(&INVALID_CURSOR, "this cursor is of another version of the program; start without");
            Some(postcard::from_bytes(&bytes).map_err(foreign)?)
        }
        None => None,
    };
    let ask = &listing.ask;
    let among = among(ask.aggregate, &ask.reach, &ask.filters, shape);
    let ask = SearchQuery { among, order: shape.order(), after, limit: ask.limit };
    let found = services.query.search(&ask).await?;
    let next = found.next.and_then(|place| Some(cursor::encode(&parts, &postcard::to_stdvec(&place).ok()?)));
    Ok((Page { items: found.items, ..Page::default() }, next))
}

/// `GET /v1/<plural>/count`.
pub async fn count(
    services: &Services,
    loopback: Loopback,
    aggregate: Aggregate,
    request: Request,
) -> Result<Response, Problem> {
    let access = Access::of(request.headers(), loopback)?;
    let mut params = Params::of(request.uri())?;
    searched(aggregate)?;
    let names: Vec<&str> = aggregate.all_filters().collect();
    let choices: Vec<_> = names.iter().map(|name| (*name, *name)).collect();
    let group_by = params.choice("group_by", &choices)?;
    let groups_max = params.number("groups", 1, GROUPS_MAX)?.unwrap_or(GROUPS_DEFAULT);
    let shape =
        Shape { words: words_of(&mut params, aggregate)?, updated_since: since(&mut params)?, ..Shape::default() };
    let (reach, filters) = resources::selection(&access, aggregate, &mut params)?;
    params.finish()?;
    let among = among(aggregate, &reach, &filters, &shape);
    let counted = services.query.count(&among, group_by, groups_max as usize).await?;
    let groups: Vec<_> =
        counted.groups.iter().map(|(value, count)| json!({ "value": value, "count": count })).collect();
    let mut shown = json!({ "count": counted.count });
    if let Some(group_by) = group_by {
        shown["group_by"] = json!(group_by);
        shown["groups"] = json!(groups);
        shown["without_value"] = json!(counted.without);
        shown["further_values"] = json!(counted.further_values);
    }
    Ok(answer::json(StatusCode::OK, shown.to_string()))
}

/// `GET /v1/status/replica`.
pub fn standing(services: &Services, uri: &Uri) -> Result<Response, Problem> {
    Params::of(uri)?.finish()?;
    let shown = match services.query.replica_standing() {
        Some(standing) => {
            let state = if standing.is_complete { "following" } else { "building" };
            let mut shown = json!(standing);
            shown["state"] = json!(state);
            shown
        }
        None => json!({ "state": "off" }),
    };
    Ok(answer::json(StatusCode::OK, shown.to_string()))
}

fn among(aggregate: Aggregate, reach: &Reach, filters: &[Filter], shape: &Shape) -> Among {
    let tenants = match reach {
        Reach::All => None,
        Reach::Tenants(tenants) => Some(tenants.clone()),
    };
    let (filters, words) = (filters.to_vec(), shape.words.clone());
    Among { aggregate, tenants, filters, updated_since: shape.updated_since, words }
}

/// # Errors
/// When the replica does not hold such resources.
pub fn searched(aggregate: Aggregate) -> Result<(), Problem> {
    if aggregate.is_searched() {
        return Ok(());
    }
    let plural = aggregate.plural();
    let detail = format!(
        "{plural} come and go too fast to be searched, sorted or counted: list them by their filters, and ask /v1/usage \
         for sums"
    );
    Err(Problem::new(&INVALID_QUERY, detail))
}

fn words_of(params: &mut Params, aggregate: Aggregate) -> Result<Vec<String>, Problem> {
    let Some(text) = params.one("q")? else { return Ok(Vec::new()) };
    searched(aggregate)?;
    let words = words::words(&text);
    match words.len() {
        0 => Err(Problem::new(&INVALID_QUERY, "q holds no word: letters or digits")),
        1..=WORDS_MAX => Ok(words),
        count => {
            Err(Problem::new(&INVALID_QUERY, format!("q holds {count} words, and at most {WORDS_MAX} are looked for")))
        }
    }
}

fn order(text: &str, aggregate: Aggregate, words: &[String]) -> Result<Order, Problem> {
    let (name, descending) = match text.strip_prefix('-') {
        Some(name) => (name, true),
        None => (text, false),
    };
    let order = match name {
        "id" if !descending => Order::Id,
        "relevance" if !descending && !words.is_empty() => Order::Relevance,
        "relevance" if !descending => {
            return Err(Problem::new(&INVALID_QUERY, "sort=relevance needs words to look for: name them in q"));
        }
        "created_at" => Order::CreatedAt { descending },
        "updated_at" => Order::UpdatedAt { descending },
        name if aggregate.all_filters().any(|known| known == name) => {
            Order::Value { name: name.to_owned(), descending }
        }
        _ => {
            let known: Vec<_> = orders(aggregate).collect();
            let detail = format!(
                "sort must be one of: {}; with - before it for the reverse, but for id and relevance",
                known.join(", ")
            );
            return Err(Problem::new(&INVALID_QUERY, detail));
        }
    };
    if order != Order::Id {
        searched(aggregate)?;
    }
    Ok(order)
}

/// What a list can be sorted by.
pub fn orders(aggregate: Aggregate) -> impl Iterator<Item = &'static str> {
    ["id", "relevance", "created_at", "updated_at"].into_iter().chain(aggregate.all_filters())
}

fn since(params: &mut Params) -> Result<Option<Micros>, Problem> {
    let Some(text) = params.one("updated_since")? else { return Ok(None) };
    let wrong = |_| Problem::new(&INVALID_QUERY, "updated_since must be a time as in 2026-01-31T12:00:00Z (RFC 3339)");
    Ok(Some(params::instant(&text).map_err(wrong)?.as_microsecond()))
}

fn fields(text: &str, aggregate: Aggregate) -> Result<Vec<String>, Problem> {
    let known = known_fields(aggregate);
    let mut fields = Vec::new();
    for field in text.split(',').map(str::trim) {
        if !known.iter().any(|known| known == field) {
            let detail = format!("there is no field {field:?}; known: {}", known.join(", "));
            return Err(Problem::new(&INVALID_QUERY, detail));
        }
        fields.push(field.to_owned());
    }
    Ok(fields)
}

/// Every field that a resource has when it is shown.
pub fn known_fields(aggregate: Aggregate) -> Vec<String> {
    let own = AnyState::initial(aggregate).view().into_iter().map(|(name, _)| name);
    let common = COMMON.iter().map(|name| (*name).to_owned());
    common.chain(own.filter(|name| !COMMON.contains(&name.as_str()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(query: &str) -> Result<Shape, Problem> {
        let mut params = Params::of(&format!("/v1/agents?{query}").parse().unwrap()).unwrap();
        Shape::of(&mut params, Aggregate::Agent)
    }

    #[test]
    fn words_are_ranked_unless_another_order_is_asked_for() {
        let ranked = shape("q=Contract%20reader").unwrap();
        assert_eq!(
            (ranked.words.as_slice(), ranked.order()),
            (&["contract".to_owned(), "reader".to_owned()][..], Order::Relevance)
        );
        let named = shape("q=contract&sort=-name").unwrap();
        assert_eq!(named.order(), Order::Value { name: "name".into(), descending: true });
        assert!(ranked.is_search() && named.is_search());
        assert!(!shape("sort=id&updated_since=2026-01-01T00:00:00Z&fields=name").unwrap().is_search());
    }

    #[test]
    fn what_no_list_takes_is_refused_with_what_it_takes() {
        let table = [
            ("sort=colour", "sort must be one of: id, relevance, created_at, updated_at, status, name,"),
            ("sort=-id", "sort must be one of"),
            ("sort=relevance", "name them in q"),
            ("q=--", "q holds no word"),
            ("q=a+b+c+d+e+f+g+h+i+j+k+l+m+n+o+p+q", "17 words, and at most 16"),
            ("updated_since=yesterday", "updated_since must be a time"),
            ("fields=name,colour", "there is no field \"colour\"; known: id, tenant, version,"),
        ];
        for (query, expected) in table {
            let problem = shape(query).unwrap_err();
            assert!(problem.detail.contains(expected), "{query}: {}", problem.detail);
        }
        let mut params = Params::of(&"/v1/llm-requests?q=hello".parse().unwrap()).unwrap();
        assert!(Shape::of(&mut params, Aggregate::LlmRequest).unwrap_err().detail.contains("/v1/usage"));
    }

    #[test]
    fn only_the_fields_that_were_asked_for_are_shown_and_the_id() {
        let item = json!({ "id": 1, "name": "ada", "status": "active", "purpose": "x" });
        assert_eq!(
            shape("fields=status,name").unwrap().pick(item.clone()),
            json!({ "id": 1, "name": "ada", "status": "active" })
        );
        assert_eq!(shape("").unwrap().pick(item.clone()), item);
    }
}

//! Which of a tenant's providers a provider of a list is.
//!
//! A list calls providers by names of its own, and a tenant may have registered them long before, by hand or from the
//! catalogue. What the list's own import made is found by its id; else a provider of either name that the list has.

use super::Kind;
use super::entry::Fault;
use super::offer::Provider;
use crate::domain::llm_provider::Status;
use crate::domain::{AnyState, StreamId, TenantId};
use crate::flow::query::Resource;
use std::collections::HashSet;
use std::str::FromStr;
use uuid::Uuid;

/// One `provider`: a name in the list, and perhaps what it is called here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selected {
    pub in_file: String,
    /// Name or id.
    pub here: Option<String>,
}

impl FromStr for Selected {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (in_file, here) = match text.split_once('=') {
            Some((in_file, here)) => (in_file, Some(here.to_owned())),
            None => (text, None),
        };
        if in_file.is_empty() || here.as_deref() == Some("") {
            return Err("give a provider as the file names it, or NAME_IN_FILE=NAME_OR_ID_HERE".into());
        }
        Ok(Self { in_file: in_file.to_owned(), here })
    }
}

/// Names that files have for providers which go by another one: both reduced to letters and digits.
const ALSO: &[(&str, &str)] = &[
    ("google", "googlegemini"),
    ("gemini", "googlegemini"),
    ("bedrock", "amazonbedrock"),
    ("azure", "azureopenai"),
    ("mistral", "mistralai"),
    ("moonshot", "moonshotai"),
    ("alibaba", "alibabacloud"),
    ("dashscope", "alibabacloud"),
    ("nebius", "nebiustokenfactory"),
    ("ovhcloud", "ovhcloudaiendpoints"),
    ("nvidianim", "nvidia"),
];

fn reduced(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// The providers that a tenant has.
#[derive(Debug, Default)]
pub struct Places {
    /// With their reduced names; those that are registered.
    registered: Vec<(Uuid, String)>,
    all: HashSet<Uuid>,
}

impl Places {
    pub fn add(&mut self, resource: &Resource) {
        let AnyState::LlmProvider(state) = &resource.state else { return };
        self.all.insert(resource.stream.id);
        if state.status == Status::Registered {
            self.registered.push((resource.stream.id, reduced(&state.access.name)));
        }
    }

    /// The stream of a provider; `None` where it is not here yet and only those that are were asked for.
    ///
    /// # Errors
    /// When several are called so, or the one that was named is not here.
    pub fn stream(
        &self,
        kind: Kind,
        tenant: TenantId,
        wanted: &Provider,
        asked: &Asked,
    ) -> Result<Option<StreamId>, Fault> {
        let made = kind.stream(tenant, &wanted.key);
        let here = asked.providers.iter().find(|it| it.in_file == wanted.key).and_then(|it| it.here.as_deref());
        let stream = |id: Uuid| StreamId { id, ..made };
        let is_here = |id: &Uuid| self.registered.iter().any(|(known, _)| known == id);
        if let Some(here) = here {
            if let Some(id) = Uuid::parse_str(here).ok().filter(is_here) {
                return Ok(Some(stream(id)));
            }
            return match self.called(&[reduced(here)], |_| true)[..] {
                [one] => Ok(Some(stream(one))),
                [] => Err(Fault::whole(format!("there is no provider {here} in this tenant; register it first"))),
                _ => Err(several(&wanted.key)),
            };
        }
        if is_here(&made.id) {
            return Ok(Some(made));
        }
        let own = reduced(&wanted.key);
        let also = ALSO.iter().find(|(file, _)| *file == own).map(|(_, here)| (*here).to_owned());
        let names: Vec<String> = [Some(own), Some(reduced(&wanted.name)), also].into_iter().flatten().collect();
        // What the import made of another entry of the list is that other one, though it may be called alike.
        match self.called(&names, |id| !asked.made.contains(id))[..] {
            [one] => Ok(Some(stream(one))),
            [] if asked.only_known && !self.all.contains(&made.id) => Ok(None),
            [] => Ok(Some(made)),
            _ => Err(several(&wanted.key)),
        }
    }

    fn called(&self, names: &[String], counts: impl Fn(&Uuid) -> bool) -> Vec<Uuid> {
        let called = self.registered.iter().filter(|(id, name)| names.contains(name) && counts(id));
        called.map(|(id, _)| *id).collect()
    }
}

fn several(key: &str) -> Fault {
    Fault::whole(format!("several providers are called so here; say which is meant with provider={key}=ID"))
}

/// What is asked of a list of models and prices.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Only these providers of the list; empty means all.
    pub providers: Vec<Selected>,
    /// Only providers that the tenant has already.
    pub only_known: bool,
    /// When prices that differ are said to be taken.
    pub priced_at: crate::domain::Micros,
    /// The streams that the providers of the list would make.
    pub made: HashSet<Uuid>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::llm_provider::{Access, State};

    const TENANT: TenantId = TenantId(Uuid::from_u128(7));

    fn places(names: &[(u128, &str)]) -> Places {
        let mut places = Places::default();
        for (id, name) in names {
            let access = Access { name: (*name).into(), ..Access::default() };
            let state = State { status: Status::Registered, access, ..State::default() };
            let stream = StreamId { id: Uuid::from_u128(*id), ..Kind::ModelsDev.stream(TENANT, "") };
            let state = AnyState::LlmProvider(Box::new(state));
            places.add(&Resource { stream, version: 1, created_at: 0, updated_at: 0, state });
        }
        places
    }

    fn find(places: &Places, key: &str, name: &str, asked: &Asked) -> Result<Option<Uuid>, Fault> {
        let wanted = Provider { key: key.into(), name: name.into(), ..Provider::default() };
        places.stream(Kind::ModelsDev, TENANT, &wanted, asked).map(|stream| stream.map(|stream| stream.id))
    }

    #[test]
    fn a_provider_is_found_by_either_name_its_alias_or_what_was_said() {
        let all = places(&[(1, "OpenAI"), (2, "Google Gemini"), (3, "Z.AI"), (4, "Mine"), (5, "mine")]);
        let asked = |selected: &str| Asked { providers: vec![selected.parse().unwrap()], ..Asked::default() };
        let id = |id: u128| Ok(Some(Uuid::from_u128(id)));
        assert_eq!(find(&all, "openai", "OpenAI", &Asked::default()), id(1));
        assert_eq!(find(&all, "google", "Google", &Asked::default()), id(2));
        assert_eq!(find(&all, "zai", "x", &Asked::default()), id(3));
        assert_eq!(find(&all, "acme", "Acme", &asked("acme=openai")), id(1));
        assert_eq!(find(&all, "acme", "Acme", &asked("acme=00000000-0000-0000-0000-000000000003")), id(3));
        assert!(find(&all, "mine", "Mine", &Asked::default()).unwrap_err().reason.contains("provider=mine=ID"));
        assert!(find(&all, "acme", "Acme", &asked("acme=nobody")).unwrap_err().reason.contains("register it first"));
    }

    #[test]
    fn a_new_one_is_made_unless_only_known_ones_are_asked_for_and_found_by_its_id_from_then_on() {
        let made = Kind::ModelsDev.stream(TENANT, "acme").id;
        let known = Asked { only_known: true, ..Asked::default() };
        assert_eq!(find(&places(&[]), "acme", "Acme", &Asked::default()), Ok(Some(made)));
        assert_eq!(find(&places(&[]), "acme", "Acme", &known), Ok(None));
        let all = places(&[(made.as_u128(), "Renamed"), (1, "Acme")]);
        assert_eq!(find(&all, "acme", "Acme", &known), Ok(Some(made)));
        // Another entry of the list, called as the one that an import made.
        let asked = Asked { made: HashSet::from([made]), ..Asked::default() };
        let other = Kind::ModelsDev.stream(TENANT, "renamed").id;
        assert_eq!(find(&all, "renamed", "Renamed", &asked), Ok(Some(other)));
    }

    #[test]
    fn an_option_names_a_provider_in_the_file_and_perhaps_here() {
        let selected =
            |in_file: &str, here: Option<&str>| Selected { in_file: in_file.into(), here: here.map(str::to_owned) };
        assert_eq!("a=B c".parse(), Ok(selected("a", Some("B c"))));
        assert_eq!("a".parse(), Ok(selected("a", None)));
        assert!("=b".parse::<Selected>().is_err() && "a=".parse::<Selected>().is_err());
    }
}

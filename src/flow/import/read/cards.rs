//! A2A agent cards, of protocol versions 0.2 to 1.0: one document each, or a list of them.
//!
//! A card is keyed by its provider's organisation and its name; without a provider by its first URL and its name. The URL
//! of a card with a provider is left out: it says where the agent is served today, and an agent that moves, or is served
//! by a later version of the protocol, stays the agent that it is. The key comes from the card alone, never from what else
//! is in the file: it would change with its neighbours. So two cards of one organisation and one name are one agent, of
//! which the higher version counts; the other is told of as superseded, with both URLs where they differ.
//!
//! A card names no owner, and none is made up. Its skills are the ids of the card's skills and then their tags.

use crate::domain::agent::ReviseAgent;
use crate::domain::common::TEXT_BYTES_MAX;
use crate::flow::import::entry::{Cutter, Fault, Fields, Rank, Read, version};
use crate::flow::import::wanted::{Agent, Wanted};
use serde_json::Value;

/// Members of a list under which its entries are.
pub const LISTS: &[&str] = &["cards", "agents", "agentCards"];
/// What agents are filed under that come from cards.
const CATEGORY: &str = "a2a";

/// # Errors
/// When the entry is no card, or cannot be kept here.
pub fn read(value: &Value) -> Result<Read, Fault> {
    let card = Fields::of(value)?;
    let name = card.needed(&["name"])?;
    let organization = match card.object(&["provider"])? {
        Some(provider) => provider.text(&["organization", "name"])?.filter(|it| !it.trim().is_empty()),
        None => None,
    };
    // The line feed keeps the parts apart: neither has one.
    let key = match organization {
        Some(organization) => format!("{organization}\n{name}"),
        None => format!("{}\n{name}", url(card)?.unwrap_or_default()),
    };
    let place = url(card)?.map(str::to_owned);
    let mut cutter = Cutter::default();
    let skills = card.list(&["skills"])?.map(labels).transpose()?;
    let wanted = ReviseAgent {
        name: Some(cutter.name("name", name)),
        category: Some(CATEGORY.into()),
        purpose: card.text(&["description"])?.map(|it| cutter.text("description", it, TEXT_BYTES_MAX)),
        skills: skills.map(|skills| cutter.labels("skills", skills)),
        ..ReviseAgent::default()
    };
    let wanted = Wanted::Agent(Box::new(Agent { profile: wanted, place, ..Agent::default() }));
    let rank = Rank { version: version(card.text(&["version"])?.unwrap_or_default()), ..Rank::default() };
    Ok(Read::Wanted { key, rank, wanted, cuts: cutter.cuts })
}

/// Where the agent is: before 1.0 the card says it itself, from then on its interfaces.
fn url(card: Fields<'_>) -> Result<Option<&str>, Fault> {
    if let Some(url) = card.text(&["url"])? {
        return Ok(Some(url));
    }
    let interfaces = card.list(&["supportedInterfaces", "additionalInterfaces"])?.unwrap_or_default();
    Ok(interfaces.iter().find_map(|interface| interface.get("url")?.as_str()))
}

/// The ids of all skills, then their tags.
fn labels(skills: &[Value]) -> Result<Vec<&str>, Fault> {
    let (mut ids, mut tags) = (Vec::new(), Vec::new());
    for skill in skills {
        let skill = Fields::of(skill).map_err(|_| Fault::field("skills", "must be a list of objects"))?;
        let id = skill.text(&["id", "name"]).map_err(|_| Fault::field("skills.id", "must be text"))?;
        ids.extend(id);
        tags.extend(super::texts("skills.tags", skill.list(&["tags"])?.unwrap_or_default())?);
    }
    ids.append(&mut tags);
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::import::{Document, Kind};
    use serde_json::json;

    fn agent(value: &Value) -> (String, ReviseAgent) {
        match read(value).unwrap() {
            Read::Wanted { wanted: Wanted::Agent(agent), key, .. } => (key, agent.profile),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_card_becomes_an_agent_with_its_skills_and_no_owner() {
        let (key, read) =
            agent(&json!({"name": "Currency", "description": "d", "url": "http://a:1", "version": "1.0.0",
            "provider": {"organization": "Acme", "url": "http://acme"},
            "skills": [{"id": "convert", "name": "Convert", "tags": ["money", "convert"]}, {"id": "rates"}]}));
        assert_eq!((key.as_str(), read.category.as_deref()), ("Acme\nCurrency", Some("a2a")));
        assert_eq!(read.skills.unwrap(), ["convert", "rates", "money"]);
        assert!(read.owner.is_absent() && read.role.is_none());
    }

    #[test]
    fn an_agent_that_moves_stays_and_two_cards_of_one_name_are_told_of_with_their_places() {
        let card = |port: u16, version: &str| {
            json!({"name": "A", "url": format!("http://a:{port}"), "version": version, "skills": [],
            "provider": {"organization": "Acme"}})
        };
        assert_eq!(agent(&card(1, "1.0.0")).0, agent(&card(2, "1.0.0")).0);
        let told = |cards: Value| {
            let document = Document::read(Kind::A2aCards, cards.to_string().as_bytes());
            assert_eq!((document.entries.len(), document.passed.len()), (1, 1));
            document.passed[0].reason.clone().unwrap()
        };
        let apart = told(json!([card(1, "1.1.0"), card(2, "1.0.0")]));
        assert!(apart.contains("higher version; this one is at http://a:2, that one at http://a:1"), "{apart}");
        let alike = told(json!([card(1, "1.0.0"), card(1, "1.0.0")]));
        assert!(alike.contains("comes later") && !alike.contains("http"), "{alike}");
    }

    #[test]
    fn without_a_provider_the_url_tells_agents_apart_whatever_the_protocols_version() {
        let before = json!({"name": "A", "url": "http://a:1", "skills": []});
        let since = json!({"name": "A", "supportedInterfaces": [{"url": "http://a:1", "protocolBinding": "JSONRPC"}]});
        assert_eq!(agent(&before).0, "http://a:1\nA");
        assert_eq!(agent(&since).0, "http://a:1\nA");
        assert_eq!(super::read(&json!({"name": "A", "skills": [1]})).unwrap_err().field.as_deref(), Some("skills"));
    }
}

//! The ids that providers give their answers, and the requests that they belong to.
//!
//! A client of OpenAI's API has the answer's `id` at hand, and may not look at headers. The answer is passed on untouched,
//! so its id is the provider's own: this node remembers which request it answered, for as long as there is room. That is
//! a help and no record: another node, or this one after a restart, knows requests by their own ids alone.

use crate::domain::TenantId;
use hashbrown::HashMap;
use parking_lot::Mutex;
use serde::Deserialize;
use std::borrow::Cow;
use uuid::Uuid;

/// Answers of one half. The older half goes when the newer one is full.
const HALF: usize = 50_000;
/// Longest id that is remembered, in bytes.
const ID_BYTES_MAX: usize = 128;

/// See the module. An id belongs to the tenant whose request it answered, and to no other.
#[derive(Default)]
pub struct AnswerIds(Mutex<Halves>);

type Half = HashMap<(TenantId, Box<str>), Uuid>;

#[derive(Default)]
struct Halves {
    newer: Half,
    older: Half,
}

/// What an answer, or a chunk of it, says of itself.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
}

impl AnswerIds {
    /// Remembers the id in an answer, or in its first chunk, where it has one.
    pub fn remember(&self, tenant: TenantId, answer: &[u8], request_id: Uuid) {
        let Ok(Named { id: Some(id) }) = serde_json::from_slice(answer) else { return };
        if id.is_empty() || id.len() > ID_BYTES_MAX {
            return;
        }
        let mut halves = self.0.lock();
        if halves.newer.len() >= HALF {
            halves.older = std::mem::take(&mut halves.newer);
        }
        halves.newer.insert((tenant, id.into()), request_id);
    }

    /// The request that a tenant's answer belongs to.
    pub fn request_of(&self, tenant: TenantId, answer_id: &str) -> Option<Uuid> {
        let halves = self.0.lock();
        let place = (tenant, Box::from(answer_id));
        halves.newer.get(&place).or_else(|| halves.older.get(&place)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: TenantId = TenantId(Uuid::from_u128(1));

    #[test]
    fn an_answers_id_leads_to_its_request_and_only_its_tenant_there() {
        let ids = AnswerIds::default();
        let request = Uuid::from_u128(7);
        ids.remember(TENANT, br#"{"choices":[{"id":"x"}],"id":"chatcmpl-\u0031"}"#, request);
        assert_eq!(ids.request_of(TENANT, "chatcmpl-1"), Some(request));
        assert_eq!(ids.request_of(TENANT, "x"), None, "not every id is the answer's");
        assert_eq!(ids.request_of(TenantId(Uuid::from_u128(2)), "chatcmpl-1"), None);
        for nothing in [&b"[]"[..], b"{}", br#"{"id":null}"#, br#"{"id":""}"#, br#"{"id":7}"#, b"\xff"] {
            ids.remember(TENANT, nothing, request);
        }
        assert_eq!(ids.request_of(TENANT, ""), None);
    }

    #[test]
    fn the_oldest_are_forgotten_and_the_newest_are_not() {
        let ids = AnswerIds::default();
        for number in 0..=2 * HALF as u128 {
            ids.remember(TENANT, format!("{{\"id\":\"{number}\"}}").as_bytes(), Uuid::from_u128(number));
        }
        assert_eq!(ids.request_of(TENANT, "0"), None);
        let newest = 2 * HALF as u128;
        for number in [newest, newest - 1, newest - HALF as u128] {
            assert_eq!(ids.request_of(TENANT, &number.to_string()), Some(Uuid::from_u128(number)));
        }
    }
}

//! The models that a list has no more.
//!
//! A provider outlives its models: ending one is for ever, and it holds what is the tenant's own, its key and its limits.
//! So a provider that a list has no more keeps its name and loses the models that the list brought; what somebody else
//! added stays.

use super::diff::step;
use super::models::MODELS_PER_COMMAND;
use super::report::{Fate, Told};
use super::retire::retired;
use super::run::{Ended, Engine, Run, Seen, part_id};
use super::wanted::RETIRED_BECAUSE;
use crate::domain::llm_provider::{Command, RetireModels, Status};
use crate::domain::record::RecordKind;
use crate::domain::{Aggregate, AnyCommand, AnyState};
use crate::flow::query::{self, HistoryQuery, ListQuery, Order, Resource};
use std::collections::HashSet;

/// Providers that are read together, with all their models.
const PAGE: usize = 50;
/// Records of a history that are read together.
const RECORDS: usize = 200;

impl Engine {
    /// Retires the models that were not seen, provider by provider. Where only some providers were asked for, those of the
    /// others are not looked at.
    pub(super) async fn retire_models(&self, seen: &Seen, run: &mut Run<'_>) -> Result<(), Ended> {
        let asked = &self.order.asked;
        let is_all = asked.providers.is_empty();
        let mut ask = ListQuery::all(Aggregate::LlmProvider, self.order.tenant, PAGE);
        loop {
            let page = self.query.list(&ask).await?;
            for item in &page.items {
                if self.order.stop.is_cancelled() {
                    return Err(Ended::stopped());
                }
                if is_all || seen.lines.contains_key(&item.stream.id) {
                    self.retire_models_of(item, seen, run).await?;
                }
            }
            match page.next {
                Some(next) => ask.after = Some(next),
                None => return Ok(()),
            }
        }
    }

    async fn retire_models_of(&self, item: &Resource, seen: &Seen, run: &mut Run<'_>) -> Result<(), Ended> {
        let AnyState::LlmProvider(state) = &item.state else { return Ok(()) };
        if state.status != Status::Registered {
            return Ok(());
        }
        let ids = state.models.iter().map(|model| &model.model_id);
        let mut missing: Vec<String> =
            ids.filter(|id| !seen.lines.contains_key(&part_id(item.stream, id))).cloned().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let brought = self.brought(item).await?;
        missing.retain(|model_id| brought.contains(model_id));
        let world = self.world().await?;
        let (mut after, mut version) = (item.state.clone(), item.version);
        let mut steps: Vec<(AnyCommand, u64)> = Vec::new();
        let mut refused = None;
        for ids in missing.chunks(MODELS_PER_COMMAND) {
            let retire = RetireModels { model_ids: ids.to_vec(), reason: RETIRED_BECAUSE.to_owned() };
            let command = Command::RetireModels(retire).into();
            match step(&mut after, &command, item.stream, version, &world) {
                Ok(events) => {
                    steps.push((command, version));
                    version += events;
                }
                Err(rejection) => refused = Some(rejection.message),
            }
        }
        if let Some(why) = refused {
            return self.tell_all(item, &missing, &(Fate::Refused, Some(why)), run).await;
        }
        if self.order.dry_run {
            return self.tell_all(item, &missing, &(Fate::Retired, None), run).await;
        }
        for sent in self.send(vec![(item.stream, steps)]).await? {
            let (done, left) = missing.split_at(missing.len().min(sent.applied * MODELS_PER_COMMAND));
            self.tell_all(item, done, &(Fate::Retired, None), run).await?;
            self.tell_all(item, left, &retired(sent.stopped), run).await?;
        }
        Ok(())
    }

    async fn tell_all(
        &self,
        item: &Resource,
        model_ids: &[String],
        (fate, reason): &(Fate, Option<String>),
        run: &mut Run<'_>,
    ) -> Result<(), Ended> {
        let AnyState::LlmProvider(state) = &item.state else { return Ok(()) };
        for model_id in model_ids {
            let told = Told {
                name: Some(format!("{}/{model_id}", state.access.name)),
                id: Some(item.stream.id),
                reason: reason.clone(),
                ..Told::of(*fate)
            };
            run.tell(told).await?;
        }
        Ok(())
    }

    /// The models that an import of this kind was the last to add; none where the history is too long to tell.
    async fn brought(&self, item: &Resource) -> Result<HashSet<String>, query::Error> {
        let source = self.order.kind.source();
        let (mut brought, mut told) = (HashSet::new(), HashSet::new());
        let mut ask = HistoryQuery {
            stream: item.stream,
            order: Order::NewestFirst,
            kinds: vec![RecordKind::Event],
            after: None,
            limit: RECORDS,
        };
        loop {
            let page = match self.query.history(&ask).await {
                Ok(page) => page,
                Err(query::Error::TooLong) => return Ok(HashSet::new()),
                Err(error) => return Err(error),
            };
            for entry in page.entries.iter().filter(|entry| entry.recorded.record.schema == "ModelsAdded") {
                let models = entry.data["models"].as_array().map(Vec::as_slice).unwrap_or_default();
                for model_id in models.iter().filter_map(|model| model["model_id"].as_str()) {
                    if told.insert(model_id.to_owned()) && entry.recorded.record.envelope.source == source {
                        brought.insert(model_id.to_owned());
                    }
                }
            }
            match page.next {
                Some(next) => ask.after = Some(next),
                None => return Ok(brought),
            }
        }
    }
}

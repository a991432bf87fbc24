//! What a list of models changes: each of its models held against the provider that is here.
//!
//! What the list says of a model counts, and what it does not say stays; the date of the prices changes only with a price.
//! How a provider is reached is said once, when it is registered: from then on it is the tenant's own, and no file may
//! have its key sent elsewhere. The models are decided one by one, so that one that is refused harms no other, and sent
//! by the hundred.

use super::diff::{Plan, Planned, refused, step};
use super::entry::Fault;
use super::offer::{Offer, PLACE_NOT_KNOWN, Prices, Provider};
use super::report::Fate;
use crate::domain::llm_provider::{Command, Model, PutModels, RegisterLlmProvider, State, Status, WireProtocol};
use crate::domain::{AnyCommand, AnyState, StreamId, World};
use serde_json::Value;

/// Models of one command: what it records has each model twice, and must fit what the journal takes of one command.
pub const MODELS_PER_COMMAND: usize = 100;
/// Providers that are found where their protocol says, without a place of their own.
const WELL_KNOWN: [(&str, WireProtocol); 4] = [
    ("openai", WireProtocol::Openai),
    ("anthropic", WireProtocol::Anthropic),
    ("google", WireProtocol::Gemini),
    ("gemini", WireProtocol::Gemini),
];

/// What becomes of a provider and, after it, of its models in their order.
pub fn plan(wanted: &Provider, stream: StreamId, version: u64, before: &State, world: &World) -> Plan {
    let all = |fault: Fault| Plan { steps: Vec::new(), fates: vec![Planned::refused(fault); 1 + wanted.offers.len()] };
    let mut after = AnyState::LlmProvider(Box::new(before.clone()));
    let mut plan = Plan::default();
    let mut version = version;
    let mut take = |after: &mut AnyState, command: AnyCommand, plan: &mut Plan| match step(
        after, &command, stream, version, world,
    ) {
        Ok(0) => Ok(()),
        Ok(events) => {
            plan.steps.push((command, version));
            version += events;
            Ok(())
        }
        Err(rejection) => Err(refused(&rejection)),
    };
    match before.status {
        Status::Deregistered => {
            let why = "the provider was deregistered here, which is final; take it out of the file, or say with \
                       provider=NAME_IN_FILE=NAME_OR_ID which one is meant";
            return all(Fault::whole(why));
        }
        Status::Registered => plan.fates.push(Planned::unchanged()),
        Status::Absent => {
            if let Err(fault) = take(&mut after, registration(wanted), &mut plan) {
                return all(fault);
            }
            plan.fates.push(Planned { fate: Fate::Created, after: 1, ..Planned::unchanged() });
        }
    }
    let mut put = Vec::new();
    let mut alone = after.clone();
    let first = plan.steps.len();
    for offer in &wanted.offers {
        let known = known(&alone, &offer.model_id);
        let model = model(offer, known, wanted);
        let (fate, fields) = match known {
            Some(known) if *known == model => {
                plan.fates.push(Planned::unchanged());
                continue;
            }
            Some(known) => (Fate::Changed, differences(known, &model)),
            None => (Fate::Created, Vec::new()),
        };
        let one = Command::PutModels(PutModels { models: vec![model.clone()] }).into();
        if let Err(rejection) = step(&mut alone, &one, stream, 0, world) {
            plan.fates.push(Planned::refused(refused(&rejection)));
            continue;
        }
        put.push(model);
        let after = first + put.len().div_ceil(MODELS_PER_COMMAND);
        plan.fates.push(Planned { fate, fields, fault: None, after });
    }
    for models in put.chunks(MODELS_PER_COMMAND) {
        let command = Command::PutModels(PutModels { models: models.to_vec() }).into();
        if let Err(fault) = take(&mut after, command, &mut plan) {
            return all(fault);
        }
    }
    plan
}

fn registration(wanted: &Provider) -> AnyCommand {
    let nowhere = || Some(PLACE_NOT_KNOWN.to_owned());
    let endpoint = match wanted.wire_protocol {
        // Nobody knows how to speak with it there.
        None => nowhere(),
        Some(protocol) if WELL_KNOWN.contains(&(wanted.key.as_str(), protocol)) => wanted.endpoint.clone(),
        // These have no place that goes without saying.
        Some(WireProtocol::Bedrock | WireProtocol::AzureOpenai) => wanted.endpoint.clone(),
        Some(_) => wanted.endpoint.clone().or_else(nowhere),
    };
    let register = RegisterLlmProvider {
        name: wanted.name.clone(),
        wire_protocol: wanted.wire_protocol.unwrap_or_default(),
        endpoint,
        api_key_env: wanted.api_key_env.clone(),
        ..RegisterLlmProvider::default()
    };
    Command::RegisterLlmProvider(register).into()
}

fn known<'a>(state: &'a AnyState, model_id: &str) -> Option<&'a Model> {
    let AnyState::LlmProvider(state) = state else { return None };
    let place = state.models.binary_search_by(|model| model.model_id.as_str().cmp(model_id)).ok()?;
    state.models.get(place)
}

/// The model as it will be.
fn model(offer: &Offer, known: Option<&Model>, wanted: &Provider) -> Model {
    let fresh = || Model { model_id: offer.model_id.clone(), ..Model::default() };
    let mut model = known.cloned().unwrap_or_else(fresh);
    put_facts(&mut model, offer, wanted.source.is_of_prices());
    let has_new_prices = put_prices(&mut model, &offer.prices);
    let is_undated = model.priced_at.is_none() && offer.prices != Prices::default();
    if has_new_prices || is_undated {
        model.priced_at = Some(wanted.priced_at);
        model.price_source = Some(wanted.source.name().to_owned());
    }
    model
}

/// `keeps`: what is known already stays.
fn put_facts(model: &mut Model, offer: &Offer, keeps: bool) {
    fn put<T: Clone>(field: &mut Option<T>, given: &Option<T>, keeps: bool) {
        if given.is_some() && !(keeps && field.is_some()) {
            field.clone_from(given);
        }
    }
    let takes = |is_known: bool, is_given: bool| is_given && !(keeps && is_known);
    if takes(!model.name.is_empty(), !offer.name.is_empty()) {
        model.name.clone_from(&offer.name);
    }
    put(&mut model.context_tokens, &offer.context_tokens, keeps);
    put(&mut model.output_tokens_max, &offer.output_tokens_max, keeps);
    put(&mut model.tool_calling, &offer.tool_calling, keeps);
    put(&mut model.structured_output, &offer.structured_output, keeps);
    for (field, given) in [
        (&mut model.input_modalities, &offer.input_modalities),
        (&mut model.output_modalities, &offer.output_modalities),
    ] {
        if takes(!field.is_empty(), !given.is_empty()) {
            field.clone_from(given);
        }
    }
}

/// Whether any price became another.
fn put_prices(model: &mut Model, prices: &Prices) -> bool {
    let fields = [
        (&mut model.input_micro_usd_per_million, prices.input),
        (&mut model.output_micro_usd_per_million, prices.output),
        (&mut model.cached_input_micro_usd_per_million, prices.cached_input),
        (&mut model.cache_write_micro_usd_per_million, prices.cache_write),
        (&mut model.batch_input_micro_usd_per_million, prices.batch_input),
        (&mut model.batch_output_micro_usd_per_million, prices.batch_output),
    ];
    let mut is_new = false;
    for (field, price) in fields {
        is_new |= price.is_some() && *field != price;
        *field = price.or(*field);
    }
    is_new
}

/// The fields that differ, as they are called.
fn differences(before: &Model, after: &Model) -> Vec<String> {
    let fields = |model: &Model| match serde_json::to_value(model) {
        Ok(Value::Object(fields)) => fields,
        _ => serde_json::Map::new(),
    };
    let before = fields(before);
    let differ = fields(after).into_iter().filter(|(name, value)| before.get(name) != Some(value));
    differ.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::import::offer::Source;
    use proptest::prelude::*;
    use uuid::Uuid;

    fn stream() -> StreamId {
        let tenant = crate::domain::TenantId(Uuid::from_u128(7));
        StreamId::new(tenant, crate::domain::Aggregate::LlmProvider, Uuid::from_u128(8))
    }

    fn provider(offers: Vec<Offer>) -> Provider {
        Provider { key: "acme".into(), name: "Acme".into(), priced_at: 7, offers, ..Provider::default() }
    }

    fn offer(model_id: &str, input: Option<i64>, output: Option<i64>) -> Offer {
        let prices = Prices { input, output, ..Prices::default() };
        Offer { model_id: model_id.into(), name: "M".into(), context_tokens: Some(1_000), prices, ..Offer::default() }
    }

    /// Plans, and takes all of it in.
    fn put(wanted: &Provider, state: &mut State) -> Plan {
        let plan = plan(wanted, stream(), 5, state, &World::default());
        let mut after = AnyState::LlmProvider(Box::new(state.clone()));
        for (command, version) in &plan.steps {
            step(&mut after, command, stream(), *version, &World::default()).unwrap();
        }
        let AnyState::LlmProvider(after) = after else { unreachable!() };
        *state = *after;
        plan
    }

    fn fates(plan: &Plan) -> Vec<Fate> {
        plan.fates.iter().map(|planned| planned.fate).collect()
    }

    #[test]
    fn a_new_model_has_what_the_list_says_and_an_unknown_price_has_no_date() {
        let mut state = State::default();
        put(&provider(vec![offer("m", Some(3), Some(9)), offer("n", None, None)]), &mut state);
        let [m, n] = &state.models[..] else { panic!("{:?}", state.models) };
        assert_eq!((m.priced_at, m.price_source.as_deref()), (Some(7), Some("models.dev")));
        assert_eq!((m.context_tokens, m.quality), (Some(1_000), None), "nothing is made up");
        assert_eq!((n.input_micro_usd_per_million, n.priced_at), (None, None));
        assert_eq!(state.access.endpoint.as_deref(), Some(PLACE_NOT_KNOWN), "no key goes to somebody else");
        let spoken = Provider { wire_protocol: Some(WireProtocol::Openai), ..provider(vec![]) };
        let mut state = State::default();
        put(&spoken, &mut state);
        assert_eq!(state.access.endpoint.as_deref(), Some(PLACE_NOT_KNOWN), "nor by a name like another's");
        let mut openai = State::default();
        put(
            &Provider { key: "openai".into(), wire_protocol: Some(WireProtocol::Openai), ..provider(vec![]) },
            &mut openai,
        );
        assert_eq!(openai.access.endpoint, None);
    }

    #[test]
    fn what_the_list_says_counts_the_rest_stays_and_a_list_of_prices_changes_no_facts() {
        let known = Model {
            model_id: "m".into(),
            name: "Mine".into(),
            context_tokens: Some(500),
            input_micro_usd_per_million: Some(4),
            batch_input_micro_usd_per_million: Some(2),
            quality: Some(0.5),
            ..Model::default()
        };
        let state = State { status: Status::Registered, models: vec![known], ..State::default() };
        for (source, name, context_tokens) in [(Source::ModelsDev, "M", 1_000), (Source::LiteLlm, "Mine", 500)] {
            let mut state = state.clone();
            let wanted = Provider { source, ..provider(vec![offer("m", Some(3), Some(9))]) };
            let plan = put(&wanted, &mut state);
            let model = &state.models[0];
            assert_eq!((model.name.as_str(), model.context_tokens), (name, Some(context_tokens)));
            assert_eq!((model.quality, model.batch_input_micro_usd_per_million), (Some(0.5), Some(2)));
            let prices = ["input_micro_usd_per_million", "output_micro_usd_per_million", "priced_at", "price_source"];
            assert!(prices.iter().all(|field| plan.fates[1].fields.iter().any(|it| it == field)), "{plan:?}");
            assert_eq!(plan.fates[1].fields.len(), if name == "M" { 6 } else { 4 });
            assert_eq!(fates(&plan), [Fate::Unchanged, Fate::Changed]);
            assert_eq!(state.access.name, "", "how it is reached is the tenant's own");
        }
    }

    #[test]
    fn models_go_by_the_hundred_each_for_the_version_that_the_ones_before_leave() {
        let offers: Vec<_> = (0..250).map(|it| offer(&format!("m{it:03}"), Some(1), None)).collect();
        let mut state = State::default();
        let plan = put(&provider(offers.clone()), &mut state);
        let versions: Vec<_> = plan.steps.iter().map(|(_, version)| *version).collect();
        assert_eq!((versions, state.models.len()), (vec![5, 6, 7, 8], 250));
        assert_eq!([0, 1, 100, 101, 250].map(|place| plan.fates[place].after), [1, 2, 2, 3, 4]);
        let changed: Vec<_> = offers.into_iter().map(|it| Offer { name: "N".into(), ..it }).collect();
        let plan = put(&provider(changed.clone()), &mut state);
        let versions: Vec<_> = plan.steps.iter().map(|(_, version)| *version).collect();
        assert_eq!(versions, [5, 105, 205], "each model that changes is an event");
        assert_eq!(put(&provider(changed), &mut state).steps, []);
    }

    #[test]
    fn a_model_that_a_rule_refuses_harms_no_other() {
        let mut state = State::default();
        let wanted = provider(vec![offer("a", None, None), offer(" ", None, None), offer("b", None, None)]);
        let plan = put(&wanted, &mut state);
        assert_eq!(fates(&plan), [Fate::Created, Fate::Created, Fate::Refused, Fate::Created]);
        assert_eq!(plan.fates[2].fault.as_ref().unwrap().field.as_deref(), Some("models.model_id"));
        assert_eq!(state.models.len(), 2);
        let ended = State { status: Status::Deregistered, ..State::default() };
        let plan = plan_of(&wanted, &ended);
        assert!(plan.steps.is_empty() && fates(&plan) == [Fate::Refused; 4]);
    }

    fn plan_of(wanted: &Provider, state: &State) -> Plan {
        plan(wanted, stream(), 5, state, &World::default())
    }

    proptest! {
        #[test]
        fn the_same_again_changes_nothing_whatever_the_day(
            prices in prop::array::uniform6(prop::option::of(0_i64..5)),
            known in prop::option::of(prop::array::uniform6(prop::option::of(0_i64..5))),
        ) {
            let of = |[input, output, cached_input, cache_write, batch_input, batch_output]: [Option<i64>; 6]| Prices {
                input, output, cached_input, cache_write, batch_input, batch_output,
            };
            let offers = vec![Offer { prices: of(prices), ..offer("m", None, None) }];
            let models = known.map(|known| {
                let mut model = Model { model_id: "m".into(), ..Model::default() };
                put_prices(&mut model, &of(known));
                model
            });
            let mut state = State { status: Status::Registered, models: models.into_iter().collect(), ..State::default() };
            put(&provider(offers.clone()), &mut state);
            let again = plan_of(&Provider { priced_at: 8, ..provider(offers) }, &state);
            prop_assert_eq!(again.steps, []);
        }
    }
}

//! What follows for couplings, and what a provider hangs on.

use super::*;
use coupling::{Hold, RebindCoupling, ResumeCoupling};

fn react(event: &Event) -> Vec<Reaction> {
    LlmProvider::react(event, &State::default(), &meta(stream::<LlmProvider>(), 3), &World::default())
}

fn rebind(name: &'static str, model: Option<&str>, reason: &str) -> Vec<Reaction> {
    let command = RebindCoupling {
        model: None,
        away_from_provider: Some(stream::<LlmProvider>().id),
        away_from_model: model.map(str::to_owned),
        reason: reason.into(),
    };
    vec![Reaction::FanOut {
        name,
        from: stream::<LlmProvider>(),
        to: Aggregate::Coupling,
        command: coupling::Command::RebindCoupling(command).into(),
    }]
}

#[test]
fn couplings_leave_what_is_gone() {
    assert_eq!(react(&retired("a")), rebind("rebind_from_model", Some("a"), "the model a was retired: old"));
    let reason = "the LLM provider was deregistered: contract ended";
    assert_eq!(react(&deregistered()), rebind("rebind_from_provider", None, reason));
    for before in [Health::Unknown, Health::Active, Health::Degraded] {
        let reason = "the LLM provider went offline: probe";
        assert_eq!(react(&health(before, Health::Offline)), rebind("rebind_from_provider", None, reason));
    }
}

#[test]
fn couplings_come_back_to_a_provider_that_is_no_longer_offline() {
    for after in [Health::Unknown, Health::Active, Health::Degraded] {
        let resume = Reaction::FanOut {
            name: "resume_with_provider",
            from: stream::<LlmProvider>(),
            to: Aggregate::Coupling,
            command: coupling::Command::ResumeCoupling(ResumeCoupling { hold: Hold::Provider }).into(),
        };
        assert_eq!(react(&health(Health::Offline, after)), vec![resume]);
    }
}

#[test]
fn nothing_follows_from_the_rest() {
    for event in [
        registered(),
        Event::LlmProviderRevised(LlmProviderRevised { access: access() }),
        added(vec![model("a")]),
        changed(model("a"), dearer("a")),
        limited(Some(1), None),
        health(Health::Unknown, Health::Active),
        health(Health::Active, Health::Degraded),
    ] {
        assert_eq!(react(&event), vec![], "{event:?}");
    }
}

#[test]
fn a_registered_provider_hangs_on_its_tenant_so_that_it_can_be_listed() {
    for tenant in [TENANT, TenantId::SHARED] {
        let stream = StreamId::new(tenant, Aggregate::LlmProvider, Uuid::from_u128(5));
        let edges = |events: Vec<Event>| LlmProvider::depends_on(Provider::given(events).state(), &stream);
        assert_eq!(edges(vec![]), vec![]);
        assert_eq!(edges(vec![registered()]), vec![StreamId::new(tenant, Aggregate::Tenant, tenant.0)]);
        assert_eq!(edges(vec![registered(), deregistered()]), vec![]);
    }
}

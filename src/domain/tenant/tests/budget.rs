//! What a tenant is told of its budget.

use super::*;

#[test]
fn a_tenant_is_told_of_its_budget_once_at_each_level_in_each_month_and_for_each_budget() {
    use BudgetLevel::{Alert, Exhausted};
    given([provisioned()]).when(report(Alert, 4_000_000, 10)).then([raised(Alert, 4_000_000, 10)]);
    let told = [provisioned(), raised(Alert, 4_000_000, 10)];
    given(told.clone()).when(report(Alert, 4_500_000, 10)).then_nothing();
    let state = given(told).when(report(Exhausted, 4_999_999, 10)).then([raised(Exhausted, 4_999_999, 10)]);
    assert_eq!(Tenant::view(&state)["budget_alert"]["level"], Exhausted.name());
    let told = [provisioned(), raised(Exhausted, 4_999_999, 10)];
    given(told.clone()).when(report(Alert, 4_000_000, 10)).then_nothing();
    // The next month; and of the month before nothing is told any more.
    given(told.clone()).when(report(Alert, 4_000_000, 20)).then([raised(Alert, 4_000_000, 20)]);
    given(told.clone()).when(report(Exhausted, 4_999_999, 5)).then_nothing();
    // Another budget begins without an alert, and a report of the one before says nothing of it.
    let set = |budget| Event::TenantBudgetSet(TenantBudgetSet { monthly_budget_micro_usd: Some(budget) });
    let other = given(told.clone().into_iter().chain([set(9_000_000)]));
    assert!(other.state().budget_alert.is_none());
    other.when(report(Alert, 4_000_000, 10)).then_nothing();
    let back = told.into_iter().chain([set(9_000_000), set(5_000_000)]);
    given(back).when(report(Alert, 4_000_000, 10)).then([raised(Alert, 4_000_000, 10)]);
}

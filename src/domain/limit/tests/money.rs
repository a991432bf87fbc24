//! A budget is never overspent, whatever its holders do and in whichever period: what is spent, and all that open and
//! lost leases may still spend, stays within it at every grant. Debts, which nobody can refuse, stop what comes after.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Deed {
    Pass(Micros),
    Reserve { holder: u64, needed: u64, hoped: u64 },
    Close { which: usize, unused: u64, released: i64 },
    Refund { which: usize, percent: u64 },
    Debt(u64),
    Set(u64),
}

const HOUR: Micros = 3600 * S;

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let pass = prop_oneof![6 => 0..S, 2 => 0..6 * S, 1 => 0..30 * HOUR];
    let close = (any::<usize>(), 0..150u64, 0..=100i64);
    let deed = prop_oneof![
        4 => pass.prop_map(Deed::Pass),
        // To the end of a day, or a moment before.
        1 => (0..3 * S).prop_map(|before| Deed::Pass(-before - 1)),
        8 => (1..9u64, 1..60_000u64, 1..20u64).prop_map(|(holder, needed, hoped)| Deed::Reserve { holder, needed, hoped }),
        6 => close.prop_map(|(which, unused, released)| Deed::Close { which, unused, released }),
        3 => (any::<usize>(), 0..=100u64).prop_map(|(which, percent)| Deed::Refund { which, percent }),
        1 => (1..50_000u64).prop_map(Deed::Debt),
        1 => (1..500_000u64).prop_map(Deed::Set),
    ];
    proptest::collection::vec(deed, 1..250)
}

struct Truth {
    holder: u64,
    grant: Grant,
    granted_at: Micros,
    closed: bool,
    /// What was spent, or may be, by then.
    cost: u64,
    late: Micros,
}

struct Purses {
    account: Account,
    budget: u64,
    now: Micros,
    op: u64,
    version: u64,
    leases: Vec<Truth>,
    debts: Vec<(Micros, u64)>,
}

fn setting(version: u64, micro_usd: u64) -> Setting {
    let limit = Limit { budget: Some(Budget { micro_usd, period: Period::Day }), ..Limit::default() };
    Setting { version, limit, spent: None }
}

impl Purses {
    fn with<T>(&mut self, change: impl FnOnce(&mut Account, Micros) -> T) -> T {
        let mut account = self.account.clone();
        let answer = change(&mut account, self.now);
        if account.take_changed() {
            self.account = account;
        }
        answer
    }

    /// What this period costs, if everything is spent that may be.
    fn truth(&self) -> u64 {
        let start = Period::Day.start_of(self.now);
        let leases = self.leases.iter().filter(|lease| lease.late >= start).map(|lease| lease.cost);
        let debts = self.debts.iter().filter(|(at, _)| *at >= start).map(|(_, debt)| debt);
        leases.sum::<u64>() + debts.sum::<u64>()
    }

    fn reserve(&mut self, holder: u64, needed: u64, hoped: u64) {
        self.op += 1;
        let ask = Ask { wanted: dollars(needed * hoped), ..ask(holder, self.op, dollars(needed)) };
        let reserved = self.with(|account, now| account.reserve(now, &ask));
        let Outcome::Granted(grant) = reserved.outcome else { return };
        let (cost, late) = (grant.amounts.micro_usd, grant.expires_at);
        self.leases.push(Truth { holder, grant, granted_at: self.now, closed: false, cost, late });
        let truth = self.truth();
        assert!(truth <= self.budget, "{truth} may be spent of {}", self.budget);
    }

    fn close(&mut self, which: usize, unused: u64, released: i64) {
        let now = self.now;
        let mut open: Vec<_> = self.leases.iter_mut().filter(|lease| !lease.closed).collect();
        if open.is_empty() {
            return;
        }
        let place = which % open.len();
        let lease = &mut open[place];
        let unused = lease.grant.amounts.scaled(unused, 100);
        let ran = now.min(lease.grant.expires_at) - lease.granted_at;
        (lease.late, lease.closed) = (lease.granted_at + ran * released / 100, true);
        lease.cost = lease.cost.saturating_sub(unused.micro_usd);
        let closed = Closed { lease: lease.grant.lease, unused, released_by: lease.late };
        let (holder, op) = (lease.holder, self.op + 1);
        self.op = op;
        let returned = Returned { closed: vec![closed], corrections: vec![] };
        (0..2).for_each(|_| self.with(|account, now| account.give_back(now, holder, op, &returned)));
    }

    fn correct(&mut self, holder: u64, correction: Correction) {
        self.op += 1;
        let (op, returned) = (self.op, Returned { closed: vec![], corrections: vec![correction] });
        (0..2).for_each(|_| self.with(|account, now| account.give_back(now, holder, op, &returned)));
    }

    fn carry_out(&mut self, deed: &Deed) {
        match deed {
            Deed::Pass(time) if *time >= 0 => self.now += time,
            Deed::Pass(before) => self.now = self.now.max(Period::Day.end_of(self.now) + before),
            Deed::Reserve { holder, needed, hoped } => self.reserve(*holder, *needed, *hoped),
            Deed::Close { which, unused, released } => self.close(*which, *unused, *released),
            Deed::Refund { which, percent } => {
                let mut closed: Vec<_> = self.leases.iter_mut().filter(|lease| lease.closed).collect();
                if closed.is_empty() {
                    return;
                }
                let place = which % closed.len();
                let lease = &mut closed[place];
                let refund = dollars(lease.cost * percent / 100);
                lease.cost -= refund.micro_usd;
                let (holder, released_by) = (lease.holder, lease.late);
                self.correct(holder, Correction { released_by, refund, debt: Amounts::ZERO });
            }
            Deed::Debt(debt) => {
                self.debts.push((self.now, *debt));
                let (released_by, debt) = (self.now, dollars(*debt));
                self.correct(1, Correction { released_by, refund: Amounts::ZERO, debt });
            }
            Deed::Set(budget) => {
                self.version += 1;
                self.budget = *budget;
                let setting = setting(self.version, *budget);
                self.with(|account, _| account.set(&setting));
            }
        }
        let (truth, there) = (self.truth(), self.account.standing(self.now).budget.expect("a budget"));
        let booked = there.spent + there.reserved;
        assert!(booked >= truth, "{booked} in the books, and {truth} in truth, after {deed:?}");
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn a_budget_is_never_overspent(budget in 1..1_000_000u64, deeds in deeds()) {
        let account = Account::new(&setting(1, budget));
        let (leases, debts) = (Vec::new(), Vec::new());
        let mut purses = Purses { account, budget, now: T0, op: 0, version: 1, leases, debts };
        deeds.iter().for_each(|deed| purses.carry_out(deed));
    }
}

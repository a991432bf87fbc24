//! The books of one account against the truth, after anything that honest holders may do, in any order: they are never
//! below the truth (so that refunds mint nothing and debts are paid), never above what the pace allows, and empty in the
//! end. A store keeps only what an operation says that it changed.

use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Deed {
    Pass(Micros),
    Reserve {
        holder: u64,
        needed: Amounts,
        hoped: u64,
    },
    /// The last request comes again, under its number.
    Repeat,
    /// A lease is closed: percentages of what is unused (more than all of it too), and of the time until now.
    Close {
        which: usize,
        unused: u64,
        released: i64,
        twice: bool,
    },
    /// Of what a closed lease used, so much percent never was.
    Refund {
        which: usize,
        percent: u64,
    },
    Debt(u64),
    Set {
        requests: u64,
        tokens: u64,
    },
    Learn(u64),
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let pass = prop_oneof![4 => 0..500_000i64, 2 => 0..5_000_000i64, 1 => 0..70_000_000i64];
    let needed = (0..4u64, prop_oneof![Just(0), 1..500u64, 500..20_000u64]);
    let reserve = (1..6u64, needed, prop_oneof![Just(1), 1..60u64]).prop_map(|(holder, (requests, tokens), hoped)| {
        Deed::Reserve { holder, needed: Amounts { requests, tokens, micro_usd: 0 }, hoped }
    });
    let close = (any::<usize>(), 0..150u64, 0..=100i64, any::<bool>());
    let close = close.prop_map(|(which, unused, released, twice)| Deed::Close { which, unused, released, twice });
    let deed = prop_oneof![
        6 => pass.prop_map(Deed::Pass),
        8 => reserve,
        1 => Just(Deed::Repeat),
        5 => close,
        3 => (any::<usize>(), 0..=100u64).prop_map(|(which, percent)| Deed::Refund { which, percent }),
        1 => (1..30_000u64).prop_map(Deed::Debt),
        1 => (1..700u64, 10..100_000u64).prop_map(|(requests, tokens)| Deed::Set { requests, tokens }),
        1 => (1..700u64).prop_map(Deed::Learn),
    ];
    proptest::collection::vec(deed, 1..250)
}

/// What is true of a lease.
struct Truth {
    holder: u64,
    grant: Grant,
    granted_at: Micros,
    closed: bool,
    /// What was or may be released, by then.
    net: Amounts,
    late: Micros,
}

/// What the pace let through and got back.
type Flow = Vec<(Micros, Amounts, Amounts)>;

struct Books {
    account: Account,
    now: Micros,
    op: u64,
    version: u64,
    last: Option<Ask>,
    leases: Vec<Truth>,
    debts: Vec<(Micros, u64)>,
    flow: Flow,
    /// The highest of each since the beginning, limits and what was needed at once.
    limits: Amounts,
    needed: Amounts,
}

const METERED: [Dimension; 2] = [Dimension::Requests, Dimension::Tokens];

impl Books {
    fn new(requests: u64, tokens: u64) -> Self {
        let limits = Amounts { requests, tokens, micro_usd: 0 };
        let (leases, debts, flow) = (Vec::new(), Vec::new(), Flow::new());
        let account = model(requests, tokens);
        Self { account, now: T0, op: 0, version: 1, last: None, leases, debts, flow, limits, needed: Amounts::ZERO }
    }

    /// As a store does it.
    fn with<T>(&mut self, change: impl FnOnce(&mut Account, Micros) -> T) -> T {
        let mut account = self.account.clone();
        let answer = change(&mut account, self.now);
        if account.take_changed() {
            let bytes = postcard::to_stdvec(&account).expect("bytes");
            self.account = postcard::from_bytes(&bytes).expect("an account");
        }
        answer
    }

    fn used(&self, dimension: Dimension) -> u64 {
        let there = self.account.standing(self.now);
        let usage = if dimension == Dimension::Requests { there.requests } else { there.tokens };
        usage.expect("limited").used
    }

    /// What can arrive in one window with something that is granted now.
    fn truth(&self, dimension: Dimension) -> u64 {
        let counts = |late: Micros| late + SLACK > self.now - WINDOW;
        let leases = self.leases.iter().filter(|lease| counts(lease.late)).map(|lease| lease.net.of(dimension));
        let debts = self.debts.iter().filter(|(at, _)| dimension == Dimension::Tokens && counts(*at));
        leases.sum::<u64>() + debts.map(|(_, tokens)| tokens).sum::<u64>()
    }

    fn limit(&self, dimension: Dimension) -> u64 {
        let there = self.account.standing(self.now);
        let usage = if dimension == Dimension::Requests { there.requests } else { there.tokens };
        usage.expect("limited").limit
    }

    fn reserve(&mut self, ask: &Ask) {
        let reserved = self.with(|account, now| account.reserve(now, ask));
        let Outcome::Granted(grant) = reserved.outcome else { return };
        if grant.amounts.is_zero() || self.leases.iter().any(|l| (l.holder, l.grant.lease) == (ask.holder, ask.op)) {
            return;
        }
        assert!(grant.amounts.covers(&ask.needed), "all that is needed or nothing: {grant:?}");
        assert_eq!(grant.booked, grant.amounts);
        for dimension in METERED.into_iter().filter(|dimension| grant.amounts.of(*dimension) > 0) {
            let (used, limit) = (self.used(dimension), self.limit(dimension));
            assert!(used <= limit, "{used} {dimension:?} after a grant, and {limit} is the limit");
        }
        self.flow.push((self.now, grant.amounts, Amounts::ZERO));
        let (holder, net, late) = (ask.holder, grant.amounts, grant.expires_at);
        self.leases.push(Truth { holder, grant, granted_at: self.now, closed: false, net, late });
    }

    fn close(&mut self, which: usize, unused_percent: u64, released_percent: i64, twice: bool) {
        let now = self.now;
        let mut open: Vec<_> = self.leases.iter_mut().filter(|lease| !lease.closed).collect();
        if open.is_empty() {
            return;
        }
        let place = which % open.len();
        let lease = &mut open[place];
        let unused = lease.grant.amounts.scaled(unused_percent, 100);
        let ran = now.min(lease.grant.expires_at) - lease.granted_at;
        (lease.late, lease.closed) = (lease.granted_at + ran * released_percent / 100, true);
        lease.net = lease.net.minus(unused);
        let closed = Closed { lease: lease.grant.lease, unused, released_by: lease.late };
        let (holder, back) = (lease.holder, lease.grant.amounts.min(unused));
        self.flow.push((now, Amounts::ZERO, back));
        let times = if twice { 2 } else { 1 };
        for _ in 0..times {
            self.op += 1;
            let (op, returned) = (self.op, Returned { closed: vec![closed; times], corrections: vec![] });
            self.with(|account, now| account.give_back(now, holder, op, &returned));
        }
    }

    fn refund(&mut self, which: usize, percent: u64) {
        let mut closed: Vec<_> = self.leases.iter_mut().filter(|lease| lease.closed).collect();
        if closed.is_empty() {
            return;
        }
        let place = which % closed.len();
        let lease = &mut closed[place];
        let refund = Amounts { tokens: lease.net.tokens * percent / 100, ..Amounts::ZERO };
        lease.net = lease.net.minus(refund);
        let (holder, released_by) = (lease.holder, lease.late);
        self.flow.push((self.now, Amounts::ZERO, refund));
        self.op += 1;
        let (op, corrections) = (self.op, vec![Correction { released_by, refund, debt: Amounts::ZERO }]);
        let returned = Returned { closed: vec![], corrections };
        // Once, however often it comes.
        for _ in 0..2 {
            self.with(|account, now| account.give_back(now, holder, op, &returned));
        }
    }

    fn set(&mut self, requests: u64, tokens: u64) {
        self.version += 1;
        let limit = Limit { requests_per_minute: Some(requests), tokens_per_minute: Some(tokens), budget: None };
        let setting = Setting { version: self.version, limit, spent: None };
        self.with(|account, _| account.set(&setting));
        self.limits = self.limits.max(Amounts { requests, tokens, micro_usd: 0 });
    }

    fn carry_out(&mut self, deed: &Deed) {
        match deed {
            Deed::Pass(time) => self.now += time,
            Deed::Reserve { holder, needed, hoped } => {
                self.op += 1;
                let wanted = Amounts { requests: needed.requests * hoped, tokens: needed.tokens * hoped, micro_usd: 0 };
                let ask = Ask { wanted, ..ask(*holder, self.op, *needed) };
                self.needed = self.needed.max(*needed);
                self.reserve(&ask);
                self.last = Some(ask);
            }
            Deed::Repeat => {
                if let Some(ask) = self.last.clone() {
                    self.reserve(&ask);
                }
            }
            Deed::Close { which, unused, released, twice } => self.close(*which, *unused, *released, *twice),
            Deed::Refund { which, percent } => self.refund(*which, *percent),
            Deed::Debt(tokens) => {
                self.op += 1;
                self.debts.push((self.now, *tokens));
                let debt = Amounts { tokens: *tokens, ..Amounts::ZERO };
                let corrections = vec![Correction { released_by: self.now, refund: Amounts::ZERO, debt }];
                let (op, returned) = (self.op, Returned { closed: vec![], corrections });
                self.with(|account, now| account.give_back(now, 1, op, &returned));
            }
            Deed::Set { requests, tokens } => self.set(*requests, *tokens),
            Deed::Learn(requests) => {
                let news = News { requests_per_minute: Some(*requests), ..News::default() };
                self.with(|account, now| account.throttle(now, &news));
            }
        }
        for dimension in METERED {
            let (used, truth) = (self.used(dimension), self.truth(dimension));
            assert!(used >= truth, "{used} {dimension:?} in the books, and {truth} in truth, after {deed:?}");
        }
    }

    /// In no span of time more than what flows in it, a burst, and what was needed at once, net of what came back.
    fn check_pace(&self, dimension: Dimension) {
        let limit = self.limits.of(dimension);
        let burst = (limit / 50).max(1 + limit / 120) + 1;
        for (from, (start, ..)) in self.flow.iter().enumerate() {
            let mut net = 0;
            for (at, granted, back) in &self.flow[from..] {
                net += granted.of(dimension) as i64 - back.of(dimension) as i64;
                let flows = (*at - start) as u64 * limit / WINDOW as u64 + 1;
                let most = (flows + burst + self.needed.of(dimension)) as i64;
                assert!(net <= most, "{net} {dimension:?} in {} s, and {most} flow and burst", (at - start) / S);
            }
        }
    }
}

fn check(requests: u64, tokens: u64, deeds: &[Deed]) {
    let mut books = Books::new(requests, tokens);
    deeds.iter().for_each(|deed| books.carry_out(deed));
    METERED.iter().for_each(|dimension| books.check_pace(*dimension));
    books.now += WINDOW + SLACK + LEASE_LIFE + SLOT;
    assert_eq!(METERED.map(|dimension| books.used(dimension)), [0, 0], "nothing counts for ever");
}

proptest! {
    #![proptest_config(cases(128))]

    #[test]
    fn books_are_never_below_the_truth(requests in 1..700u64, tokens in 10..100_000u64, deeds in deeds()) {
        check(requests, tokens, &deeds);
    }
}

//! A fleet of workers against one account in a store, with nothing that can be relied on but what the module asks for:
//! the store's nodes disagree about the time, workers' clocks show anything and run too fast or too slow, answers are
//! slow or lost, arrivals are delayed, workers hold several leases, each as long as they may, or die. True time is known
//! to the fleet alone.

use super::super::*;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// How the world is.
#[derive(Clone, Debug)]
pub struct World {
    pub limit: Limit,
    pub workers: usize,
    pub seconds: i64,
    /// Most that a call's way takes longer than another's, and that a node's clock is off, in microseconds.
    pub jitter: Micros,
    pub node_error: Micros,
    /// Most that a worker's clock runs too fast or too slow, in millionths.
    pub drift_ppm: i64,
    /// Most that one way to or from the store takes.
    pub hop: Micros,
    /// Of 100 answers of the store, how many are lost after it did what was asked.
    pub lost_percent: u64,
    /// Of 100 leases, how many are held to their end instead of used at once.
    pub held_percent: u64,
    /// Of 100 leases that are held, during how many others are taken.
    pub overlap_percent: u64,
    /// Of 100 leases, after how many the worker dies, and another starts.
    pub killed_percent: u64,
    /// Of 100 leases, of how many a part is not used.
    pub spared_percent: u64,
    /// What one call is estimated at, and the least percentage of it that it comes to.
    pub call: Amounts,
    pub actual_percent_min: u64,
    /// Second at which the limit is set; before there is none.
    pub limited_at: i64,
    pub seed: u64,
}

impl World {
    pub fn calm(limit: Limit, workers: usize, call: Amounts) -> Self {
        Self {
            limit,
            workers,
            seconds: 480,
            jitter: 50_000,
            node_error: 0,
            drift_ppm: 0,
            hop: 20_000,
            lost_percent: 0,
            held_percent: 0,
            overlap_percent: 0,
            killed_percent: 0,
            spared_percent: 0,
            call,
            actual_percent_min: 100,
            limited_at: 0,
            seed: 1,
        }
    }
}

/// What arrived at the provider: when, and what the call came to.
pub type Arrivals = Vec<(Micros, Amounts)>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    /// Reads the account.
    Read,
    /// Compares and sets: version that was read, and what the account becomes by it.
    Write { read: usize },
}

struct Worker {
    holder: u64,
    op: u64,
    clock: Clock,
    /// When it began to ask, by its clock: what a lease's life counts from.
    began: Micros,
    ask: Ask,
    /// What it closes, from when on in true time.
    closes: Vec<(Micros, Closed, Correction)>,
    /// What was read, and what it becomes.
    plan: Option<(Account, Reserved)>,
}

/// What a worker goes by.
struct Clock {
    start: Micros,
    /// Of this in a million, by how much it runs too fast.
    drift_ppm: i64,
}

const MILLION: i64 = 1_000_000;

impl Clock {
    fn reads(&self, at: Micros) -> Micros {
        self.start + (at - super::T0) * (MILLION + self.drift_ppm) / MILLION
    }

    /// The last true moment at which it does not read more.
    fn last_before(&self, reading: Micros) -> Micros {
        super::T0 + (reading - self.start) * MILLION / (MILLION + self.drift_ppm)
    }
}

struct Fleet {
    world: World,
    account: Account,
    version: usize,
    workers: Vec<Worker>,
    holders: u64,
    arrivals: Arrivals,
    events: BinaryHeap<Reverse<(Micros, u64, usize, Step)>>,
    number: u64,
    random: u64,
}

/// Lets them loose, and gives what arrived, in order.
pub fn run(world: &World) -> Arrivals {
    let account = Account::new(&Setting::default());
    let mut fleet = Fleet {
        world: world.clone(),
        account,
        version: 0,
        workers: Vec::new(),
        holders: 0,
        arrivals: Vec::new(),
        events: BinaryHeap::new(),
        number: 0,
        random: world.seed | 1,
    };
    for place in 0..world.workers {
        let fresh = fleet.fresh();
        fleet.workers.push(fresh);
        let begin = fleet.up_to(super::S);
        fleet.begin(place, super::T0 + begin);
    }
    while let Some(Reverse((now, _, place, step))) = fleet.events.pop() {
        if now > super::T0 + world.seconds * super::S {
            break;
        }
        fleet.set(now);
        match step {
            Step::Read => fleet.read(place, now),
            Step::Write { read } => fleet.write(place, now, read),
        }
    }
    fleet.arrivals.sort_by_key(|(at, _)| *at);
    fleet.arrivals
}

impl Fleet {
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    fn up_to(&mut self, most: Micros) -> Micros {
        (self.next() % (most.unsigned_abs() + 1)) as Micros
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.next() % 100 < percent
    }

    fn fresh(&mut self) -> Worker {
        self.holders += 1;
        let drift_ppm = self.up_to(2 * self.world.drift_ppm) - self.world.drift_ppm;
        let clock = Clock { start: self.up_to(1000 * super::S), drift_ppm };
        Worker { holder: self.holders, op: 0, clock, began: 0, ask: Ask::default(), closes: Vec::new(), plan: None }
    }

    fn at(&mut self, time: Micros, place: usize, step: Step) {
        self.number += 1;
        self.events.push(Reverse((time, self.number, place, step)));
    }

    /// Sets the limit once it is time.
    fn set(&mut self, now: Micros) {
        let setting = Setting { version: 1, limit: self.world.limit, spent: None };
        if now >= super::T0 + self.world.limited_at * super::S && self.account.set(&setting) {
            self.account.take_changed();
            self.version += 1;
        }
    }

    /// A worker begins an operation.
    fn begin(&mut self, place: usize, now: Micros) {
        let needed = self.world.call;
        let wanted = Amounts { requests: 50 * needed.requests, tokens: 50 * needed.tokens, micro_usd: 0 };
        let worker = &mut self.workers[place];
        worker.op += 1;
        worker.began = worker.clock.reads(now);
        let (over, open): (Vec<_>, Vec<_>) = worker.closes.drain(..).partition(|(from, ..)| *from <= now);
        worker.closes = open;
        let closed = over.iter().map(|(_, closed, _)| *closed).collect();
        let corrections = over.iter().map(|(.., correction)| *correction).collect();
        let returned = Returned { closed, corrections };
        worker.ask = Ask { holder: worker.holder, op: worker.op, needed, wanted, returned };
        let hop = self.up_to(self.world.hop);
        self.at(now + hop, place, Step::Read);
    }

    fn read(&mut self, place: usize, now: Micros) {
        let error = self.node_error(now);
        let mut account = self.account.clone();
        let reserved = account.reserve(now + error, &self.workers[place].ask);
        self.workers[place].plan = Some((account, reserved));
        let way = 2 * self.up_to(self.world.hop);
        self.at(now + way, place, Step::Write { read: self.version });
    }

    fn write(&mut self, place: usize, now: Micros, read: usize) {
        let Some((mut account, reserved)) = self.workers[place].plan.take() else { return };
        let way = self.up_to(self.world.hop);
        if account.take_changed() {
            if read != self.version {
                return self.at(now + 2 * way, place, Step::Read);
            }
            self.account = account;
            self.version += 1;
            if self.chance(self.world.lost_percent) {
                // It happened and nobody heard of it: asked again under its number.
                return self.at(now + 50 * way, place, Step::Read);
            }
        }
        let heard = now + way;
        match reserved.outcome {
            Outcome::Granted(grant) => self.call(place, heard, &grant, reserved.at),
            Outcome::Wait { until, .. } => {
                let spread = self.up_to(20_000);
                self.begin(place, heard + (until - reserved.at).min(super::S) + spread);
            }
            Outcome::TooLarge { .. } => panic!("the world asks too much"),
        }
    }

    /// One node answers for a while, then one that is behind or ahead of it by twice the error, then any.
    fn node_error(&mut self, now: Micros) -> Micros {
        let error = self.world.node_error;
        match now / (25 * super::S) % 3 {
            0 => -error,
            1 => error,
            _ => self.up_to(2 * error) - error,
        }
    }

    /// Long for a while, then short: what was sent last before that change arrives with what was sent first after it.
    fn delay(&mut self, release: Micros) -> Micros {
        match (release / (20 * super::S) % 2, self.chance(50)) {
            (0, _) => self.world.jitter,
            (_, true) => 0,
            (_, false) => self.up_to(self.world.jitter),
        }
    }

    /// A worker makes calls with a lease, as late as it likes, and closes it with its next operation after the last.
    fn call(&mut self, place: usize, now: Micros, grant: &Grant, at: Micros) {
        let call = self.world.call;
        let began = self.workers[place].began;
        // Its own clock tells it when to stop, counted from when it began to ask.
        let end = self.workers[place].clock.last_before(began + (grant.expires_at - at));
        let held = self.chance(self.world.held_percent);
        let spares = self.chance(self.world.spared_percent);
        let mut unused = grant.amounts;
        let mut last = now;
        let (mut refund, mut made) = (Amounts::ZERO, 0);
        while unused.covers(&call) && now <= end && !(spares && made >= 1) {
            let release = match (held, self.next() % 3) {
                (false, _) => now,
                (true, 0) => end,
                (true, _) => now + self.up_to(end - now),
            };
            let delay = self.delay(release);
            let share = self.world.actual_percent_min + self.next() % (101 - self.world.actual_percent_min);
            let actual = Amounts { requests: call.requests, ..call.scaled(share, 100) };
            self.arrivals.push((release + delay, actual));
            refund = refund.plus(call.minus(actual));
            unused = unused.minus(call);
            last = last.max(release);
            made += 1;
        }
        if self.chance(self.world.killed_percent) {
            self.workers[place] = self.fresh();
            return self.begin(place, now);
        }
        let overlaps = held && self.chance(self.world.overlap_percent);
        let worker = &mut self.workers[place];
        let released_by = at + (worker.clock.reads(last) - began);
        let closed = Closed { lease: grant.lease, unused, released_by };
        worker.closes.push((last, closed, Correction { released_by, refund, debt: Amounts::ZERO }));
        self.begin(place, if overlaps { now } else { last });
    }
}

/// The most that arrived within any minute, counted naively.
pub fn most_in_a_window(arrivals: &Arrivals, dimension: Dimension) -> u64 {
    let (mut most, mut sum, mut last) = (0, 0, 0);
    for (place, (start, _)) in arrivals.iter().enumerate() {
        while last < arrivals.len() && arrivals[last].0 < start + WINDOW {
            sum += arrivals[last].1.of(dimension);
            last += 1;
        }
        most = most.max(sum);
        sum -= arrivals[place].1.of(dimension);
    }
    most
}

/// The least that arrived within any five minutes, whichever second they start at.
pub fn least_in_five_minutes(world: &World, arrivals: &Arrivals, dimension: Dimension) -> u64 {
    // A second to begin with: the workers have come by then.
    let starts = (2..=world.seconds - 301).map(|second| super::T0 + second * super::S);
    let within = |start: Micros| {
        let from = arrivals.partition_point(|(at, _)| *at < start);
        let to = arrivals.partition_point(|(at, _)| *at < start + 300 * super::S);
        arrivals[from..to].iter().map(|(_, amounts)| amounts.of(dimension)).sum::<u64>()
    };
    starts.map(within).min().expect("longer than five minutes")
}

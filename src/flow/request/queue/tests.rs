//! The queue: order, shares, fairness, bounds; by examples and by properties.

use super::spill::{Left, Spill};
use super::*;
use crate::domain::{Aggregate, LogId};
use proptest::prelude::*;
use uuid::Uuid;

fn item(tenant: u128, number: u128, priority: Priority, arrived: Instant) -> Item {
    let stream = StreamId::new(TenantId(Uuid::from_u128(tenant)), Aggregate::LlmRequest, Uuid::from_u128(number));
    let deadline = arrived + Duration::from_secs(36_000);
    Item { stream, priority, gate: 1, tokens: 800, arrived, deadline, is_durable: true }
}

fn queue(waiting_max: usize) -> Queue {
    Queue::new(Config { waiting_max: [waiting_max; CLASSES], ..Config::default() })
}

fn serve(queue: &mut Queue, now: Instant) -> Option<Item> {
    let next = queue.next(now)?;
    assert_eq!(queue.take(next.stream, now), Some(next));
    Some(next)
}

fn drain(queue: &mut Queue, now: Instant) -> Vec<Item> {
    std::iter::from_fn(|| serve(queue, now)).collect()
}

fn after(begun: Instant, seconds: u64) -> Instant {
    begun + Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn the_urgent_go_first_and_each_tenants_own_in_their_order() {
    let now = Instant::now();
    let mut queue = queue(10);
    for (number, priority) in
        [Priority::Batch, Priority::Normal, Priority::Interactive, Priority::Interactive].iter().enumerate()
    {
        queue.push(item(1, number as u128, *priority, now), None, now);
    }
    let order: Vec<_> = drain(&mut queue, now).iter().map(|item| item.stream.id.as_u128()).collect();
    assert_eq!(order, [2, 3, 1, 0]);
    assert!(queue.is_empty() && queue.wakes_at().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_class_that_has_aged_gets_its_share_and_no_more() {
    let begun = Instant::now();
    let mut queue = queue(10_000);
    (0..1000).for_each(|number| {
        queue.push(item(1, number, Priority::Interactive, begun), None, begun);
    });
    (1000..1100).for_each(|number| {
        queue.push(item(1, number, Priority::Batch, begun), None, begun);
    });
    let batch = |queue: &mut Queue, now| {
        (0..160).filter_map(|_| serve(queue, now)).filter(|item| item.priority == Priority::Batch).count()
    };
    assert_eq!(batch(&mut queue, after(begun, 29)), 0);
    assert_eq!(batch(&mut queue, after(begun, 30)), 10);
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_one_tenant_does_not_hold_up_another() {
    let now = Instant::now();
    let mut queue = queue(10_000);
    (0..1000).for_each(|number| {
        queue.push(item(1, number, Priority::Normal, now), None, now);
    });
    (0..10).for_each(|_| {
        serve(&mut queue, now);
    });
    (2000..2010).for_each(|number| {
        queue.push(item(2, number, Priority::Normal, now), None, now);
    });
    let of_second = (0..20).filter_map(|_| serve(&mut queue, now)).filter(|item| item.stream.tenant.0.as_u128() == 2);
    assert_eq!(of_second.count(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_tenant_that_comes_one_by_one_gets_no_more_than_one_that_waits() {
    let now = Instant::now();
    let mut queue = queue(10_000);
    (0..1000).for_each(|number| {
        queue.push(item(1, number, Priority::Normal, now), None, now);
    });
    let mut served = [0u64; 2];
    let mut number = 2000;
    queue.push(Item { tokens: 2800, ..item(2, number, Priority::Normal, now) }, None, now);
    for _ in 0..400 {
        let one = serve(&mut queue, now).expect("somebody waits");
        let is_second = one.stream.tenant.0.as_u128() == 2;
        served[usize::from(is_second)] += one.cost();
        if is_second {
            // Its requests cost three times as much, and there is never more than one.
            number += 1;
            queue.push(Item { tokens: 2800, ..item(2, number, Priority::Normal, now) }, None, now);
        }
    }
    assert!(served[0].abs_diff(served[1]) <= 4000, "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn a_closed_gate_and_a_held_tenant_hold_up_nobody_else() {
    let now = Instant::now();
    let mut queue = queue(100);
    let at = |gate, tenant, number| Item { gate, ..item(tenant, number, Priority::Normal, now) };
    [at(1, 1, 1), at(1, 2, 2), at(2, 1, 3), at(2, 2, 4)].iter().for_each(|item| {
        queue.push(*item, None, now);
    });
    queue.close(1);
    queue.hold(TenantId(Uuid::from_u128(1)), after(now, 5));
    let order = |items: Vec<Item>| items.iter().map(|item| item.stream.id.as_u128()).collect::<Vec<_>>();
    assert_eq!(order(drain(&mut queue, now)), [4]);
    queue.open(1);
    assert_eq!(order(drain(&mut queue, now)), [2]);
    assert_eq!(queue.wakes_at(), Some(after(now, 5)));
    queue.pause(2, after(now, 9));
    assert_eq!(order(drain(&mut queue, after(now, 5))), [1]);
    assert_eq!(queue.wakes_at(), Some(after(now, 9)));
    assert_eq!(order(drain(&mut queue, after(now, 9))), [3]);
}

#[tokio::test(start_paused = true)]
async fn a_delayed_one_comes_at_its_time_or_when_it_is_hastened_and_an_expired_one_goes() {
    let now = Instant::now();
    let mut queue = queue(100);
    let first = item(1, 1, Priority::Normal, now);
    let second = item(1, 2, Priority::Normal, now);
    queue.push(first, Some(after(now, 10)), now);
    queue.push(second, Some(after(now, 20)), now);
    assert_eq!(queue.next(after(now, 9)), None);
    assert_eq!(serve(&mut queue, after(now, 10)), Some(first));
    queue.hasten(second.stream);
    assert_eq!(queue.next(after(now, 10)), Some(second));
    assert_eq!(queue.expired(second.deadline, 10), vec![second]);
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_full_queue_says_when_to_come_and_makes_room_for_who_has_less() {
    let begun = Instant::now();
    let mut queue = queue(100);
    (0..100).for_each(|number| {
        queue.push(item(1, number, Priority::Normal, begun), None, begun);
    });
    assert_eq!(
        queue.push(item(1, 200, Priority::Normal, begun), None, begun),
        Pushed::Full { retry_after: RETRY_AFTER_MAX }
    );
    assert_eq!(
        queue.push(item(2, 201, Priority::Normal, begun), None, begun),
        Pushed::Displaced(item(1, 99, Priority::Normal, begun))
    );
    assert_eq!(queue.push(item(1, 202, Priority::Batch, begun), None, begun), Pushed::In);
    for second in 1..=30 {
        let now = after(begun, second);
        serve(&mut queue, now);
        queue.push(item(1, 300 + u128::from(second), Priority::Normal, now), None, now);
    }
    let retry_after = queue.retry_after(Priority::Normal, after(begun, 30));
    assert!(retry_after > Duration::from_secs(9) && retry_after < Duration::from_secs(12), "{retry_after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_waiting_cost_little_each() {
    let begun = Instant::now();
    let mut queue = queue(100_000);
    for number in 0..100_000u128 {
        let one = Item { gate: (number % 50) as u64, ..item(number % 1000, number, Priority::Normal, begun) };
        queue.push(one, None, begun);
    }
    let watch = crate::metrics::Stopwatch::start();
    for number in 0..100_000u128 {
        let taken = serve(&mut queue, begun).expect("somebody waits");
        if number % 2 == 0 {
            queue.put_back(taken, Some(after(begun, 1)));
        }
    }
    assert_eq!(queue.depths(), [0, 50_000, 0]);
    // A linear step would take minutes; this takes a second or two on a slow machine.
    assert!(watch.elapsed() < Duration::from_secs(30), "{:?}", watch.elapsed());
}

#[test]
fn what_stays_on_its_log_comes_back_by_turns_of_tenants_and_by_deadline() {
    let mut spill = Spill::new(10);
    let left = |tenant: u128, number: u128, deadline_at| {
        let stream = StreamId::new(TenantId(Uuid::from_u128(tenant)), Aggregate::LlmRequest, Uuid::from_u128(number));
        Left { log: log(1), stream, priority: Priority::Batch, deadline_at, position: 1 }
    };
    for one in [left(1, 1, 30), left(1, 2, 20), left(1, 3, 10), left(2, 4, 40)] {
        spill.insert(one);
    }
    assert_eq!(spill.expired(10, 5), vec![left(1, 3, 10)]);
    assert_eq!(spill.take(Priority::Normal), None);
    let order: Vec<_> =
        std::iter::from_fn(|| spill.take(Priority::Batch)).map(|left| left.stream.id.as_u128()).collect();
    assert_eq!(order, [2, 4, 1]);
    assert!(spill.is_empty());
}

fn log(partition: u16) -> LogId {
    LogId { aggregate: Aggregate::LlmRequest, partition }
}

#[test]
fn a_full_spill_keeps_the_urgent_and_names_the_logs_of_the_others_once_it_is_half_empty() {
    let mut spill = Spill::new(4);
    let left = |number: u128, priority, partition| {
        let stream = StreamId::new(TenantId(Uuid::from_u128(1)), Aggregate::LlmRequest, Uuid::from_u128(number));
        Left { log: log(partition), stream, priority, deadline_at: 10, position: 1 }
    };
    for number in 1..=4 {
        spill.insert(left(number, Priority::Batch, 1));
    }
    spill.insert(left(4, Priority::Batch, 1));
    assert!((spill.len(), spill.to_read_again()) == (4, None), "what is there already takes no more room");
    spill.insert(left(5, Priority::Batch, 2));
    spill.insert(left(6, Priority::Interactive, 3));
    assert_eq!((spill.len(), spill.to_read_again()), (4, None));
    assert_eq!(spill.take(Priority::Interactive).map(|left| left.log), Some(log(3)));
    assert_eq!(
        std::iter::from_fn(|| spill.take(Priority::Batch)).count(),
        3,
        "the fourth made way, the fifth got none"
    );
    assert!(!spill.is_empty(), "their logs have more");
    assert_eq!(
        [spill.to_read_again(), spill.to_read_again(), spill.to_read_again()],
        [Some(log(1)), Some(log(2)), None]
    );
    assert!(spill.is_empty());
    (1..=5).for_each(|number| spill.insert(left(number, Priority::Batch, 1)));
    spill.release(log(1));
    assert!(spill.is_empty(), "nothing of a log that is another's");
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Push { tenant: u128, class: usize, gate: Gate, tokens: u64, delay: Option<u64> },
    Serve,
    PutBack { delay: Option<u64> },
    Cancel(prop::sample::Index),
    Close(Gate),
    Open(Gate),
    Hold(u128),
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let delay = || prop::option::weighted(0.2, 1u64..20);
    prop_oneof![
        6 => (1u128..5, 0usize..3, 0u64..3, 0u64..10_000, delay())
            .prop_map(|(tenant, class, gate, tokens, delay)| Step::Push { tenant, class, gate, tokens, delay }),
        5 => Just(Step::Serve),
        1 => delay().prop_map(|delay| Step::PutBack { delay }),
        1 => any::<prop::sample::Index>().prop_map(Step::Cancel),
        1 => (0u64..3).prop_map(Step::Close),
        1 => (0u64..3).prop_map(Step::Open),
        1 => (1u128..5).prop_map(Step::Hold),
        1 => (1u64..30).prop_map(Step::Pass),
    ]
}

const PRIORITIES: [Priority; CLASSES] = [Priority::Interactive, Priority::Normal, Priority::Batch];

proptest! {
    /// Whatever happens: everything that went in comes out exactly once, served, displaced, cancelled or expired, and
    /// nothing is served whose gate is closed, whose tenant is held, or whose time has not come.
    #[test]
    fn nothing_is_lost_doubled_or_served_out_of_turn(steps in prop::collection::vec(step(), 1..400)) {
        let begun = Instant::now();
        let mut now = begun;
        let mut queue = queue(25);
        let mut inside: HashMap<StreamId, Option<Instant>> = HashMap::new();
        let (mut closed, mut held) = (HashSet::new(), HashMap::new());
        let mut last: Option<Item> = None;
        for (number, step) in steps.into_iter().enumerate() {
            match step {
                Step::Push { tenant, class, gate, tokens, delay } => {
                    let one = Item { gate, tokens, is_durable: number % 2 == 0, ..item(tenant, number as u128, PRIORITIES[class], now) };
                    let delayed = delay.map(|delay| after(now, delay));
                    match queue.push(one, delayed, now) {
                        Pushed::In => drop(inside.insert(one.stream, delayed)),
                        Pushed::Displaced(gone) => {
                            prop_assert!(gone.is_durable && gone.stream.tenant != one.stream.tenant);
                            prop_assert!(inside.remove(&gone.stream).is_some());
                            inside.insert(one.stream, delayed);
                        }
                        // Above its bound it holds what was taken out and put back.
                        Pushed::Full { .. } => prop_assert!(queue.depths()[class] >= 25),
                    }
                }
                Step::Serve => {
                    held.retain(|_, until| *until > now);
                    let served = serve(&mut queue, now);
                    let Some(one) = served else { continue };
                    let delayed = inside.remove(&one.stream);
                    prop_assert!(delayed.is_some_and(|delayed| delayed.is_none_or(|at| at <= now)));
                    prop_assert!(!closed.contains(&one.gate) && !held.contains_key(&one.stream.tenant));
                    last = Some(one);
                }
                Step::PutBack { delay } => if let Some(one) = last.take() {
                    let delayed = delay.map(|delay| after(now, delay));
                    queue.put_back(one, delayed);
                    inside.insert(one.stream, delayed);
                },
                Step::Cancel(which) => if !inside.is_empty() {
                    let stream = *inside.keys().nth(which.index(inside.len())).expect("one");
                    prop_assert!(queue.cancel(stream).is_some());
                    inside.remove(&stream);
                },
                Step::Close(gate) => { queue.close(gate); closed.insert(gate); }
                Step::Open(gate) => { queue.open(gate); closed.remove(&gate); }
                Step::Hold(tenant) => {
                    let tenant = TenantId(Uuid::from_u128(tenant));
                    queue.hold(tenant, after(now, 10));
                    held.insert(tenant, after(now, 10));
                }
                Step::Pass(seconds) => now = after(now, seconds),
            }
            prop_assert_eq!(queue.depths().iter().sum::<usize>(), inside.len());
        }
        closed.iter().for_each(|gate| queue.open(*gate));
        now = after(now, 100);
        for one in drain(&mut queue, now) {
            prop_assert!(inside.remove(&one.stream).is_some());
        }
        prop_assert!(inside.is_empty() && queue.is_empty(), "{} never came out", inside.len());
    }

    /// Between tenants that wait all along, what they were served differs by at most one request of each.
    #[test]
    fn tenants_that_wait_are_served_alike(costs in prop::collection::vec((0u64..50_000, 0u64..50_000, 0u64..50_000), 50..150), turns in 1usize..150) {
        let now = Instant::now();
        let mut queue = queue(1000);
        for (number, (first, second, third)) in costs.iter().enumerate() {
            for (tenant, tokens) in [(1, first), (2, second), (3, third)] {
                let one = item(tenant, tenant * 1_000_000 + number as u128, Priority::Normal, now);
                queue.push(Item { tokens: *tokens, ..one }, None, now);
            }
        }
        let mut served = [0u64; 3];
        for _ in 0..turns.min(costs.len()) {
            let one = serve(&mut queue, now).expect("somebody waits");
            served[one.stream.tenant.0.as_u128() as usize - 1] += one.cost();
        }
        let spread = served.iter().max().expect("three") - served.iter().min().expect("three");
        prop_assert!(spread <= 50_200, "{:?}", served);
    }

    /// No starvation: whatever more urgent ones keep coming, a request that has aged is served within the turns that its
    /// class's share gives to those before it.
    #[test]
    fn an_aged_request_is_served_within_its_bound(before in 0usize..20, class in 1usize..3) {
        let begun = Instant::now();
        let config = Config::default();
        let mut queue = Queue::new(config);
        for number in 0..=before {
            queue.push(item(1, number as u128, PRIORITIES[class], begun), None, begun);
        }
        let now = begun + config.aged_after[class];
        // A turn of another aged class may come between.
        let bound = (before + 1) * (config.share[class] as usize + 1);
        let mut number = 1_000u128;
        let mut turns = 0;
        loop {
            for other in (0..CLASSES).filter(|other| *other != class) {
                number += 1;
                queue.push(item(2, number, PRIORITIES[other], begun), None, now);
            }
            turns += 1;
            prop_assert!(turns <= bound, "not served within {} turns", bound);
            let one = serve(&mut queue, now).expect("somebody waits");
            if one.stream.id.as_u128() == before as u128 {
                break;
            }
        }
    }
}

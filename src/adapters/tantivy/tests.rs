//! The index against a plain walk over the same rows.

use super::*;
use crate::domain::agent::{self, Lifecycle, Profile, RiskTier};
use crate::domain::common::Health;
use crate::domain::{Aggregate, AnyState, TenantId, Weight, words};
use crate::ports::clock::SystemClock;
use crate::ports::search::Filter;
use proptest::prelude::*;
use uuid::Uuid;

const CONFIG: Config = Config { memory_bytes_max: 15_000_000, commit_interval: Duration::from_millis(1) };

fn open(path: Option<&Path>) -> Replica {
    Replica::open(path, CONFIG, Arc::new(SystemClock)).unwrap()
}

/// What an agent of the tests is made of; small sets of values, so that they meet.
#[derive(Clone, Debug)]
struct Sketch {
    tenant: u8,
    id: u8,
    version: u64,
    name: usize,
    category: usize,
    skills: Vec<usize>,
    health: usize,
    is_over: bool,
    updated_at: i64,
}

const NAMES: [&str; 5] = ["Contract Reader", "contract writer", "createIssue", "Zed", "Ärger Bot"];
const CATEGORIES: [&str; 4] = ["", "legal", "sales", "support"];
const SKILLS: [&str; 4] = ["text_summarization", "legal/contracts", "code review", "数据"];
const HEALTH: [Health; 4] = [Health::Unknown, Health::Active, Health::Degraded, Health::Offline];

fn tenant(number: u8) -> TenantId {
    TenantId(Uuid::from_u128(u128::from(number) + 1))
}

impl Sketch {
    fn row(&self) -> ViewRow {
        let profile = Profile {
            name: NAMES[self.name].into(),
            category: CATEGORIES[self.category].into(),
            purpose: "Reads what others sign".into(),
            skills: self.skills.iter().map(|skill| SKILLS[*skill].to_owned()).collect(),
            risk_tier: RiskTier::Low,
            project: (self.category == 1).then(|| "alpha".to_owned()),
            ..Profile::default()
        };
        let lifecycle = if self.is_over { Lifecycle::Decommissioned } else { Lifecycle::Active };
        let state =
            agent::State { lifecycle, health: HEALTH[self.health], profile, revision: 1, ..agent::State::default() };
        let state = AnyState::Agent(Box::new(state)).to_blob().unwrap();
        // Ids that differ in both of their halves.
        let id = Uuid::from_u64_pair(u64::from(self.id) / 4 * 0x1000, u64::from(self.id));
        let stream = StreamId::new(tenant(self.tenant), Aggregate::Agent, id);
        let (created_at, updated_at) = (self.updated_at / 2, self.updated_at);
        ViewRow { stream, data: RowData { version: self.version, created_at, updated_at, state: state.into() } }
    }
}

fn sketch() -> impl Strategy<Value = Sketch> {
    let what = (0..5usize, 0..4usize, proptest::collection::vec(0..4usize, 0..4), 0..4usize, any::<bool>());
    (0..3u8, 0..40u8, what, -2_000_000_000_000_000..2_000_000_000_000_000i64).prop_map(
        |(tenant, id, what, updated_at)| {
            let (name, category, skills, health, is_over) = what;
            Sketch { tenant, id, version: 1, name, category, skills, health, is_over, updated_at }
        },
    )
}

fn order() -> impl Strategy<Value = Order> {
    let named = proptest::sample::select(vec!["name", "category", "skill", "status", "project", "template"]);
    let by_value = (named, any::<bool>());
    prop_oneof![
        Just(Order::Id),
        any::<bool>().prop_map(|descending| Order::CreatedAt { descending }),
        any::<bool>().prop_map(|descending| Order::UpdatedAt { descending }),
        by_value.prop_map(|(name, descending)| Order::Value { name: name.to_owned(), descending }),
        Just(Order::Relevance),
    ]
}

fn among() -> impl Strategy<Value = Among> {
    let filters = prop_oneof![
        Just(vec![]),
        Just(vec![("category", vec!["legal"])]),
        Just(vec![("skill", vec!["code review", "数据"]), ("status", vec!["active"])]),
        Just(vec![("category", vec!["nothing of that kind"])]),
    ];
    let words = proptest::sample::select(vec!["", "contract", "con re", "issue", "sign 数", "ärg", "nobody"]);
    let tenants = proptest::option::of(proptest::sample::subsequence(vec![0u8, 1, 2], 1..=3));
    let since = proptest::option::of(-2_000_000_000_000_000..2_000_000_000_000_000i64);
    (filters, words, tenants, since).prop_map(|(filters, text, tenants, updated_since)| Among {
        aggregate: Aggregate::Agent,
        tenants: tenants.map(|tenants| tenants.into_iter().map(tenant).collect()),
        filters: filters
            .into_iter()
            .map(|(name, values)| Filter {
                name: name.to_owned(),
                values: values.into_iter().map(str::to_owned).collect(),
            })
            .collect(),
        updated_since,
        words: words::words(text),
    })
}

/// The same question, asked of every row.
fn passes(row: &ViewRow, among: &Among) -> bool {
    let state = AnyState::from_blob(row.stream.aggregate, &row.data.state).unwrap();
    let values = |name: &str| if name == "status" { vec![state.status().to_owned()] } else { state.facet(name) };
    among.tenants.as_ref().is_none_or(|tenants| tenants.contains(&row.stream.tenant))
        && among.updated_since.is_none_or(|since| row.data.updated_at >= since)
        && among.filters.iter().all(|filter| values(&filter.name).iter().any(|value| filter.values.contains(value)))
        && among.words.iter().all(|word| grade(&state, word) > 0)
}

/// In the order of what is best: 16 for a whole word of a name, 2 for the beginning of one in prose.
fn grade(state: &AnyState, word: &str) -> u32 {
    let mut best = 0;
    for text in state.texts() {
        let whole = match text.weight {
            Weight::Name => 16,
            Weight::Keyword => 8,
            Weight::Prose => 4,
        };
        words::indexed(text.text, |found| {
            if found == word {
                best = best.max(whole);
            } else if found.starts_with(word) {
                best = best.max(whole / 2);
            }
        });
    }
    best
}

fn sorted(rows: &[ViewRow], among: &Among, order: &Order) -> Vec<StreamId> {
    let mut passing: Vec<_> = rows.iter().filter(|row| passes(row, among)).cloned().collect();
    let first = |row: &ViewRow, name: &str| {
        let state = AnyState::from_blob(row.stream.aggregate, &row.data.state).unwrap();
        if name == "status" { Some(state.status().to_owned()) } else { state.facet(name).into_iter().next() }
    };
    let relevance = |row: &ViewRow| {
        let state = AnyState::from_blob(row.stream.aggregate, &row.data.state).unwrap();
        among.words.iter().map(|word| grade(&state, word)).sum::<u32>()
    };
    let turned = |order: std::cmp::Ordering, descending: bool| if descending { order.reverse() } else { order };
    passing.sort_by(|one, other| {
        let by = match order {
            Order::Id => std::cmp::Ordering::Equal,
            Order::CreatedAt { descending } => turned(one.data.created_at.cmp(&other.data.created_at), *descending),
            Order::UpdatedAt { descending } => turned(one.data.updated_at.cmp(&other.data.updated_at), *descending),
            Order::Value { name, descending } => match (first(one, name), first(other, name)) {
                (Some(one), Some(other)) => turned(one.cmp(&other), *descending),
                (one, other) => one.is_none().cmp(&other.is_none()),
            },
            Order::Relevance => relevance(other).cmp(&relevance(one)),
        };
        by.then((one.stream.id, one.stream.tenant).cmp(&(other.stream.id, other.stream.tenant)))
    });
    passing.into_iter().map(|row| row.stream).collect()
}

/// Takes the sketches in order, a few at a time, so that they come to lie in several segments.
async fn filled(sketches: &[Sketch], replica: &Replica) -> Vec<ViewRow> {
    let mut rows: BTreeMap<StreamId, ViewRow> = BTreeMap::new();
    replica.complete().await.unwrap();
    for some in sketches.chunks(7) {
        let mut taken = Vec::new();
        for sketch in some {
            let mut row = sketch.row();
            let before = rows.get(&row.stream).map_or(0, |before| before.data.version);
            row.data.version = before + 1;
            rows.insert(row.stream, row.clone());
            taken.push(row);
        }
        let last = taken.last().unwrap().clone();
        replica.apply(taken, None).await.unwrap();
        replica.shown(last.stream, last.data.version).await;
    }
    rows.into_values().collect()
}

fn wait<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn pages_are_what_a_walk_over_all_rows_gives(
        sketches in proptest::collection::vec(sketch(), 1..60),
        asked in proptest::collection::vec((among(), order(), 1..9usize), 1..12),
    ) {
        wait(async {
            let replica = open(None);
            let rows = filled(&sketches, &replica).await;
            for (among, order, limit) in &asked {
                let expected = sorted(&rows, among, order);
                let (mut found, mut after) = (Vec::new(), None);
                loop {
                    let page = replica.page(among, order, after.as_ref(), *limit).await.unwrap();
                    assert!(page.rows.len() <= *limit);
                    for row in page.rows {
                        assert!(rows.contains(&row), "the newest version alone is found");
                        found.push(row.stream);
                    }
                    match page.next {
                        Some(next) => after = Some(next),
                        None => break,
                    }
                }
                assert_eq!(&found, &expected, "{among:?} {order:?}");
                let counted = replica.count(among, Some("skill"), 3).await.unwrap();
                assert_eq!(counted.count, expected.len() as u64);
            }
            replica.close().await.unwrap();
        });
    }
}

fn plain(tenant: u8, id: u8) -> Sketch {
    Sketch {
        tenant,
        id,
        version: 1,
        name: 0,
        category: 1,
        skills: vec![1],
        health: 1,
        is_over: false,
        updated_at: i64::from(id),
    }
}

fn all() -> Among {
    Among { aggregate: Aggregate::Agent, tenants: None, filters: vec![], updated_since: None, words: vec![] }
}

#[tokio::test]
async fn groups_count_every_value_once_and_what_has_none() {
    let replica = open(None);
    let of = |id, skills: &[usize]| Sketch { skills: skills.to_vec(), ..plain(0, id) };
    filled(&[of(1, &[0, 1]), of(2, &[1, 1]), of(3, &[1, 2]), of(4, &[])], &replica).await;
    let counted = replica.count(&all(), Some("skill"), 2).await.unwrap();
    let groups = vec![("legal/contracts".to_owned(), 3), ("code review".to_owned(), 1)];
    assert_eq!(counted, Counted { count: 4, groups, without: 1, further_values: 1 });
    let counted = replica.count(&all(), None, 0).await.unwrap();
    assert_eq!(counted, Counted { count: 4, ..Counted::default() });
}

#[tokio::test]
async fn a_discovery_shows_what_works_first_and_nothing_that_is_over() {
    let replica = open(None);
    let of = |id, name, health, is_over| Sketch { name, health, is_over, skills: vec![], ..plain(0, id) };
    let sketches = [of(1, 0, 3, false), of(2, 1, 1, false), of(3, 0, 1, true), of(4, 3, 1, false), of(5, 0, 0, false)];
    filled(&sketches, &replica).await;
    let ask = Wanted { among: all(), words: words::words("contract reader"), values: vec![], limit: 10 };
    let hits = replica.discover(&ask).await.unwrap();
    let ids: Vec<_> = hits.iter().map(|hit| hit.row.stream.id.as_u64_pair().1).collect();
    assert_eq!(ids, [5, 2, 1], "both words, one word, and what is offline last");
    let ask = Wanted { among: all(), words: words::words("contr"), values: vec![], limit: 10 };
    let begun = replica.discover(&ask).await.unwrap();
    assert_eq!(
        begun.iter().map(|hit| hit.row.stream.id.as_u64_pair().1).collect::<Vec<_>>(),
        [2, 5, 1],
        "by a beginning"
    );
    let ask = Wanted { among: all(), words: words::words("contract"), values: vec![], limit: 10 };
    let whole = replica.discover(&ask).await.unwrap();
    assert_eq!(whole[0].score, 2.0 * begun[0].score, "which counts half");
    let ask = Wanted { among: all(), words: words::words("co"), values: vec![], limit: 10 };
    assert_eq!(replica.discover(&ask).await.unwrap(), [], "two letters begin too much");
    let legal = Filter { name: "category".into(), values: vec!["legal".into()] };
    let ask = Wanted { among: all(), words: vec![], values: vec![(legal, 5.0)], limit: 2 };
    let hits = replica.discover(&ask).await.unwrap();
    assert_eq!(hits.iter().map(|hit| hit.score).collect::<Vec<_>>(), [5.0, 5.0]);
}

#[tokio::test]
async fn what_was_taken_is_there_before_it_is_searchable_and_after_a_close() {
    let place = tempfile::tempdir().unwrap();
    let row = plain(0, 1).row();
    let mark = Mark { position: 9, hash: [7; 32] };
    let log = row.stream.log(1);
    {
        let replica = open(Some(place.path()));
        assert!(matches!(replica.page(&all(), &Order::Id, None, 1).await, Err(Error::Building { rows: 0 })));
        replica.apply(vec![row.clone()], Some((log, mark))).await.unwrap();
        assert_eq!(replica.row(row.stream).await.unwrap().as_ref(), Some(&row.data));
        replica.complete().await.unwrap();
        replica.close().await.unwrap();
    }
    let replica = open(Some(place.path()));
    assert!(replica.standing().is_complete);
    assert_eq!(replica.marks(), BTreeMap::from([(log, mark)]));
    assert_eq!(replica.row(row.stream).await.unwrap(), Some(row.data));
    replica.clear().await.unwrap();
    assert_eq!((replica.marks().len(), replica.standing().rows), (0, 0));
    assert!(!replica.standing().is_complete);
}

#[tokio::test]
async fn what_was_not_finished_begins_anew() {
    let place = tempfile::tempdir().unwrap();
    let row = plain(0, 1).row();
    {
        let replica = open(Some(place.path()));
        replica.apply(vec![row.clone()], None).await.unwrap();
        replica.close().await.unwrap();
    }
    let replica = open(Some(place.path()));
    assert_eq!(replica.row(row.stream).await.unwrap(), None);
}

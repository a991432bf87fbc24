//! What the benches work on: commands, an open folder, a catalogue. Everything follows from numbers, so that two runs
//! measure the same.

pub mod catalogue;
pub mod commands;

use agentverse::adapters::embedded::Embedded;
use agentverse::domain::{Aggregate, AnyState, LogId, Micros, StreamId, TenantId, tenant};
use agentverse::flow::decide::{BatchDecider, Decisions};
use agentverse::flow::world::Sight;
use agentverse::ports::index::{Head, IndexRows};
use agentverse::ports::journal::LogState;
use agentverse::ports::topic::Accepted;
use agentverse::ports::{Index, Journal};
use agentverse::runtime::node::folder_config;
use agentverse::runtime::settings::Settings;
use hashbrown::HashMap;
use std::fmt::Debug;
use std::sync::Arc;
use tokio::runtime::Runtime;
use uuid::Uuid;

pub const TENANT: TenantId = TenantId(Uuid::from_u128(0x7e4a_47b0_0000_4000_8000_0000_0000_0001));
/// The one log of agents in a folder of one partition.
pub const AGENTS: LogId = LogId { aggregate: Aggregate::Agent, partition: 0 };
/// `recorded_at` of everything.
pub const NOW: Micros = 1_767_225_600_000_000;

/// The value, or the end of the bench: one that cannot set up has nothing to measure.
#[expect(clippy::panic, reason = "a bench has nobody to give an error to")]
pub fn ok<T, E: Debug>(result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| panic!("{error:?}"))
}

/// The heads of streams that have any; all others are new.
pub type Heads = HashMap<StreamId, Arc<Head>>;

/// A folder with the default settings but one log per aggregate, on the disk that holds the build; gone when dropped.
pub struct Folder {
    pub runtime: Runtime,
    pub embedded: Embedded,
    // Dropped last: the engine writes until it is closed.
    _directory: tempfile::TempDir,
}

impl Folder {
    /// Opens an empty folder whose index knows [`TENANT`], active.
    pub fn open() -> Self {
        let runtime = ok(tokio::runtime::Builder::new_current_thread().enable_all().build());
        let directory = ok(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")));
        let settings = Settings { partitions: 1, ..Settings::default() };
        let embedded = ok(Embedded::open(directory.path(), &folder_config(&settings)));
        let folder = Self { runtime, embedded, _directory: directory };
        let stream = StreamId::new(TENANT, Aggregate::Tenant, TENANT.0);
        let active = tenant::State { status: tenant::Status::Active, name: "Bench".into(), ..Default::default() };
        let state = ok(AnyState::Tenant(Box::new(active)).to_blob()).into();
        let head = Head { version: 1, position: 1, created_at: NOW, updated_at: NOW, state, ..Head::empty() };
        let rows = IndexRows { heads: vec![(stream, Arc::new(head))], ..IndexRows::default() };
        ok(folder.runtime.block_on(folder.embedded.index.apply(stream.log(1), rows, 1)));
        folder
    }

    /// Claims the log of agents.
    pub fn claim(&self) -> LogState {
        ok(self.runtime.block_on(self.embedded.journal.claim(AGENTS)))
    }

    pub fn sight(&self) -> Sight {
        Sight::new(self.embedded.index.clone(), self.embedded.partitions.into())
    }

    /// Decides one batch on top of `state`, as a log's processor does.
    pub fn decide(&self, sight: &mut Sight, state: &LogState, commands: &[Arc<Accepted>], heads: &Heads) -> Decisions {
        let new = Arc::new(Head::empty());
        sight.refresh();
        self.runtime.block_on(async {
            let mut decider = BatchDecider::new(AGENTS, (state.head, state.head_hash), NOW, 16 << 20, sight);
            for accepted in commands {
                let head = heads.get(&accepted.envelope.stream).unwrap_or(&new);
                ok(decider.command(accepted, head, None).await);
            }
            decider.finish()
        })
    }

    /// The registrations of `batches × batch` agents, decided one batch after the other.
    pub fn registered(&self, batches: usize, batch: usize) -> Vec<Decisions> {
        let mut sight = self.sight();
        let mut state = self.claim();
        (0..batches)
            .map(|number| {
                let commands = commands::accepted(commands::Kind::Register, (number * batch) as u64, batch);
                let decisions = self.decide(&mut sight, &state, &commands, &Heads::new());
                assert!(decisions.heads.len() == batch && decisions.letters.is_empty(), "not all are registered");
                state.head += batch as u64;
                state.head_hash = decisions.head_hash;
                decisions
            })
            .collect()
    }
}

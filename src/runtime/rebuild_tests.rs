//! What is derived can be thrown away: the next start builds it again from the log, and nothing shows.

use super::inspect;
use super::node::{Node, folder_config};
use super::settings::Settings;
use crate::adapters::embedded::{Embedded, FolderError};
use crate::domain::tenant::{self, ProvisionTenant, SetTenantBudget};
use crate::domain::{AnyCommand, Envelope};
use crate::flow::gateway::{Submission, Wait};
use crate::flow::outcome::OutcomeKind;
use crate::ports::conformance::stream;
use crate::ports::{Index, Views};
use std::fs;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use uuid::Uuid;

const PATIENCE: Duration = Duration::from_secs(30);

/// One log, so that its locations fill more than one row.
fn settings() -> Settings {
    Settings { partitions: 1, ..Settings::default() }
}

const TENANTS: u128 = 600;

fn submission(number: u128, round: u128) -> Submission {
    let command: AnyCommand = if round == 0 {
        let provision = ProvisionTenant {
            name: format!("tenant {number}"),
            region: "eu-west".into(),
            tier: tenant::Tier::Onyx,
            monthly_budget_micro_usd: None,
            coupling_threshold: None,
        };
        tenant::Command::ProvisionTenant(provision).into()
    } else {
        let budget = SetTenantBudget { monthly_budget_micro_usd: Some(round as i64) };
        tenant::Command::SetTenantBudget(budget).into()
    };
    Submission { envelope: Envelope::new(Uuid::from_u128(number << 32 | round), stream(number)), command }
}

/// Starts a node, sends one command to each tenant, and stops: every command must leave this version.
async fn session(path: &Path, round: u128) {
    let node = Node::start(path, &settings()).await.unwrap();
    let commands = (1..=TENANTS).map(|number| submission(number, round)).collect();
    let outcomes = node.gateway.submit(commands, Wait::Projected, PATIENCE).await.unwrap();
    for outcome in outcomes {
        assert_eq!((outcome.kind, outcome.version), (OutcomeKind::Applied, Some(round as u64 + 1)));
    }
    node.stop().await.unwrap();
}

/// Every head and every row of a closed folder.
async fn derived(path: &Path) -> Vec<String> {
    let open = Embedded::open(path, &folder_config(&settings())).unwrap();
    let mut all = Vec::new();
    for number in 1..=TENANTS {
        let stream = stream(number);
        let head = open.index.heads(stream.log(1), &[stream]).await.unwrap();
        let row = open.views.get(stream).await.unwrap();
        assert!(head[0].is_some() && row.is_some());
        all.push(format!("{head:?} {row:?}"));
    }
    all
}

/// A folder after four sessions, so that its locations lie in rows that no rebuild would make.
async fn worked_in() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..4 {
        session(folder.path(), round).await;
    }
    folder
}

/// Starts and stops a node on a folder from which something was taken away, and finds everything as it was.
async fn comes_back(folder: &TempDir, before: &[String], round: u128) {
    let node = Node::start(folder.path(), &settings()).await.unwrap();
    node.stop().await.unwrap();
    let other = derived(folder.path()).await.into_iter().zip(before).find(|(after, before)| after != *before);
    assert_eq!(other, None, "built again otherwise than it was");
    session(folder.path(), round).await;
    let report = inspect::check(folder.path(), folder_config(&settings()), true).await.unwrap();
    assert_eq!((report.problems.named, report.events), (Vec::<String>::new(), (TENANTS * (round + 1)) as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_of_the_derived_part_is_removed_is_built_again_from_the_log() {
    let folder = worked_in().await;
    let (store, checkpoint) = (folder.path().join("derived"), folder.path().join("CHECKPOINT"));
    for (round, (without_store, without_checkpoint)) in [(4, (true, true)), (5, (true, false)), (6, (false, true))] {
        let before = derived(folder.path()).await;
        if without_store {
            fs::remove_dir_all(&store).unwrap();
        }
        if without_checkpoint {
            fs::remove_file(&checkpoint).unwrap();
        }
        comes_back(&folder, &before, round).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_checkpoint_says_what_to_do_and_doing_it_helps() {
    let folder = worked_in().await;
    let before = derived(folder.path()).await;
    let path = folder.path().join("CHECKPOINT");
    let mut bytes = fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    for damaged in [&bytes[..], &bytes[..3], &[]] {
        fs::write(&path, damaged).unwrap();
        let error = Embedded::open(folder.path(), &folder_config(&settings())).err().unwrap();
        assert!(matches!(error, FolderError::Derived(_)));
        let text = error.to_string();
        assert!(text.contains("`derived`") && text.contains("CHECKPOINT") && text.contains("removed"), "{text}");
    }
    fs::remove_file(&path).unwrap();
    fs::remove_dir_all(folder.path().join("derived")).unwrap();
    comes_back(&folder, &before, 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_generation_derived_is_built_again() {
    let folder = worked_in().await;
    let before = derived(folder.path()).await;
    let path = folder.path().join("CHECKPOINT");
    let mut bytes = fs::read(&path).unwrap();
    bytes[4] ^= 1;
    let crc = crc32fast::hash(&bytes[4..]).to_le_bytes();
    bytes[..4].copy_from_slice(&crc);
    fs::write(&path, bytes).unwrap();
    let marker = folder.path().join("derived").join("of-an-older-program");
    fs::write(&marker, "").unwrap();
    comes_back(&folder, &before, 4).await;
    assert!(!marker.exists(), "the old store is gone");
}

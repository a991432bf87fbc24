//! The plain loops: what the database itself does.

use super::servers::{Servers, fail};
use scylla::response::query_result::QueryResult;
use scylla::statement::batch::{Batch, BatchType};
use scylla::value::{CqlValue, Row as AnyRow};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;

/// What a compare-and-set per stream would reach: for each command a conditional batch of its stream's version and one
/// event, on a partition of its own.
pub async fn per_command(servers: &Servers, round: usize, writers: usize, bytes: usize, turn: Duration) -> f64 {
    let create = "CREATE TABLE IF NOT EXISTS {ks}.raw_streams (stream bigint, position bigint, head bigint static, \
         record blob, hash blob, PRIMARY KEY (stream, position))";
    let store = &servers.store;
    let create = create.replace("{ks}", &store.keyspace);
    store.session.query_unpaged(create, ()).await.map(|_| ()).unwrap_or_else(fail("the raw table"));
    let advance = "UPDATE {ks}.raw_streams SET head = ? WHERE stream = ? IF head = ?";
    let advance = store.prepare_conditional(advance).await.unwrap_or_else(fail("the raw update"));
    let insert = "INSERT INTO {ks}.raw_streams (stream, position, record, hash) VALUES (?, ?, ?, ?)";
    let insert = store.prepare_conditional(insert).await.unwrap_or_else(fail("the raw insert"));
    let (next, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
    // Streams of their own for each call: only the first write to one is taken.
    let base = ((round * 10_000 + bytes) as i64) << 32;
    let tasks: Vec<_> = (0..writers)
        .map(|_| {
            let (store, advance, insert, next) = (store.clone(), advance.clone(), insert.clone(), next.clone());
            tokio::spawn(async move {
                let mut cql = Batch::new(BatchType::Unlogged);
                cql.set_execution_profile_handle(Some(store.conditional()));
                cql.append_statement(advance);
                cql.append_statement(insert);
                let (record, hash) = (vec![7u8; bytes], vec![7u8; 32]);
                while started.elapsed() < turn {
                    let stream = base + next.fetch_add(1, Ordering::Relaxed) as i64;
                    let values = ((1i64, stream, None::<i64>), (stream, 1i64, &record, &hash));
                    applied(store.session.batch(&cql, values).await.unwrap_or_else(fail("a raw write")));
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap_or_else(fail("a writer"));
    }
    next.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

/// Conditional batches of so many rows, one after the other on each log: the bare statements of an append.
pub async fn batches(servers: &Servers, round: usize, logs: u16, records: usize, bytes: usize, turn: Duration) -> f64 {
    let store = &servers.store;
    let create = "CREATE TABLE IF NOT EXISTS {ks}.raw_log (log int, position bigint, head bigint static, record blob, \
         hash blob, PRIMARY KEY (log, position))";
    let create = create.replace("{ks}", &store.keyspace);
    store.session.query_unpaged(create, ()).await.map(|_| ()).unwrap_or_else(fail("the raw table"));
    let advance = "UPDATE {ks}.raw_log SET head = ? WHERE log = ? IF head = ?";
    let advance = store.prepare_conditional(advance).await.unwrap_or_else(fail("the raw update"));
    let insert = "INSERT INTO {ks}.raw_log (log, position, record, hash) VALUES (?, ?, ?, ?)";
    let insert = store.prepare_conditional(insert).await.unwrap_or_else(fail("the raw insert"));
    let (done, started) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let tasks: Vec<_> = (0..i32::from(logs))
        .map(|log| {
            let log = log + 1000 * round as i32;
            let (store, advance, insert, done) = (store.clone(), advance.clone(), insert.clone(), done.clone());
            tokio::spawn(async move {
                let mut cql = Batch::new(BatchType::Unlogged);
                cql.set_execution_profile_handle(Some(store.conditional()));
                cql.append_statement(advance);
                (0..records).for_each(|_| cql.append_statement(insert.clone()));
                let (record, hash) = (vec![7u8; bytes], vec![7u8; 32]);
                let mut head = 0i64;
                while started.elapsed() < turn {
                    let expected = (head > 0).then_some(head);
                    let next = head + records as i64;
                    let mut values: Vec<Row<'_>> = vec![Row::Advance(next, log, expected)];
                    values.extend((1..=records as i64).map(|step| Row::Insert(log, head + step, &record, &hash)));
                    applied(store.session.batch(&cql, values).await.unwrap_or_else(fail("a raw batch")));
                    head = next;
                    done.fetch_add(records as u64, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap_or_else(fail("a writer"));
    }
    done.load(Ordering::Relaxed) as f64 / started.elapsed().as_secs_f64()
}

/// A write that the condition turned away is no write.
fn applied(result: QueryResult) {
    let rows = result.into_rows_result().unwrap_or_else(fail("the answer to a conditional write"));
    let first = rows.first_row::<AnyRow>().unwrap_or_else(fail("the answer to a conditional write"));
    if first.columns.first() != Some(&Some(CqlValue::Boolean(true))) {
        fail("a conditional write")("it was turned away")
    }
}

enum Row<'a> {
    Advance(i64, i32, Option<i64>),
    Insert(i32, i64, &'a [u8], &'a [u8]),
}

impl scylla::serialize::row::SerializeRow for Row<'_> {
    fn serialize(
        &self,
        context: &scylla::serialize::row::RowSerializationContext<'_>,
        writer: &mut scylla::serialize::writers::RowWriter<'_>,
    ) -> Result<(), scylla::serialize::SerializationError> {
        match self {
            Self::Advance(head, log, expected) => (head, log, expected).serialize(context, writer),
            Self::Insert(log, position, record, hash) => (log, position, record, hash).serialize(context, writer),
        }
    }

    fn is_empty(&self) -> bool {
        false
    }
}

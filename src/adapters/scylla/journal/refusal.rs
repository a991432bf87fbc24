//! What a conditional statement is answered with.

use crate::adapters::scylla::session::words;
use scylla::response::query_result::QueryResult;
use scylla::value::{CqlValue, Row};

/// How a log stands whose condition refused a batch.
pub struct Standing {
    pub epoch: u64,
    pub head: u64,
}

/// Whether a conditional statement was applied.
pub fn applied(result: QueryResult) -> Result<bool, String> {
    refusal(result).map(|standing| standing.is_none())
}

/// `None` when applied. Columns are found by name: Cassandra answers a batch with one row, ScyllaDB with one a statement.
pub fn refusal(result: QueryResult) -> Result<Option<Standing>, String> {
    let rows = result.into_rows_result().map_err(|error| words(&error))?;
    let place = |name| rows.column_specs().get_by_name(name).map(|(place, _)| place);
    let applied_at = place("[applied]").ok_or("the answer to a conditional statement has no column [applied]")?;
    let (epoch_at, head_at) = (place("epoch"), place("head"));
    let mut standing = None;
    for row in rows.rows::<Row>().map_err(|error| words(&error))? {
        let Row { columns } = row.map_err(|error| words(&error))?;
        if let Some(Some(CqlValue::Boolean(true))) = columns.get(applied_at) {
            return Ok(None);
        }
        let number = |place: Option<usize>| match columns.get(place?)? {
            Some(CqlValue::BigInt(number)) => Some(*number as u64),
            _ => None,
        };
        let found = Standing { epoch: number(epoch_at).unwrap_or(0), head: number(head_at).unwrap_or(0) };
        if standing.is_none() || found.epoch > 0 {
            standing = Some(found);
        }
    }
    Ok(Some(standing.unwrap_or(Standing { epoch: 0, head: 0 })))
}

//! What a conditional statement is answered with.

use crate::adapters::words::words;
use scylla::response::query_result::QueryResult;
use scylla::value::{CqlValue, Row};

/// Whether a conditional statement was applied.
pub fn applied(result: QueryResult) -> Result<bool, String> {
    refusal(result).map(|epoch| epoch.is_none())
}

/// `None` when applied, else the epoch that stands, 0 where the answer tells none. Columns are found by name: Cassandra
/// answers a batch with one row, ScyllaDB with one a statement.
pub fn refusal(result: QueryResult) -> Result<Option<u64>, String> {
    let rows = result.into_rows_result().map_err(|error| words(&error))?;
    let place = |name| rows.column_specs().get_by_name(name).map(|(place, _)| place);
    let applied_at = place("[applied]").ok_or("the answer to a conditional statement has no column [applied]")?;
    let epoch_at = place("epoch");
    let mut standing = 0;
    for row in rows.rows::<Row>().map_err(|error| words(&error))? {
        let Row { columns } = row.map_err(|error| words(&error))?;
        if let Some(Some(CqlValue::Boolean(true))) = columns.get(applied_at) {
            return Ok(None);
        }
        if let Some(Some(CqlValue::BigInt(epoch))) = epoch_at.and_then(|place| columns.get(place)) {
            standing = standing.max(*epoch as u64);
        }
    }
    Ok(Some(standing))
}

//! The two tables of `top`, as text and as numbers to sort by.

use super::frame::{Frame, ModelLine, TenantLine};
use crate::domain::llm_request::usd_of_many;
use std::cmp::Ordering;

/// Tenants that are shown.
pub const TENANTS_SHOWN: usize = 10;

pub const MODEL_COLUMNS: [&str; 10] =
    ["MODEL", "CALLS/S", "TOKENS/S", "OPEN", "P50 ms", "P95 ms", "ERRORS", "BREAKER", "REQUESTS/min", "TOKENS/min"];
pub const TENANT_COLUMNS: [&str; 6] = ["TENANT", "REQUESTS", "TOKENS", "USD TODAY", "USD MONTH", "BUDGET USED"];

/// What a column holds: text to be sorted as such, or a number. Nothing is less than anything.
#[derive(Clone, Debug, PartialEq)]
pub struct Cell {
    pub text: String,
    number: Option<f64>,
}

impl Cell {
    fn text(text: impl Into<String>) -> Self {
        Self { text: text.into(), number: None }
    }

    fn number(number: f64, text: String) -> Self {
        Self { text, number: Some(number) }
    }

    fn maybe(number: Option<f64>, text: impl FnOnce(f64) -> String) -> Self {
        number.map_or_else(|| Self::text("-"), |number| Self::number(number, text(number)))
    }

    fn cmp(&self, other: &Self) -> Ordering {
        match (self.number, other.number) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            (Some(_), None) => Ordering::Greater,
            (None, Some(_)) => Ordering::Less,
            (None, None) => self.text.cmp(&other.text),
        }
    }
}

/// By which column a table is sorted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order {
    pub column: usize,
    pub is_descending: bool,
}

pub fn models(frame: &Frame, order: Order) -> Vec<Vec<Cell>> {
    sorted(frame.models.iter().map(model).collect(), order)
}

/// The first of them in this order.
pub fn tenants(frame: &Frame, order: Order) -> Vec<Vec<Cell>> {
    let mut rows = sorted(frame.tenants.iter().map(tenant).collect(), order);
    rows.truncate(TENANTS_SHOWN);
    rows
}

/// Rows that are alike in this column stay in the order of their names.
fn sorted(mut rows: Vec<Vec<Cell>>, order: Order) -> Vec<Vec<Cell>> {
    let compare = |one: &[Cell], other: &[Cell], column: usize| match (one.get(column), other.get(column)) {
        (Some(one), Some(other)) => one.cmp(other),
        _ => Ordering::Equal,
    };
    rows.sort_by(|one, other| {
        let by_column = compare(one, other, order.column);
        let by_column = if order.is_descending { by_column.reverse() } else { by_column };
        by_column.then_with(|| compare(one, other, 0))
    });
    rows
}

fn model(line: &ModelLine) -> Vec<Cell> {
    let ms = |ms: Option<u64>| Cell::maybe(ms.map(|ms| ms as f64), |ms| format!("{ms:.0}"));
    let share = |share| Cell::maybe(share, percent);
    vec![
        Cell::text(format!("{}/{}", line.provider, line.model_id)),
        Cell::number(line.calls_per_second, format!("{:.2}", line.calls_per_second)),
        Cell::number(line.tokens_per_second, format!("{:.0}", line.tokens_per_second)),
        Cell::number(line.open_calls as f64, line.open_calls.to_string()),
        ms(line.latency_ms_p50),
        ms(line.latency_ms_p95),
        Cell::number(line.error_rate, percent(line.error_rate)),
        Cell::text(line.breaker),
        share(line.requests_used),
        share(line.tokens_used),
    ]
}

fn tenant(line: &TenantLine) -> Vec<Cell> {
    let it = &line.tenant;
    let name = if it.name.is_empty() { it.id.to_string() } else { it.name.clone() };
    let money = |pico_usd: i128| Cell::number(pico_usd as f64, dollars(pico_usd));
    vec![
        Cell::text(name),
        Cell::number(it.requests as f64, it.requests.to_string()),
        Cell::number(it.tokens as f64, it.tokens.to_string()),
        money(it.pico_usd),
        money(it.month_pico_usd),
        Cell::maybe(line.budget_used, |share| match share {
            // A little is not nothing.
            share if share > 0.0 && share < 0.000_1 => "<0.01 %".into(),
            share => format!("{:.2} %", share * 100.0),
        }),
    ]
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// To the micro-dollar: what fits a column. JSON has all of it.
fn dollars(pico_usd: i128) -> String {
    let mut text = usd_of_many(pico_usd);
    text.truncate(text.len() - 6);
    text
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::frame;
    use super::*;

    fn column(rows: &[Vec<Cell>], column: usize) -> Vec<&str> {
        rows.iter().map(|row| row[column].text.as_str()).collect()
    }

    #[test]
    fn rows_are_sorted_by_any_column_both_ways() {
        let frame = frame();
        let by = |column, is_descending| models(&frame, Order { column, is_descending });
        assert_eq!(column(&by(1, true), 0), ["p/a/large", "p/small"]);
        assert_eq!(column(&by(1, false), 0), ["p/small", "p/a/large"]);
        assert_eq!(column(&by(6, true), 0), ["p/a/large", "p/small"], "alike, so by name");
        assert_eq!(column(&by(6, false), 0), ["p/a/large", "p/small"]);
        assert_eq!(by(1, true)[0].len(), MODEL_COLUMNS.len());
    }

    #[test]
    fn what_is_not_known_is_less_than_anything() {
        let known = Cell::number(-1.0, "-1".into());
        assert_eq!(Cell::maybe(None, percent).cmp(&known), Ordering::Less);
        assert_eq!(Cell::text("a").cmp(&Cell::text("b")), Ordering::Less);
    }

    #[test]
    fn tenants_are_the_first_ten_with_money_to_the_micro_dollar() {
        let mut frame = frame();
        let rows = tenants(&frame, Order { column: 3, is_descending: true });
        assert_eq!(column(&rows, 0), ["Umbra", "Acme"]);
        assert_eq!((rows[0].len(), column(&rows, 4)[0]), (TENANT_COLUMNS.len(), "1.000000"));
        assert_eq!(column(&rows, 5)[0], "50.00 %");
        frame.tenants = vec![frame.tenants[0].clone(); 30];
        assert_eq!(tenants(&frame, Order { column: 0, is_descending: false }).len(), TENANTS_SHOWN);
    }
}

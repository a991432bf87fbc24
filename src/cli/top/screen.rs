//! The screen: what it shows, and what keys do to it.

use super::frame::Frame;
use super::rows::{self, Cell, MODEL_COLUMNS, Order, TENANT_COLUMNS, TENANTS_SHOWN};
use crate::cli::output::shorten;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Row, Table};

/// Nodes that are named; further ones are counted.
const NODES_SHOWN: usize = 6;
const KEYS: &str = "q quit   tab other table   ← → sort by   ↑ ↓ direction";

/// Which table keys go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Focus {
    #[default]
    Models,
    Tenants,
}

#[derive(Clone, Debug)]
pub struct Screen {
    pub frame: Frame,
    focus: Focus,
    models: Order,
    tenants: Order,
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Quit,
    Redraw,
    Nothing,
}

impl Default for Screen {
    /// The busiest models and the dearest tenants first.
    fn default() -> Self {
        let by = |column| Order { column, is_descending: true };
        Self { frame: Frame::default(), focus: Focus::default(), models: by(1), tenants: by(3) }
    }
}

impl Screen {
    pub fn orders(&self) -> (Order, Order) {
        (self.models, self.tenants)
    }

    pub fn key(&mut self, key: KeyEvent) -> Asked {
        if key.kind == KeyEventKind::Release {
            return Asked::Nothing;
        }
        let (order, columns) = match self.focus {
            Focus::Models => (&mut self.models, MODEL_COLUMNS.len()),
            Focus::Tenants => (&mut self.tenants, TENANT_COLUMNS.len()),
        };
        match key.code {
            KeyCode::Char('c') if key.modifiers.contains(KeyModifiers::CONTROL) => return Asked::Quit,
            KeyCode::Char('q' | 'Q') | KeyCode::Esc => return Asked::Quit,
            KeyCode::Tab | KeyCode::BackTab => {
                self.focus = if self.focus == Focus::Models { Focus::Tenants } else { Focus::Models };
            }
            KeyCode::Right => order.column = (order.column + 1) % columns,
            KeyCode::Left => order.column = (order.column + columns - 1) % columns,
            KeyCode::Up => order.is_descending = false,
            KeyCode::Down => order.is_descending = true,
            _ => return Asked::Nothing,
        }
        Asked::Redraw
    }

    pub fn draw(&self, area: &mut ratatui::Frame<'_>) {
        let nodes = nodes(&self.frame);
        let tenants = rows::tenants(&self.frame, self.tenants).len().min(TENANTS_SHOWN) + 3;
        let [top, queue, models, below, keys] = Layout::vertical([
            Constraint::Length(fit(nodes.len() + 1)),
            Constraint::Length(6),
            Constraint::Min(4),
            Constraint::Length(fit(tenants)),
            Constraint::Length(1),
        ])
        .areas(area.area());
        area.render_widget(Paragraph::new(nodes), top);
        area.render_widget(Paragraph::new(waiting(&self.frame)), queue);
        self.table(area, models, Focus::Models);
        self.table(area, below, Focus::Tenants);
        area.render_widget(Paragraph::new(KEYS).style(Style::new().add_modifier(Modifier::DIM)), keys);
    }

    fn table(&self, area: &mut ratatui::Frame<'_>, place: Rect, what: Focus) {
        let (title, columns, order, rows) = match what {
            Focus::Models => {
                let title = "Models of the last minute; limits: how much of the minute's is used";
                (title.to_owned(), &MODEL_COLUMNS[..], self.models, rows::models(&self.frame, self.models))
            }
            Focus::Tenants => {
                let title = match &self.frame.no_tenants {
                    Some(why) => format!("Tenants: {why}"),
                    None => "Tenants, today (UTC); budget: of the month".to_owned(),
                };
                (title, &TENANT_COLUMNS[..], self.tenants, rows::tenants(&self.frame, self.tenants))
            }
        };
        let [head, body] = Layout::vertical([Constraint::Length(1), Constraint::Min(0)]).areas(place);
        let marked = if self.focus == what { Modifier::BOLD } else { Modifier::DIM };
        area.render_widget(Paragraph::new(title).style(Style::new().add_modifier(marked)), head);
        let widths = widths(columns, &rows);
        let header = columns.iter().enumerate().map(|(at, name)| heading(name, at, order, widths[at]));
        let table =
            Table::new(rows.iter().map(|row| line(row, &widths)), widths.iter().map(|it| Constraint::Length(*it)))
                .header(Row::new(header).style(Style::new().add_modifier(Modifier::REVERSED)));
        area.render_widget(table, body);
    }
}

fn fit(rows: usize) -> u16 {
    u16::try_from(rows).unwrap_or(u16::MAX)
}

/// The first line says how many nodes are up, and what they have under way; then one for each that is not.
fn nodes(frame: &Frame) -> Vec<Line<'static>> {
    let up = frame.nodes.iter().filter(|node| node.trouble.is_none());
    let sum = |of: fn(&super::frame::NodeLine) -> u64| up.clone().map(of).sum::<u64>();
    let mut lines = vec![Line::styled(
        format!(
            "agentverse top   {} of {} nodes   {} requests under way, {} calls   {} spilled to their logs",
            up.clone().count(),
            frame.nodes.len(),
            sum(|node| node.running),
            sum(|node| node.open_calls),
            frame.spilled,
        ),
        Style::new().add_modifier(Modifier::BOLD),
    )];
    let down: Vec<_> = frame.nodes.iter().filter_map(|node| Some((&node.url, node.trouble.as_ref()?))).collect();
    lines.extend(down.iter().take(NODES_SHOWN).map(|(url, why)| Line::from(format!("  {url}: {}", shorten(why, 160)))));
    if let Some(more) = down.len().checked_sub(NODES_SHOWN).filter(|more| *more > 0) {
        lines.push(Line::from(format!("  and {more} more that are not up")));
    }
    lines
}

fn waiting(frame: &Frame) -> Vec<Line<'static>> {
    let ms = |ms: Option<u64>| ms.map_or_else(|| "-".to_owned(), |ms| ms.to_string());
    let head = format!(
        "{:<12} {:>8} {:>12} {:>14} {:>12} {:>12}",
        "QUEUE", "WAITING", "OLDEST ms", "BEGUN/min", "WAIT P50 ms", "WAIT P95 ms"
    );
    let mut lines = vec![Line::from(""), Line::styled(head, Style::new().add_modifier(Modifier::REVERSED))];
    lines.extend(frame.queue.iter().map(|class| {
        Line::from(format!(
            "{:<12} {:>8} {:>12} {:>14} {:>12} {:>12}",
            class.priority,
            class.waiting,
            class.oldest_wait_ms,
            class.begun,
            ms(class.wait_ms_p50),
            ms(class.wait_ms_p95)
        ))
    }));
    lines
}

/// Longest name of a model or a tenant.
const NAME: usize = 44;

fn widths(columns: &[&str], rows: &[Vec<Cell>]) -> Vec<u16> {
    let width = |(at, name): (usize, &&str)| {
        let longest = rows.iter().filter_map(|row| row.get(at)).map(|cell| cell.text.chars().count()).max();
        // With room for the mark of the order.
        fit(longest.unwrap_or(0).clamp(name.chars().count() + 2, NAME))
    };
    columns.iter().enumerate().map(width).collect()
}

fn heading(name: &str, at: usize, order: Order, width: u16) -> String {
    let mark = match (at == order.column, order.is_descending) {
        (false, _) => "",
        (true, true) => " ▼",
        (true, false) => " ▲",
    };
    aligned(&format!("{name}{mark}"), at, width)
}

fn line(row: &[Cell], widths: &[u16]) -> Row<'static> {
    let cell = |(at, cell): (usize, &Cell)| aligned(&cell.text, at, widths.get(at).copied().unwrap_or_default());
    Row::new(row.iter().enumerate().map(cell).collect::<Vec<_>>())
}

/// Names to the left, all else to the right.
fn aligned(text: &str, at: usize, width: u16) -> String {
    let width = usize::from(width);
    let text = shorten(text, width);
    if at == 0 { format!("{text:<width$}") } else { format!("{text:>width$}") }
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::frame;
    use super::*;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    fn shown(screen: &Screen, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
        terminal.draw(|area| screen.draw(area)).unwrap();
        terminal.backend().to_string()
    }

    fn press(code: KeyCode) -> KeyEvent {
        KeyEvent::new(code, KeyModifiers::NONE)
    }

    #[test]
    fn everything_is_on_the_screen() {
        let shown = shown(&Screen { frame: frame(), ..Screen::default() }, 140, 36);
        for part in [
            "2 of 4 nodes",
            "2 requests under way",
            "http://c: cannot reach http://c",
            "http://d: carries no requests out",
            "interactive",
            "batch",
            "CALLS/S ▼",
            "p/a/large",
            "1.20",
            "50 %",
            "open",
            "84 %",
            "USD TODAY ▼",
            "Umbra",
            "q quit",
        ] {
            assert!(shown.contains(part), "{part} in\n{shown}");
        }
        assert!(shown.find("p/a/large") < shown.find("p/small"));
    }

    #[test]
    fn keys_sort_the_table_that_has_the_focus() {
        let mut screen = Screen { frame: frame(), ..Screen::default() };
        assert_eq!(screen.key(press(KeyCode::Up)), Asked::Redraw);
        assert_eq!(screen.key(press(KeyCode::Left)), Asked::Redraw);
        let columns = |screen: &Screen| (screen.models.column, screen.tenants.column);
        assert_eq!((columns(&screen), screen.models.is_descending), ((0, 3), false));
        screen.key(press(KeyCode::Left));
        assert_eq!(columns(&screen), (MODEL_COLUMNS.len() - 1, 3), "it goes round");
        screen.key(press(KeyCode::Tab));
        screen.key(press(KeyCode::Right));
        assert_eq!((columns(&screen), screen.tenants.is_descending), ((MODEL_COLUMNS.len() - 1, 4), true));
        assert!(shown(&screen, 140, 36).contains("USD MONTH ▼"));
        assert_eq!(screen.key(press(KeyCode::Char('x'))), Asked::Nothing);
        let ctrl_c = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        assert_eq!(
            [press(KeyCode::Char('q')), press(KeyCode::Esc), ctrl_c].map(|key| screen.key(key)),
            [Asked::Quit; 3]
        );
    }

    #[test]
    fn the_smallest_terminal_does_no_harm() {
        let screen = Screen { frame: frame(), ..Screen::default() };
        for (width, height) in [(1, 1), (20, 3), (80, 24), (300, 100)] {
            shown(&screen, width, height);
        }
        shown(&Screen::default(), 80, 24);
    }
}

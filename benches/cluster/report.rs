//! Rates of several rounds, and their proportions.

#[derive(Default)]
pub struct Report {
    rows: Vec<(String, Vec<f64>)>,
    /// Whether rates are kept, or only shown.
    pub counts: bool,
}

impl Report {
    pub fn add(&mut self, name: &str, rate: f64) {
        println!("{name}: {rate:.0}/s{}", if self.counts { "" } else { " (warming up)" });
        if !self.counts {
            return;
        }
        match self.rows.iter_mut().find(|(found, _)| found == name) {
            Some((_, rates)) => rates.push(rate),
            None => self.rows.push((name.to_owned(), vec![rate])),
        }
    }

    /// Each loop's median with its span, and how it stands to every one above it.
    pub fn print(&self) {
        println!("\n{:50} {:>9} {:>19}", "", "median/s", "least..most");
        for (place, (name, rates)) in self.rows.iter().enumerate() {
            let (least, median, most) = spread(rates);
            print!("{name:50} {median:>9.0} {:>19}", format!("{least:.0}..{most:.0}"));
            for (_, others) in &self.rows[..place] {
                print!("  x{:.2}", median / spread(others).1);
            }
            println!();
        }
    }
}

fn spread(rates: &[f64]) -> (f64, f64, f64) {
    let mut sorted = rates.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    (sorted[0], sorted[last / 2], sorted[last])
}

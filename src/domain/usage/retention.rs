//! How long windows are kept after they ended, by their size.
//!
//! A window that is kept no longer is as if it had never been: nobody reads it, and nobody adds to it. The second matters
//! as much as the first: what was added to a row that a store has dropped would stand there as the whole.

use super::Window;
use crate::domain::Micros;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Microseconds, in the order of [`Window::ALL`]; `None`: for ever.
    kept: [Option<Micros>; 4],
}

impl Retention {
    /// Windows of a minute, five minutes and an hour are kept for so many seconds; those of a day for ever.
    pub fn of_seconds(minutes: u64, five_minutes: u64, hours: u64) -> Self {
        let micros = |seconds: u64| Some(Micros::try_from(seconds).unwrap_or(Micros::MAX).saturating_mul(1_000_000));
        Self { kept: [micros(minutes), micros(five_minutes), micros(hours), None] }
    }

    /// When a window that ends at `end` goes; `None`: never.
    pub fn goes_at(&self, window: Window, end: Micros) -> Option<Micros> {
        self.kept[window as usize].map(|kept| end.saturating_add(kept))
    }

    /// Whether the window that begins at `start` is still kept.
    pub fn keeps(&self, window: Window, start: Micros, now: Micros) -> bool {
        self.goes_at(window, start.saturating_add(window.size())).is_none_or(|goes_at| goes_at > now)
    }

    /// The start of the first window that is kept.
    pub fn first_kept(&self, window: Window, now: Micros) -> Micros {
        match self.kept[window as usize] {
            Some(kept) => window.start_of(now.saturating_sub(kept)),
            None => Micros::MIN,
        }
    }
}

impl Default for Retention {
    /// Two days, eight days, 90 days.
    fn default() -> Self {
        const DAY: u64 = 24 * 3600;
        Self::of_seconds(2 * DAY, 8 * DAY, 90 * DAY)
    }
}

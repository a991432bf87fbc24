//! Port: time. A parameter everywhere, so that a test decides what time it is.

use crate::domain::Micros;

/// Wall-clock time.
///
/// Contract: microseconds since the Unix epoch. It may step backwards (the log keeps `recorded_at` monotone by itself);
/// nothing measures a duration with it.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Micros;
}

/// The machine's clock.
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
    fn now(&self) -> Micros {
        std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |since| since.as_micros() as Micros)
    }
}

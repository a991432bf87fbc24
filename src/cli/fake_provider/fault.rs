//! Trouble on purpose: which request meets which fault.

use super::draw::{Draw, Purpose};
use super::settings::Settings;

/// The header by which a request chooses its fault.
pub const HEADER: &str = "x-fake-fault";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// An error of this status.
    Status(u16),
    /// The connection is cut in the middle of the answer.
    Cut,
    /// The answer is malformed.
    Garbage,
    /// There is never an answer.
    Hang,
    /// The first token takes `slow_ms` longer.
    Slow,
}

impl Fault {
    /// How the statistics call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Status(_) => "error",
            Self::Cut => "cut",
            Self::Garbage => "garbage",
            Self::Hang => "hang",
            Self::Slow => "slow",
        }
    }

    /// The fault that the header names; `none` spares the request what would have been drawn.
    ///
    /// # Errors
    /// A sentence that names the choices.
    pub fn forced(header: &str) -> Result<Option<Self>, String> {
        match header {
            "none" => Ok(None),
            "cut" => Ok(Some(Self::Cut)),
            "garbage" => Ok(Some(Self::Garbage)),
            "hang" => Ok(Some(Self::Hang)),
            "slow" => Ok(Some(Self::Slow)),
            status => match status.parse() {
                Ok(status @ 400..=599) => Ok(Some(Self::Status(status))),
                _ => Err(format!(
                    "{HEADER} is none, cut, garbage, hang, slow or a status from 400 to 599, not {status:?}"
                )),
            },
        }
    }

    /// The fault of the arrival of this number, if any.
    pub fn drawn(settings: &Settings, number: u64) -> Option<Self> {
        let mut draw = Draw::new(settings.seed, Purpose::Fault, number);
        let mut left = draw.unit();
        let mut falls = |share: f64| {
            let falls = left < share;
            left -= share;
            falls
        };
        if falls(settings.error_rate) {
            let index = draw.below(settings.error_statuses.len() as u64) as usize;
            return settings.error_statuses.get(index).copied().map(Self::Status);
        }
        [(settings.cut_rate, Self::Cut), (settings.garbage_rate, Self::Garbage), (settings.hang_rate, Self::Hang)]
            .into_iter()
            .find_map(|(share, fault)| falls(share).then_some(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::tests::settings;
    use super::*;

    #[test]
    fn each_fault_comes_as_often_as_its_rate_says() {
        let settings =
            settings(&["--error-rate", "0.2", "--cut-rate", "0.1", "--garbage-rate", "0.1", "--hang-rate", "0.1"]);
        let drawn: Vec<_> = (0..20_000).map(|number| Fault::drawn(&settings, number)).collect();
        let count = |wanted: &dyn Fn(Fault) -> bool| drawn.iter().filter(|fault| fault.is_some_and(wanted)).count();
        for status in settings.error_statuses.clone() {
            let share = count(&|fault| fault == Fault::Status(status));
            assert!((1_150..1_520).contains(&share), "{status}: {share}");
        }
        for fault in [Fault::Cut, Fault::Garbage, Fault::Hang] {
            let share = count(&|other| other == fault);
            assert!((1_800..2_200).contains(&share), "{fault:?}: {share}");
        }
        assert_eq!(drawn, (0..20_000).map(|number| Fault::drawn(&settings, number)).collect::<Vec<_>>());
    }

    #[test]
    fn without_rates_there_is_no_fault_and_with_a_rate_of_one_always() {
        assert!((0..1_000).all(|number| Fault::drawn(&settings(&[]), number).is_none()));
        let always = settings(&["--hang-rate", "1"]);
        assert!((0..1_000).all(|number| Fault::drawn(&always, number) == Some(Fault::Hang)));
    }

    #[test]
    fn a_header_names_its_fault() {
        assert_eq!(Fault::forced("503"), Ok(Some(Fault::Status(503))));
        assert_eq!(Fault::forced("cut"), Ok(Some(Fault::Cut)));
        assert_eq!(Fault::forced("none"), Ok(None));
        for text in ["", "200", "boom"] {
            assert!(Fault::forced(text).is_err(), "{text}");
        }
    }
}

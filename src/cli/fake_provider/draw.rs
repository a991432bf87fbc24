//! Random numbers that follow from a seed, and the distributions that they are drawn from.
//!
//! A draw is named by the seed, by what it is for and by a number. So a fault does not move when somebody adds a latency, and
//! one seed and one order of arrival give one run.

use std::fmt;
use std::str::FromStr;

/// What a sequence of draws is for: two purposes never share numbers.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Purpose {
    Fault = 1,
    FirstToken = 2,
    Token = 3,
    Length = 4,
    Content = 5,
    Vector = 6,
}

/// A sequence of numbers (splitmix64).
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64, purpose: Purpose, number: u64) -> Self {
        Self(mix(mix(mix(seed.wrapping_add(STEP)).wrapping_add(purpose as u64)) ^ number.wrapping_mul(STEP)))
    }

    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    /// From 0 to 1, without 1.
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Below `count`, which is at least 1. The bias is below count / 2^64.
    pub fn below(&mut self, count: u64) -> u64 {
        ((u128::from(self.number()) * u128::from(count)) >> 64) as u64
    }

    /// Of the standard normal distribution (Box-Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.unit()).cos()
    }
}

/// 2^64 divided by the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Where the 99th percentile of the standard normal distribution is.
const NORMAL_P99: f64 = 2.326_347_874;
/// A lognormal draw is cut at this many times its p99, so that a longest is known.
const LOGNORMAL_CUT: f64 = 4.0;
/// No parameter is larger.
const PARAMETER_MAX: f64 = 1e7;

/// How a quantity is distributed: `fixed:50`, `uniform:20-80`, `lognormal:40,200` (p50 and p99; cut at 4 × p99).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Distribution {
    Fixed(f64),
    Uniform(f64, f64),
    Lognormal { p50: f64, p99: f64 },
}

impl Distribution {
    pub fn draw(&self, draw: &mut Draw) -> f64 {
        match *self {
            Self::Fixed(value) => value,
            Self::Uniform(low, high) => low + (high - low) * draw.unit(),
            Self::Lognormal { p50, p99 } => {
                let sigma = (p99 / p50).ln() / NORMAL_P99;
                (p50 * (sigma * draw.normal()).exp()).min(self.ceiling())
            }
        }
    }

    /// A whole number, each of `uniform:1-6` as likely as the others.
    pub fn draw_whole(&self, draw: &mut Draw) -> u64 {
        match *self {
            Self::Uniform(low, high) => (low as u64) + draw.below((high as u64) - (low as u64) + 1),
            _ => self.draw(draw).round() as u64,
        }
    }

    /// What no draw exceeds.
    pub fn ceiling(&self) -> f64 {
        match *self {
            Self::Fixed(value) => value,
            Self::Uniform(_, high) => high,
            Self::Lognormal { p99, .. } => p99 * LOGNORMAL_CUT,
        }
    }

    pub fn is_zero(&self) -> bool {
        self.ceiling() == 0.0
    }
}

impl FromStr for Distribution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |part: &str| part.trim().parse::<f64>().ok().filter(|value| (0.0..=PARAMETER_MAX).contains(value));
        let parsed = match text.split_once(':') {
            None => number(text).map(Self::Fixed),
            Some(("fixed", value)) => number(value).map(Self::Fixed),
            Some(("uniform", range)) => range
                .split_once('-')
                .and_then(|(low, high)| Some((number(low)?, number(high)?)))
                .filter(|(low, high)| low <= high)
                .map(|(low, high)| Self::Uniform(low, high)),
            Some(("lognormal", parts)) => parts
                .split_once(',')
                .and_then(|(p50, p99)| Some((number(p50)?, number(p99)?)))
                .filter(|(p50, p99)| *p50 > 0.0 && p50 <= p99)
                .map(|(p50, p99)| Self::Lognormal { p50, p99 }),
            Some(_) => None,
        };
        parsed.ok_or_else(|| {
            format!(
                "{text:?} is no distribution: write fixed:50, uniform:20-80 (low-high) or lognormal:40,200 (p50,p99 with 0 < p50 <= p99), numbers up to 10000000"
            )
        })
    }
}

impl fmt::Display for Distribution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fixed(value) => write!(f, "fixed:{value}"),
            Self::Uniform(low, high) => write!(f, "uniform:{low}-{high}"),
            Self::Lognormal { p50, p99 } => write!(f, "lognormal:{p50},{p99}"),
        }
    }
}

impl serde::Serialize for Distribution {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Distribution {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(distribution: &str) -> Vec<f64> {
        let distribution: Distribution = distribution.parse().unwrap();
        let mut draw = Draw::new(7, Purpose::Token, 1);
        let mut drawn: Vec<f64> = (0..20_000).map(|_| distribution.draw(&mut draw)).collect();
        drawn.sort_by(f64::total_cmp);
        drawn
    }

    #[test]
    fn a_lognormal_has_the_percentiles_that_were_asked_for() {
        let drawn = draws("lognormal:40,200");
        let at = |share: f64| drawn[(drawn.len() as f64 * share) as usize];
        assert!((38.0..42.0).contains(&at(0.50)), "{}", at(0.50));
        assert!((175.0..225.0).contains(&at(0.99)), "{}", at(0.99));
        assert!(drawn[drawn.len() - 1] <= 800.0);
    }

    #[test]
    fn a_uniform_fills_its_range_and_a_fixed_does_not_move() {
        let drawn = draws("uniform:20-80");
        assert!((20.0..21.0).contains(&drawn[0]) && (79.0..80.0).contains(&drawn[drawn.len() - 1]));
        assert!(draws("fixed:50").iter().all(|value| *value == 50.0));
    }

    #[test]
    fn whole_numbers_reach_both_ends_evenly() {
        let dice: Distribution = "uniform:1-6".parse().unwrap();
        let mut draw = Draw::new(1, Purpose::Length, 0);
        let mut counts = [0; 7];
        for _ in 0..6_000 {
            counts[dice.draw_whole(&mut draw) as usize] += 1;
        }
        assert!(counts[0] == 0 && counts[1..].iter().all(|count| (850..1_150).contains(count)), "{counts:?}");
    }

    #[test]
    fn what_is_no_distribution_is_refused() {
        for text in
            ["", "fixed:", "fixed:-1", "uniform:5", "uniform:9-1", "lognormal:0,5", "lognormal:9,5", "x:1", "nan"]
        {
            assert!(text.parse::<Distribution>().is_err(), "{text}");
        }
    }

    #[test]
    fn text_and_back_is_the_same() {
        for text in ["fixed:50", "uniform:0.5-80", "lognormal:40,200"] {
            assert_eq!(text.parse::<Distribution>().unwrap().to_string(), text);
        }
        assert_eq!("50".parse::<Distribution>().unwrap(), Distribution::Fixed(50.0));
    }

    #[test]
    fn one_name_gives_one_sequence_and_another_name_another() {
        let first = |seed, purpose, number| Draw::new(seed, purpose, number).number();
        assert_eq!(first(1, Purpose::Fault, 1), first(1, Purpose::Fault, 1));
        let others = [first(2, Purpose::Fault, 1), first(1, Purpose::Token, 1), first(1, Purpose::Fault, 2)];
        assert!(others.iter().all(|other| *other != first(1, Purpose::Fault, 1)));
    }
}

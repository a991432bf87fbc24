//! Amounts of everything that is limited.

use serde::{Deserialize, Serialize};

/// One thing that is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dimension {
    Requests,
    Tokens,
    MicroUsd,
}

impl Dimension {
    pub const ALL: [Self; 3] = [Self::Requests, Self::Tokens, Self::MicroUsd];

    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests per minute",
            Self::Tokens => "tokens per minute",
            Self::MicroUsd => "budget",
        }
    }
}

/// So much of each. All arithmetic ends at zero and at the type's end instead of wrapping.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    pub requests: u64,
    pub tokens: u64,
    /// Millionths of a US dollar.
    pub micro_usd: u64,
}

impl Amounts {
    pub const ZERO: Self = Self { requests: 0, tokens: 0, micro_usd: 0 };
    pub const MAX: Self = Self { requests: u64::MAX, tokens: u64::MAX, micro_usd: u64::MAX };

    /// One call of so many tokens.
    pub fn call(tokens: u64) -> Self {
        Self { requests: 1, tokens, micro_usd: 0 }
    }

    pub fn is_zero(&self) -> bool {
        *self == Self::ZERO
    }

    pub fn of(&self, dimension: Dimension) -> u64 {
        match dimension {
            Dimension::Requests => self.requests,
            Dimension::Tokens => self.tokens,
            Dimension::MicroUsd => self.micro_usd,
        }
    }

    pub fn of_mut(&mut self, dimension: Dimension) -> &mut u64 {
        match dimension {
            Dimension::Requests => &mut self.requests,
            Dimension::Tokens => &mut self.tokens,
            Dimension::MicroUsd => &mut self.micro_usd,
        }
    }

    fn each(self, other: Self, join: impl Fn(u64, u64) -> u64) -> Self {
        Self {
            requests: join(self.requests, other.requests),
            tokens: join(self.tokens, other.tokens),
            micro_usd: join(self.micro_usd, other.micro_usd),
        }
    }

    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        self.each(other, u64::saturating_add)
    }

    /// What is left of it, zero where `other` is more.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        self.each(other, u64::saturating_sub)
    }

    #[must_use]
    pub fn max(self, other: Self) -> Self {
        self.each(other, u64::max)
    }

    #[must_use]
    pub fn min(self, other: Self) -> Self {
        self.each(other, u64::min)
    }

    /// `part / whole` of it, rounded up.
    #[must_use]
    pub fn scaled(self, part: u64, whole: u64) -> Self {
        self.each(self, |amount, _| scaled(amount, part, whole))
    }

    /// Whether it is as much as `other` of everything.
    pub fn covers(&self, other: &Self) -> bool {
        Dimension::ALL.iter().all(|dimension| self.of(*dimension) >= other.of(*dimension))
    }
}

/// `amount × part / whole`, rounded up, without overflow.
fn scaled(amount: u64, part: u64, whole: u64) -> u64 {
    if whole == 0 {
        return amount;
    }
    let product = u128::from(amount) * u128::from(part);
    u64::try_from(product.div_ceil(u128::from(whole))).unwrap_or(u64::MAX)
}

//! Decimal numbers as text, read exactly: money and prices never pass through floating point.

/// Digits beyond which nothing is a price or a cost.
const DIGITS_MAX: usize = 30;
/// The same for exponents.
const EXPONENT_MAX: i32 = 30;

/// Why a number cannot be had exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Inexact {
    #[error("is not a decimal number")]
    Malformed,
    #[error("has more places than are kept")]
    TooFine,
    #[error("is too large")]
    TooLarge,
}

/// The number times ten to the power of `places`, as a whole number: `"1.25e-07"` with 12 places is 125000. It reads what
/// JSON calls a number.
///
/// # Errors
/// When the text is no number, or what comes out is not whole, or does not fit.
pub fn scaled(text: &str, places: u8) -> Result<i128, Inexact> {
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, exponent_of(exponent)?),
        None => (text, 0),
    };
    let (sign, mantissa) = mantissa.strip_prefix('-').map_or((1, mantissa), |rest| (-1, rest));
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return Err(Inexact::Malformed),
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    if whole.is_empty() || !whole.bytes().chain(fraction.bytes()).all(|byte| byte.is_ascii_digit()) {
        return Err(Inexact::Malformed);
    }
    // What follows the last digit that counts says nothing.
    let fraction = fraction.trim_end_matches('0');
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    if digits.is_empty() {
        return Ok(0);
    }
    if digits.len() > DIGITS_MAX {
        return Err(if whole.trim_start_matches('0').len() > DIGITS_MAX {
            Inexact::TooLarge
        } else {
            Inexact::TooFine
        });
    }
    let number: i128 = digits.parse().map_err(|_| Inexact::Malformed)?;
    let shift = exponent + i32::from(places) - i32::try_from(fraction.len()).map_err(|_| Inexact::TooFine)?;
    let power = 10_i128.checked_pow(shift.unsigned_abs());
    match power {
        Some(power) if shift >= 0 => number.checked_mul(power).map(|it| sign * it).ok_or(Inexact::TooLarge),
        Some(power) if number % power == 0 => Ok(sign * (number / power)),
        None if shift >= 0 => Err(Inexact::TooLarge),
        _ => Err(Inexact::TooFine),
    }
}

/// The same of a number that a program may have computed in floating point: where it is off a whole number by no more than
/// such a program's own noise, one part in 10^15, it stands for that one. Whether it was is told.
///
/// # Errors
/// As [`scaled`].
pub fn denoised(text: &str, places: u8) -> Result<(i128, bool), Inexact> {
    match scaled(text, places) {
        Ok(number) => return Ok((number, false)),
        Err(Inexact::TooFine) => {}
        Err(error) => return Err(error),
    }
    // With eighteen further places every double's noise is to be seen.
    let finer = (places + 1..=places + 18).find_map(|finer| Some((scaled(text, finer).ok()?, finer - places)));
    let (number, further) = finer.ok_or(Inexact::TooFine)?;
    let unit = 10_i128.pow(u32::from(further));
    let nearest = (number + unit / 2).div_euclid(unit);
    let off = (number - nearest * unit).abs();
    match nearest != 0 && off <= number.abs() / 10_i128.pow(15) {
        true => Ok((nearest, true)),
        false => Err(Inexact::TooFine),
    }
}

fn exponent_of(text: &str) -> Result<i32, Inexact> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Inexact::Malformed);
    }
    let size = digits.parse::<i32>().unwrap_or(i32::MAX);
    match text.starts_with('-') {
        true if size > EXPONENT_MAX => Err(Inexact::TooFine),
        false if size > EXPONENT_MAX => Err(Inexact::TooLarge),
        true => Ok(-size),
        false => Ok(size),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn prices_are_read_as_they_are_written() {
        for (text, places, expected) in [
            ("3e-06", 12, Ok(3_000_000)),
            ("1.25e-07", 12, Ok(125_000)),
            ("0.00000015", 12, Ok(150_000)),
            ("1.1E-6", 12, Ok(1_100_000)),
            ("0.3", 6, Ok(300_000)),
            ("15", 6, Ok(15_000_000)),
            ("2.50", 6, Ok(2_500_000)),
            ("0.0043", 6, Ok(4_300)),
            ("0", 12, Ok(0)),
            ("0.0", 6, Ok(0)),
            ("0e-99", 12, Err(Inexact::TooFine)),
            ("-1", 6, Ok(-1_000_000)),
            ("1e3", 0, Ok(1_000)),
            ("12.000000000001", 12, Ok(12_000_000_000_001)),
            ("7.999999999999999e-08", 12, Err(Inexact::TooFine)),
            ("0.30000000000000004", 6, Err(Inexact::TooFine)),
            ("1e30", 12, Err(Inexact::TooLarge)),
            ("1e31", 0, Err(Inexact::TooLarge)),
            ("99999999999999999999999999999999", 0, Err(Inexact::TooLarge)),
        ] {
            assert_eq!(scaled(text, places), expected, "{text}");
        }
    }

    #[test]
    fn the_noise_of_floating_point_is_taken_for_what_it_is_and_nothing_else_is() {
        for (text, places, expected) in [
            ("0.30000000000000004", 6, Ok((300_000, true))),
            ("7.999999999999999e-08", 12, Ok((80_000, true))),
            ("0.0000029999900000000002", 12, Ok((2_999_990, true))),
            ("-0.30000000000000004", 6, Ok((-300_000, true))),
            ("3e-06", 12, Ok((3_000_000, false))),
            ("1.41953125E-7", 12, Err(Inexact::TooFine)),
            ("0.0000001", 6, Err(Inexact::TooFine)),
            ("1e-25", 6, Err(Inexact::TooFine)),
            ("x", 6, Err(Inexact::Malformed)),
        ] {
            assert_eq!(denoised(text, places), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_number_is_refused() {
        for text in ["", "-", ".5", "5.", "1e", "1e+", "+1", "0x1", "1_000", "NaN", "1.2.3", " 1", "1,5", "１"] {
            assert_eq!(scaled(text, 6), Err(Inexact::Malformed), "{text}");
        }
    }

    proptest! {
        #[test]
        fn however_a_number_is_written_it_is_the_same(number in 0_i64..=i64::MAX, point in 0_u32..=12) {
            let number = i128::from(number);
            let power = 10_i128.pow(point);
            let plain = format!("{}.{:0width$}", number / power, number % power, width = point.max(1) as usize);
            let plain = if point == 0 { number.to_string() } else { plain };
            let scientific = format!("{number}e-{point:02}");
            let expected = number * 10_i128.pow(12 - point);
            prop_assert_eq!(scaled(&plain, 12), Ok(expected));
            prop_assert_eq!(scaled(&scientific, 12), Ok(expected));
        }

        #[test]
        fn no_text_does_harm(text in "[-+0-9.eE]{0,40}", places in 0_u8..=12) {
            let _ = (scaled(&text, places), denoised(&text, places));
        }
    }
}

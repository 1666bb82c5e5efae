//! `repr` and other texts of floats.
//!
//! In: floats. Out: Python's text of them. Invariant: the shortest digits that read back, with an exponent below 1e-4
//! and from 1e16 on.

/// `repr(x)`.
pub(crate) fn repr(x: f64) -> String {
    if x.is_nan() {
        return "nan".into();
    }
    if x.is_infinite() {
        return if x > 0.0 { "inf" } else { "-inf" }.into();
    }
    let digits = format!("{x:e}");
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if x == 0.0 || (-4..16).contains(&exponent) {
        let text = format!("{x}");
        return if text.contains('.') { text } else { text + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// The most digits that a float has behind the point; all further ones are zeros.
const DIGITS: usize = 1080;

/// `'%.{precision}f' % x`, for a finite x.
pub(crate) fn fixed(x: f64, precision: usize) -> String {
    let digits = precision.min(DIGITS);
    format!("{x:.digits$}") + &"0".repeat(precision - digits)
}

/// `'%.{precision}e' % x`, for a finite x.
pub(crate) fn exponent(x: f64, precision: usize) -> String {
    let digits = precision.min(DIGITS);
    let zeros = "0".repeat(precision - digits);
    let digits = format!("{x:.digits$e}");
    let (mantissa, exponent) = digits.split_once('e').unwrap_or((&digits, "0"));
    let mantissa = format!("{mantissa}{zeros}");
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// `'%.{precision}g' % x`, for a finite x; `alternate` keeps zeros at the end.
pub(crate) fn general(x: f64, precision: usize, alternate: bool) -> String {
    let precision = precision.max(1);
    let digits = exponent(x, precision - 1);
    let (mantissa, power) = digits.split_once('e').unwrap_or((&digits, "0"));
    let power: i64 = power.parse().unwrap_or_default();
    let trimmed = |text: &str| match text.contains('.') && !alternate {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text.to_string(),
    };
    if power < -4 || power >= precision as i64 {
        let sign = if power < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", trimmed(mantissa), power.abs());
    }
    let decimals = (precision as i64 - 1 - power).max(0) as usize;
    trimmed(&fixed(x, decimals))
}

/// `float(text)`.
pub(crate) fn parse(text: &str) -> Option<f64> {
    let text = text.trim_matches(crate::lexer::is_space);
    let bytes = text.as_bytes();
    let lone = |i: usize| {
        let digit = |b: Option<&u8>| b.is_some_and(u8::is_ascii_digit);
        i > 0 && digit(bytes.get(i - 1)) && digit(bytes.get(i + 1))
    };
    if text.char_indices().any(|(i, c)| c == '_' && !lone(i)) {
        return None;
    }
    let plain = text.replace('_', "");
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(&plain).to_ascii_lowercase();
    let known = ["inf", "infinity", "nan"].contains(&unsigned.as_str());
    let numeric = unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    match known || numeric {
        true => plain.parse().ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_print_as_in_python() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (-2.5, "-2.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1.5e-7, "1.5e-07"),
            (1e15, "1000000000000000.0"),
            (1e16, "1e+16"),
            (1.25e100, "1.25e+100"),
        ];
        for (x, text) in cases {
            assert_eq!(repr(x), text);
        }
        assert_eq!(
            (general(1234567.0, 6, false), exponent(0.5, 2)),
            ("1.23457e+06".into(), "5.00e-01".into())
        );
    }
}

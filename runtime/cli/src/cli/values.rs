//! Values of flags. In: the word after a flag. Out: a value within its range, or what was expected; clap says what was
//! found, and after which flag.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;

/// A parser of whole numbers of a range.
pub(super) fn whole<T>(
    range: RangeInclusive<T>,
) -> impl Fn(&str) -> Result<T, String> + Clone + Send + Sync + 'static
where
    T: FromStr + PartialOrd + Display + Clone + Send + Sync + 'static,
{
    move |text: &str| {
        let number = text.parse::<T>().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("expected a whole number from {} to {}", range.start(), range.end()))
    }
}

/// A parser of numbers of a range.
pub(super) fn number(
    range: RangeInclusive<f32>,
) -> impl Fn(&str) -> Result<f32, String> + Clone + Send + Sync + 'static {
    move |text: &str| {
        let number = text.parse::<f32>().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| format!("expected a number from {} to {}", range.start(), range.end()))
    }
}

/// A temperature.
pub(super) fn temperature(text: &str) -> Result<f32, String> {
    let number = text.parse::<f32>().ok().filter(|t| t.is_finite() && *t >= 0.0);
    number.ok_or_else(|| "expected a number of 0 or more".to_owned())
}

/// A text at which answers end.
pub(super) fn stop_text(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("expected a text that is not empty".into());
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use crate::cli::Cli;

    /// Names of values that are numbers.
    const NUMBERS: [&str; 7] = ["N", "K", "S", "T", "P", "R", "IDS"];

    #[test]
    fn every_number_is_told_what_was_expected() {
        let definition = Cli::command();
        let mut flags = 0;
        for command in definition.get_subcommands() {
            for arg in command.get_arguments() {
                let is_number = |names: &[clap::builder::Str]| NUMBERS.contains(&names[0].as_str());
                let Some(flag) = arg.get_long().filter(|_| arg.get_value_names().is_some_and(is_number))
                else {
                    continue;
                };
                for bad in ["x", "-9", "99999999999999999999x", ""] {
                    let words = ["nano", command.get_name(), &format!("--{flag}"), bad];
                    let said = Cli::try_parse_from(words).unwrap_err().to_string();
                    let named = said.contains(&format!("invalid value '{bad}' for '--{flag} <"));
                    assert!(named && said.contains(">': expected a "), "{words:?}: {said}");
                }
                flags += 1;
            }
        }
        assert!(flags > 40, "{flags}");
    }

    #[test]
    fn numbers_end_where_they_say() {
        let said = |flag: &str, value: &str| {
            let e = Cli::try_parse_from(["nano", "serve", flag, value]).unwrap_err().to_string();
            e.lines().next().unwrap_or_default().rsplit(": ").next().unwrap_or_default().to_owned()
        };
        assert_eq!(said("--port", "65536"), "expected a whole number from 0 to 65535");
        assert_eq!(said("--parallel", "0"), "expected a whole number from 1 to 512");
        assert_eq!(said("--threads", "1025"), "expected a whole number from 1 to 1024");
        assert_eq!(said("--top-p", "1.5"), "expected a number from 0 to 1");
        assert_eq!(said("--temperature", "inf"), "expected a number of 0 or more");
        Cli::try_parse_from(["nano", "serve", "--port", "65535", "--parallel", "512", "--top-p", "1"])
            .unwrap();
    }
}

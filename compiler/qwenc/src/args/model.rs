//! The model that a command reads: an argument of the command, or `-m` for those who are used to it.
//!
//! In: arguments. Out: a path. Invariant: exactly one of the two forms is given.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgMatches, Args, Command, Error, FromArgMatches};

/// Path of a model, or `sample`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelPath(PathBuf);

impl<P: Into<PathBuf>> From<P> for ModelPath {
    fn from(path: P) -> ModelPath {
        ModelPath(path.into())
    }
}

impl Deref for ModelPath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl FromArgMatches for ModelPath {
    fn from_arg_matches(matches: &ArgMatches) -> Result<ModelPath, Error> {
        let path = matches.get_one::<PathBuf>("model").or_else(|| matches.get_one("named_model"));
        // clap requires one of the two, so a model is always there.
        path.map(ModelPath::from).ok_or_else(|| Error::new(clap::error::ErrorKind::MissingRequiredArgument))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        *self = ModelPath::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for ModelPath {
    fn augment_args(command: Command) -> Command {
        let path = clap::value_parser!(PathBuf);
        let model = Arg::new("model")
            .value_name("MODEL")
            .value_parser(path.clone())
            .required_unless_present("named_model")
            .help("GGUF file, Hugging Face folder, model.bin, or `sample` for the built-in model");
        let named = Arg::new("named_model")
            .short('m')
            .long("model")
            .value_name("MODEL")
            .value_parser(path)
            .conflicts_with("model")
            .hide(true)
            .help("The same as MODEL");
        // Without this MODEL would look optional.
        let more = if command.get_name() == "run" { " [PROMPT] [-- FLAGS]" } else { "" };
        let usage = format!("qwenc {} [OPTIONS] <MODEL>{more}", command.get_name());
        command.override_usage(usage).arg(model).arg(named)
    }

    fn augment_args_for_update(command: Command) -> Command {
        ModelPath::augment_args(command)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::{Args, Command};

    #[test]
    fn a_model_has_two_forms() {
        let model = |words: &[&str]| match Args::try_parse_from(words).map(|args| args.command) {
            Ok(Command::Compile(compile)) => Some(compile.model.display().to_string()),
            _ => None,
        };
        assert_eq!(model(&["qwenc", "compile", "a.gguf"]).as_deref(), Some("a.gguf"));
        assert_eq!(model(&["qwenc", "compile", "-m", "a.gguf"]).as_deref(), Some("a.gguf"));
        assert_eq!(model(&["qwenc", "compile", "--model", "a.gguf", "-o", "x"]).as_deref(), Some("a.gguf"));
        assert_eq!(model(&["qwenc", "compile"]), None);
        assert_eq!(model(&["qwenc", "compile", "a.gguf", "-m", "a.gguf"]), None);
    }
}

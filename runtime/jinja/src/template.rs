//! A template: parsed once, rendered often.
//!
//! In: source; variables as JSON. Out: text. Invariant: parsing and rendering happen on a thread of their own
//! (`own_thread`), within `Limits`.

use serde_json::{Map, Value as Json};

use crate::ast::Ast;
use crate::error::Fault;
use crate::meter::Limits;
use crate::value::{convert, Value};
use crate::{interpreter, lexer, own_thread, parser};

/// The longest source, in bytes.
const LONGEST: usize = 4 << 20;

/// A parsed template.
#[derive(Debug)]
pub struct Template {
    ast: Ast,
}

impl Template {
    /// Parses a template.
    pub fn parse(source: &str) -> Result<Template, Fault> {
        if source.len() > LONGEST {
            return Err(Fault::Limit(format!("a template has more than {} MiB", LONGEST >> 20)));
        }
        let limits = Limits::for_input(source.len());
        let ast = own_thread::run(limits, || parser::parse(lexer::tokens(source)?))?;
        Ok(Template { ast })
    }

    /// Renders with variables, within the limits for their size.
    pub fn render(&self, variables: &Map<String, Json>) -> Result<String, Fault> {
        let size = variables.iter().map(|(name, value)| name.len() + convert::size(value)).sum();
        self.render_within(variables, Limits::for_input(size))
    }

    /// Renders with variables, within given limits.
    pub fn render_within(&self, variables: &Map<String, Json>, limits: Limits) -> Result<String, Fault> {
        own_thread::run(limits, || {
            let values: Result<Vec<(&str, Value)>, Fault> = variables
                .iter()
                .map(|(name, value)| Ok((name.as_str(), convert::from_json(value)?)))
                .collect();
            interpreter::render(&self.ast, values?)
        })
    }
}

//! Targets of assignments and loops.
//!
//! In: tokens. Out: targets. Invariant: only names, tuples of them and, where allowed, attributes of namespaces.

use super::Parser;
use crate::ast::{Const, Name, Target};
use crate::error::Outcome;

impl Parser {
    /// A name, or a tuple of targets.
    pub(super) fn target(&mut self, with_namespace: bool) -> Outcome<Target> {
        let (mut items, is_tuple) = self.listed(|p| p.single_target(with_namespace))?;
        match (is_tuple, items.len()) {
            (false, 1) => Ok(items.remove(0)),
            (false, _) => self.unexpected("a name to assign to"),
            (true, _) => Ok(Target::Tuple(items)),
        }
    }

    pub(super) fn single_target(&mut self, with_namespace: bool) -> Outcome<Target> {
        if self.skip_op("(") {
            let inner = match self.is_op(")") {
                true => Target::Tuple(Vec::new()),
                false => self.deeper(|p| p.target(with_namespace))?,
            };
            self.expect_op(")")?;
            return Ok(inner);
        }
        let text = self.expect_name()?;
        if with_namespace && self.skip_op(".") {
            self.note_read(&text);
            let attribute = self.expect_name()?;
            let attribute = self.constant(Const::Str(attribute.to_string()));
            return Ok(Target::Attr(self.name(&text), attribute));
        }
        self.assigned_name(&text).map(Target::Name)
    }

    /// A name that is assigned to.
    pub(super) fn name_target(&mut self) -> Outcome<Name> {
        let text = self.expect_name()?;
        self.assigned_name(&text)
    }

    fn assigned_name(&mut self, text: &std::sync::Arc<str>) -> Outcome<Name> {
        if ["true", "false", "none", "True", "False", "None"].contains(&&**text) {
            return self.wrong(format!("'{text}' cannot be assigned to"));
        }
        if self.any_loop > 0 && **text == *"loop" {
            return self.wrong("'loop' cannot be assigned to in a loop");
        }
        self.note_assigned(text);
        Ok(self.name(text))
    }
}

//! The tags: which word begins which statement.
//!
//! In: tokens between `{%` and `%}`. Out: statements. Invariant: the words are jinja2's own, those of its loop controls
//! and transformers' `generation`; what needs a loader is a statement that fails when it is executed.

use super::primary::Around;
use super::Parser;
use crate::ast::{Expr, Stmt};
use crate::error::Outcome;
use crate::lexer::Token;

const NO_LOADER: &str = "a chat template cannot use other templates (include, import, extends)";

impl Parser {
    /// Statements up to one of the tags `ends`, whose word is the next token then, or up to the end.
    pub(super) fn statements(&mut self, ends: &[&str]) -> Outcome<Vec<Stmt>> {
        let mut body = Vec::new();
        loop {
            match self.peek().clone() {
                Token::Data(text) => {
                    self.next();
                    let text = self.constant(crate::ast::Const::Str(text));
                    body.push(Stmt::Data(text));
                }
                Token::VariableBegin => {
                    self.next();
                    body.push(Stmt::Print(self.tuple(Around::Free)?));
                    match self.peek() {
                        Token::VariableEnd => self.next(),
                        _ => return self.unexpected("'}}'"),
                    };
                }
                Token::BlockBegin => {
                    self.next();
                    if matches!(self.peek(), Token::Name(name) if ends.contains(&&**name)) {
                        return Ok(body);
                    }
                    self.deeper(|p| p.tag(&mut body))?;
                    self.expect_block_end()?;
                }
                Token::End if ends.is_empty() => return Ok(body),
                Token::End => return self.unexpected(&format!("{{% {} %}}", ends.join(" or "))),
                _ => return self.unexpected("text or a tag"),
            }
        }
    }

    /// The body of a statement, after its head; the end tag's word is read.
    pub(super) fn body(&mut self, ends: &[&str]) -> Outcome<Vec<Stmt>> {
        self.skip_op(":");
        self.expect_block_end()?;
        self.statements(ends)
    }

    /// The body of a statement with one end tag.
    pub(super) fn whole_body(&mut self, end: &str) -> Outcome<Vec<Stmt>> {
        let soft = std::mem::take(&mut self.soft);
        let body = self.body(&[end])?;
        self.soft = soft;
        self.next();
        Ok(body)
    }

    /// The body of a function: loops around it are out of reach.
    pub(super) fn function_body(&mut self, end: &str) -> Outcome<Vec<Stmt>> {
        let loops = std::mem::take(&mut self.loops);
        let body = self.whole_body(end);
        self.loops = loops;
        body
    }

    fn tag(&mut self, body: &mut Vec<Stmt>) -> Outcome<()> {
        let Token::Name(word) = self.peek().clone() else { return self.unexpected("the name of a tag") };
        if !matches!(&*word, "for" | "if") {
            self.next();
        }
        let statement = match &*word {
            "for" => self.for_loop()?,
            "if" => self.branches()?,
            "set" => self.set()?,
            "macro" => self.macro_definition()?,
            "call" => self.call_block()?,
            "filter" => self.filter_block()?,
            "with" => self.with()?,
            "block" => self.block()?,
            "autoescape" => self.autoescape()?,
            "generation" => Stmt::Scope(self.function_body("endgeneration")?),
            "print" => return self.print(body),
            "include" | "import" | "from" | "extends" => self.refused()?,
            "break" | "continue" if self.loops == 0 => {
                return self.wrong(format!("'{word}' outside of a loop"));
            }
            "break" => Stmt::Break,
            "continue" => Stmt::Continue,
            _ => return self.wrong(format!("unknown tag '{word}'")),
        };
        body.push(statement);
        Ok(())
    }

    fn print(&mut self, body: &mut Vec<Stmt>) -> Outcome<()> {
        let mut first = true;
        while *self.peek() != Token::BlockEnd {
            if !first {
                self.expect_op(",")?;
            }
            first = false;
            body.push(Stmt::Print(self.expression()?));
        }
        Ok(())
    }

    fn refused(&mut self) -> Outcome<Stmt> {
        while !matches!(self.peek(), Token::BlockEnd | Token::End) {
            self.next();
        }
        Ok(Stmt::Refused(NO_LOADER))
    }

    fn autoescape(&mut self) -> Outcome<Stmt> {
        let on = self.expression()?;
        let line = self.line();
        let refused = Stmt::Refused("autoescape is not supported: a chat template is no HTML");
        let body = self.whole_body("endautoescape")?;
        let off = self.push(line, Expr::Not(on))?;
        Ok(Stmt::If { branches: vec![(off, vec![Stmt::Scope(body)])], otherwise: vec![refused] })
    }

    fn block(&mut self) -> Outcome<Stmt> {
        let name = self.expect_name()?;
        if self.blocks.contains(&name) {
            return self.wrong(format!("block '{name}' is defined twice"));
        }
        self.blocks.push(name.clone());
        let scoped = self.skip_name("scoped");
        if self.skip_name("required") {
            return self.wrong("a required block needs a template that extends this one");
        }
        let body = self.function_body("endblock")?;
        self.skip_name(&name);
        Ok(Stmt::Block { body, scoped })
    }
}

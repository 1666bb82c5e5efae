//! Which tokens keep an answer to a JSON schema, a regex or a grammar.
//!
//! In: what the answer must be, then each token as it is chosen. Out: the tokens that may come. Invariant: it fails
//! closed: what cannot be enforced is refused before it starts, and where it cannot go on there is an error, never an
//! unconstrained token. The one file that knows llguidance.

use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{InferenceCapabilities, SimpleVob, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use serde_json::{json, Map, Value};

use crate::error::{Error, Result};
use crate::text::tokenizer::{Controls, Tokenizer};

/// Marks tokens that no text spells.
const SPECIAL: u8 = 0xff;
/// Spaces and line breaks that may stand between two parts of JSON.
const SPACE: &str = "[ \\n]{0,20}";

/// What an answer must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// JSON that keeps to this schema.
    Json(Value),
    /// A text that this regex matches.
    Regex(String),
    /// A text of this grammar, in llguidance's Lark.
    Lark(String),
    /// Calls of one of these functions (name, schema of its arguments), more than one if so said.
    Calls(Vec<(String, Value)>, bool),
}

/// What all constraints of a model share.
pub struct Constraints {
    factory: ParserFactory,
    /// Ids of `<think>` and `</think>`.
    think: Option<(u32, u32)>,
    /// Ids of `<tool_call>` and `</tool_call>`.
    call: Option<(u32, u32)>,
}

/// One answer's bounds.
pub struct Constraint {
    matcher: Matcher,
    think: Option<(u32, u32)>,
    thinking: Thinking,
    mask: Option<SimpleVob>,
}

/// The tokens that may come next.
pub struct Allowed<'a>(Option<&'a SimpleVob>);

impl Allowed<'_> {
    /// One bit an id; none: all.
    pub fn words(&self) -> Option<&[u32]> {
        self.0.map(SimpleVob::as_slice)
    }
}

/// Before an answer a model may think, within no bounds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Thinking {
    /// It may begin now.
    May,
    /// It does.
    Does,
    /// No more.
    Over,
}

struct Vocabulary {
    trie: TokTrie,
    tokenizer: Arc<Tokenizer>,
}

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.trie
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<u32> {
        let text = String::from_utf8_lossy(text);
        // Greedy is as good here: it is asked for tokens that are forced, which we do not use.
        let ids = self.tokenizer.encode(&text, Controls::Literal);
        ids.unwrap_or_else(|_| self.trie.greedy_tokenize(text.as_bytes()))
    }

    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

impl Constraints {
    /// For a vocabulary of `rows` ids; `stop` ends answers.
    pub fn new(tokenizer: &Arc<Tokenizer>, rows: usize, stop: &[u32]) -> Result<Constraints> {
        let mut words: Vec<Vec<u8>> = (0..rows as u32).map(|id| tokenizer.bytes(id)).collect();
        for (text, id) in tokenizer.added() {
            if let Some(word) = words.get_mut(id as usize) {
                *word = [&[SPECIAL], text.as_bytes()].concat();
            }
        }
        let stop: Vec<u32> = stop.iter().copied().filter(|&id| (id as usize) < rows).collect();
        let Some(&first) = stop.first() else {
            return Err(refused("this model has no stop token, so no answer could end"));
        };
        let trie = TokTrie::from(&TokRxInfo::new(rows as u32, first), &words).with_eos_tokens(&stop);
        let vocabulary: TokEnv = Arc::new(Vocabulary { trie, tokenizer: Arc::clone(tokenizer) });
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&vocabulary, InferenceCapabilities::default(), &slices)
            .map_err(|e| refused(&e.to_string()))?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits { verbose_errors: false, ..ParserLimits::default() };
        let pair = |begin, end| tokenizer.added_id(begin).zip(tokenizer.added_id(end));
        let (think, call) = (pair("<think>", "</think>"), pair("<tool_call>", "</tool_call>"));
        Ok(Constraints { factory, think, call })
    }

    /// Bounds for one answer; `opened`: the prompt ends amid thinking, `None` where it rules thinking out.
    pub fn start(&self, shape: &Shape, opened: Option<bool>) -> Result<Constraint> {
        let grammar = match shape {
            Shape::Json(schema) => {
                let mut definitions = Map::new();
                let answer = defined(&mut definitions, "answer", schema);
                TopLevelGrammar::from_json_schema(spaced(answer, definitions))
            }
            Shape::Regex(regex) => TopLevelGrammar::from_regex(regex),
            Shape::Lark(grammar) => TopLevelGrammar::from_lark(grammar.clone()),
            Shape::Calls(functions, many) => TopLevelGrammar::from_lark(self.calls(functions, *many)),
        };
        let parser = self.factory.create_parser(grammar).map_err(|e| refused(&first_line(&e.to_string())))?;
        let mut matcher = Matcher::new(Ok(parser));
        if let Some(what) = matcher.grammar_warnings().first() {
            return Err(refused(what));
        }
        // Nothing is promised that could not even begin.
        matcher.compute_mask().map_err(|e| refused(&first_line(&e.to_string())))?;
        let thinking = match (self.think, opened) {
            (None, _) | (_, None) => Thinking::Over,
            (Some(_), Some(true)) => Thinking::Does,
            (Some(_), Some(false)) => Thinking::May,
        };
        Ok(Constraint { matcher, think: self.think, thinking, mask: None })
    }

    /// Calls as Qwen's template writes them.
    fn calls(&self, functions: &[(String, Value)], many: bool) -> String {
        let [begin, end] = match self.call {
            Some((begin, end)) => [begin, end].map(|id| format!("<[{id}]>")),
            None => ["\"<tool_call>\"".to_owned(), "\"</tool_call>\"".to_owned()],
        };
        let mut definitions = Map::new();
        let mut one = |(i, (name, arguments)): (usize, &(String, Value))| {
            let arguments = defined(&mut definitions, &format!("arguments{i}"), arguments);
            json!({"type": "object", "properties": {"name": {"const": name}, "arguments": arguments},
                   "required": ["name", "arguments"], "additionalProperties": false})
        };
        let mut any: Vec<Value> = functions.iter().enumerate().map(&mut one).collect();
        let schema = if any.len() == 1 { any.remove(0) } else { json!({ "anyOf": any }) };
        let more = if many { "(\"\\n\" call)*" } else { "" };
        let schema = spaced(schema, definitions);
        format!("start: call {more}\ncall: {begin} \"\\n\" body \"\\n\" {end}\nbody: %json {schema}\n")
    }
}

impl Constraint {
    /// Which tokens may come next.
    pub fn allowed(&mut self) -> Result<Allowed<'_>> {
        if self.thinking == Thinking::Does {
            return Ok(Allowed(None));
        }
        let mut mask = self.matcher.compute_mask_or_eos().map_err(|e| stuck(&e.to_string()))?;
        if let (Thinking::May, Some((begin, _))) = (self.thinking, self.think) {
            mask.allow_token(begin);
        }
        if mask.is_zero() {
            return Err(stuck("no token may follow"));
        }
        Ok(Allowed(Some(self.mask.insert(mask))))
    }

    /// The answer goes on with `token`, which was allowed. True: it is complete.
    pub fn push(&mut self, token: u32) -> Result<bool> {
        match (self.thinking, self.think) {
            (Thinking::May, Some((begin, _))) if token == begin => self.thinking = Thinking::Does,
            (Thinking::Does, Some((_, end))) => {
                if token == end {
                    self.thinking = Thinking::Over;
                }
            }
            _ => {
                self.thinking = Thinking::Over;
                self.matcher.consume_token(token).map_err(|e| stuck(&e.to_string()))?;
                return Ok(self.matcher.is_stopped());
            }
        }
        Ok(false)
    }
}

/// With bounded white space: a model that goes on with spaces would never end.
fn spaced(mut schema: Value, definitions: Map<String, Value>) -> Value {
    schema["$defs"] = definitions.into();
    schema["x-guidance"] = json!({"whitespace_pattern": SPACE});
    schema
}

/// Puts a schema among the definitions of another; gives what stands for it there.
fn defined(definitions: &mut Map<String, Value>, name: &str, schema: &Value) -> Value {
    let at = format!("#/$defs/{name}");
    let mut schema = moved(schema, &at, false);
    if let Value::Object(map) = &mut schema {
        // Names of a whole document, which it is no more.
        map.retain(|key, _| !["$id", "$schema"].contains(&key.as_str()));
    }
    definitions.insert(name.to_owned(), schema);
    json!({ "$ref": at })
}

/// A schema, or schemas by name, that now stand at `at`: what a `$ref` within means is the same as before.
fn moved(value: &Value, at: &str, names: bool) -> Value {
    let map = match value {
        Value::Object(map) => map,
        Value::Array(items) => return items.iter().map(|item| moved(item, at, false)).collect(),
        other => return other.clone(),
    };
    let one = |(key, value): (&String, &Value)| {
        let value = match (key.as_str(), value) {
            ("$ref", Value::String(to)) if !names && to.starts_with('#') => {
                format!("{at}{}", to[1..].trim_end_matches('/')).into()
            }
            ("const" | "enum" | "default" | "examples", value) if !names => value.clone(),
            ("properties" | "patternProperties" | "dependentSchemas" | "$defs" | "definitions", value) => {
                moved(value, at, !names)
            }
            (_, value) => moved(value, at, false),
        };
        (key.clone(), value)
    };
    map.iter().map(one).collect()
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn refused(why: &str) -> Error {
    Error::Constraint { why: why.to_owned() }
}

fn stuck(why: &str) -> Error {
    Error::DeadEnd { why: first_line(why) }
}

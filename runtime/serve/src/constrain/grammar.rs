//! Grammars by llguidance: which tokens keep an answer to a JSON schema, a regex or a grammar.
//!
//! In: a shape, then each token as it is chosen. Out: the tokens that may come. Invariant: it runs only in a process of the
//! sandbox, since some inputs take any amount of time, memory or stack. The one file that knows llguidance.

use std::sync::Arc;

use llguidance::api::{ParserLimits, TopLevelGrammar};
use llguidance::toktrie::{InferenceCapabilities, TokEnv, TokRxInfo, TokTrie, TokenizerEnv};
use llguidance::{Matcher, ParserFactory};
use serde::{Deserialize, Serialize};
use serde_json::{json, Map, Value};

use crate::constrain::schema::{defined, spaced};
use crate::constrain::Shape;
use qwenc_engine::error::{Error, Result};

/// Marks tokens that no text spells.
const SPECIAL: u8 = 0xff;

/// Grammars of one vocabulary.
pub struct Grammars {
    factory: ParserFactory,
    /// Ids of `<tool_call>` and `</tool_call>`.
    call: Option<(u32, u32)>,
}

/// Vocabulary as grammars need it.
#[derive(Serialize, Deserialize)]
pub struct Words {
    /// The bytes of every id.
    pub words: Vec<Vec<u8>>,
    /// Ids of control tokens, which no text spells.
    pub special: Vec<u32>,
    /// Ids that end answers; not empty.
    pub stop: Vec<u32>,
    /// Ids of `<tool_call>` and `</tool_call>`.
    pub call: Option<(u32, u32)>,
}

/// The state of one answer in its grammar.
pub struct Position {
    matcher: Matcher,
}

struct Vocabulary(TokTrie);

impl TokenizerEnv for Vocabulary {
    fn tok_trie(&self) -> &TokTrie {
        &self.0
    }

    fn tokenize_bytes(&self, text: &[u8]) -> Vec<u32> {
        // It is asked for tokens that are forced, which are not used here.
        self.0.greedy_tokenize(text)
    }

    fn tokenize_is_canonical(&self) -> bool {
        false
    }
}

impl Grammars {
    /// Grammars for a vocabulary.
    pub fn new(about: Words) -> Result<Grammars> {
        let Words { mut words, special, stop, call } = about;
        for id in special {
            if let Some(word) = words.get_mut(id as usize) {
                word.insert(0, SPECIAL);
            }
        }
        let Some(&first) = stop.first() else { return Err(refused("no stop token")) };
        let trie = TokTrie::from(&TokRxInfo::new(words.len() as u32, first), &words).with_eos_tokens(&stop);
        let vocabulary: TokEnv = Arc::new(Vocabulary(trie));
        let slices = llguidance::earley::SlicedBiasComputer::general_slices();
        let mut factory = ParserFactory::new(&vocabulary, InferenceCapabilities::default(), &slices)
            .map_err(|e| refused(&e.to_string()))?;
        factory.quiet();
        *factory.limits_mut() = ParserLimits { verbose_errors: false, ..ParserLimits::default() };
        Ok(Grammars { factory, call })
    }

    /// The beginning of an answer, and the tokens that may come first, one bit an id.
    pub fn start(&self, shape: &Shape) -> Result<(Position, Vec<u32>)> {
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
        let mask = matcher.compute_mask().map_err(|e| refused(&first_line(&e.to_string())))?;
        Ok((Position { matcher }, mask.as_slice().to_vec()))
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

impl Position {
    /// Goes on with `token`, which was allowed; gives the tokens that may follow. None: the answer is complete.
    pub fn push(&mut self, token: u32) -> Result<Option<Vec<u32>>> {
        self.matcher.consume_token(token).map_err(|e| refused(&first_line(&e.to_string())))?;
        if self.matcher.is_stopped() {
            return Ok(None);
        }
        let mask = self.matcher.compute_mask_or_eos().map_err(|e| refused(&first_line(&e.to_string())))?;
        Ok(Some(mask.as_slice().to_vec()))
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

fn refused(why: &str) -> Error {
    Error::Constraint { why: why.to_owned() }
}

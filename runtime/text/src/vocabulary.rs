//! Vocabularies as the tokenizers crate wants them.
//!
//! In: words. Out: their tokens. Invariant: a vocabulary is only read, so that several tokenizers can share one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use qwenc_bpe::{Bpe, Piece};
use serde::{Deserialize, Deserializer};
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::models::TrainerWrapper;
use tokenizers::{Model, ModelWrapper, Token};

/// The library's vocabulary, of several tokenizers.
#[derive(Clone)]
pub struct Shared(Arc<ModelWrapper>);

impl<'de> Deserialize<'de> for Shared {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Shared, D::Error> {
        ModelWrapper::deserialize(json).map(|model| Shared(Arc::new(model)))
    }
}

/// A vocabulary in tables.
#[derive(Clone)]
pub struct Plain(pub Bpe);

impl Model for Shared {
    type Trainer = TrainerWrapper;

    fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        self.0.tokenize(word)
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.0.token_to_id(token)
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.0.id_to_token(id)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        self.0.get_vocab()
    }

    fn get_vocab_size(&self) -> usize {
        self.0.get_vocab_size()
    }

    fn save(&self, folder: &Path, prefix: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        self.0.save(folder, prefix)
    }

    fn get_trainer(&self) -> TrainerWrapper {
        self.0.get_trainer()
    }
}

impl Model for Plain {
    type Trainer = BpeTrainer;

    fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        let mut end = 0;
        let token = |Piece { id, bytes }| {
            let start = end;
            end += bytes;
            Token::new(id, self.0.text(id).unwrap_or_default().to_owned(), (start, end))
        };
        Ok(self.0.encode(word).into_iter().map(token).collect())
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.0.id(token.as_bytes())
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.0.text(id).map(str::to_owned)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        (0..self.0.tokens() as u32).filter_map(|id| Some((self.id_to_token(id)?, id))).collect()
    }

    fn get_vocab_size(&self) -> usize {
        self.0.tokens()
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("a vocabulary in an executable is only read".into())
    }

    fn get_trainer(&self) -> BpeTrainer {
        BpeTrainer::default()
    }
}

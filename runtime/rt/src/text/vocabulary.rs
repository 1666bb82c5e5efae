//! Vocabularies as the tokenizers crate wants them.
//!
//! In: words. Out: their tokens. Invariant: a vocabulary is only read, so that several tokenizers can share one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Deserializer};
use tokenizers::models::bpe::BpeTrainer;
use tokenizers::{Model, Token};

use crate::text::bpe::{Bpe, Piece};

/// A vocabulary of several tokenizers.
pub struct Shared<M>(pub Arc<M>);

impl<M> Clone for Shared<M> {
    fn clone(&self) -> Shared<M> {
        Shared(Arc::clone(&self.0))
    }
}

impl<'de, M: Deserialize<'de>> Deserialize<'de> for Shared<M> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Shared<M>, D::Error> {
        M::deserialize(json).map(|model| Shared(Arc::new(model)))
    }
}

impl<M: Model> Model for Shared<M> {
    type Trainer = M::Trainer;

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

    fn get_trainer(&self) -> M::Trainer {
        self.0.get_trainer()
    }
}

impl Model for Bpe {
    type Trainer = BpeTrainer;

    fn tokenize(&self, word: &str) -> tokenizers::Result<Vec<Token>> {
        let mut end = 0;
        let token = |Piece { id, bytes }| {
            let start = end;
            end += bytes;
            Token::new(id, self.tokens.get(id).unwrap_or_default().to_owned(), (start, end))
        };
        Ok(self.encode(word).into_iter().map(token).collect())
    }

    fn token_to_id(&self, token: &str) -> Option<u32> {
        self.tokens.id(token.as_bytes())
    }

    fn id_to_token(&self, id: u32) -> Option<String> {
        self.tokens.get(id).map(str::to_owned)
    }

    fn get_vocab(&self) -> HashMap<String, u32> {
        (0..self.tokens.len() as u32).filter_map(|id| Some((self.id_to_token(id)?, id))).collect()
    }

    fn get_vocab_size(&self) -> usize {
        self.tokens.len()
    }

    fn save(&self, _: &Path, _: Option<&str>) -> tokenizers::Result<Vec<PathBuf>> {
        Err("a vocabulary in an executable is only read".into())
    }

    fn get_trainer(&self) -> BpeTrainer {
        BpeTrainer::default()
    }
}

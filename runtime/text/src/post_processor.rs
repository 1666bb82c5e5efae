//! Parts of tokenizer.json around the vocabulary: added tokens, normalizer, words, decoder. It is always the
//! library's own, with the vocabulary or without.
//!
//! In: tokenizer.json, whole or without its model. Out: the library's tokenizer. Invariant: of the same file both ways
//! give the same ids. Truncation and padding that were switched on when the file was saved are left out, as
//! transformers leaves them out unless a call asks for them.

use qwenc_bpe::Prepared;
use serde::Deserialize;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, TokenizerBuilder, TokenizerImpl};

use crate::vocabulary::{Plain, Shared};
use qwenc_engine::error::{Error, Result};

/// Version of tokenizer.json; there is no other yet.
const VERSION: &str = "1.0";

/// The library's tokenizer around a vocabulary.
pub type Around<M> =
    TokenizerImpl<M, NormalizerWrapper, PreTokenizerWrapper, PostProcessorWrapper, DecoderWrapper>;

/// A tokenizer.json without its model.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Rest {
    version: Option<String>,
    added_tokens: Vec<AddedToken>,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    post_processor: Option<PostProcessorWrapper>,
    decoder: Option<DecoderWrapper>,
}

/// Around tables of the image.
pub fn prepared(Prepared { bpe, rest }: Prepared) -> Result<Around<Plain>> {
    let rest: Rest = serde_json::from_slice(&rest).map_err(error)?;
    if let Some(version) = rest.version.filter(|version| version != VERSION) {
        return Err(Error::Tokenizer(format!("version {version}: expected {VERSION}")));
    }
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(Plain(bpe))
        .with_normalizer(rest.normalizer)
        .with_pre_tokenizer(rest.pre_tokenizer)
        .with_post_processor(rest.post_processor)
        .with_decoder(rest.decoder)
        .build()
        .map_err(error)?;
    tokenizer.add_tokens(rest.added_tokens).map_err(error)?;
    Ok(tokenizer)
}

/// Post-processor of a tokenizer.json of any kind.
pub fn by_the_library(json: &[u8]) -> Result<Around<Shared>> {
    let mut tokenizer: Around<Shared> = serde_json::from_slice(json).map_err(error)?;
    tokenizer.with_padding(None).with_truncation(None).map_err(error)?;
    Ok(tokenizer)
}

fn error(e: impl ToString) -> Error {
    Error::Tokenizer(e.to_string())
}

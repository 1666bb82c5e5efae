//! `logits`: the model's output at every position, as a file.
//!
//! In: ids or a text. Out: a safetensors file with "logits" F32 `[T, vocab_rows]` and "tokens" I32
//! `[T]`, and if asked the activations that the code leaves in memory. Invariant: the file appears whole under its name or
//! not at all. Activations are kept until the end.
//! The KV cache is f32 unless a flag says otherwise: the file is for comparison.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use qwenc_abi::KvType;
use qwenc_files::Staged;
use safetensors::tensor::{Metadata, TensorInfo};
use safetensors::Dtype;

use crate::cli::Logits;
use crate::commands::opened::{Opened, Use};
use qwenc_engine::error::{Error, Result};
use qwenc_engine::inference::session::Session;
use qwenc_engine::inference::step::Wanted;
use qwenc_engine::program::Program;

/// Runs the command.
///
/// # Safety
/// As for [`Opened::engine`].
pub unsafe fn run(program: &Program, weights: Option<&Path>, args: &Logits) -> Result<()> {
    let opened = Opened::new(program, weights)?;
    let tokens = match &args.prompt {
        Some(text) => opened.text("read a text prompt")?.encode_prompt(text)?,
        None => args.tokens.clone(),
    };
    if tokens.is_empty() {
        return Err(Error::Usage("the prompt is empty; give a text or --tokens 1,2,3".into()));
    }
    let same =
        |path: &Path| matches!((path.canonicalize(), args.out.canonicalize()), (Ok(a), Ok(b)) if a == b);
    if same(&program.executable) || opened.image.as_ref().is_some_and(|image| same(image.path())) {
        let what = format!("--out {} is this program or its weights; give another file", args.out.display());
        return Err(Error::Usage(what));
    }
    let kv = args.machine.kv().unwrap_or(KvType::F32);
    let wanted = Use { outputs: tokens.len(), sequences: 1, kv };
    // SAFETY: by the caller's promise.
    let mut engine = unsafe { opened.engine(program, &args.machine, wanted)? };
    tokens.iter().try_for_each(|&t| engine.check_token(t))?;
    if args.activations {
        let places = opened.metadata().activations.as_deref();
        engine.record(places.ok_or_else(unnamed)?)?;
    }
    let mut session = Session::new(&engine, args.machine.context, kv)?;
    session.adapt(opened.adapter(&args.adapter)?);
    let mut file = Partial::create(&args.out)?;
    file.write(&header(tokens.len(), engine.sizes().vocab_rows as usize, &engine.recording())?)?;
    let mut bytes = Vec::new();
    session.feed(&mut engine, &tokens, Wanted::All, |_, logits| {
        bytes.clear();
        bytes.extend(logits.iter().flat_map(|x| x.to_le_bytes()));
        file.write(&bytes)
    })?;
    let ids: Vec<u8> = tokens.iter().flat_map(|&t| (t as i32).to_le_bytes()).collect();
    file.write(&ids)?;
    for recorded in engine.recorded() {
        bytes.clear();
        bytes.extend(recorded.values.iter().flat_map(|x| x.to_le_bytes()));
        file.write(&bytes)?;
    }
    file.finish()
}

fn unnamed() -> Error {
    Error::Usage("--activations: the image's metadata names none; compile again".into())
}

/// The part of a safetensors file before its data.
fn header(tokens: usize, rows: usize, activations: &[(String, usize)]) -> Result<Vec<u8>> {
    let refused = |reason: String| Error::Encode { what: "the safetensors header", reason };
    let mut end = 0;
    let mut tensor = |dtype, shape: Vec<usize>| {
        let start = end;
        end += 4 * shape.iter().product::<usize>();
        TensorInfo { dtype, shape, data_offsets: (start, end) }
    };
    let mut tensors = vec![
        ("logits".to_owned(), tensor(Dtype::F32, vec![tokens, rows])),
        ("tokens".to_owned(), tensor(Dtype::I32, vec![tokens])),
    ];
    for (name, columns) in activations {
        tensors.push((name.clone(), tensor(Dtype::F32, vec![tokens, *columns])));
    }
    let metadata = Metadata::new(None, tensors).map_err(|e| refused(e.to_string()))?;
    let mut json = serde_json::to_vec(&metadata).map_err(|e| refused(e.to_string()))?;
    // Data begins at a multiple of 8.
    json.resize(json.len().next_multiple_of(8), b' ');
    let mut out = (json.len() as u64).to_le_bytes().to_vec();
    out.extend(json);
    Ok(out)
}

/// A file being written, which appears when it is whole. What is no regular file (a pipe, a device) cannot be
/// replaced and is written directly.
pub(super) struct Partial {
    file: BufWriter<Sink>,
    path: PathBuf,
}

enum Sink {
    Staged(Staged),
    Direct(File),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Sink::Staged(staged) => staged.file().write(bytes),
            Sink::Direct(file) => file.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Partial {
    pub(super) fn create(path: &Path) -> Result<Partial> {
        if path.file_name().is_none() {
            return Err(Error::Usage(format!("{}: expected the name of a file", path.display())));
        }
        let sink = match path.metadata().is_ok_and(|m| !m.is_file()) {
            true => OpenOptions::new().write(true).open(path).map(Sink::Direct),
            false => Staged::create(path).map(Sink::Staged),
        };
        let file = BufWriter::with_capacity(1 << 20, sink.map_err(Error::file("create", path))?);
        Ok(Partial { file, path: path.into() })
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(Error::file("write", &self.path))
    }

    pub(super) fn finish(self) -> Result<()> {
        let sink = self.file.into_inner().map_err(|e| Error::file("write", &self.path)(e.into_error()))?;
        match sink {
            Sink::Staged(staged) => staged.finish().map_err(Error::file("write", &self.path)),
            Sink::Direct(_) => Ok(()),
        }
    }
}

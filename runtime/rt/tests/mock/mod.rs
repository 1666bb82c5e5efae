//! A model in Rust behind the interface of generated code, and executables made of it.
//!
//! In: a table "after token t comes table[t]", a tokenizer, metadata. Out: files and outcomes of
//! commands. Invariant: logits depend on the whole sequence, through KV memory and scratch, so that
//! a lost, repeated or misplaced token shows, and on the type of the cache; rows from `KNOWN` on have the
//! largest logits of all.

#![allow(dead_code, clippy::unwrap_used)]

use std::ffi::OsString;
use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use qwenc_abi::{Footer, Hidden, Identity, ModelInfo, Row, Section, StepArgs, ABI_VERSION, FOOTER_BYTES};
use qwenc_rt::console::Console;
use qwenc_rt::program::{Code, Program};
use qwenc_rt::run::run;
use sha2::{Digest, Sha256};

/// Vocabulary rows of the mock with the small tokenizer, of which the last two are padding.
pub const ROWS: usize = 2048;
pub const KNOWN: usize = 2046;
pub const IM_END: u32 = 2039;
pub const END_OF_TEXT: u32 = 2037;
pub const CONTEXT: u32 = 300;
/// Bytes of cache per position, by the number of its type.
pub const KV_BYTES: [u64; 3] = [64, 32, 24];

pub fn model() -> ModelInfo {
    info(step::<ROWS, ROWS>, ROWS, ROWS)
}

/// 20 rows padded to 32.
pub fn tiny() -> ModelInfo {
    info(step::<20, 32>, 20, 32)
}

fn info(step: qwenc_abi::StepFn, rows: usize, stride: usize) -> ModelInfo {
    let features = b"sse2";
    ModelInfo {
        abi_version: ABI_VERSION,
        vocab_rows: rows as u32,
        logits_stride: stride as u32,
        layers: 1,
        max_context: CONTEXT,
        kv_heads: 1,
        kv_head_dim: 8,
        step,
        weights_bytes: 4 * rows as u64,
        kv_bytes_per_position: KV_BYTES,
        arena_counters: 64,
        arena_per_row: 16,
        arena_per_thread: 8,
        features: features.as_ptr(),
        features_len: features.len() as u64,
        hidden: Hidden { offset: 8, row_bytes: 8, width: 2, gain: u64::MAX },
    }
}

unsafe extern "C" fn step<const R: usize, const STRIDE: usize>(args: *const StepArgs, thread: u64) {
    let a = &*args;
    let mine = |i: usize| i as u64 % a.threads == thread;
    assert!(a.n_rows >= 1 && a.n_rows <= a.max_rows && a.kv_capacity.is_multiple_of(16));
    let rows = std::slice::from_raw_parts(a.rows, a.n_rows as usize);
    for (i, row) in rows.iter().enumerate().filter(|(i, _)| mine(*i)) {
        assert!(i == 0 || row.kv != rows[i - 1].kv || row.position == rows[i - 1].position + 1);
        assert!(u64::from(row.position) < a.kv_capacity && (row.token as usize) < R);
        let at = place(a, row.position as usize);
        row.kv.add(at.key).write(row.token as u8);
        row.kv.add(at.value).cast::<u16>().write(row.token as u16 + 1);
        at.scale.iter().for_each(|&scale| row.kv.add(scale).cast::<u32>().write(row.token as u32));
        let state = a.arena.add((64 * a.threads + 8 * a.max_rows) as usize + 8 * i);
        state.cast::<[f32; 2]>().write([row.token as f32 + 1.0, row.position as f32 + 1.0]);
    }
    (a.barrier)(a.barrier_data);
    let outputs = std::slice::from_raw_parts(a.outputs, a.n_outputs as usize);
    let states = a.arena.add(64).cast::<u64>();
    for (i, &output) in outputs.iter().enumerate().filter(|(i, _)| mine(*i)) {
        states.add(i).write(history(&rows[output as usize], a));
    }
    (a.barrier)(a.barrier_data);
    for (i, &output) in outputs.iter().enumerate() {
        let next = *a.weights.cast::<u32>().add(rows[output as usize].token as usize);
        for token in (0..STRIDE).filter(|&t| mine(t)) {
            let logit = match token {
                t if t >= R => f32::NAN,
                t if t >= KNOWN => 100.0,
                t if t == next as usize => 12.0,
                t => (mix(*states.add(i), t as u64) >> 40) as f32 / (1u64 << 24) as f32,
            };
            a.logits.add(i * STRIDE + token).write(logit);
        }
    }
    (a.barrier)(a.barrier_data);
}

unsafe extern "C" fn slow_step(args: *const StepArgs, thread: u64) {
    let pause = *(*args).weights.cast::<u32>().add(ROWS);
    std::thread::sleep(std::time::Duration::from_micros(pause.into()));
    step::<ROWS, ROWS>(args, thread);
}

unsafe fn history(row: &Row, a: &StepArgs) -> u64 {
    (0..=row.position as usize).fold(7 + a.kv_type, |h, p| {
        let at = place(a, p);
        let stored = u64::from(row.kv.add(at.value).cast::<u16>().read());
        assert_ne!(stored, 0, "position {p} was never written");
        assert_eq!(row.kv.add(at.key).read(), (stored - 1) as u8, "the key of position {p}");
        assert!(at.scale.iter().all(|&s| u64::from(row.kv.add(s).cast::<u32>().read()) + 1 == stored));
        mix(h, stored)
    })
}

/// Offsets of a position's key, value and scales in a cache of one layer with one head of 8 elements.
struct Place {
    /// Offset of the key's last element.
    key: usize,
    value: usize,
    scale: Vec<usize>,
}

fn place(a: &StepArgs, position: usize) -> Place {
    let (capacity, bytes) = (a.kv_capacity as usize, [4, 2, 1][a.kv_type as usize]);
    let (values, scales) = (capacity * 8 * bytes, capacity * 16 * bytes);
    let key = bytes * (position / 16 * 16 * 8 + 7 * 16 + position % 16);
    let scale = [scales + 4 * position, scales + 4 * capacity + 4 * position];
    // Two bytes of a position's value; those of two positions in bf16 lie element by element.
    let value = match bytes {
        2 => values + 32 * (position / 2) + 28 + 2 * (position % 2),
        _ => values + 8 * bytes * position + 6,
    };
    let scale = if bytes == 1 { scale.to_vec() } else { Vec::new() };
    Place { key, value, scale }
}

fn mix(a: u64, b: u64) -> u64 {
    let x = (a ^ b.wrapping_mul(0x9e37_79b9_7f4a_7c15)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x ^ (x >> 29)
}

/// A model whose steps take this long, and its table.
pub fn slow_model(step: std::time::Duration) -> (ModelInfo, Vec<u32>) {
    // Pauses are the model's: the table is one word longer than the vocabulary.
    let mut model = model();
    model.step = slow_step;
    model.weights_bytes += 4;
    let mut table = free(ROWS);
    table.push(step.as_micros() as u32);
    (model, table)
}

/// A table in which nothing follows anything: then the history alone decides.
pub fn free(rows: usize) -> Vec<u32> {
    vec![u32::MAX; rows]
}

/// A table in which each of `ids` is followed by the next.
pub fn chain(ids: &[u32]) -> Vec<u32> {
    let mut table = free(ROWS);
    for pair in ids.windows(2) {
        table[pair[0] as usize] = pair[1];
    }
    table
}

pub fn bytes_of(table: &[u32]) -> Vec<u8> {
    // The mapping of an image is page-aligned; a Vec of words is aligned enough for the mock.
    table.iter().flat_map(|t| t.to_le_bytes()).collect()
}

pub fn data(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
    let bytes = std::fs::read(path).unwrap();
    if !name.ends_with(".gz") {
        return bytes;
    }
    let mut out = Vec::new();
    flate2::read::GzDecoder::new(&bytes[..]).read_to_end(&mut out).unwrap();
    out
}

/// Tables that the compiler makes of a tokenizer.json among the data.
pub fn tokenizer(name: &str) -> Vec<u8> {
    qwenc_bpe::prepare(&data(&format!("{name}-tokenizer.json.gz"))).unwrap()
}

pub fn metadata() -> serde_json::Value {
    serde_json::json!({
        "model": {"name": "mock", "architecture": "Mock", "layers": 1, "weight_type": "f32"},
        "chat_template": String::from_utf8(data("qwen3-chat-template.jinja")).unwrap(),
        "sampling": {"temperature": 0.0},
        "stop_tokens": [IM_END, END_OF_TEXT],
    })
}

/// An executable (its code is a page of zeros) in a folder of its own.
pub struct Executable {
    pub folder: tempfile::TempDir,
    pub path: PathBuf,
    pub image: Vec<u8>,
    pub model: ModelInfo,
    pub identity: Identity,
}

pub struct Outcome {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Executable {
    pub fn new(
        model: ModelInfo,
        table: &[u32],
        tokenizer: &[u8],
        metadata: &serde_json::Value,
    ) -> Executable {
        Executable::of_code([3; 32], model, table, tokenizer, metadata)
    }

    pub fn of_code(
        code_id: [u8; 32],
        model: ModelInfo,
        table: &[u32],
        tokenizer: &[u8],
        metadata: &serde_json::Value,
    ) -> Executable {
        let (weights, metadata) = (bytes_of(table), metadata.to_string());
        let mut image = [&weights, tokenizer, metadata.as_bytes()].concat();
        let identity = Identity { code_id, weights_id: Sha256::digest(&image).into() };
        // Padding, which the compiler writes up to a whole page.
        image.extend([0; 8]);
        let section = |offset: usize, bytes: usize| Section { offset: offset as u64, bytes: bytes as u64 };
        let footer = Footer {
            image_bytes: (image.len() + FOOTER_BYTES) as u64,
            weights: section(0, weights.len()),
            tokenizer: section(weights.len(), tokenizer.len()),
            metadata: section(weights.len() + tokenizer.len(), metadata.len()),
            identity,
        };
        image.extend(footer.encode());
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mock");
        let executable = Executable { folder, path, image, model, identity };
        executable.embed();
        executable
    }

    /// With the small tokenizer; `table` says what follows what.
    pub fn talking(table: &[u32]) -> Executable {
        Executable::new(model(), table, &tokenizer("nano"), &metadata())
    }

    /// One whose steps take this long, in which nothing follows anything.
    pub fn slow(step: std::time::Duration) -> Executable {
        let (model, table) = slow_model(step);
        Executable::new(model, &table, &tokenizer("nano"), &metadata())
    }

    /// Writes the executable with the image at its end.
    pub fn embed(&self) {
        std::fs::write(&self.path, [&[0; 4096], &self.image[..]].concat()).unwrap();
    }

    pub fn run(&self, args: &[&str]) -> Outcome {
        self.run_with(args, "")
    }

    pub fn run_with(&self, args: &[&str], input: &str) -> Outcome {
        self.run_as(Code::Cpu(&self.model), args, input)
    }

    pub fn run_as(&self, code: Code, args: &[&str], input: &str) -> Outcome {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = self.run_code(code, args, input, &mut out, &mut err);
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { code, out: text(out), err: text(err) }
    }

    pub fn run_into(
        &self,
        args: &[&str],
        input: &str,
        output: &mut dyn std::io::Write,
        errors: &mut dyn std::io::Write,
    ) -> i32 {
        self.run_code(Code::Cpu(&self.model), args, input, output, errors)
    }

    fn run_code(
        &self,
        code: Code,
        args: &[&str],
        input: &str,
        output: &mut dyn std::io::Write,
        errors: &mut dyn std::io::Write,
    ) -> i32 {
        let program = Program { code, identity: &self.identity, executable: self.path.clone() };
        let args: Vec<OsString> = ["mock"].iter().chain(args).map(Into::into).collect();
        let mut input = Cursor::new(input.as_bytes().to_vec());
        let mut console = Console {
            input: &mut input,
            output,
            errors,
            input_is_terminal: false,
            output_is_terminal: false,
            errors_is_terminal: false,
            quiet: false,
        };
        // SAFETY: the mock keeps to the contract.
        unsafe { run(&program, Some(qwenc_rt::commands::serve::run), &args, &mut console) }
    }
}

impl Outcome {
    /// The output of a command that succeeded.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}", self.err);
        self.out
    }

    /// The message of a command that failed with `code`.
    pub fn refused(self, code: i32) -> String {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.err.starts_with("error: "), "{}", self.err);
        self.err
    }
}

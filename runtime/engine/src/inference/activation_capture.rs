//! Activations of steps, copied while the threads wait.
//!
//! In: where they are, as the image's metadata says, and generated code's calls after each kernel. Out: values by name.
//! Invariant: nothing outside of the rows of the arena is read, whatever the metadata says: it is checked first.

use std::ffi::c_void;

use qwenc_abi::metadata::Activation;
use qwenc_abi::ModelInfo;

use crate::error::{Error, Result};

/// An activation of all rows so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// `layer.0.q_proj`.
    pub name: String,
    /// Values of a row.
    pub columns: usize,
    /// `[rows, columns]`.
    pub values: Vec<f32>,
}

/// Records of activations of every step.
pub struct Recorder {
    /// Places of activations, each with the index of its first record; one for each layer follows.
    places: Vec<(Activation, usize)>,
    records: Vec<Recorded>,
}

/// A step that is being recorded.
pub(crate) struct Watch<'a> {
    pub recorder: &'a mut Recorder,
    pub arena: *const u8,
    /// Bytes of the arena before its rows.
    pub counters: u64,
    /// Rows that the arena was sized for.
    pub max_rows: u64,
    /// Rows of the step.
    pub rows: usize,
}

impl Recorder {
    /// For code with these sizes.
    pub fn new(model: &ModelInfo, places: &[Activation]) -> Result<Recorder> {
        let mut recorder = Recorder { places: Vec::new(), records: Vec::new() };
        for place in places {
            check(model, place)?;
            recorder.places.push((place.clone(), recorder.records.len()));
            let names = match &place.layers {
                Some(layers) => layers.iter().map(|layer| format!("layer.{layer}.{}", place.name)).collect(),
                None => vec![place.name.clone()],
            };
            let columns = place.columns as usize;
            let empty = |name| Recorded { name, columns, values: Vec::new() };
            recorder.records.extend(names.into_iter().map(empty));
        }
        Ok(recorder)
    }

    /// Name and width of every record.
    pub fn shapes(&self) -> Vec<(String, usize)> {
        self.records.iter().map(|r| (r.name.clone(), r.columns)).collect()
    }

    /// Recorded activations in the order of the metadata, layer by layer.
    pub fn into_records(self) -> Vec<Recorded> {
        self.records
    }
}

/// Whether a place lies within the rows of the arena.
fn check(model: &ModelInfo, place: &Activation) -> Result<()> {
    let end = place.offset.checked_add(place.row_bytes);
    let columns = place.first.checked_add(place.columns).and_then(|n| n.checked_mul(4));
    let inside = end.is_some_and(|end| end <= model.arena_per_row)
        && columns.is_some_and(|bytes| bytes <= place.row_bytes)
        && place.offset.is_multiple_of(4)
        && place.row_bytes.is_multiple_of(4);
    match inside {
        true => Ok(()),
        false => Err(Error::Usage(format!(
            "--activations: the image's metadata has {} where this code has no memory; compile again",
            place.name
        ))),
    }
}

impl Watch<'_> {
    /// Generated code's call after a kernel.
    ///
    /// # Safety
    /// `data` must be a `*mut Watch` that no other thread uses, whose arena is as large as its `max_rows` asks; no thread may
    /// write to the arena meanwhile.
    pub(crate) unsafe extern "C" fn observe(data: *mut c_void, kernel: u64, layer: u64) {
        // SAFETY: by the caller's promise.
        let watch = unsafe { &mut *data.cast::<Watch>() };
        let Recorder { places, records } = &mut *watch.recorder;
        for (place, record) in places.iter().filter(|(place, _)| place.kernel == kernel) {
            let index = match &place.layers {
                Some(layers) => layers.iter().position(|&one| one == layer),
                None => Some(0),
            };
            let Some(record) = index.and_then(|index| records.get_mut(record + index)) else { continue };
            let begin = watch.counters + watch.max_rows * place.offset + 4 * place.first;
            for row in 0..watch.rows as u64 {
                let at = (begin + row * place.row_bytes) as usize;
                // SAFETY: `check` has seen that the columns lie within a row and the rows within the arena, which is
                // 64-byte aligned; offsets are multiples of 4, and every pattern of bits is a float.
                let values = unsafe {
                    std::slice::from_raw_parts(watch.arena.add(at).cast::<f32>(), place.columns as usize)
                };
                record.values.extend_from_slice(values);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    extern "C" fn nothing(_: *const qwenc_abi::StepArgs, _: u64) {}

    fn model() -> ModelInfo {
        ModelInfo {
            abi_version: qwenc_abi::ABI_VERSION,
            vocab_rows: 4,
            logits_stride: 32,
            layers: 3,
            max_context: 8,
            kv_heads: 1,
            kv_head_dim: 8,
            step: nothing,
            weights_bytes: 0,
            kv_bytes_per_position: [0; 3],
            arena_counters: 64,
            arena_per_row: 32,
            arena_per_thread: 0,
            features: std::ptr::null(),
            features_len: 0,
            hidden: qwenc_abi::Hidden::default(),
        }
    }

    fn place(name: &str, kernel: u64, layers: Option<Vec<u64>>) -> Activation {
        Activation { name: name.into(), kernel, layers, offset: 16, row_bytes: 16, first: 1, columns: 2 }
    }

    #[test]
    fn rows_and_layers_are_told_apart() {
        let groups = [vec![0, 2], vec![1]].map(Some);
        let [even, odd] = groups;
        let places = [place("embed", 0, None), place("out", 1, even), place("out", 2, odd)];
        let mut recorder = Recorder::new(&model(), &places).unwrap();
        // Two threads' counters; 3 rows at most, of two buffers of 4 floats each.
        let mut arena = vec![0f32; 32 + 3 * 8];
        arena.iter_mut().enumerate().for_each(|(i, v)| *v = i as f32);
        let mut watch = Watch {
            recorder: &mut recorder,
            arena: arena.as_ptr().cast(),
            counters: 128,
            max_rows: 3,
            rows: 2,
        };
        for (kernel, layer) in [(0, 0), (1, 0), (2, 1), (1, 2), (1, 1), (3, 0)] {
            // SAFETY: the arena is as large as that.
            unsafe { Watch::observe((&raw mut watch).cast(), kernel, layer) };
        }
        let first = (32 + 3 * 4 + 1) as f32;
        let expected = [first, first + 1.0, first + 4.0, first + 5.0];
        let records = recorder.into_records();
        assert_eq!(
            records.iter().map(|r| r.name.as_str()).collect::<Vec<_>>(),
            ["embed", "layer.0.out", "layer.2.out", "layer.1.out"]
        );
        assert!(records.iter().all(|r| r.columns == 2 && r.values == expected), "{records:?}");
    }

    #[test]
    fn places_outside_of_the_arena_are_refused() {
        let wrong: [fn(&mut Activation); 5] = [
            |p| p.offset = 32,
            |p| p.offset = u64::MAX - 15,
            |p| p.columns = 4,
            |p| p.columns = u64::MAX / 2,
            |p| p.offset = 3,
        ];
        for change in wrong {
            let mut place = place("out", 1, Some(vec![0]));
            change(&mut place);
            let said = Recorder::new(&model(), &[place]).err().expect("it must be refused").to_string();
            assert!(said.contains("out where this code has no memory"), "{said}");
        }
    }
}

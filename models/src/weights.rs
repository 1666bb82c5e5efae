//! Places and forms of a checkpoint's tensors.
//!
//! In: mapped files and a table of places, made by a reader. Out: tensors by name, rows of them in the form of a
//! model.bin. Invariant: every range of a [`Place`] is inside its file and exactly as long as shape and packing
//! say; rows are unpacked when they are asked for, so that nothing large is kept.

use std::borrow::Cow;
use std::collections::HashMap;

use qwenc_formats::DType;

use crate::files::Bytes;
use crate::packing::Packing;
use crate::payload::Entry;
use crate::stored_types::scales_name;

/// The order of a matrix's rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The order of transformers.
    Usual,
    /// Rows of each head of `head_dim` in pairs that RoPE rotates together: i beside i + head_dim / 2.
    Pairs { head_dim: usize },
}

impl Order {
    /// Stored position of row `r` of the usual order.
    fn source(self, r: usize) -> usize {
        match self {
            Order::Usual => r,
            Order::Pairs { head_dim } => {
                let (head, i, half) = (r / head_dim, r % head_dim, head_dim / 2);
                head * head_dim + 2 * (i % half) + i / half
            }
        }
    }
}

/// Form of stored bytes: packing and order of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub packing: Packing,
    pub order: Order,
}

/// Bytes that need no change.
pub(crate) const PLAIN: Form = Form { packing: Packing::Plain, order: Order::Usual };

/// Place of a tensor.
pub(crate) struct Place {
    /// Index in [`Weights::files`].
    pub file: usize,
    /// Type and shape of the unpacked rows; the range is that of the stored bytes.
    pub entry: Entry,
    pub form: Form,
    /// Format of integers whose scales are beside them, and of rows of blocks.
    pub format: Option<DType>,
}

/// Files and the tensors in them.
#[derive(Default)]
pub(crate) struct Weights {
    /// File name and bytes.
    pub files: Vec<(String, Bytes)>,
    pub tensors: HashMap<String, Place>,
}

/// A tensor as stored.
#[derive(Clone, Copy)]
pub(crate) struct Stored<'a> {
    pub entry: &'a Entry,
    /// Before [`Form`] is applied.
    pub raw: &'a [u8],
    pub form: Form,
}

impl Weights {
    pub fn find(&self, name: &str) -> Option<Stored<'_>> {
        let place = self.tensors.get(name)?;
        let raw = &self.files[place.file].1[place.entry.range.clone()];
        Some(Stored { entry: &place.entry, raw, form: place.form })
    }

    /// Adds a tensor of the first file.
    pub fn add(&mut self, name: &str, entry: Entry, form: Form) {
        self.tensors.insert(name.to_string(), Place { file: 0, entry, form, format: None });
    }

    /// Adds a tensor of the first file whose rows are blocks.
    pub fn add_blocks(&mut self, name: &str, dtype: DType, entry: Entry, form: Form) {
        self.tensors.insert(name.to_string(), Place { file: 0, entry, form, format: Some(dtype) });
    }

    /// Adds integers and scales of the first file: two tensors, as in a model.bin.
    pub fn add_quantised(
        &mut self,
        name: &str,
        dtype: DType,
        integers: (Entry, Form),
        scales: (Entry, Form),
    ) {
        let (entry, form) = integers;
        self.tensors.insert(name.to_string(), Place { file: 0, entry, form, format: Some(dtype) });
        self.add(&scales_name(name), scales.0, scales.1);
    }
}

impl<'a> Stored<'a> {
    /// A tensor whose bytes are as a model.bin has them.
    pub fn plain(entry: &'a Entry, raw: &'a [u8]) -> Stored<'a> {
        Stored { entry, raw, form: PLAIN }
    }

    /// Rows: the first axis of a matrix; a vector is one.
    pub fn row_count(&self) -> usize {
        match self.entry.shape.as_slice() {
            [rows, _] => *rows,
            _ => 1,
        }
    }

    /// Everything, unpacked.
    pub fn bytes(&self) -> Cow<'a, [u8]> {
        self.rows(0, self.row_count())
    }

    /// Rows `from` to `to`, unpacked; fewer where there are not so many.
    pub fn rows(&self, from: usize, to: usize) -> Cow<'a, [u8]> {
        let count = self.row_count();
        let (to, each) = (to.min(count), self.raw.len() / count.max(1));
        if self.form == PLAIN {
            return Cow::Borrowed(self.raw.get(from * each..to * each).unwrap_or_default());
        }
        let mut out = Vec::new();
        for row in from..to {
            let at = self.form.order.source(row) * each;
            self.form.packing.unpack(self.raw.get(at..at + each).unwrap_or_default(), &mut out);
        }
        Cow::Owned(out)
    }
}

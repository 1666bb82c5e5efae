//! The plan as data. In: made by [`lower`](crate::lower()) or parsed from text. Out: read by backends.

use std::fmt;
use std::ops::Range;

use qwenc_formats::{Inputs, PANEL_ROWS};
use qwenc_ir::{Dims, Eps, Graph, Layers, Rope, WeightDecl};

use crate::segment::{Home, Segment, SegmentId};

/// A row of [`Plan::buffers`]; prints as `b0`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

impl fmt::Display for BufferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b{}", self.0)
    }
}

impl fmt::Debug for BufferId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Memory of a step: a row per token. Row `r` begins at `max_rows · offset + r · row_bytes` of the rows' part of the arena.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// Name of the content, for people.
    pub name: String,
    /// Meaningful f32 columns; 0 for scratch memory, whose layout is the target's.
    pub width: u32,
    /// Bytes from one row to the next; a multiple of 128.
    pub row_bytes: u64,
    /// See above; a multiple of 128.
    pub offset: u64,
    /// First and last kernel that touch it, in the order prologue, block, head.
    pub live: (u32, u32),
}

/// Destination of a linear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dest {
    /// A row per token of the step.
    Buffer(BufferId),
    /// `StepArgs::logits`, a row per wanted output.
    Logits,
}

/// Token rows of the embedding to the residual stream, and this step's cosines and sines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Embed {
    /// The embedding, as panels.
    pub table: SegmentId,
    /// `[T, D]`.
    pub out: BufferId,
    /// `[T, head_dim]`: half cosines, half sines.
    pub rope: BufferId,
}

/// `out = epilogue(prologue(input) · weightᵀ + bias)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Linear {
    /// `[T, cols]`.
    pub input: BufferId,
    /// RMSNorm prologue.
    pub norm: Option<Eps>,
    /// Gain of the norm, where it is not in the packed weight.
    pub gain: Option<SegmentId>,
    /// `[rows, cols]` as panels; paired for SwiGLU.
    pub weight: SegmentId,
    /// `[rows]`.
    pub bias: Option<SegmentId>,
    /// Added to the result; the destination buffer itself.
    pub residual: Option<BufferId>,
    /// The form in which inputs meet the weights.
    pub inputs: Inputs,
    /// Whether rows are gate and up, to be joined as `silu(gate) · up`.
    pub swiglu: bool,
    /// Scratch memory for each row, as much as the target asked for; none if it needs none.
    pub scratch: Option<BufferId>,
    /// Result.
    pub out: Dest,
    /// Column of the result that the first row of the weight makes: not 0 where rows of other formats make those before.
    pub first: u32,
}

/// q/k norm and RoPE in place on q; k rotated and v copied to the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrepareQkv {
    /// `[T, (H+2K)·h]`; its first `H·h` columns are rotated in place.
    pub qkv: BufferId,
    /// Cosines and sines.
    pub rope: BufferId,
    /// Epsilon of both norms.
    pub eps: Eps,
    /// `[h]`.
    pub q_gain: Option<SegmentId>,
    /// `[h]`.
    pub k_gain: Option<SegmentId>,
}

/// Streaming attention over the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// Rotated q in its first columns.
    pub q: BufferId,
    /// `[T, H·h]`.
    pub out: BufferId,
}

/// Columns in blocks of `rank`, of which block b belongs to adapter `b mod adapters`: those that are not of the
/// token's adapter become 0, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SelectAdapter {
    /// `[T, m·adapters·rank]`.
    pub columns: BufferId,
    /// Columns of a block.
    pub rank: u32,
    /// Adapters that take turns.
    pub adapters: u32,
}

/// `silu(gate) · up` of values that a linear could not join itself, because something was added to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Swiglu {
    /// `[T, 2F]`: gate, then up.
    pub input: BufferId,
    /// `[T, F]`.
    pub out: BufferId,
}

/// One stage; it begins when all of the stage before it is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// See [`Embed`].
    Embed(Embed),
    /// See [`Linear`].
    Linear(Linear),
    /// See [`PrepareQkv`].
    PrepareQkv(PrepareQkv),
    /// See [`Attention`].
    Attention(Attention),
    /// See [`SelectAdapter`].
    SelectAdapter(SelectAdapter),
    /// See [`Swiglu`].
    Swiglu(Swiglu),
}

impl Kernel {
    /// The kernel's name in the text form and in generated code.
    pub fn name(&self) -> &'static str {
        match self {
            Kernel::Embed(_) => "embed",
            Kernel::PrepareQkv(_) => "prepare_qkv",
            Kernel::Attention(_) => "attention",
            Kernel::SelectAdapter(_) => "select_adapter",
            Kernel::Swiglu(_) => "join_swiglu",
            Kernel::Linear(l) => match (l.norm.is_some(), l.swiglu, l.residual.is_some()) {
                (true, true, _) => "norm_swiglu",
                (false, true, _) => "swiglu",
                (true, false, false) => "norm_linear",
                (true, false, true) => "norm_linear_add",
                (false, false, true) => "linear_add",
                (false, false, false) => "linear",
            },
        }
    }
}

/// Layer group: layers that run the same kernels, each with a record of weights in the image.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerGroup {
    /// The layers.
    pub layers: Layers,
    /// Sliding window in tokens; none: a token attends to all before it.
    pub window: Option<u32>,
    /// Bytes of a layer's record; a multiple of a page.
    pub record_bytes: u64,
    /// Run for each of its layers.
    pub block: Vec<Kernel>,
}

/// Input of a backend: kernels in order, with all memory placed.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The model's name.
    pub name: String,
    /// Sizes.
    pub dims: Dims,
    /// Rotary embedding.
    pub rope: Rope,
    /// Stored tensors that segments refer to.
    pub weights: Vec<WeightDecl>,
    /// Packed weights.
    pub segments: Vec<Segment>,
    /// Offset of the first layer's record in the image; page-aligned.
    pub layers_offset: u64,
    /// Bytes of the packed image.
    pub weights_bytes: u64,
    /// Scratch memory.
    pub buffers: Vec<Buffer>,
    /// Arena bytes per row of the step.
    pub row_bytes: u64,
    /// Place of the last hidden state.
    pub hidden: LastHiddenState,
    /// Run once, first.
    pub prologue: Vec<Kernel>,
    /// Every layer is in one group; in the order of their first layers.
    pub groups: Vec<LayerGroup>,
    /// Run once, last, if logits are wanted.
    pub head: Vec<Kernel>,
}

impl Plan {
    /// The model's header, and nothing planned yet.
    pub(crate) fn of_model(graph: &Graph) -> Plan {
        Plan {
            name: graph.name.clone(),
            dims: graph.dims,
            rope: graph.rope,
            weights: graph.weights.clone(),
            segments: Vec::new(),
            layers_offset: 0,
            weights_bytes: 0,
            buffers: Vec::new(),
            row_bytes: 0,
            hidden: LastHiddenState { state: BufferId(0), gain: None },
            prologue: Vec::new(),
            groups: Vec::new(),
            head: Vec::new(),
        }
    }

    /// The segment; the id must be of this plan.
    pub fn segment(&self, id: SegmentId) -> &Segment {
        &self.segments[id.0 as usize]
    }

    /// The buffer; the id must be of this plan.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// Columns of the result that a linear may write: those of its rows and, with the last of a row, the padding to whole panels.
    pub fn columns(&self, l: &Linear) -> Range<u32> {
        let rows = self.segment(l.weight).rows / if l.swiglu { 2 } else { 1 };
        let (end, width) = match l.out {
            Dest::Buffer(b) => (l.first + rows, self.buffer(b).width),
            Dest::Logits => (rows, rows),
        };
        l.first..if end == width { width.next_multiple_of(PANEL_ROWS) } else { end }
    }

    /// All kernels in order, with their number.
    pub fn kernels(&self) -> impl Iterator<Item = (u32, &Kernel)> {
        let blocks = self.groups.iter().flat_map(|group| &group.block);
        (0..).zip(self.prologue.iter().chain(blocks).chain(&self.head))
    }

    /// Numbers of the kernels of a layer group.
    pub fn block_range(&self, group: u32) -> Range<u32> {
        let blocks = &self.groups[..=group as usize];
        let end = self.prologue.len() + blocks.iter().map(|group| group.block.len()).sum::<usize>();
        end as u32 - blocks[group as usize].block.len() as u32..end as u32
    }

    /// Numbers of the kernels of all layer groups.
    pub fn layer_kernels(&self) -> Range<u32> {
        let begin = self.prologue.len() as u32;
        begin..begin + self.groups.iter().map(|group| group.block.len() as u32).sum::<u32>()
    }

    /// The layer group that a kernel is of; none of the prologue and the head.
    pub fn group_of(&self, kernel: u32) -> Option<u32> {
        (0..self.groups.len() as u32).find(|&group| self.block_range(group).contains(&kernel))
    }

    /// Number of the layer group of each layer, `[layers]`.
    pub fn layer_groups(&self) -> Vec<u32> {
        let group = |layer| self.groups.iter().position(|group| group.layers.has(layer)).unwrap_or(0) as u32;
        (0..self.dims.layers).map(group).collect()
    }

    /// Offset of each layer's record in the image, `[layers]`; records are in the order of layers.
    pub fn layer_offsets(&self) -> Vec<u64> {
        let mut at = self.layers_offset;
        let next = |group: u32| {
            let here = at;
            at += self.groups[group as usize].record_bytes;
            here
        };
        self.layer_groups().into_iter().map(next).collect()
    }

    /// Bytes from each layer's record to the next, if that is the same for all.
    pub fn even_records(&self) -> Option<u64> {
        let bytes = self.groups.first()?.record_bytes;
        self.groups.iter().all(|group| group.record_bytes == bytes).then_some(bytes)
    }

    /// Number of copies of a segment in the image: one for each layer of its group.
    pub fn copies(&self, home: Home) -> u64 {
        match home {
            Home::Model => 1,
            Home::Layers(group) => u64::from(self.groups[group as usize].layers.count()),
        }
    }

    /// Bytes of KV cache per position, over all layers: in f32, in bf16, and in int8 with a scale in f32 for
    /// the key and the value of every kv head.
    pub fn kv_bytes_per_position(&self) -> [u64; 3] {
        let (width, scales) = (u64::from(self.dims.kv_width()), 4 * u64::from(self.dims.kv_heads));
        [4 * width, 2 * width, width + scales].map(|bytes| u64::from(self.dims.layers) * 2 * bytes)
    }

    /// Bytes of packed weights that one decoded token reads: all but the embedding's other rows.
    pub fn bytes_per_token(&self) -> u64 {
        let mut once = std::collections::BTreeSet::new();
        for (_, kernel) in self.kernels() {
            if let Kernel::Linear(l) = kernel {
                once.insert(l.weight);
            }
        }
        let bytes = |id: SegmentId| self.segment(id).bytes() * self.copies(self.segment(id).home);
        once.into_iter().map(bytes).sum()
    }
}

/// The last hidden state, not yet normalised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastHiddenState {
    /// The residual stream, `[T, D]`. Nothing writes to it after the last layer, so that it can be read after a step.
    pub state: BufferId,
    /// Gain of the final norm, `[D]`; none if it has none.
    pub gain: Option<SegmentId>,
}

impl Plan {
    /// Record of the last hidden state for the runtime: the buffer's offset and bytes per row, floats per row, and the gain's offset
    /// in the image, `u64::MAX` if there is none.
    pub fn hidden_record(&self) -> [u64; 4] {
        let buffer = self.buffer(self.hidden.state);
        let gain = self.hidden.gain.map_or(u64::MAX, |gain| self.segment(gain).offset);
        [buffer.offset, buffer.row_bytes, u64::from(self.dims.hidden), gain]
    }
}

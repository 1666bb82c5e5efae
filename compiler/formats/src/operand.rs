//! Interface of an operand format: panel sizes, packing, input forms. In: sizes, a panel's rows. Out: bytes.
//!
//! Invariant: a panel has [`Operand::panel_bytes`] bytes whatever its values are.

use crate::bf12::Dictionary;
use crate::inputs::{InputLayout, Inputs};
use crate::panel::{Misfit, Panel};
use crate::registry::{DType, Operand};
use crate::scales::ScaleType;

/// Operand half of a registry entry.
pub(crate) trait Packed {
    /// The name in text forms.
    fn name(&self) -> String;
    /// The storage format that panels are made from.
    fn source(&self) -> DType;
    /// Whether panels can be made from tensors in this storage format too.
    fn packs(&self, dtype: DType) -> bool {
        dtype == self.source()
    }
    /// Group size and type of the scales, where there are scales.
    fn groups(&self) -> Option<(u32, ScaleType)> {
        None
    }
    /// Bytes of a panel of `cols` columns; a multiple of 64.
    fn panel_bytes(&self, cols: u32) -> u64;
    /// Bytes of one panel's group of `width` inputs, its scales first; 0 where there are no groups.
    fn group_bytes(&self, _width: u64) -> u64 {
        0
    }
    /// Layout of prepared inputs of integers; none where kernels multiply it with floats.
    fn input_layout(&self) -> Option<InputLayout> {
        None
    }
    /// Forms of inputs that kernels multiply it with, the most exact first.
    fn inputs(&self) -> &'static [Inputs];
    /// The form that adds little to the error of the weights' own rounding. `tolerant`: the linear is one whose inputs add
    /// the least error for their share of the work.
    fn usual_inputs(&self, _tolerant: bool) -> Inputs {
        self.inputs()[0]
    }
    /// Whether panels have a dictionary of their elements, and may not fit.
    fn has_dictionary(&self) -> bool {
        false
    }
    /// Dictionary of the panel, if the panel fits the format; empty where [`Packed::has_dictionary`] is false.
    fn dictionary(&self, _panel: &Panel) -> Result<Dictionary, Misfit> {
        Ok(Dictionary::default())
    }
    /// Writes a panel, whose dictionary this is, to `out`, which has its size.
    fn pack(&self, panel: &Panel, dictionary: &Dictionary, out: &mut [u8]);
}

impl Operand {
    /// The storage format that panels are made from.
    pub fn source(self) -> DType {
        self.entry(|e| e.source())
    }

    /// Whether panels can be made from tensors in this storage format too.
    pub fn packs(self, dtype: DType) -> bool {
        self.entry(|e| e.packs(dtype))
    }

    /// Group size and type of the scales, where there are scales.
    pub fn quantised(self) -> Option<(u32, ScaleType)> {
        self.entry(|e| e.groups())
    }

    /// Inputs that share a scale, where there are scales.
    pub fn group(self) -> Option<u32> {
        self.quantised().map(|(group, _)| group)
    }

    /// Bytes of a scale; 0 where there are none.
    pub fn scale_bytes(self) -> u64 {
        self.quantised().map_or(0, |(_, scales)| scales.bytes())
    }

    /// Bytes of a panel of `cols` columns; a multiple of 64: of 128 but where scales are f16, or bf16 is compressed.
    pub fn panel_bytes(self, cols: u32) -> u64 {
        self.entry(|e| e.panel_bytes(cols))
    }

    /// Bytes of one panel's group of `width` inputs, its scales first; 0 where there are no groups.
    pub fn group_bytes(self, width: u64) -> u64 {
        self.entry(|e| e.group_bytes(width))
    }

    /// Layout of prepared inputs of integers; none where kernels multiply it with floats.
    pub fn input_layout(self) -> Option<InputLayout> {
        self.entry(|e| e.input_layout())
    }

    /// Whether kernels multiply it with inputs of this form.
    pub fn meets(self, inputs: Inputs) -> bool {
        self.entry(|e| e.inputs().contains(&inputs))
    }

    /// The most exact form of inputs that kernels multiply it with.
    pub fn exact_inputs(self) -> Inputs {
        self.entry(|e| e.inputs()[0])
    }

    /// The form of inputs that adds little to the error of the weights' own rounding. `tolerant`: the linear is one whose
    /// inputs add the least error for their share of the work.
    pub fn usual_inputs(self, tolerant: bool) -> Inputs {
        self.entry(|e| e.usual_inputs(tolerant))
    }

    /// Whether panels have a dictionary of their elements, and may not fit the format.
    pub fn has_dictionary(self) -> bool {
        self.entry(|e| e.has_dictionary())
    }

    /// Dictionary of a panel, if the panel fits the format; empty where [`Operand::has_dictionary`] is false.
    pub fn dictionary(self, panel: &Panel) -> Result<Dictionary, Misfit> {
        self.entry(|e| e.dictionary(panel))
    }

    /// Writes a panel, whose [`Operand::dictionary`] this is, to `out`, which has its size.
    pub fn pack(self, panel: &Panel, dictionary: &Dictionary, out: &mut [u8]) {
        self.entry(|e| e.pack(panel, dictionary, out));
    }
}

/// Bytes of a panel of `cols` columns in groups.
pub(crate) fn panel_of_groups(packed: &dyn Packed, group: u32, cols: u32) -> u64 {
    let (full, rest) = (u64::from(cols / group), u64::from(cols % group));
    let tail = if rest > 0 { packed.group_bytes(rest) } else { 0 };
    full * packed.group_bytes(u64::from(group)) + tail
}

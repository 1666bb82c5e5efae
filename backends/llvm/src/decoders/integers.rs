//! Decoders of integers: what the inner loop of integers and the embedding ask of a format.
//!
//! In: groups of a panel. Out: unsigned bytes, four inputs of a row side by side; scales and minima as f32. A weight is
//! `scale · (byte - bias) - minimum`. Invariant: groups are those of the prepared inputs, which have one scale each.

use qwenc_formats::{InputLayout, PANEL_ROWS};

use crate::builder::{Code, Int, Ptr, Vector};
use crate::decoders::PanelRows;
use crate::isa::Bytes;
use crate::names::Named;

/// Place of a group in a panel.
#[derive(Clone, Copy)]
pub(crate) struct GroupPlace<'c> {
    /// Start of the block that the group is in; where each group stands by itself, of the group.
    pub block: Ptr<'c>,
    /// Start of the group.
    pub group: Ptr<'c>,
}

/// Decoder of a format of integers.
pub(crate) trait IntDecoder {
    /// Layout of the prepared inputs.
    fn inputs(&self) -> InputLayout;

    /// Number range of the bytes.
    fn bytes(&self) -> Bytes;

    /// Bytes of a panel for each whole group.
    fn group_bytes(&self) -> u64;

    /// Place of a group in a panel.
    fn place<'c>(&self, c: &Code<'c, '_>, panel: Ptr<'c>, group: Int<'c>) -> GroupPlace<'c> {
        let group = c.at(panel, c.times(group, self.group_bytes()));
        GroupPlace { block: group, group }
    }

    /// Columns of a part: those of a group that share the weights' scale and minimum.
    fn part_cols(&self) -> u64 {
        u64::from(self.inputs().group)
    }

    /// Offset of a part's units within the group.
    fn units_at(&self, part: u64) -> u64;

    /// Scales of a part's rows.
    fn scales<'c>(
        &self,
        c: &Code<'c, '_>,
        place: GroupPlace<'c>,
        part: u64,
        rows: PanelRows<'c>,
    ) -> Vector<'c>;

    /// Minima of a part's rows, which are subtracted; none where the format has none.
    fn minima<'c>(
        &self,
        _c: &Code<'c, '_>,
        _place: GroupPlace<'c>,
        _part: u64,
        _rows: PanelRows<'c>,
    ) -> Option<Vector<'c>> {
        None
    }

    /// Inputs of a unit, whose words are read together.
    fn unit(&self) -> u64;

    /// Bytes of a unit.
    fn unit_bytes(&self) -> u64 {
        4 * u64::from(PANEL_ROWS)
    }

    /// The words of a unit: vectors of some rows.
    fn words<'c>(&self, c: &Code<'c, '_>, unit: Ptr<'c>, rows: PanelRows<'c>) -> Vec<Vector<'c>> {
        vec![rows.integers(c, c.i32(), unit)]
    }

    /// The bytes of inputs `4 · quad ..` of a unit.
    fn quad<'c>(&self, c: &Code<'c, '_>, words: &[Vector<'c>], quad: u64) -> Vector<'c>;
}

/// Writes row `lane` of a panel to `out`: `cols` floats.
pub(crate) fn gather<'c>(
    c: &Code<'c, '_>,
    decoder: &dyn IntDecoder,
    cols: u32,
    (panel, lane): (Ptr<'c>, Int<'c>),
    out: Ptr<'c>,
) {
    let (group, cols) = (u64::from(decoder.inputs().group), u64::from(cols));
    let one = |g: Int<'c>, width: u64| {
        let row = Row { c, decoder, place: decoder.place(c, panel, g), rows: PanelRows::one(lane) };
        let to = c.at(out, c.times(g, 4 * group));
        for (part, first) in (0..).zip((0..width).step_by(decoder.part_cols() as usize)) {
            row.part(part, (width - first).min(decoder.part_cols()), c.plus(to, 4 * first));
        }
    };
    c.for_each("group", c.int(0), c.int(cols / group), 1, |g| one(g, group));
    if !cols.is_multiple_of(group) {
        one(c.int(cols / group), cols % group);
    }
}

/// A row of a group.
struct Row<'c, 'a, 'k> {
    c: &'k Code<'c, 'a>,
    decoder: &'k dyn IntDecoder,
    place: GroupPlace<'c>,
    rows: PanelRows<'c>,
}

impl<'c> Row<'c, '_, '_> {
    /// Writes `width` weights of a part.
    fn part(&self, part: u64, width: u64, out: Ptr<'c>) {
        let (c, decoder) = (self.c, self.decoder);
        let scale = c.lane(decoder.scales(c, self.place, part, self.rows), 0).named("scale");
        let minimum = decoder.minima(c, self.place, part, self.rows).map(|m| c.lane(m, 0).named("minimum"));
        let units = c.plus(self.place.group, decoder.units_at(part));
        let unit = |i: Int<'c>, inputs: u64| {
            let words = decoder.words(c, c.at(units, c.times(i, decoder.unit_bytes())), self.rows);
            for quad in 0..inputs.div_ceil(4) {
                let some = (inputs - 4 * quad).min(4) as u32;
                let bytes = c.bits(decoder.quad(c, &words, quad), c.i8().vec_type(4));
                let bias = c.ints(c.i32(), decoder.bytes().bias as u64, 4);
                let numbers = c.sub_vec(c.zext_vec(bytes, c.vec_i32(4)), bias);
                let kept: Vec<u32> = (0..some).collect();
                let numbers = c.to_float(c.shuffle(numbers, numbers, &kept), c.vec_f32(some));
                let values = c.vmul(numbers, c.splat(scale, some));
                let values = minimum.map_or(values, |m| c.vsub(values, c.splat(m, some)));
                let at = c.add(c.times(i, 4 * decoder.unit()), c.int(16 * quad));
                c.store(c.at(out, at), values, 4);
            }
        };
        let inputs = decoder.unit();
        c.for_each("unit", c.int(0), c.int(width / inputs), 1, |i| unit(i, inputs));
        if !width.is_multiple_of(inputs) {
            unit(c.int(width / inputs), width % inputs);
        }
    }
}

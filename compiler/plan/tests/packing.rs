//! Packed images, read by a second reader that shares no code with the packer.
//!
//! In: plans and random tensors with odd sizes. Out: every element of every tensor found where the
//! layout says, and nothing but padding between them. The layout is that of src/segment.rs.

mod panels;

use std::ops::Range;

use panels::{element, f32_at, panel_bytes, plain_panel};
use qwenc_formats::{DType, Operand, Tensor};
use qwenc_ir::{Checked, WeightId, WeightSource};
use qwenc_plan::{lower, pack, Dictionaries, Home, Layout, Options, PackError, Plan, Segment};
use qwenc_testing::qwen3::{
    graph, mixed, plan, two_kinds, Random, ADAPTED, COMPRESSING, I4, I8, NO_BIAS, PLAIN, TALL, TIED, WIDE,
};

fn packed(plan: &Checked<Plan>) -> Vec<u8> {
    let mut image = Vec::new();
    let mut last = 0;
    pack(plan, (&Random, &Dictionaries::default()), &mut image, &mut |done| last = done)
        .expect("memory can be written");
    assert_eq!((image.len() as u64, last), (plan.weights_bytes, plan.weights_bytes));
    image
}

/// Panel and row within it of row `r` of part `part`.
fn place(s: &Segment, parts: &[Tensor], part: usize, r: usize) -> (usize, usize) {
    let before: usize = parts[..part].iter().map(Tensor::rows).sum();
    match s.layout {
        Layout::PairedPanels => (r / 16, 16 * part + r % 16),
        _ => ((before + r) / 32, (before + r) % 32),
    }
}

fn check_matrix(plan: &Plan, s: &Segment, layer: u32, bytes: &[u8]) {
    let load = |id: &qwenc_ir::WeightId| {
        Random.tensor(&plan.weights[id.0 as usize], layer).expect("every weight is there")
    };
    let parts: Vec<Tensor> = s.parts.iter().map(load).collect();
    let gain = s.gain.map(|g| load(&g).to_f32());
    let borders = borders(s);
    let spans: Vec<Range<usize>> = borders.windows(2).map(|border| border[0]..border[1]).collect();
    // Strip by strip, and in a strip span by span.
    let mut of_spans = vec![Vec::new(); spans.len()];
    let mut left = bytes;
    for _ in 0..s.panels() / strip(s) {
        for (columns, of_span) in spans.iter().zip(&mut of_spans) {
            let panel = s.format.panel_bytes(columns.len() as u32) as usize;
            let (panels, rest) = left.split_at(strip(s) as usize * panel);
            of_span.extend(panels.chunks(panel).flat_map(|p| match s.format {
                Operand::Bf12 => plain_panel(p, columns.len()).0,
                _ => p.to_vec(),
            }));
            left = rest;
        }
    }
    assert!(left.is_empty(), "{s:?}");
    for (columns, of_span) in spans.into_iter().zip(&of_spans) {
        check_columns(s, &parts, gain.as_deref(), (of_span, columns));
    }
}

/// Panels whose columns of a span stand one behind the other: 32 KiB of 256 columns, if that divides their number.
fn strip(s: &Segment) -> u32 {
    match (s.spans, s.panels(), s.format) {
        (1, ..) | (_, 1, _) | (_, 6, Operand::F32 | Operand::I8 { group: 1 | 3, .. }) => 1,
        (_, 6, _) => 2,
        other => panic!("{other:?} of {s:?}"),
    }
}

/// Columns between which a matrix is cut: what begins a part, and the end of the last.
fn borders(s: &Segment) -> Vec<usize> {
    let cols = s.cols as usize;
    let blocks: &[usize] = match (s.spans, cols, s.format.group()) {
        (1, ..) => &[0],
        // Whole groups of 3: multiples of 768.
        (2, 1100, Some(3)) => &[0, 3],
        // 1100 columns begin five blocks, of which the fourth and the last are one part.
        (4, 1100, None | Some(1 | 4 | 32 | 64)) => &[0, 1, 2, 3],
        other => panic!("{other:?} of {s:?}"),
    };
    blocks.iter().map(|block| 256 * block).chain([cols]).collect()
}

/// Columns of all rows that stand in panels of their own.
fn check_columns(
    s: &Segment,
    parts: &[Tensor],
    gain: Option<&[f32]>,
    (bytes, columns): (&[u8], Range<usize>),
) {
    let (dtype, cols) = (s.format.source(), columns.len());
    let size = panel_bytes(dtype, cols);
    let mut used = vec![[false; 32]; bytes.len() / size];
    for (part, tensor) in parts.iter().enumerate() {
        let values = tensor.to_f32();
        for r in 0..tensor.rows() {
            let (panel, l) = place(s, parts, part, r);
            assert!(!std::mem::replace(&mut used[panel][l], true), "two rows in one lane: {s:?}");
            let first = match s.layout {
                Layout::Diagonal => parts[..part].iter().map(Tensor::cols).sum(),
                _ => 0,
            };
            for k in columns.clone() {
                let found = element(&bytes[panel * size..][..size], dtype, cols, l, k - columns.start);
                let factor = gain.map_or(1.0, |g| g[k]);
                let within = (first..first + tensor.cols()).contains(&k);
                let expected = if within { values[r * tensor.cols() + k - first] * factor } else { 0.0 };
                assert_eq!(found, expected, "part {part}, row {r}, column {k} of {s:?}");
            }
        }
    }
    for (panel, lanes) in used.iter().enumerate() {
        for l in (0..32).filter(|&l| !lanes[l]) {
            for k in 0..cols {
                let found = element(&bytes[panel * size..][..size], dtype, cols, l, k);
                assert_eq!(found, 0.0, "padding lane {l} of {s:?}");
            }
        }
    }
}

fn check_vector(plan: &Plan, s: &Segment, layer: u32, bytes: &[u8]) {
    let parts = s.parts.iter().map(|id| &plan.weights[id.0 as usize]);
    let mut expected: Vec<f32> =
        parts.flat_map(|w| Random.tensor(w, layer).expect("every weight is there").to_f32()).collect();
    assert_eq!(expected.len(), s.cols as usize);
    expected.resize(bytes.len() / 4, 0.0);
    let found: Vec<f32> = (0..bytes.len() / 4).map(|i| f32_at(bytes, 4 * i)).collect();
    assert_eq!(found, expected, "{s:?}");
}

fn check(plan: &Checked<Plan>) {
    let image = packed(plan);
    let mut covered = vec![false; image.len()];
    for ((layer, record), group) in (0..).zip(plan.layer_offsets()).zip(plan.layer_groups()) {
        let here = |home: Home| home.group().map_or(layer == 0, |of| of == group);
        for s in plan.segments.iter().filter(|s| here(s.home)) {
            let base = if s.home.per_layer() { record } else { 0 };
            let (start, n) = ((base + s.offset) as usize, s.bytes() as usize);
            covered[start..start + n].fill(true);
            match s.layout {
                Layout::Vector => check_vector(plan, s, layer, &image[start..start + n]),
                _ => check_matrix(plan, s, layer, &image[start..start + n]),
            }
        }
    }
    let between = image.iter().zip(&covered).filter(|(_, covered)| !**covered);
    assert!(between.into_iter().all(|(b, _)| *b == 0), "bytes between segments are zero");
}

#[test]
fn every_element_is_where_the_layout_says() {
    let int8 = [I8, "i8g1", "i8g4", "i8g64", "i8g3s16", "i8g64s16"];
    let int4 = [I4, "i4g3", "i4g1s16", "i4g4", "i4g5s16", "i4g8s16", "i4g32", "i4g64s16"];
    for dtype in ["f32", "bf16"].iter().chain(&int8).chain(&int4) {
        for edits in [&[][..], &[TIED], &NO_BIAS, &ADAPTED] {
            check(&plan(dtype, edits));
        }
    }
    for (first, second) in [("bf16", I8), (I4, "bf16")] {
        check(&lower(&mixed(first, second), &PLAIN, &Options::default()).expect("the graph can be planned"));
        check(
            &lower(&two_kinds(first, second), &PLAIN, &Options::default()).expect("the graph can be planned"),
        );
    }
}

#[test]
fn every_column_is_in_its_span() {
    for dtype in ["f32", "bf16", "i8g1", I8, "i8g64s16", "i4g4", "i4g32"] {
        let plan = plan(dtype, &WIDE);
        let cut: Vec<u32> = plan.segments.iter().map(|s| s.spans).filter(|&spans| spans > 1).collect();
        assert_eq!(cut, [if dtype == I8 { 2 } else { 4 }], "down alone is wide enough");
        check(&plan);
        check(&self::plan(dtype, &[&WIDE[..], &TALL].concat()));
    }
}

fn compressed_plan(plain: &[&str]) -> Checked<Plan> {
    let graph = graph("bf16", &[]);
    let id = |name: &&str| graph.weights.iter().position(|w| w.name == **name).expect("a weight's name");
    let plain = plain.iter().map(|name| WeightId(id(name) as u32)).collect();
    lower(&graph, &COMPRESSING, &Options { plain, ..Options::default() }).expect("the graph can be planned")
}

#[test]
fn every_compressed_element_comes_back() {
    for edits in [&[][..], &[TIED], &NO_BIAS, &ADAPTED] {
        let plan = lower(&graph("bf16", edits), &COMPRESSING, &Options::default())
            .expect("the graph can be planned");
        let dictionaries = Dictionaries::new(&plan, &Random, 3).expect("weights are there");
        assert!(dictionaries.misfits().is_empty());
        let mut image = Vec::new();
        pack(&plan, (&Random, &dictionaries), &mut image, &mut |_| ()).expect("memory can be written");
        assert!(image == packed(&plan), "dictionaries are the same whenever they are made");
        check(&plan);
    }
    let (plan, image) = (compressed_plan(&[]), packed(&compressed_plan(&[])));
    let s = plan
        .segments
        .iter()
        .find(|s| s.format == Operand::Bf12 && !s.home.per_layer())
        .expect("the embedding");
    let first = &image[s.offset as usize..][..s.panel_bytes() as usize];
    assert!(plain_panel(first, s.cols as usize).1 > 0, "there is something else than the commonest");
}

/// Random, but for one tensor all of whose upper bytes occur.
struct Scattered(&'static str);

impl WeightSource for Scattered {
    fn tensor(
        &self,
        decl: &qwenc_ir::WeightDecl,
        layer: u32,
    ) -> Result<Tensor<'_>, qwenc_formats::WeightError> {
        let tensor = Random.tensor(decl, layer)?;
        if decl.tensor_name(layer) != self.0 {
            return Ok(tensor);
        }
        // Exponents up to 2^126, so that all are numbers.
        let bytes = (0..2 * tensor.rows() * tensor.cols()).map(|i| (i % 127) as u8).collect::<Vec<_>>();
        Tensor::new(self.0, decl.dtype, (tensor.rows(), tensor.cols()), bytes.into(), None)
    }
}

#[test]
fn what_does_not_fit_is_found_and_planned_plain() {
    // A part of one segment, in one layer.
    let source = Scattered("layers.1.k");
    let plan = compressed_plan(&[]);
    let names = |found: &std::collections::BTreeSet<WeightId>| -> Vec<String> {
        found.iter().map(|id| plan.weights[id.0 as usize].name.clone()).collect()
    };
    let found = Dictionaries::new(&plan, &source, 1).expect("weights are there");
    assert_eq!(names(found.misfits()), ["layers.*.q", "layers.*.k", "layers.*.v"]);
    assert_eq!(Dictionaries::new(&plan, &source, 4).expect("weights are there"), found);
    let e = pack(&plan, (&source, &Dictionaries::default()), &mut Vec::new(), &mut |_| ())
        .expect_err("it does not fit");
    assert!(e.to_string().starts_with("tensor layers.1.q: "), "{e}");
    let plan = compressed_plan(&["layers.*.q", "layers.*.k", "layers.*.v"]);
    assert!([Operand::Bf12, Operand::Bf16]
        .iter()
        .all(|format| plan.segments.iter().any(|s| s.format == *format)));
    assert!(Dictionaries::new(&plan, &source, 2).expect("weights are there").misfits().is_empty());
    // Dictionaries of the first plan serve the second.
    let images = [&found, &Dictionaries::default()].map(|dictionaries| {
        let mut image = Vec::new();
        pack(&plan, (&source, dictionaries), &mut image, &mut |_| ()).expect("everything fits");
        image
    });
    assert!(images[0] == images[1]);
}

/// Halves that no element has are 8, which stands for 0.
#[test]
fn padding_of_int4_is_zero() {
    let plan = plan(I4, &NO_BIAS);
    let image = packed(&plan);
    let s =
        plan.segments.iter().find(|s| !s.home.per_layer() && s.layout == Layout::Panels).expect("the head");
    let panel = &image[s.offset as usize..][..s.panel_bytes() as usize];
    for group in panel.chunks(64 + 128).filter(|g| g.len() == 64 + 128) {
        for row in group[64..].chunks(4) {
            assert!(row[3] & 15 == 8 && row.iter().all(|b| b >> 4 == 8), "{row:?}: groups are of 3");
        }
    }
}

/// The tests above check gains and pairs only if plans have them.
#[test]
fn the_plans_have_gains_pairs_and_short_groups() {
    let plan = plan("f32", &[]);
    assert!(plan.segments.iter().any(|s| s.gain.is_some()));
    assert!(plan.segments.iter().any(|s| s.layout == Layout::PairedPanels && s.rows % 32 != 0));
    assert!(plan.segments.iter().any(|s| s.rows > 32 && s.rows % 32 != 0));
    assert!(plan.segments.iter().any(|s| s.layout == Layout::Vector && s.parts.len() == 3));
    let adapted = self::plan("f32", &ADAPTED);
    assert!(adapted.segments.iter().any(|s| s.layout == Layout::Diagonal && s.parts.len() == 3));
}

#[test]
fn the_same_input_gives_the_same_bytes() {
    for dtype in [I8, I4] {
        let plan = plan(dtype, &[]);
        assert_eq!(packed(&plan), packed(&plan));
    }
}

struct Full;

impl std::io::Write for Full {
    fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
        Err(std::io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let e = pack(&plan("f32", &[]), (&Random, &Dictionaries::default()), &mut Full, &mut |_| ())
        .expect_err("nothing fits");
    assert!(matches!(e, PackError::Io(_)), "{e}");
    assert!(e.to_string().starts_with("writing the packed weights: "), "{e}");
}

/// Answers each request with a tensor of another shape or type.
struct Wrong(DType, (usize, usize));

impl WeightSource for Wrong {
    fn tensor(&self, _: &qwenc_ir::WeightDecl, _: u32) -> Result<Tensor<'_>, qwenc_formats::WeightError> {
        let (rows, cols) = self.1;
        let bytes = vec![0; self.0.bytes((rows * cols) as u64) as usize];
        Tensor::new("wrong", self.0, self.1, bytes.into(), None)
    }
}

#[test]
fn tensors_that_are_not_as_declared_are_refused() {
    for (source, message) in [
        (Wrong(DType::F32, (37, 8)), "tensor embed: expected [37, 7], found [37, 8]"),
        (Wrong(DType::Bf16, (37, 7)), "tensor embed: expected f32, found bf16"),
    ] {
        let e = pack(&plan("f32", &[]), (&source, &Dictionaries::default()), &mut Vec::new(), &mut |_| ())
            .expect_err("it is wrong");
        assert_eq!(e.to_string(), message);
    }
}

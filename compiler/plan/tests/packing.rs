//! Packed images, read by a second reader that shares no code with the packer.
//!
//! In: plans and random tensors with odd sizes. Out: every element of every tensor found where the
//! layout says, and nothing but padding between them. The layout is that of src/segment.rs.

mod model;

use model::{graph, mixed, plan, two_kinds, Random, ADAPTED, COMPRESSING, I4, I8, NO_BIAS, PLAIN, TIED};
use qwenc_formats::{DType, Operand, ScaleType, Tensor};
use qwenc_ir::{Checked, WeightId, WeightSource};
use qwenc_plan::{lower, misfits, pack, Home, Layout, Options, PackError, Plan, Segment};

fn packed(plan: &Checked<Plan>) -> Vec<u8> {
    let mut image = Vec::new();
    let mut last = 0;
    pack(plan, &Random, &mut image, &mut |done| last = done).expect("memory can be written");
    assert_eq!((image.len() as u64, last), (plan.weights_bytes, plan.weights_bytes));
    image
}

fn f32_at(bytes: &[u8], at: usize) -> f32 {
    f32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The element in row `l` of a panel and column `k`, by type. `cols` and `group` are of the segment.
fn element(panel: &[u8], dtype: DType, cols: usize, l: usize, k: usize) -> f32 {
    match dtype {
        DType::F32 => f32_at(panel, (k * 32 + l) * 4),
        DType::Bf16 => {
            let at = (k / 2) * 32 * 4 + l * 4 + (k % 2) * 2;
            f32::from_bits(u32::from(u16::from_le_bytes([panel[at], panel[at + 1]])) << 16)
        }
        DType::I8 { group, scales } => {
            let (start, k) = group_of(dtype, (cols, group as usize), k);
            let (scale, start) = scale(panel, start, l, scales);
            let at = start + k / 4 * 128 + l * 4 + k % 4;
            (f32::from(panel[at]) - 128.0) * scale
        }
        DType::I4 { group, scales } => {
            let (start, k) = group_of(dtype, (cols, group as usize), k);
            let (scale, start) = scale(panel, start, l, scales);
            let byte = panel[start + k / 8 * 128 + l * 4 + k % 4];
            let half = if k % 8 < 4 { byte % 16 } else { byte / 16 };
            (f32::from(half) - 8.0) * scale
        }
        other => unreachable!("no kernel reads {other}"),
    }
}

/// Where column `k`'s group starts in a panel, and `k` within it.
fn group_of(dtype: DType, (cols, group): (usize, usize), k: usize) -> (usize, usize) {
    assert!(k < cols);
    (k / group * group_bytes(dtype, group), k % group)
}

/// The scale of row `l`, and where the group's integers start.
fn scale(panel: &[u8], start: usize, l: usize, ty: ScaleType) -> (f32, usize) {
    match ty {
        ScaleType::F32 => (f32_at(panel, start + 4 * l), start + 128),
        ScaleType::F16 => {
            let at = start + 2 * l;
            (half::f16::from_le_bytes([panel[at], panel[at + 1]]).to_f32(), start + 64)
        }
    }
}

fn group_bytes(dtype: DType, width: usize) -> usize {
    let scales = |ty| if ty == ScaleType::F16 { 64 } else { 128 };
    match dtype {
        DType::I8 { scales: ty, .. } => scales(ty) + 128 * width.div_ceil(4),
        DType::I4 { scales: ty, .. } => scales(ty) + 128 * width.div_ceil(8),
        _ => unreachable!("{dtype} has no groups"),
    }
}

fn panel_bytes(dtype: DType, cols: usize) -> usize {
    match dtype {
        DType::F32 => cols * 32 * 4,
        DType::Bf16 => cols.div_ceil(2) * 32 * 4,
        DType::I8 { group, .. } | DType::I4 { group, .. } => {
            let widths = (0..cols).step_by(group as usize).map(|at| (group as usize).min(cols - at));
            widths.map(|w| group_bytes(dtype, w)).sum()
        }
        other => unreachable!("no kernel reads {other}"),
    }
}

/// Lower byte and code of row `l`, column `k` of a compressed panel.
fn compressed_element(panel: &[u8], l: usize, k: usize) -> [u8; 2] {
    let unit = &panel[64 + k / 4 * 192..][..192];
    let byte = l % 16 / 4 * 16 + l / 16 * 8 + l % 4 * 2 + k % 2;
    match k % 4 {
        0 | 1 => [unit[byte], unit[128 + byte] % 16],
        _ => [unit[64 + byte], unit[128 + byte] / 16],
    }
}

/// A compressed panel as the plain one that it stands for, and how many exceptions it has.
fn plain_panel(panel: &[u8], cols: usize) -> (Vec<u8>, usize) {
    let mut plain = vec![0; panel_bytes(DType::Bf16, cols)];
    let mut put = |l: usize, k: usize, element: [u8; 2]| {
        plain[(k / 2) * 128 + l * 4 + (k % 2) * 2..][..2].copy_from_slice(&element);
    };
    for (l, k) in (0..32).flat_map(|l| (0..cols).map(move |k| (l, k))) {
        let [lower, code] = compressed_element(panel, l, k);
        put(l, k, [lower, panel[usize::from(code)]]);
    }
    let count = u32::from_le_bytes(panel[16..20].try_into().expect("four bytes")) as usize;
    let exceptions = panel[64 + cols.div_ceil(4) * 192..].chunks(8);
    let mut last = None;
    for exception in exceptions.take(count) {
        let at = u32::from_le_bytes(exception[..4].try_into().expect("four bytes")) as usize;
        assert!(last.replace(at) < Some(at), "exceptions are in order");
        let (l, k) = (at % 32, at / 32);
        assert_eq!(compressed_element(panel, l, k), [0, 0], "an exception is 0 in its unit");
        assert_eq!(exception[4..6], [0, 0], "as f32");
        put(l, k, [exception[6], exception[7]]);
    }
    (plain, count)
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
    let size = panel_bytes(s.format.source(), s.cols as usize);
    let decoded: Vec<u8> = match s.format == Operand::Bf12 {
        true => {
            bytes.chunks(s.panel_bytes() as usize).flat_map(|p| plain_panel(p, s.cols as usize).0).collect()
        }
        false => bytes.to_vec(),
    };
    let bytes = decoded.as_slice();
    assert_eq!(bytes.len() % size, 0, "{s:?}");
    let mut used = vec![[false; 32]; bytes.len() / size];
    for (part, tensor) in parts.iter().enumerate() {
        let values = tensor.to_f32();
        for r in 0..tensor.rows() {
            let (panel, l) = place(s, &parts, part, r);
            assert!(!std::mem::replace(&mut used[panel][l], true), "two rows in one lane: {s:?}");
            let first = match s.layout {
                Layout::Diagonal => parts[..part].iter().map(Tensor::cols).sum(),
                _ => 0,
            };
            for k in 0..s.cols as usize {
                let found = element(&bytes[panel * size..][..size], s.format.source(), s.cols as usize, l, k);
                let factor = gain.as_ref().map_or(1.0, |g| g[k]);
                let within = (first..first + tensor.cols()).contains(&k);
                let expected = if within { values[r * tensor.cols() + k - first] * factor } else { 0.0 };
                assert_eq!(found, expected, "part {part}, row {r}, column {k} of {s:?}");
            }
        }
    }
    for (panel, lanes) in used.iter().enumerate() {
        for l in (0..32).filter(|&l| !lanes[l]) {
            for k in 0..s.cols as usize {
                let found = element(&bytes[panel * size..][..size], s.format.source(), s.cols as usize, l, k);
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
        assert!(misfits(&plan, &Random).expect("weights are there").is_empty());
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
    let names = |found: std::collections::BTreeSet<WeightId>| -> Vec<String> {
        found.iter().map(|id| plan.weights[id.0 as usize].name.clone()).collect()
    };
    let found = misfits(&plan, &source).expect("weights are there");
    assert_eq!(names(found), ["layers.*.q", "layers.*.k", "layers.*.v"]);
    let e = pack(&plan, &source, &mut Vec::new(), &mut |_| ()).expect_err("it does not fit");
    assert!(e.to_string().starts_with("tensor layers.1.q: "), "{e}");
    let plan = compressed_plan(&["layers.*.q", "layers.*.k", "layers.*.v"]);
    assert!([Operand::Bf12, Operand::Bf16]
        .iter()
        .all(|format| plan.segments.iter().any(|s| s.format == *format)));
    assert!(misfits(&plan, &source).expect("weights are there").is_empty());
    pack(&plan, &source, &mut Vec::new(), &mut |_| ()).expect("everything fits");
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
    let e = pack(&plan("f32", &[]), &Random, &mut Full, &mut |_| ()).expect_err("nothing fits");
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
        let e = pack(&plan("f32", &[]), &source, &mut Vec::new(), &mut |_| ()).expect_err("it is wrong");
        assert_eq!(e.to_string(), message);
    }
}

//! A second reader of panels, which shares no code with the packer. In: a panel's bytes and type. Out: elements, or a compressed
//! panel as a plain one.

use qwenc_formats::{DType, ScaleType};

pub fn f32_at(bytes: &[u8], at: usize) -> f32 {
    f32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// The element in row `l` of a panel and column `k`, by type. `cols` and `group` are of the segment.
pub fn element(panel: &[u8], dtype: DType, cols: usize, l: usize, k: usize) -> f32 {
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

/// Offset of column `k`'s group in a panel, and `k` within it.
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

pub fn panel_bytes(dtype: DType, cols: usize) -> usize {
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
pub fn plain_panel(panel: &[u8], cols: usize) -> (Vec<u8>, usize) {
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

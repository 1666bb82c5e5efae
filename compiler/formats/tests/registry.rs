//! Laws that hold for every format, by the registry alone.

use std::borrow::Cow;

use qwenc_formats::{
    max_abs, DType, Inputs, Operand, Panel, PanelRow, ScaleType, Scales, Tensor, PANEL_ROWS,
};

/// Storage formats, with whole and short last groups at 20 columns.
const STORED: [&str; 11] =
    ["f32", "f16", "bf16", "i8g4", "i8g64", "i8g3s16", "i4g8s16", "i4g5s16", "i4g64s16", "q4_k", "q6_k"];
/// Formats of blocks, as GGUF has them.
const BLOCKS: [&str; 4] = ["q4_1", "q4_k", "q5_k", "q6_k"];
const COLS: usize = 20;
const ROWS: usize = 33;

/// Values between -1 and 1, of all sizes.
fn noise() -> Vec<f32> {
    let mut state = 88172645463325252u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u32 << 23) as f32 - 1.0
    };
    (0..ROWS * COLS).map(|_| next() * next() * next()).collect()
}

fn rounded(dtype: DType, values: &[f32]) -> Tensor<'static> {
    let (mut data, mut scales) = (Vec::new(), Vec::new());
    dtype.round(values, COLS, &mut data, &mut scales);
    let scales = dtype.quantised().map(|(_, kind)| match kind {
        ScaleType::F16 => Scales::F16(Cow::Owned(scales)),
        ScaleType::F32 => Scales::F32(Cow::Owned(scales)),
    });
    Tensor::new("w", dtype, (ROWS, COLS), Cow::Owned(data), scales).expect("bytes of the shape")
}

fn formats() -> impl Iterator<Item = DType> {
    STORED.iter().map(|name| name.parse().expect("the name of a format"))
}

#[test]
fn names_parse_back() {
    for dtype in formats() {
        assert_eq!(dtype.to_string().parse(), Ok(dtype));
        if let Some(operand) = dtype.operand() {
            assert_eq!(operand.to_string().parse(), Ok(operand));
            assert_eq!(operand.source(), dtype);
        }
    }
    for name in BLOCKS {
        let dtype: DType = name.parse().expect("the name of a format");
        assert_eq!(dtype.to_string(), name);
        assert!(dtype.quantised().is_none(), "{name}");
    }
    assert_eq!("bf12".parse(), Ok(Operand::Bf12));
    assert!("bf12".parse::<DType>().is_err(), "no file has it");
    assert!("q4_1".parse::<Operand>().is_err(), "no kernel reads it");
}

#[test]
fn rounded_values_are_read_back_within_the_rounding() {
    let values = noise();
    for dtype in formats() {
        let tensor = rounded(dtype, &values);
        let found = tensor.to_f32();
        for (i, (found, value)) in found.iter().zip(&values).enumerate() {
            let scale = match dtype.group() {
                Some(group) => f64::from(tensor.scale(i / COLS, i % COLS / group as usize)).abs(),
                None => {
                    let first = i % COLS / dtype.block().0 as usize * dtype.block().0 as usize;
                    let block = &values[i / COLS * COLS..][..COLS][first..];
                    f64::from(max_abs(&block[..block.len().min(dtype.block().0 as usize)]))
                }
            };
            let (off, most) = ((found - value).abs(), dtype.rounding(f64::from(*value), scale));
            assert!(f64::from(off) <= most, "{dtype}: {value} is read as {found}, {most} away at most");
        }
        // What was rounded once is exact: rounding it again in the same format, or a wider one, moves nothing.
        assert!(dtype.holds(dtype) && DType::F32.holds(dtype), "{dtype}");
        if dtype.quantised().is_none() && dtype.block().0 == 1 {
            assert_eq!(rounded(dtype, &found).to_f32(), found, "{dtype}");
        }
    }
}

#[test]
fn panels_have_their_size_and_depend_on_their_rows_alone() {
    let values = noise();
    let operands = formats().filter_map(DType::operand).chain([Operand::Bf12]);
    for operand in operands {
        let tensor = rounded(operand.source(), &values);
        let panel = |first: usize, rows: usize| {
            let row =
                |lane| (lane < rows).then_some(PanelRow { tensor: &tensor, row: first + lane, first: 0 });
            Panel { rows: std::array::from_fn(row), cols: COLS as u32, gain: None }
        };
        let bytes = operand.panel_bytes(COLS as u32);
        assert!(bytes > 0 && bytes % 64 == 0, "{operand}: {bytes}");
        // What the buffer held before does not show.
        let packed = |panel: &Panel, before: u8| {
            let mut out = vec![before; bytes as usize];
            let dictionary = operand.dictionary(panel).expect("the panel fits");
            operand.pack(panel, &dictionary, &mut out);
            out
        };
        let whole = panel(0, PANEL_ROWS as usize);
        assert_eq!(packed(&whole, 0), packed(&whole, 0xA5), "{operand}");
        assert_ne!(packed(&whole, 0), packed(&panel(1, PANEL_ROWS as usize), 0), "{operand}");
        assert_eq!(packed(&panel(0, 1), 0), packed(&panel(0, 1), 0x5A), "{operand}: padding");
    }
}

#[test]
fn inputs_are_forms_that_kernels_multiply() {
    for operand in formats().filter_map(DType::operand).chain([Operand::Bf12]) {
        assert!(operand.meets(operand.exact_inputs()), "{operand}");
        for tolerant in [false, true] {
            assert!(operand.meets(operand.usual_inputs(tolerant)), "{operand}");
        }
        let ints = operand.input_layout().is_some();
        assert_eq!(operand.meets(Inputs::Int8), ints, "{operand}");
        assert_eq!(operand.meets(Inputs::F32), !ints, "{operand}");
    }
}

/// The last block of a row may hold more than the row has; elements are read alike wherever the row ends.
#[test]
fn blocks_are_read_to_the_end_of_the_row() {
    for name in BLOCKS {
        let dtype: DType = name.parse().expect("the name of a format");
        let (elements, bytes) = dtype.block();
        let cols = 2 * elements as usize;
        let stored: Vec<u8> = (0..2 * bytes).map(|i| (i * 37 % 60) as u8).collect();
        let read = |cols: usize| {
            let mut out = vec![7.0];
            dtype.read(&stored, cols, &mut out);
            assert_eq!((out[0], out.len()), (7.0, 1 + cols), "values are appended");
            out
        };
        let (whole, part) = (read(cols), read(cols - 3));
        assert_eq!(whole[..part.len()], part, "{name}");
        assert_eq!(dtype.bytes(cols as u64 - 3), 2 * bytes, "{name}");
        let tensor = Tensor::new("w", dtype, (1, cols), Cow::Borrowed(&stored), None).expect("two blocks");
        assert_eq!(tensor.to_f32(), whole[1..], "{name}");
    }
}

//! Stored bytes to values: every type, short last groups, and lengths that do not fit.

use std::borrow::Cow;

use qwenc_formats::{DType, ScaleType, Scales, Tensor, WeightError};

fn tensor(
    dtype: DType,
    shape: (usize, usize),
    data: &[u8],
    scales: Option<Scales<'static>>,
) -> Result<Tensor<'static>, WeightError> {
    Tensor::new("w", dtype, shape, Cow::Owned(data.to_vec()), scales)
}

fn int8(group: u32, scales: ScaleType) -> DType {
    DType::I8 { group, scales }
}

fn int4(group: u32, scales: ScaleType) -> DType {
    DType::I4 { group, scales }
}

fn f32_scales(values: &[f32]) -> Option<Scales<'static>> {
    Some(Scales::F32(Cow::Owned(values.iter().flat_map(|v| v.to_le_bytes()).collect())))
}

fn bytes(dtype: DType, shape: (usize, usize), data: usize, scales: Option<Scales<'static>>) -> String {
    tensor(dtype, shape, &vec![0; data], scales).expect_err("the length is wrong").to_string()
}

#[test]
fn f32_is_read_as_stored() {
    let t = Tensor::from_f32("w", (2, 2), &[1.5, -0.0, f32::MIN_POSITIVE, 3.0e38]).expect("four values");
    let bits: Vec<u32> = t.to_f32().iter().map(|v| v.to_bits()).collect();
    assert_eq!(bits, [1.5f32, -0.0, f32::MIN_POSITIVE, 3.0e38].map(f32::to_bits));
    assert_eq!((t.rows(), t.cols(), t.dtype()), (2, 2, DType::F32));
    assert_eq!(t.scale(1, 7), 1.0, "a type without scales has scale 1");
}

#[test]
fn bf16_is_the_upper_half() {
    let t = tensor(DType::Bf16, (1, 3), &[0x80, 0x3f, 0x49, 0xc0, 0x01, 0x00], None).expect("three values");
    assert_eq!(t.to_f32(), [1.0, -3.140_625, f32::from_bits(0x0001_0000)]);
}

#[test]
fn f16_is_widened_exactly() {
    let t =
        tensor(DType::F16, (1, 4), &[0x00, 0x3c, 0x01, 0x00, 0xff, 0x7b, 0x00, 0xc0], None).expect("four");
    assert_eq!(t.to_f32(), [1.0, 2.0f32.powi(-24), 65_504.0, -2.0]);
}

#[test]
fn int8_multiplies_each_group_by_its_scale() {
    let data = [1i8, 2, -3, 127, -127, /* row 1 */ 0, 1, 2, 3, 4].map(|q| q as u8);
    let t = tensor(int8(2, ScaleType::F32), (2, 5), &data, f32_scales(&[1.0, 0.5, 0.25, 2.0, 4.0, 8.0]));
    let t = t.expect("groups of 2, 2 and 1");
    assert_eq!(t.to_f32(), [1.0, 2.0, -1.5, 63.5, -31.75, 0.0, 2.0, 8.0, 12.0, 32.0]);
    assert_eq!((t.scale(0, 2), t.scale(1, 0)), (0.25, 2.0));
    assert_eq!(t.row_bytes(1), [0, 1, 2, 3, 4]);
    assert_eq!(
        (&t.row_scales(0)[4..8], &t.row_scales(1)[8..]),
        (&0.5f32.to_le_bytes()[..], &8f32.to_le_bytes()[..])
    );
}

/// A row of five begins at a byte; the low half is the even input.
#[test]
fn int4_is_read_by_halves() {
    let scales = Scales::F16(Cow::Owned(vec![0x00, 0x38, 0x00, 0xc0, 0x00, 0x3c, 0x00, 0x00]));
    let data = [0x0f, 0x98, 0xf7, /* row 1 */ 0x10, 0x32, 0x84];
    let t = tensor(int4(4, ScaleType::F16), (2, 5), &data, Some(scales)).expect("groups of 4 and 1");
    assert_eq!(t.to_f32(), [3.5, -4.0, 0.0, 0.5, 2.0, -8.0, -7.0, -6.0, -5.0, 0.0]);
    assert_eq!((t.scale(0, 1), t.row_bytes(1), &t.row_scales(0)[2..]), (-2.0, &data[3..], &[0x00, 0xc0][..]));
    // Groups need not begin at a byte.
    let scales = f32_scales(&[1.0, 10.0, 100.0]);
    let t = tensor(int4(1, ScaleType::F32), (1, 3), &[0x21, 0x03], scales).expect("three groups");
    assert_eq!(t.to_f32(), [-7.0, -60.0, -500.0]);
}

#[test]
fn scales_may_be_f16() {
    let scales = Scales::F16(Cow::Owned(vec![0x00, 0x38, 0x00, 0x40]));
    let t = tensor(int8(64, ScaleType::F16), (2, 1), &[10, 246], Some(scales)).expect("one group a row");
    assert_eq!(t.to_f32(), [5.0, -20.0]);
    assert_eq!(t.row_scales(1), [0x00, 0x40]);
}

#[test]
fn one_row_is_read_alone() {
    let t = Tensor::from_f32("w", (3, 2), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).expect("six values");
    let mut row = [0.0; 2];
    t.read_row(2, &mut row);
    assert_eq!(row, [5.0, 6.0]);
}

/// Infinity and NaN of either sign, wherever they stand, beside the largest numbers.
#[test]
fn what_is_not_finite_is_found_in_every_float_format() {
    let values = |dtype: DType, last: f32| {
        let mut values = vec![-65504.0f32; 9000];
        values[8999] = last;
        let bytes = |v: &f32| match dtype {
            DType::F32 => v.to_le_bytes().to_vec(),
            DType::F16 => half::f16::from_f32(*v).to_le_bytes().to_vec(),
            _ => half::bf16::from_f32(*v).to_le_bytes().to_vec(),
        };
        values.iter().flat_map(bytes).collect::<Vec<u8>>()
    };
    for dtype in [DType::F32, DType::F16, DType::Bf16] {
        assert!(dtype.is_finite(&values(dtype, 65504.0)) && dtype.is_finite(&[]), "{dtype}");
        for wrong in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, -f32::NAN] {
            assert!(!dtype.is_finite(&values(dtype, wrong)), "{dtype}: {wrong}");
        }
    }
    // A block whose scale is infinite.
    let mut blocks = vec![0u8; 5000 * 20];
    assert!(DType::Q4_1.is_finite(&blocks));
    blocks[4999 * 20..4999 * 20 + 2].copy_from_slice(&half::f16::INFINITY.to_le_bytes());
    blocks[4999 * 20 + 4] = 1;
    assert!(!DType::Q4_1.is_finite(&blocks));
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let i8g4 = int8(4, ScaleType::F32);
    assert_eq!(bytes(DType::F32, (2, 3), 23, None), "tensor w: expected 24 bytes of data, found 23");
    assert_eq!(bytes(DType::Bf16, (2, 3), 13, None), "tensor w: expected 12 bytes of data, found 13");
    assert_eq!(bytes(i8g4, (2, 5), 9, f32_scales(&[1.0; 4])), "tensor w: expected 10 bytes of data, found 9");
    assert_eq!(
        bytes(i8g4, (2, 5), 10, f32_scales(&[1.0; 3])),
        "tensor w: expected 16 bytes of scales, found 12"
    );
    assert_eq!(bytes(i8g4, (2, 5), 10, None), "tensor w: expected 16 bytes of scales, found 0");
    let f16_scales = Some(Scales::F16(Cow::Owned(vec![0; 8])));
    assert_eq!(
        bytes(i8g4, (2, 5), 10, f16_scales.clone()),
        "tensor w: expected F32 scales, found F16 scales"
    );
    let i4g4 = int4(4, ScaleType::F16);
    // Not 2 x 5 / 2: rows begin at bytes.
    assert_eq!(bytes(i4g4, (2, 5), 5, f16_scales), "tensor w: expected 6 bytes of data, found 5");
    assert_eq!(bytes(i4g4, (2, 5), 6, None), "tensor w: expected 8 bytes of scales, found 0");
}

#[test]
fn names_of_types_parse_back() {
    let (f16, f32) = (ScaleType::F16, ScaleType::F32);
    for (name, dtype) in [
        ("f32", DType::F32),
        ("f16", DType::F16),
        ("bf16", DType::Bf16),
        ("i8g1", int8(1, f32)),
        ("i8g4096s16", int8(4096, f16)),
        ("i4g32", int4(32, f32)),
        ("i4g32s16", int4(32, f16)),
    ] {
        assert_eq!((dtype.to_string().as_str(), name.parse()), (name, Ok(dtype)));
    }
    let wrong =
        ["", "f64", "i8", "i8g", "i8g0", "i8g-1", "i8g64 ", "F32", "i2g32", "i4g0s16", "i4gs16", "i4g8s32"];
    for wrong in wrong {
        assert_eq!(wrong.parse::<DType>(), Err(()), "{wrong:?}");
    }
}

#[test]
fn bytes_of_a_matrix_include_its_scales() {
    assert_eq!(int8(64, ScaleType::F32).matrix_bytes(3, 65), 3 * 65 + 4 * 3 * 2);
    assert_eq!(int4(32, ScaleType::F16).matrix_bytes(3, 65), 3 * 33 + 2 * 3 * 3);
    assert_eq!(DType::Bf16.matrix_bytes(3, 65), 2 * 3 * 65);
    // Larger than 32 bits: no product of a real model may wrap.
    assert_eq!(DType::F32.matrix_bytes(1 << 18, 1 << 18), 1 << 38);
}

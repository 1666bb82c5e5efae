//! Stored bytes to values: every type, short last groups, and lengths that do not fit.

use std::borrow::Cow;

use qwenc_ir::{DType, Scales, Tensor, WeightDecl, WeightError};

fn tensor(
    dtype: DType,
    shape: (usize, usize),
    data: &[u8],
    scales: Option<Scales<'static>>,
) -> Result<Tensor<'static>, WeightError> {
    Tensor::new("w", dtype, shape, Cow::Owned(data.to_vec()), scales)
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
    let t = tensor(DType::I8 { group: 2 }, (2, 5), &data, f32_scales(&[1.0, 0.5, 0.25, 2.0, 4.0, 8.0]));
    let t = t.expect("groups of 2, 2 and 1");
    assert_eq!(t.to_f32(), [1.0, 2.0, -1.5, 63.5, -31.75, 0.0, 2.0, 8.0, 12.0, 32.0]);
    assert_eq!((t.scale(0, 2), t.scale(1, 0)), (0.25, 2.0));
    assert_eq!(t.row_bytes(1), [0, 1, 2, 3, 4]);
}

#[test]
fn scales_may_be_f16() {
    let scales = Scales::F16(Cow::Owned(vec![0x00, 0x38, 0x00, 0x40]));
    let t = tensor(DType::I8 { group: 64 }, (2, 1), &[10, 246], Some(scales)).expect("one group a row");
    assert_eq!(t.to_f32(), [5.0, -20.0]);
}

#[test]
fn one_row_is_read_alone() {
    let t = Tensor::from_f32("w", (3, 2), &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0]).expect("six values");
    let mut row = [0.0; 2];
    t.read_row(2, &mut row);
    assert_eq!(row, [5.0, 6.0]);
}

#[test]
fn lengths_that_do_not_fit_are_refused() {
    let i8g4 = DType::I8 { group: 4 };
    assert_eq!(bytes(DType::F32, (2, 3), 23, None), "tensor w: expected 24 bytes of data, found 23");
    assert_eq!(bytes(DType::Bf16, (2, 3), 13, None), "tensor w: expected 12 bytes of data, found 13");
    assert_eq!(bytes(i8g4, (2, 5), 9, f32_scales(&[1.0; 4])), "tensor w: expected 10 bytes of data, found 9");
    assert_eq!(
        bytes(i8g4, (2, 5), 10, f32_scales(&[1.0; 3])),
        "tensor w: expected 16 bytes of scales, found 12"
    );
    assert_eq!(bytes(i8g4, (2, 5), 10, None), "tensor w: expected 16 bytes of scales, found 0");
}

#[test]
fn names_of_types_parse_back() {
    for dtype in [DType::F32, DType::F16, DType::Bf16, DType::I8 { group: 1 }, DType::I8 { group: 4096 }] {
        assert_eq!(dtype.to_string().parse(), Ok(dtype));
    }
    for wrong in ["", "f64", "i8", "i8g", "i8g0", "i8g-1", "i8g64 ", "F32"] {
        assert_eq!(wrong.parse::<DType>(), Err(()), "{wrong:?}");
    }
}

#[test]
fn bytes_of_a_matrix_include_its_scales() {
    assert_eq!(DType::I8 { group: 64 }.matrix_bytes(3, 65), 3 * 65 + 4 * 3 * 2);
    assert_eq!(DType::Bf16.matrix_bytes(3, 65), 2 * 3 * 65);
    // Larger than 32 bits: no product of a real model may wrap.
    assert_eq!(DType::F32.matrix_bytes(1 << 18, 1 << 18), 1 << 38);
}

#[test]
fn a_star_stands_for_the_layer() {
    let decl = |name: &str| WeightDecl { name: name.to_string(), dtype: DType::F32, shape: vec![4] };
    let per_layer = decl("model.layers.*.q");
    assert!(per_layer.per_layer() && !decl("model.norm").per_layer());
    assert_eq!(per_layer.tensor_name(12), "model.layers.12.q");
    assert_eq!(decl("model.norm").tensor_name(12), "model.norm");
}

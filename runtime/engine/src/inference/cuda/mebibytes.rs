//! Sizes of memory in messages. In: bytes. Out: text.

/// A size in MiB with one decimal: `643.0 MiB`.
pub fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

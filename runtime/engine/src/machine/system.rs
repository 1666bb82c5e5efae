//! Facts of memory and caches from Linux.
//!
//! In: files of /proc and /sys. Out: bytes, or nothing where the system does not say. Invariant: only asked,
//! never set.

/// The most memory that this process had resident so far, mapped files included.
pub fn peak_memory_bytes() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Memory that a new program could use without swapping.
pub fn available_bytes() -> Option<u64> {
    kibibytes(&std::fs::read_to_string("/proc/meminfo").ok()?, "MemAvailable:")
}

/// The largest cache of the first processor.
pub fn cache_bytes() -> Option<u64> {
    let size = |index: u32| {
        let file = format!("/sys/devices/system/cpu/cpu0/cache/index{index}/size");
        cache_size(&std::fs::read_to_string(file).ok()?)
    };
    (0..8).filter_map(size).max()
}

/// The value of a line such as `VmHWM:   1234 kB`.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    number.checked_mul(1024)
}

/// Bytes of a size such as `32768K`.
fn cache_size(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = match text.strip_suffix('M') {
        Some(number) => (number, 1 << 20),
        None => (text.strip_suffix('K')?, 1 << 10),
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_or_nothing() {
        let status = "VmPeak:\t  99 kB\nVmHWM:\t    1234 kB\n";
        assert_eq!(kibibytes(status, "VmHWM:"), Some(1234 * 1024));
        assert_eq!(kibibytes(status, "VmRSS:"), None);
        assert_eq!(kibibytes("VmHWM: much kB", "VmHWM:"), None);
        assert_eq!(["32768K\n", "3M", "7", "K"].map(cache_size), [Some(32 << 20), Some(3 << 20), None, None]);
        assert!(peak_memory_bytes().is_none_or(|n| n > 1 << 16));
    }
}

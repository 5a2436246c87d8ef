//! How much memory FreeSWITCH's process uses. Read for the metrics, and where there is a limit at each start.

/// Resident memory of the process, bytes; `None` where the system does not say.
pub(super) fn resident_bytes() -> Option<u64> {
    resident_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_kernels_table() {
        assert_eq!(resident_in("VmPeak:\t  9 kB\nVmRSS:\t  524800 kB\nRssAnon: 1 kB\n"), Some(524_800 << 10));
        assert_eq!(resident_in("VmPeak:\t  9 kB\n"), None);
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20), "of this process");
    }
}

//! How much memory FreeSWITCH's process uses. Read on the thread that starts a stream, where there is a limit.

/// Resident memory of the process, MiB; `None` where the system does not say.
pub(super) fn resident_mib() -> Option<u32> {
    resident_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

fn resident_in(status: &str) -> Option<u32> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    u32::try_from(kib / 1_024).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_the_kernels_table() {
        assert_eq!(resident_in("VmPeak:\t  9 kB\nVmRSS:\t  524800 kB\nRssAnon: 1 kB\n"), Some(512));
        assert_eq!(resident_in("VmPeak:\t  9 kB\n"), None);
        assert!(resident_mib().is_some_and(|mib| mib > 0), "of this process");
    }
}

//! What a process uses, from /proc.

use std::fs;

/// One thread of a process.
#[derive(Clone, Debug)]
pub struct Thread {
    /// Its kernel id.
    pub id: u32,
    /// Its name, 15 bytes at most.
    pub name: String,
    /// Its scheduling policy: 0 is SCHED_OTHER.
    pub policy: u32,
}

/// Clock ticks a second of /proc's times, fixed by Linux's interface.
const TICKS: f64 = 100.0;

/// CPU time used so far, user and system, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    let fields = stat_fields(&format!("/proc/{pid}/stat"));
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    (ticks(11) + ticks(12)) as f64 / TICKS
}

/// Resident memory in kilobytes.
pub fn rss_kb(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// The process's threads.
pub fn threads(pid: u32) -> Vec<Thread> {
    let Ok(tasks) = fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    tasks
        .filter_map(|task| {
            let folder = task.ok()?.path();
            let name = fs::read_to_string(folder.join("comm")).ok()?.trim().to_owned();
            let fields = stat_fields(folder.join("stat").to_str()?);
            let id = folder.file_name()?.to_str()?.parse().ok()?;
            Some(Thread { id, name, policy: fields.get(38)?.parse().ok()? })
        })
        .collect()
}

/// TCP connections that the other end has closed and the process has not: `CLOSE_WAIT`, by their local and remote addresses.
pub fn half_closed(pid: u32) -> Vec<String> {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let sockets: Vec<_> = descriptors
        .filter_map(|entry| {
            let target = fs::read_link(entry.path()).ok()?;
            Some(target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string(format!("/proc/{pid}/net/tcp")).unwrap_or_default();
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let closed = rows.filter(|row| {
        row.get(3) == Some(&"08") && row.get(9).is_some_and(|inode| sockets.iter().any(|own| own == inode))
    });
    closed.map(|row| format!("{} to {}", row[1], row[2])).collect()
}

/// Open descriptors.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// TCP connections over IPv4 to this port that some process of this machine still has open, or is opening: not those that the
/// kernel alone ends or remembers.
pub fn connections_to(port: u16) -> usize {
    const ESTABLISHED: &str = "01";
    const SYN_SENT: &str = "02";
    const CLOSE_WAIT: &str = "08";
    let table = fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let to = format!(":{port:04X}");
    let open = |line: &&str| {
        let mut fields = line.split_whitespace().skip(2);
        fields.next().is_some_and(|remote| remote.ends_with(&to))
            && fields.next().is_some_and(|state| [ESTABLISHED, SYN_SENT, CLOSE_WAIT].contains(&state))
    };
    table.lines().skip(1).filter(open).count()
}

/// The fields of a stat file after the name in parentheses: index 0 is the state, the manual's field 3.
fn stat_fields(file: &str) -> Vec<String> {
    let stat = fs::read_to_string(file).unwrap_or_default();
    stat.rsplit(')').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

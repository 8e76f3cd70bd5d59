//! What a process has cost so far, from `/proc`.

fn read(pid: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default()
}

/// Processor time, in seconds.
pub fn cpu_seconds(pid: u32) -> f64 {
    // Fields 14 and 15, in hundredths of a second; the name before them may hold spaces.
    let stat = read(pid, "stat");
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let ticks = fields.split(' ').skip(11).take(2);
    ticks
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / 100.0
}

fn field(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.unwrap_or(0.0)
}

/// A size of `/proc/PID/status`, in KiB: `VmHWM:` is the largest resident size, `VmRSS:` today's.
pub fn status_kib(pid: u32, name: &str) -> f64 {
    field(&read(pid, "status"), name)
}

/// Bytes that went, or are to go, to the disk.
pub fn written_bytes(pid: u32) -> f64 {
    field(&read(pid, "io"), "write_bytes:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_a_size_and_used_time() {
        let pid = std::process::id();
        let until = std::time::Instant::now() + std::time::Duration::from_millis(50);
        while std::time::Instant::now() < until {}
        assert!(cpu_seconds(pid) > 0.0);
        assert!(status_kib(pid, "VmRSS:") > 100.0);
        assert!(status_kib(pid, "VmHWM:") >= status_kib(pid, "VmRSS:"));
        assert_eq!(field("write_bytes: 7\n", "write_bytes:"), 7.0);
    }
}

//! What the machine allows.

use std::path::Path;

use gantry_segment::{Bodies, Control};
use gantry_settings::{IpcBackend, Settings};
use gantry_supervisor::dimensions;
use gantry_sys::limits::raise_nofile;
use gantry_sys::user::effective_uid;

use super::Finding;
use crate::table::bytes;

/// Bytes of the directory's array, nearly all of which never take real memory.
const DIRECTORY_BYTES: u64 = 400 << 20;
/// Users below are the system's, whose segments systemd-logind leaves alone.
const FIRST_ORDINARY_UID: u32 = 1000;

/// Looks at the kernel's limits and settings.
pub(super) fn look(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![nofile(settings)];
    match settings.ipc.backend {
        IpcBackend::SysV => findings.extend(system_v(settings)),
        IpcBackend::Posix => findings.push(posix()),
    }
    findings.extend([memory(settings), ptrace_scope(), clock_source(), somaxconn(settings)]);
    findings
}

fn nofile(settings: &Settings) -> Finding {
    let about = "open files";
    let needed = settings.descriptors_needed();
    match raise_nofile(needed, settings.descriptors_least()) {
        Ok(allowed) if allowed < needed => {
            let told =
                format!("{needed} needed for [comm] connections_max, {allowed} allowed: fewer are taken");
            Finding::warn(about, told + "; raise LimitNOFILE (systemd) or `ulimit -Hn`")
        }
        Ok(allowed) => Finding::ok(about, format!("{needed} needed, {allowed} allowed")),
        Err(error) => Finding::fail(about, error.to_string()),
    }
}

/// Bytes of each segment that is set aside.
fn segment_bytes(settings: &Settings) -> [u64; 2] {
    let dimensions = dimensions(settings);
    [Control::bytes_for(&dimensions) as u64, Bodies::bytes_for(&dimensions) as u64]
}

fn system_v(settings: &Settings) -> Vec<Finding> {
    let [control, blocks] = segment_bytes(settings);
    let largest = control.max(blocks).max(DIRECTORY_BYTES);
    let all = control + blocks + DIRECTORY_BYTES;
    let mut findings = Vec::new();
    if let Some(max) = figure("/proc/sys/kernel/shmmax") {
        findings.push(enough("kernel.shmmax", largest, max, bytes, "sysctl -w kernel.shmmax=N"));
    }
    if let Some(pages) = figure("/proc/sys/kernel/shmall") {
        let max = pages.saturating_mul(4096);
        findings.push(enough("kernel.shmall", all, max, bytes, "sysctl -w kernel.shmall=N (pages)"));
    }
    if let Some(max) = figure("/proc/sys/kernel/shmmni") {
        let text = std::fs::read_to_string("/proc/sysvipc/shm").unwrap_or_default();
        let used = text.lines().count().saturating_sub(1) as u64;
        findings.push(enough(
            "kernel.shmmni",
            used + 3,
            max,
            |figure| figure.to_string(),
            "sysctl -w kernel.shmmni=N",
        ));
    }
    findings.push(remove_ipc());
    findings
}

fn enough(
    about: &'static str,
    needed: u64,
    allowed: u64,
    print: impl Fn(u64) -> String,
    remedy: &str,
) -> Finding {
    let (needed_text, allowed_text) = (print(needed), print(allowed));
    if needed <= allowed {
        Finding::ok(about, format!("{needed_text} needed, {allowed_text} allowed"))
    } else {
        Finding::fail(
            about,
            format!("{needed_text} needed, {allowed_text} allowed; raise it with `{remedy}`"),
        )
    }
}

/// systemd-logind removes an ordinary user's segments when the user logs out.
fn remove_ipc() -> Finding {
    let about = "RemoveIPC";
    let files = ["/etc/systemd/logind.conf", "/usr/lib/systemd/logind.conf"];
    let set = files
        .iter()
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .find_map(|text| remove_ipc_in(&text));
    let runs_systemd = Path::new("/run/systemd/system").exists();
    match (effective_uid() < FIRST_ORDINARY_UID, runs_systemd, set) {
        (true, _, _) => Finding::ok(about, "this is a system user, whose segments are left alone"),
        (false, false, _) => Finding::ok(about, "systemd does not run here"),
        (false, true, Some(false)) => Finding::ok(about, "RemoveIPC=no"),
        (false, true, _) => Finding::warn(
            about,
            "systemd-logind removes the segments when this user logs out; set RemoveIPC=no in /etc/systemd/logind.conf, or \
             run the node as a system user",
        ),
    }
}

/// The last setting of the key counts; a comment is none.
fn remove_ipc_in(text: &str) -> Option<bool> {
    let values = text.lines().filter_map(|line| line.trim().strip_prefix("RemoveIPC"));
    let value = values.filter_map(|rest| rest.trim_start().strip_prefix('=')).next_back()?;
    Some(!matches!(value.trim().to_ascii_lowercase().as_str(), "no" | "false" | "0" | "off"))
}

fn posix() -> Finding {
    if Path::new("/dev/shm").is_dir() {
        Finding::ok("/dev/shm", "it is there")
    } else {
        Finding::fail("/dev/shm", "it is not there; mount a tmpfs on it, or set ipc.backend = \"sysv\"")
    }
}

fn memory(settings: &Settings) -> Finding {
    let about = "memory";
    let needed: u64 = segment_bytes(settings).iter().sum();
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let Some(available) = available_in(&text) else {
        return Finding::warn(
            about,
            format!("{} needed for the segments; /proc/meminfo cannot be read", bytes(needed)),
        );
    };
    let (needed_text, available_text) = (bytes(needed), bytes(available));
    if needed <= available {
        Finding::ok(about, format!("{needed_text} needed for the segments, {available_text} available"))
    } else {
        Finding::warn(
            about,
            format!(
                "{needed_text} needed for the segments when they are full, {available_text} available; lower [ipc] blocks or slots"
            ),
        )
    }
}

fn available_in(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// A new communication process takes the sockets of a dead one by `pidfd_getfd`, which is a kind of tracing.
fn ptrace_scope() -> Finding {
    let about = "ptrace scope";
    match figure("/proc/sys/kernel/yama/ptrace_scope") {
        None | Some(0 | 1) => Finding::ok(about, "processes of this user may take over each other's sockets"),
        Some(scope) => Finding::warn(
            about,
            format!(
                "kernel.yama.ptrace_scope is {scope}: connections cannot be taken over when the communication process dies; \
                 set it to 1"
            ),
        ),
    }
}

fn clock_source() -> Finding {
    let about = "clock source";
    let path = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
    match std::fs::read_to_string(path) {
        Ok(text) => match text.trim() {
            fast @ ("tsc" | "kvm-clock" | "hyperv_clocksource_tsc_page" | "arch_sys_counter") => {
                Finding::ok(about, format!("{fast}, which is read without a system call"))
            }
            slow => Finding::warn(
                about,
                format!("{slow} is slow to read; every request reads the clock several times"),
            ),
        },
        Err(_) => Finding::ok(about, "the kernel does not tell"),
    }
}

fn somaxconn(settings: &Settings) -> Finding {
    let about = "listen backlog";
    let wanted = u64::from(settings.comm.listen_backlog);
    match figure("/proc/sys/net/core/somaxconn") {
        Some(max) if max < wanted => Finding::warn(
            about,
            format!(
                "comm.listen_backlog is {wanted}, the kernel cuts it to {max}; `sysctl -w net.core.somaxconn={wanted}`"
            ),
        ),
        _ => Finding::ok(about, format!("{wanted} connections may wait")),
    }
}

fn figure(path: &str) -> Option<u64> {
    std::fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Level;

    #[test]
    fn the_last_setting_that_is_no_comment_counts() {
        assert_eq!(remove_ipc_in("#RemoveIPC=yes\n"), None);
        assert_eq!(remove_ipc_in("[Login]\nRemoveIPC = no\n"), Some(false));
        assert_eq!(remove_ipc_in("RemoveIPC=no\nRemoveIPC=yes\n"), Some(true));
    }

    #[test]
    fn too_little_is_a_failure_with_what_to_do() {
        let finding = enough("kernel.shmmni", 5, 4, |figure| figure.to_string(), "sysctl");
        assert_eq!(finding.level, Level::Fail);
        assert!(finding.text.contains("5 needed, 4 allowed") && finding.text.contains("sysctl"));
        assert_eq!(enough("x", 4, 4, |figure| figure.to_string(), "").level, Level::Ok);
    }

    #[test]
    fn available_memory_is_read_in_bytes() {
        assert_eq!(available_in("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(available_in(""), None);
    }
}

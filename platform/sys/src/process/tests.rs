//! What is promised about processes, tried on real ones.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use super::*;

/// Far longer than anything here takes; only a broken promise waits for it.
const WATCHDOG: Duration = Duration::from_secs(60);

fn shell(script: &str) -> Spawn<'static> {
    let mut spawn = Spawn::new("/bin/sh");
    spawn.args(["-c", script]);
    spawn
}

/// Waits for the end of a child and gives its exit state.
fn ended(child: &Child) -> ExitState {
    let held = PidFd::from(child.pidfd.as_fd().try_clone_to_owned().unwrap());
    if !held.wait(Some(WATCHDOG)) {
        held.signal(Signal::SIGKILL).unwrap();
        panic!("the child does not end");
    }
    reap(child.pid)
}

fn all_of(pipe: Option<OwnedFd>) -> String {
    let mut text = String::new();
    File::from(pipe.unwrap()).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn spawned_program_gets_arguments_and_environment_and_its_status_is_reaped_once() {
    let mut spawn = shell("echo \"$0 $1 $COLOUR\" \"$HOME\"; echo problem >&2; exit 7");
    spawn.args(["zero", "one two"]).env("COLOUR", "red").env("COLOUR", "blue").env("HOME", "/nowhere");
    let mut child = spawn.stdout(Output::Pipe).stderr(Output::Pipe).spawn().unwrap();
    assert_eq!(all_of(child.stdout.take()), "zero one two blue /nowhere\n");
    assert_eq!(all_of(child.stderr.take()), "problem\n");
    assert_eq!(ended(&child), ExitState::Exited { code: 7 });
    assert_eq!(reap(child.pid), ExitState::Unknown);
}

#[test]
fn spawned_program_reads_the_end_of_standard_input_at_once() {
    let mut child = shell("cat; echo done").stdout(Output::Pipe).spawn().unwrap();
    assert_eq!(all_of(child.stdout.take()), "done\n");
    assert!(ended(&child).has_ended());
}

#[test]
fn descriptors_that_change_places_arrive_under_the_numbers_asked_for() {
    let (one, two) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let exchanged = (two.as_raw_fd(), one.as_raw_fd());
    // The lowest free number and those above it are what the duplicates made on the way would naturally get.
    let free = File::open("/dev/null").unwrap().as_raw_fd();
    let crossed = [(free + 2, free + 1), (free + 1, free + 2), (free, free + 3), (free + 3, free)];
    for (first, second) in crossed.into_iter().chain([exchanged]) {
        let script = format!("echo one >/dev/fd/{first}; echo two >/dev/fd/{second}");
        let child = shell(&script).inherit_as(&one, first).inherit_as(&two, second).spawn().unwrap();
        assert_eq!(ended(&child), ExitState::Exited { code: 0 });
        let content = |mut file: &File| {
            let mut text = String::new();
            std::io::Seek::rewind(&mut file).unwrap();
            file.read_to_string(&mut text).unwrap();
            file.set_len(0).unwrap();
            text
        };
        assert_eq!((content(&one).as_str(), content(&two).as_str()), ("one\n", "two\n"), "{first}, {second}");
    }
}

#[test]
fn only_named_descriptors_reach_the_child_and_none_becomes_inheritable_here() {
    let given = tempfile::tempfile().unwrap();
    // High up, where neither the shell nor its listing of the folder opens anything in the child.
    let kept = nix::fcntl::fcntl(&given, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(500)).unwrap();
    // SAFETY: the kernel has just made this descriptor, and nothing else knows it.
    let kept = File::from(unsafe { OwnedFd::from_raw_fd(kept) });
    let mut child = shell("cd /proc/$$/fd && echo *").inherit(&given).stdout(Output::Pipe).spawn().unwrap();
    let listed: Vec<i32> =
        all_of(child.stdout.take()).split_whitespace().map(|name| name.parse().unwrap()).collect();
    assert!(listed.contains(&given.as_raw_fd()), "{listed:?}");
    assert!(!listed.contains(&kept.as_raw_fd()), "{listed:?}");
    assert!(ended(&child).has_ended());
    for file in [&given, &kept] {
        let flags = nix::fcntl::fcntl(file, nix::fcntl::FcntlArg::F_GETFD).unwrap();
        assert_eq!(flags & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
    }
}

#[test]
fn standard_output_may_be_a_file() {
    let mut file = tempfile::tempfile().unwrap();
    let child = shell("echo into; echo file >&2")
        .stdout(Output::File(file.as_fd()))
        .stderr(Output::Null)
        .spawn()
        .unwrap();
    assert_eq!(ended(&child), ExitState::Exited { code: 0 });
    let mut text = String::new();
    std::io::Seek::rewind(&mut file).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "into\n");
}

#[test]
fn child_has_an_empty_signal_mask_and_default_sigpipe_whatever_the_parent_has() {
    let blocked = [Signal::SIGUSR1, Signal::SIGTERM].into_iter().collect::<nix::sys::signal::SigSet>();
    blocked.thread_block().unwrap();
    let mut child = Spawn::new("/bin/cat").arg("/proc/self/status").stdout(Output::Pipe).spawn().unwrap();
    blocked.thread_unblock().unwrap();
    let status = all_of(child.stdout.take());
    let set = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    assert_eq!(set("SigBlk:"), 0);
    // Rust's start-up ignores SIGPIPE in this very process; bit n - 1 stands for signal n.
    for signal in [Signal::SIGPIPE, Signal::SIGCHLD, Signal::SIGTERM] {
        assert_eq!(set("SigIgn:") >> (signal as u32 - 1) & 1, 0, "{signal}");
    }
    assert!(ended(&child).has_ended());
}

#[test]
fn killing_the_group_of_a_child_ends_what_the_child_started() {
    let mut child = shell("sleep 100 & echo $!; wait").own_group().stdout(Output::Pipe).spawn().unwrap();
    let mut pipe = File::from(child.stdout.take().unwrap());
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        assert_eq!(pipe.read(&mut byte).unwrap(), 1);
        line.push(byte[0]);
    }
    let grandchild = PidFd::open(String::from_utf8(line).unwrap().trim().parse().unwrap()).unwrap();
    assert!(!grandchild.is_dead());
    signal_group(child.pid, Signal::SIGKILL).unwrap();
    assert!(grandchild.wait(Some(WATCHDOG)));
    assert_eq!(ended(&child), ExitState::Killed { signal: libc::SIGKILL, core_dumped: false });
}

#[test]
fn pidfd_tells_a_zombie_from_a_living_process_and_refuses_signals_after_the_reaping() {
    let child = shell("exec sleep 100").spawn().unwrap();
    let held = PidFd::open(child.pid).unwrap();
    assert!(!held.is_dead());
    assert!(!held.wait(Some(Duration::from_millis(1))));
    assert_eq!(reap(child.pid), ExitState::Running);
    held.signal(Signal::SIGTERM).unwrap();
    assert!(held.wait(Some(WATCHDOG)));
    assert!(held.is_dead(), "a zombie is dead");
    assert!(start_ticks(child.pid).is_some(), "and still has its pid");
    assert_eq!(memory(child.pid).unwrap_err().kind(), std::io::ErrorKind::InvalidData);
    assert_eq!(ended(&child), ExitState::Killed { signal: libc::SIGTERM, core_dumped: false });
    assert!(held.is_dead());
    assert_eq!(held.signal(Signal::SIGTERM).unwrap_err().raw_os_error(), Some(libc::ESRCH));
}

#[test]
fn process_runs_until_it_is_a_zombie_or_gone() {
    let child = shell("exit 0").spawn().unwrap();
    let pid = child.pid;
    assert!(PidFd::from(child.pidfd).wait(None));
    assert!(has_stopped_running(pid), "a zombie");
    assert!(reap(pid).has_ended());
    assert!(has_stopped_running(pid), "gone");
    assert!(!has_stopped_running(i32::try_from(std::process::id()).unwrap()));
}

#[test]
fn death_by_a_real_time_signal_is_reaped_with_its_number() {
    let child = shell("kill -40 $$").spawn().unwrap();
    let state = ended(&child);
    assert_eq!(state, ExitState::Killed { signal: 40, core_dumped: false });
    assert_eq!(state.to_string(), "killed by signal 40");
    assert_eq!(
        ExitState::Killed { signal: 11, core_dumped: true }.to_string(),
        "killed by SIGSEGV, core dumped"
    );
}

#[test]
fn program_that_cannot_run_is_named_in_the_error_and_leaves_no_child() {
    let text = tempfile::NamedTempFile::new().unwrap();
    for (program, errno) in [(Path::new("/nonexistent/gantry"), libc::ENOENT), (text.path(), libc::EACCES)] {
        let error = Spawn::new(program).spawn().unwrap_err();
        assert_eq!(error.cause.raw_os_error(), Some(errno));
        assert!(error.to_string().contains(program.to_str().unwrap()), "{error}");
    }
}

#[test]
fn impossible_wishes_are_refused_before_anything_is_started() {
    let (one, two) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    let refused = |spawn: &Spawn<'_>, part: &str| {
        let error = spawn.spawn().unwrap_err();
        assert_eq!(error.cause.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains(part), "{error}");
    };
    refused(shell("true").inherit_as(&one, 9).inherit_as(&two, 9), "number 9");
    refused(shell("true").inherit_as(&one, 1), "standard stream");
    refused(shell("true").arg("a\0b"), "NUL");
    refused(shell("true").env("A=B", "c"), "variable's name");
}

#[test]
fn reap_and_signal_group_refuse_numbers_that_mean_everybody() {
    for number in [-1, 0, -7] {
        assert_eq!(reap(number), ExitState::Unknown);
    }
    for number in [1, 0, -1] {
        assert_eq!(
            signal_group(number, Signal::SIGKILL).unwrap_err().kind(),
            std::io::ErrorKind::InvalidInput
        );
    }
    assert_eq!(PidFd::open(i32::MAX).unwrap_err().raw_os_error(), Some(libc::ESRCH));
}

#[test]
fn inherited_descriptor_is_taken_once_and_own_ones_never() {
    const NUMBER: &str = "GANTRY_SYS_TEST_INHERITED";
    if let Ok(number) = std::env::var(NUMBER) {
        let number = number.parse().unwrap();
        let mut file = File::from(take_inherited(number).unwrap());
        file.write_all(b"taken").unwrap();
        assert_eq!(take_inherited(number).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
        return;
    }
    let mut file = tempfile::tempfile().unwrap();
    assert_eq!(take_inherited(file.as_raw_fd()).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(take_inherited(2).unwrap_err().kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(take_inherited(999_999).unwrap_err().raw_os_error(), Some(libc::EBADF));
    let test = "process::tests::inherited_descriptor_is_taken_once_and_own_ones_never";
    let mut spawn = Spawn::new(own_executable().unwrap());
    let child = spawn.args([test, "--exact"]).env(NUMBER, "77").inherit_as(&file, 77).spawn().unwrap();
    assert_eq!(ended(&child), ExitState::Exited { code: 0 });
    let mut text = String::new();
    std::io::Seek::rewind(&mut file).unwrap();
    file.read_to_string(&mut text).unwrap();
    assert_eq!(text, "taken");
}

#[test]
fn name_is_cut_to_what_the_kernel_keeps() {
    let named = |name: &str| {
        let name = name.to_owned();
        std::thread::spawn(move || {
            set_name(&name);
            std::fs::read_to_string("/proc/thread-self/comm").unwrap()
        })
        .join()
        .unwrap()
    };
    assert_eq!(named("gantry-comm"), "gantry-comm\n");
    assert_eq!(named("a-name-of-more-than-15-bytes"), "a-name-of-more-\n");
    assert_eq!(named("fourteen bytes\u{e4}"), "fourteen bytes\n");
    assert_eq!(named("cut\0here"), "cut\n");
    assert_eq!(named(""), "\n");
}

#[test]
fn own_executable_forgets_that_the_file_was_replaced() {
    assert!(own_executable().unwrap().is_file());
    let mark = |text: &str| without_deleted_mark(PathBuf::from(text));
    assert_eq!(mark("/opt/gantry (deleted)"), PathBuf::from("/opt/gantry"));
    assert_eq!(mark("/opt/gantry"), PathBuf::from("/opt/gantry"));
    let really = tempfile::Builder::new().suffix(" (deleted)").tempfile().unwrap();
    assert_eq!(without_deleted_mark(really.path().to_owned()), really.path());
}

/// What the copies of this program below are told by.
const KEEPER_COPY: &str = "GANTRY_SYS_TEST_KEEPER";

/// A process that starts a keeper, tells its pid and the number of a pipe's reading end, and waits to be killed.
fn life_with_a_keeper(confirm: bool) -> ! {
    let keeper = Keeper::start().unwrap();
    let (reader, mut writer) = std::io::pipe().unwrap();
    writer.write_all(b"kept").unwrap();
    if confirm {
        keeper.confirm();
    }
    println!("keeper {} {}", keeper.pid(), reader.as_raw_fd());
    loop {
        std::thread::park();
    }
}

/// Starts a copy of this program that is the test `name`, and gives it with what it tells of its keeper.
fn with_a_keeper(name: &str, confirm: &str) -> (Child, i32, i32) {
    let mut spawn = Spawn::new(own_executable().unwrap());
    spawn.args([&format!("process::tests::{name}"), "--exact", "--nocapture"]).env(KEEPER_COPY, confirm);
    let mut child = spawn.stdout(Output::Pipe).spawn().unwrap();
    let said = std::io::BufReader::new(File::from(child.stdout.take().unwrap()));
    let line = std::io::BufRead::lines(said).map_while(Result::ok).find_map(|line| {
        let (_, told) = line.split_once("keeper ")?;
        let (pid, number) = told.split_once(' ')?;
        Some((pid.parse().ok()?, number.trim().parse().ok()?))
    });
    let (pid, number) = line.expect("the copy tells its keeper");
    (child, pid, number)
}

#[test]
fn keeper_holds_the_descriptors_of_a_process_that_was_killed() {
    if std::env::var_os(KEEPER_COPY).is_some() {
        life_with_a_keeper(true);
    }
    let name = "keeper_holds_the_descriptors_of_a_process_that_was_killed";
    let (child, pid, number) = with_a_keeper(name, "yes");
    let keeper = PidFd::open(pid).unwrap();
    PidFd::from(child.pidfd.as_fd().try_clone_to_owned().unwrap()).signal(Signal::SIGKILL).unwrap();
    assert_eq!(ended(&child), ExitState::Killed { signal: libc::SIGKILL, core_dumped: false });
    assert!(descriptor_numbers_end(pid).unwrap() > number.unsigned_abs());
    let mut said = [0; 4];
    File::from(keeper.take_descriptor(number).unwrap()).read_exact(&mut said).unwrap();
    assert_eq!(&said, b"kept");
    assert_eq!(keeper.take_descriptor(9999).unwrap_err().raw_os_error(), Some(libc::EBADF));
    keeper.signal(Signal::SIGTERM).unwrap();
    assert!(!keeper.is_dead(), "it blocks what can be blocked");
    keeper.signal(Signal::SIGKILL).unwrap();
    assert!(keeper.wait(Some(WATCHDOG)));
    let started = std::time::Instant::now();
    while ended_child() != Some(pid) {
        assert!(started.elapsed() < WATCHDOG, "a sibling of its maker is a child of ours");
    }
    assert_eq!(reap(pid), ExitState::Killed { signal: libc::SIGKILL, core_dumped: false });
    assert_eq!(ended_child(), None);
}

#[test]
fn keeper_that_nobody_wrote_down_ends_by_itself() {
    if std::env::var_os(KEEPER_COPY).is_some() {
        life_with_a_keeper(false);
    }
    let (child, pid, _) = with_a_keeper("keeper_that_nobody_wrote_down_ends_by_itself", "no");
    let keeper = PidFd::open(pid).unwrap();
    PidFd::from(child.pidfd.as_fd().try_clone_to_owned().unwrap()).signal(Signal::SIGKILL).unwrap();
    assert!(ended(&child).has_ended());
    assert!(keeper.wait(Some(WATCHDOG)));
    assert_eq!(reap(pid), ExitState::Exited { code: 0 });
}

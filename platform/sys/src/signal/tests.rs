//! Signals tried for real; what would end or change the test itself is tried in a copy of this program.

use std::io::Read;
use std::ops::ControlFlow;
use std::time::Duration;

use super::*;
use crate::atomic::AtomicU32;
use crate::futex::{self, WaitResult};
use crate::process::{Child, ExitState, Output, PidFd, Spawn, own_executable, reap};

/// Tells a copy of this program what to do; absent in the test itself.
const ROLE: &str = "GANTRY_SYS_TEST_ROLE";
/// Far longer than anything here takes; only a broken promise waits for it.
const WATCHDOG: Duration = Duration::from_secs(60);

/// Starts this program again for one test, in a role.
fn copy(test: &str, role: &str) -> Child {
    let mut spawn = Spawn::new(own_executable().unwrap());
    spawn.args([&format!("signal::tests::{test}"), "--exact", "--nocapture"]).env(ROLE, role);
    spawn.stdout(Output::Pipe).stderr(Output::Null).spawn().unwrap()
}

/// What the copy wrote until it ended, and how it ended.
fn end_of(mut child: Child) -> (String, ExitState) {
    let mut said = String::new();
    std::fs::File::from(child.stdout.take().unwrap()).read_to_string(&mut said).unwrap();
    (said, state_of(child))
}

/// How the copy ended; one that does not end is killed, so that a failed test leaves no process behind.
fn state_of(child: Child) -> ExitState {
    let held = PidFd::from(child.pidfd);
    if !held.wait(Some(WATCHDOG)) {
        held.signal(Signal::SIGKILL).unwrap();
        panic!("the copy does not end");
    }
    reap(child.pid)
}

/// Plain system calls only, as a handler may.
fn say(words: &[u8]) {
    // SAFETY: the bytes are valid for their length; `write` is async-signal-safe.
    unsafe { libc::write(1, words.as_ptr().cast(), words.len()) };
}

fn note(interrupted: &Interrupted) {
    let signal = interrupted.signal;
    say(b"<noted ");
    say(&[b'0' + (signal / 10) as u8, b'0' + (signal % 10) as u8]);
    say(b">");
}

#[inline(never)]
fn overflow(depth: u64) -> u64 {
    let filler = std::hint::black_box([depth; 512]);
    if depth == u64::MAX { 0 } else { overflow(depth + 1) + filler[7] }
}

/// Dies in the way that `role` names.
fn die(role: &str) {
    // A core file of each crash would only litter the tests' folder.
    nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0).unwrap();
    on_fatal(note).unwrap();
    match role {
        "segv" => {
            let nowhere = std::hint::black_box(8_usize) as *mut u32;
            // SAFETY: none: this test is about the fault.
            unsafe { nowhere.write_volatile(1) };
        }
        "abort" => std::process::abort(),
        "ill" => nix::sys::signal::raise(Signal::SIGILL).unwrap(),
        "bus" => nix::sys::signal::raise(Signal::SIGBUS).unwrap(),
        "fpe" => nix::sys::signal::raise(Signal::SIGFPE).unwrap(),
        "overflow" => println!("{}", overflow(0)),
        "thread" => {
            let crash = || nix::sys::signal::raise(Signal::SIGSEGV);
            std::thread::spawn(crash).join().unwrap().unwrap();
        }
        other => panic!("no role {other}"),
    }
    say(b"<survived>");
}

#[test]
fn fatal_signal_is_noted_once_and_then_ends_the_process() {
    if let Ok(role) = std::env::var(ROLE) {
        return die(&role);
    }
    let cases = [
        ("segv", libc::SIGSEGV),
        ("abort", libc::SIGABRT),
        ("ill", libc::SIGILL),
        ("bus", libc::SIGBUS),
        ("fpe", libc::SIGFPE),
        ("overflow", libc::SIGSEGV),
        ("thread", libc::SIGSEGV),
    ];
    for (role, signal) in cases {
        let (said, state) = end_of(copy("fatal_signal_is_noted_once_and_then_ends_the_process", role));
        assert_eq!(state, ExitState::Killed { signal, core_dumped: false }, "{role}");
        assert_eq!(said.matches(&format!("<noted {signal:02}>")).count(), 1, "{role}: {said}");
        assert!(!said.contains("<survived>"), "{role}: {said}");
    }
}

#[test]
fn crash_inside_the_note_still_ends_the_process() {
    fn crashing(_interrupted: &Interrupted) {
        say(b"<noted>");
        // SAFETY: none: a note that breaks its promise is what the test is about.
        unsafe { std::hint::black_box(8_usize as *mut u32).write_volatile(1) };
    }
    if std::env::var(ROLE).is_ok() {
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0).unwrap();
        on_fatal(crashing).unwrap();
        assert_eq!(on_fatal(note).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
        std::process::abort();
    }
    let (said, state) = end_of(copy("crash_inside_the_note_still_ends_the_process", "any"));
    assert_eq!(state, ExitState::Killed { signal: libc::SIGSEGV, core_dumped: false });
    assert_eq!(said.matches("<noted>").count(), 1, "{said}");
}

#[test]
fn note_that_never_ends_is_ended() {
    fn waiting(_interrupted: &Interrupted) {
        say(b"<noted>");
        loop {
            std::hint::spin_loop();
        }
    }
    if std::env::var(ROLE).is_ok() {
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0).unwrap();
        // As it is when the crashed code had blocked it.
        block(&[Signal::SIGALRM]).unwrap();
        on_fatal(waiting).unwrap();
        std::process::abort();
    }
    let (said, state) = end_of(copy("note_that_never_ends_is_ended", "any"));
    assert_eq!(state, ExitState::Killed { signal: libc::SIGALRM, core_dumped: false });
    assert_eq!(said.matches("<noted>").count(), 1, "{said}");
}

/// Writes a number as hex between marks, by plain system calls.
fn say_address(address: usize) {
    let mut text = *b"<at 0000000000000000>";
    for (place, digit) in text[4..20].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[address >> (60 - 4 * place) & 15];
    }
    say(&text);
}

/// The numbers that were written by [`say_address`].
fn addresses(said: &str) -> Vec<usize> {
    let parts = said.split("<at ").skip(1).map(|part| &part[..16]);
    parts.map(|digits| usize::from_str_radix(digits, 16).unwrap()).collect()
}

fn say_stack(interrupted: &Interrupted) {
    say_address(interrupted.address);
    if interrupted.address < 4096 {
        // A jump to nowhere; the word on the stack is where it came from.
        return say_address(interrupted.return_address().unwrap_or(0));
    }
    let mut room = 40;
    let _ended = interrupted.walk_callers(&mut |address| {
        say_address(address);
        room -= 1;
        if room == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
}

/// Each of these has the next one's address on the stack while it runs.
#[inline(never)]
fn outer(last: fn()) -> u32 {
    middle(std::hint::black_box(last)) + 1
}

#[inline(never)]
fn middle(last: fn()) -> u32 {
    std::hint::black_box(last)();
    std::hint::black_box(7)
}

#[inline(never)]
fn store_to_nowhere() {
    // SAFETY: none: this test is about the fault.
    unsafe { std::hint::black_box(8_usize as *mut u32).write_volatile(1) };
}

#[inline(never)]
fn raise_terminate() {
    nix::sys::signal::raise(Signal::SIGTERM).unwrap();
    say(b"<went on>");
}

#[inline(never)]
fn crash_at_all() {
    nix::sys::signal::raise(Signal::SIGSEGV).unwrap();
}

/// Writes where the functions of the copy begin, since each process has them elsewhere, then runs them.
fn say_functions_and_run(last: fn()) {
    say_address(outer as *const () as usize);
    say_address(middle as *const () as usize);
    say_address(last as usize);
    println!("{}", outer(last));
}

/// Where a stack has an address within the first bytes of a function, and not of one of the `others` behind it.
fn is_in(stack: &[usize], function: usize, others: &[usize]) -> Option<usize> {
    let end = others.iter().filter(|other| **other > function).min().map_or(usize::MAX, |other| *other);
    stack.iter().position(|address| (function..end.min(function + 512)).contains(address))
}

#[test]
fn stack_of_a_crash_names_its_callers_from_the_inside_out() {
    if let Ok(role) = std::env::var(ROLE) {
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0).unwrap();
        warm_up_stack_walk();
        on_fatal(say_stack).unwrap();
        return say_functions_and_run(if role == "fault" { store_to_nowhere } else { crash_at_all });
    }
    for role in ["fault", "raise"] {
        let (said, state) = end_of(copy("stack_of_a_crash_names_its_callers_from_the_inside_out", role));
        assert_eq!(state, ExitState::Killed { signal: libc::SIGSEGV, core_dumped: false }, "{role}");
        let said = addresses(&said);
        let ([outer, middle, last], stack) = said.split_first_chunk().unwrap();
        let places = [last, middle, outer]
            .map(|function| is_in(stack, *function, &[*last, *middle, *outer]).expect("it was running"));
        assert!(places[0] < places[1] && places[1] < places[2], "{role}: {places:?}");
        assert_eq!(places[0] == 0, role == "fault", "the faulting instruction comes first: {places:?}");
    }
}

#[test]
fn stack_of_a_jump_to_nowhere_says_where_it_came_from() {
    if std::env::var(ROLE).is_ok() {
        nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0).unwrap();
        on_fatal(say_stack).unwrap();
        // SAFETY: none: calling what is no function is what the test is about.
        let nowhere = unsafe { std::mem::transmute::<usize, fn()>(std::hint::black_box(16)) };
        return say_functions_and_run(nowhere);
    }
    let (said, state) = end_of(copy("stack_of_a_jump_to_nowhere_says_where_it_came_from", "any"));
    assert_eq!(state, ExitState::Killed { signal: libc::SIGSEGV, core_dumped: false });
    let said = addresses(&said);
    let ([outer, middle, last], stack) = said.split_first_chunk().unwrap();
    assert_eq!((stack[0], *last), (16, 16));
    assert_eq!(is_in(&stack[1..], *middle, &[*outer]), Some(0), "{said:x?}");
}

#[test]
fn terminated_thread_is_noted_with_its_stack_and_goes_on() {
    if std::env::var(ROLE).is_ok() {
        warm_up_stack_walk();
        let flag = terminate_flag();
        on_terminate(say_stack).unwrap();
        assert_eq!(on_terminate(say_stack).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
        say_functions_and_run(raise_terminate);
        std::process::exit(if flag.load(Ordering::Relaxed) { 5 } else { 6 });
    }
    let (said, state) = end_of(copy("terminated_thread_is_noted_with_its_stack_and_goes_on", "any"));
    assert_eq!(state, ExitState::Exited { code: 5 });
    assert!(said.contains("<went on>"), "{said}");
    let said = addresses(&said);
    let ([outer, middle, last], stack) = said.split_first_chunk().unwrap();
    let places = [last, middle, outer]
        .map(|function| is_in(stack, *function, &[*last, *middle, *outer]).expect("it was running"));
    assert!(places[0] < places[1] && places[1] < places[2], "{places:?}");
}

#[test]
fn exit_hook_runs_at_exit() {
    extern "C" fn leaving() {
        say(b"<left>");
    }
    if std::env::var(ROLE).is_ok() {
        on_exit(leaving).unwrap();
        std::process::exit(3);
    }
    let (said, state) = end_of(copy("exit_hook_runs_at_exit", "any"));
    assert_eq!(state, ExitState::Exited { code: 3 });
    assert_eq!(said.matches("<left>").count(), 1, "{said}");
}

/// Waits without limit until a signal interrupts, while another thread aims SIGTERM at this one over and
/// over.
fn interrupted_wait() -> WaitResult {
    let (word, done) = (AtomicU32::new(0), AtomicBool::new(false));
    // SAFETY: `pthread_self` has no preconditions.
    let this = unsafe { libc::pthread_self() };
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                // SAFETY: the thread is alive, since it waits for this one at the end of the scope.
                assert_eq!(unsafe { libc::pthread_kill(this, libc::SIGTERM) }, 0);
                std::thread::yield_now();
            }
        });
        let result = futex::wait(&word, 0, None);
        done.store(true, Ordering::Release);
        result
    })
}

#[test]
fn terminate_flag_is_set_by_sigterm_which_interrupts_a_wait() {
    if std::env::var(ROLE).is_ok() {
        let flag = terminate_flag();
        assert!(!flag.load(Ordering::Relaxed));
        say(b"<ready>");
        let word = AtomicU32::new(0);
        while !flag.load(Ordering::Relaxed) {
            // With a limit: the test harness has several threads, and the signal may interrupt another one.
            let _looked = futex::wait(&word, 0, Some(Duration::from_millis(1)));
        }
        assert_eq!(interrupted_wait(), WaitResult::Interrupted);
        std::process::exit(5);
    }
    let mut child = copy("terminate_flag_is_set_by_sigterm_which_interrupts_a_wait", "any");
    let mut said = Vec::new();
    let mut pipe = std::fs::File::from(child.stdout.take().unwrap());
    while !said.ends_with(b"<ready>") {
        let mut byte = [0];
        assert_eq!(pipe.read(&mut byte).unwrap(), 1, "{}", String::from_utf8_lossy(&said));
        said.push(byte[0]);
    }
    PidFd::open(child.pid).unwrap().signal(Signal::SIGTERM).unwrap();
    assert_eq!(state_of(child), ExitState::Exited { code: 5 });
}

#[test]
fn signal_descriptor_gives_what_came_and_from_whom() {
    let signals = SignalFd::new(&[Signal::SIGUSR1, Signal::SIGUSR2]).unwrap();
    assert_eq!(signals.read().unwrap(), None);
    // To this thread, so that a sibling test's thread, which has it unblocked, is not hit.
    // SAFETY: `pthread_self` has no preconditions.
    let this = unsafe { libc::pthread_self() };
    // SAFETY: the thread is this one, so alive.
    assert_eq!(unsafe { libc::pthread_kill(this, libc::SIGUSR2) }, 0);
    let received = signals.read().unwrap().unwrap();
    assert_eq!(received.signal, Signal::SIGUSR2);
    assert_eq!(received.sender_pid, i32::try_from(std::process::id()).unwrap());
    assert_eq!(received.sender_uid, nix::unistd::geteuid().as_raw());
    assert_eq!(signals.read().unwrap(), None);
    unblock(&[Signal::SIGUSR1, Signal::SIGUSR2]).unwrap();
}

#[test]
fn ignored_signal_does_nothing_and_sigkill_cannot_be_ignored() {
    ignore(Signal::SIGWINCH).unwrap();
    nix::sys::signal::raise(Signal::SIGWINCH).unwrap();
    assert_eq!(ignore(Signal::SIGKILL).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    let ignored = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = ignored.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap();
    let set = u64::from_str_radix(line.trim(), 16).unwrap();
    assert_eq!(set >> (Signal::SIGWINCH as u32 - 1) & 1, 1);
}

#[test]
fn blocked_signal_waits_until_it_is_unblocked() {
    block(&[Signal::SIGURG]).unwrap();
    let mask = nix::sys::signal::SigSet::thread_get_mask().unwrap();
    assert!(mask.contains(Signal::SIGURG));
    unblock(&[Signal::SIGURG]).unwrap();
    assert!(!nix::sys::signal::SigSet::thread_get_mask().unwrap().contains(Signal::SIGURG));
}

//! What both backends promise: one body, run on each.

use super::*;

/// A key of each backend that no other test and no other process uses.
fn keys(test: u8) -> [SegmentKey; 2] {
    let pid = std::process::id();
    let number = 0x5000_0000 | (i32::from(test) << 22) | i32::try_from(pid & 0x3f_ffff).unwrap();
    [SegmentKey::SysV(number), SegmentKey::Posix(format!("/gantry-sys-test-{pid}-{test}"))]
}

/// Removes a segment at the end of a test, also of one that failed.
struct Removed(SegmentId);

impl Drop for Removed {
    fn drop(&mut self) {
        match remove(&self.0) {
            Ok(()) => {}
            Err(error) if matches!(error.cause, ShmCause::Missing | ShmCause::Removed) => {}
            Err(error) => eprintln!("a test left {} behind: {error}", self.0),
        }
    }
}

fn made(key: &SegmentKey, bytes: usize, reserve: bool) -> Removed {
    Removed(create(key, bytes, reserve).unwrap())
}

#[test]
fn segment_attached_twice_shows_the_same_bytes() {
    for key in keys(1) {
        let segment = made(&key, 10_000, true);
        let (one, two) = (attach(&segment.0).unwrap(), attach(&segment.0).unwrap());
        assert_ne!(one.base(), two.base());
        assert_eq!((one.bytes(), two.bytes()), (10_000, 10_000), "{key}");
        assert_eq!(one.base().addr().get() % 4096, 0);
        assert!(one.shared().to_vec().iter().all(|byte| *byte == 0), "{key}: a new segment is zeros");
        one.shared().slice(9_990..).unwrap().copy_from(b"0123456789");
        assert_eq!(two.shared().slice(9_990..).unwrap().to_vec(), b"0123456789");
    }
}

#[test]
fn segment_outlives_its_attachments_and_is_found_by_its_key() {
    for key in keys(2) {
        assert_eq!(find(&key).unwrap(), None);
        let segment = made(&key, 4096, false);
        let attachment = attach(&segment.0).unwrap();
        attachment.shared().copy_from(b"kept");
        drop(attachment);
        let found = find(&key).unwrap().unwrap();
        assert_eq!(found, segment.0);
        assert_eq!(attach(&found).unwrap().shared().slice(..4).unwrap().to_vec(), b"kept");
    }
}

#[test]
fn create_with_a_taken_key_says_that_it_exists() {
    for key in keys(3) {
        let _segment = made(&key, 4096, true);
        let refusal = create(&key, 4096, true).unwrap_err();
        assert_eq!((refusal.cause, refusal.errno), (ShmCause::Exists, libc::EEXIST));
        let text = refusal.to_string();
        assert!(text.contains(&key.to_string()) && text.contains("gantry ipc list"), "{text}");
    }
}

#[test]
fn removed_segment_is_gone_for_newcomers_and_stays_for_those_attached() {
    for key in keys(4) {
        let segment = made(&key, 4096, true);
        let attachment = attach(&segment.0).unwrap();
        remove(&segment.0).unwrap();
        assert_eq!(find(&key).unwrap(), None);
        attachment.shared().copy_from(b"still here");
        assert_eq!(attachment.shared().slice(..10).unwrap().to_vec(), b"still here");
        if let SegmentId::SysV(_) = segment.0 {
            assert!(stat(&segment.0).unwrap().marked_for_removal);
        }
        drop(attachment);
        for error in
            [stat(&segment.0).unwrap_err(), attach(&segment.0).unwrap_err(), remove(&segment.0).unwrap_err()]
        {
            assert!(matches!(error.cause, ShmCause::Missing | ShmCause::Removed), "{error}");
        }
    }
}

#[test]
fn stat_tells_size_mode_owner_and_users() {
    for key in keys(5) {
        let segment = made(&key, 123_456, true);
        let fresh = stat(&segment.0).unwrap();
        assert_eq!((fresh.bytes, fresh.mode), (123_456, 0o600));
        assert_eq!(fresh.uid, nix::unistd::geteuid().as_raw());
        assert!(!fresh.marked_for_removal);
        let attachment = attach(&segment.0).unwrap();
        let used = stat(&segment.0).unwrap();
        if let SegmentKey::SysV(_) = key {
            let own = i32::try_from(std::process::id()).unwrap();
            assert_eq!((fresh.attached, fresh.creator_pid, fresh.last_pid), (Some(0), Some(own), None));
            assert_eq!((used.attached, used.last_pid), (Some(1), Some(own)));
        } else {
            assert_eq!((used.attached, used.creator_pid, used.last_pid), (None, None, None));
        }
        drop(attachment);
    }
}

#[test]
fn unreserved_segment_takes_memory_only_where_it_was_touched() {
    for key in keys(6) {
        let segment = made(&key, 1 << 30, false);
        let attachment = attach(&segment.0).unwrap();
        assert_eq!(stat(&segment.0).unwrap().resident_bytes, Some(0), "{key}");
        attachment.shared().slice(512 << 20..).unwrap().copy_from(b"one page");
        let resident = stat(&segment.0).unwrap().resident_bytes.unwrap();
        assert!(
            (1..=4 << 20).contains(&resident),
            "{key}: {resident} bytes for one page, at most a huge one"
        );
    }
}

#[test]
fn reserved_posix_segment_has_its_memory_from_the_start() {
    let [_, key] = keys(7);
    let segment = made(&key, 1 << 20, true);
    assert_eq!(stat(&segment.0).unwrap().resident_bytes, Some(1 << 20));
}

#[test]
fn reserved_segment_beyond_the_machines_memory_is_refused_and_leaves_nothing() {
    let bytes = 1_usize << 46;
    for key in keys(8) {
        match create(&key, bytes, true) {
            Ok(id) => {
                // A kernel that overcommits without limit promises anything on System V; POSIX memory is
                // really allocated.
                let _segment = Removed(id.clone());
                assert!(matches!(id, SegmentId::SysV(_)), "{id}");
            }
            Err(error) => {
                assert_eq!(error.cause, ShmCause::NoSpace, "{error}");
                assert_eq!(find(&key).unwrap(), None);
            }
        }
    }
}

#[test]
fn impossible_keys_and_sizes_are_refused() {
    let [sysv, posix] = keys(9);
    let bad =
        ["", "/", "a/b", "/..", "nul\0", &"x".repeat(255)].map(|name| SegmentKey::Posix(name.to_owned()));
    for key in bad.into_iter().chain([SegmentKey::SysV(0)]) {
        assert_eq!(create(&key, 4096, true).unwrap_err().cause, ShmCause::Invalid, "{key}");
        assert_eq!(find(&key).unwrap_err().cause, ShmCause::Invalid, "{key}");
    }
    for key in [sysv, posix] {
        assert_eq!(create(&key, 0, true).unwrap_err().cause, ShmCause::Invalid, "{key}");
        assert_eq!(find(&key).unwrap(), None);
    }
}

#[test]
fn forked_child_does_not_have_the_memory() {
    for key in keys(10) {
        let segment = made(&key, 8192, true);
        let attachment = attach(&segment.0).unwrap();
        let start = attachment.base().addr().get();
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let ours = maps.split("VmFlags:").filter(|part| part.contains(&format!("{start:x}-"))).count();
        assert_eq!(ours, 1, "{key}: the mapping is listed");
        let after = maps.split_once(&format!("{start:x}-")).unwrap().1;
        let flags = after.lines().find(|line| line.starts_with("VmFlags:")).unwrap();
        assert!(flags.split_whitespace().any(|flag| flag == "dc"), "{key}: {flags}");
    }
}

#[test]
fn segment_id_survives_being_written_and_read() {
    for id in [SegmentId::SysV(0), SegmentId::SysV(i32::MAX), SegmentId::Posix("/gantry.control".to_owned())]
    {
        assert_eq!(id.to_string().parse::<SegmentId>().unwrap(), id);
    }
    for text in [
        "",
        "sysv",
        "sysv:",
        "sysv:-1",
        "sysv:x",
        "sysv:99999999999",
        "posix:",
        "posix:/",
        "posix:name",
        "posix:/a/b",
    ] {
        let refusal = text.parse::<SegmentId>().unwrap_err();
        assert!(refusal.to_string().contains("sysv:NUMBER"), "{refusal}");
    }
}

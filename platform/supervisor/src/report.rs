//! What is written down when a worker dies inside a service, so that it can be looked into later: which request it ran,
//! of whom, with which version. Facts of the rows only; no byte of a request's body.

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use gantry_message::RequestId;
use gantry_ring::SlotRef;
use gantry_segment::{Control, ProcessRow};
use gantry_sys::atomic::Ordering::Relaxed;
use gantry_sys::clock;
use serde_json::{Value, json};

use crate::limits::REPORTS_MAX;

/// The request that a dead worker was running, as its slot's row tells; `None` when it ran none, or the row names one
/// that cannot be.
pub(crate) fn request_of(control: &Control, row: &ProcessRow) -> Option<Value> {
    let slot = SlotRef::from_bits(row.running_slot.load(Relaxed))?;
    let found = control.slots().get(usize::from(slot.index))?;
    let words =
        [&found.request_id[0], &found.request_id[1], &found.request_id[2]].map(|word| word.load(Relaxed));
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let id = <[u8; 24]>::try_from(bytes).ok().and_then(|bytes| RequestId::new(bytes).ok());
    let now_ns = clock::monotonic_ns();
    Some(json!({
        "id": id.map(|id| id.to_string()),
        "caller": found.caller.text(),
        "body_bytes": found.request_bytes.load(Relaxed),
        "arrived_ms_ago": now_ns.saturating_sub(found.arrival_ns.load(Relaxed)) / 1_000_000,
        "ran_ms": now_ns.saturating_sub(row.running_since_ns.load(Relaxed)) / 1_000_000,
        "timeout_ms": found.timeout_ms.load(Relaxed),
        "attempt": slot.generation.attempt(),
    }))
}

/// Writes a report into the folder and gives its path. The oldest report goes when there are too many.
pub(crate) fn write(folder: &Path, name: &str, report: &Value) -> io::Result<PathBuf> {
    remove_oldest(folder)?;
    // The time comes first, so that names sort by age.
    let path = folder.join(format!("{:013}-{name}.json", clock::realtime_ms()));
    let mut options = fs::File::options();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
    serde_json::to_writer_pretty(file, report)?;
    Ok(path)
}

fn remove_oldest(folder: &Path) -> io::Result<()> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            names.push(path);
        }
    }
    names.sort_unstable();
    let excess = (names.len() + 1).saturating_sub(REPORTS_MAX);
    names.iter().take(excess).try_for_each(fs::remove_file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::small_dimensions;

    #[test]
    fn the_request_is_told_by_its_id_and_caller() {
        let control = Control::heap(small_dimensions()).unwrap();
        let row = &control.processes()[2];
        assert_eq!(request_of(&control, row), None);
        // Slot 3, generation 9: the second attempt of the third use.
        row.running_slot.store(9 << 32 | 4, Relaxed);
        let slot = &control.slots()[3];
        slot.caller.set(b"anonymous");
        let id = b"till-07.2024-05-01.00042";
        for (word, bytes) in slot.request_id.iter().zip(id.chunks(8)) {
            word.store(u64::from_le_bytes(bytes.try_into().unwrap()), Relaxed);
        }
        let request = request_of(&control, row).unwrap();
        assert_eq!(
            (&request["id"], &request["caller"]),
            (&json!("till-07.2024-05-01.00042"), &json!("anonymous"))
        );
        assert_eq!(request["attempt"], 1);
        row.running_slot.store(9 << 32 | 400, Relaxed);
        assert_eq!(request_of(&control, row), None, "there is no such slot");
    }

    #[test]
    fn reports_are_kept_up_to_a_number_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..REPORTS_MAX {
            fs::write(folder.path().join(format!("{number:013}-x.json")), "{}").unwrap();
        }
        let path = write(folder.path(), "19000003-41", &json!({"a": 1})).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), REPORTS_MAX);
        assert!(!folder.path().join(format!("{:013}-x.json", 0)).exists());
        let report: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        assert_eq!(report, json!({"a": 1}));
    }
}

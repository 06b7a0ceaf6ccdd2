//! Which requests go to a canary.

use gantry_message::RequestId;
use gantry_segment::{CANARY_LIBRARY_SHIFT, FOR_CANARY, ServiceRow};
use gantry_sys::atomic::Ordering;

/// The canary of its service that a request with this id goes to, as `ServiceRow::canary_library`. By the id alone: a repeat
/// goes where the first one went, on every node, for as long as the share stays; and what a small share gets, a larger one
/// gets too.
pub(crate) fn of(row: &ServiceRow, request_id: &RequestId) -> Option<u32> {
    // Acquire: pairs with the Release of the share; the worker then finds the build.
    let ppm = row.canary_ppm.load(Ordering::Acquire);
    let library = row.canary_library.load(Ordering::Relaxed);
    (ppm != 0 && library != 0 && request_id.position_ppm() < ppm).then_some(library)
}

/// Whether the answer to a request with these flags counts for the canary that runs: not that of one which was set aside
/// meanwhile, while another is being compared.
pub(crate) fn counts(row: &ServiceRow, flags: u32) -> bool {
    let running = row.canary_library.load(Ordering::Relaxed);
    flags & FOR_CANARY != 0 && (running == 0 || running == flags >> CANARY_LIBRARY_SHIFT)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u32) -> RequestId {
        format!("{number:024}").parse().unwrap()
    }

    #[test]
    fn share_is_kept_and_grows_by_adding_only() {
        let row = ServiceRow::default();
        let gets = |row: &ServiceRow, id: &RequestId| of(row, id) == Some(7);
        assert_eq!(of(&row, &id(1)), None, "there is no canary");
        row.canary_library.store(7, Ordering::Relaxed);
        row.canary_ppm.store(50_000, Ordering::Relaxed);
        let few: Vec<u32> = (0..100_000).filter(|number| gets(&row, &id(*number))).collect();
        assert!((4_500..5_500).contains(&few.len()), "{}", few.len());
        row.canary_ppm.store(500_000, Ordering::Relaxed);
        assert!(few.iter().all(|number| gets(&row, &id(*number))));
        row.canary_ppm.store(1_000_000, Ordering::Relaxed);
        assert!((0..1_000).all(|number| gets(&row, &id(number))));
    }
    #[test]
    fn late_answer_counts_for_no_other_canary() {
        let row = ServiceRow::default();
        let flags = FOR_CANARY | 7 << CANARY_LIBRARY_SHIFT;
        for (running, expected) in [(7, true), (8, false), (0, true)] {
            row.canary_library.store(running, Ordering::Relaxed);
            assert_eq!(counts(&row, flags), expected, "{running}");
            assert!(!counts(&row, flags & !FOR_CANARY));
        }
    }
}

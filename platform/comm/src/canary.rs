//! Which requests go to a canary.

use gantry_message::RequestId;
use gantry_segment::ServiceRow;
use gantry_sys::atomic::Ordering;

/// Whether a request with this id goes to the canary of its service. By the id alone: a repeat goes where the first one
/// went, on every node, for as long as the share stays; and what a small share gets, a larger one gets too.
pub(crate) fn gets(row: &ServiceRow, request_id: &RequestId) -> bool {
    // Acquire: pairs with the Release of the share; the worker then finds the build.
    let ppm = row.canary_ppm.load(Ordering::Acquire);
    ppm != 0 && request_id.position_ppm() < ppm
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
        assert!(!gets(&row, &id(1)), "there is no canary");
        row.canary_ppm.store(50_000, Ordering::Relaxed);
        let few: Vec<u32> = (0..100_000).filter(|number| gets(&row, &id(*number))).collect();
        assert!((4_500..5_500).contains(&few.len()), "{}", few.len());
        row.canary_ppm.store(500_000, Ordering::Relaxed);
        assert!(few.iter().all(|number| gets(&row, &id(*number))));
        row.canary_ppm.store(1_000_000, Ordering::Relaxed);
        assert!((0..1_000).all(|number| gets(&row, &id(number))));
    }
}

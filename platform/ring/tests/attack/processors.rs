//! The machine's processors, shared out among the parts of an attack.

use std::sync::Mutex;
use std::thread;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::unistd::Pid;

const WHOLE: &str = "no thread panics while it holds the list";

/// Runs each of these on one thread for each processor, which it keeps to itself: a traced process and its tracer take
/// turns, and would wake each other across processors for each instruction. Gives the results in order.
pub(crate) fn on_all_processors<T: Copy + Send + Sync, R: Send>(
    items: &[T],
    act: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let left = Mutex::new(items.iter().copied().enumerate());
    let results = Mutex::new(Vec::new());
    let allowed = sched_getaffinity(Pid::from_raw(0)).expect("a thread may ask where it runs");
    let processors = (0..CpuSet::count()).filter(|processor| allowed.is_set(*processor).unwrap_or(false));
    thread::scope(|scope| {
        for processor in processors {
            let (left, results, act) = (&left, &results, &act);
            scope.spawn(move || {
                let mut own = CpuSet::new();
                own.set(processor).expect("one of those that the kernel named");
                sched_setaffinity(Pid::from_raw(0), &own).expect("a thread may choose among its processors");
                loop {
                    let next = left.lock().expect(WHOLE).next();
                    let Some((index, item)) = next else { return };
                    let result = act(item);
                    results.lock().expect(WHOLE).push((index, result));
                }
            });
        }
    });
    let mut results = results.into_inner().expect(WHOLE);
    results.sort_unstable_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

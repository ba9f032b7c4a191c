//! Work on the parts of a scan, on all cores that have nothing else to do.
//!
//! A thread that helps has to get a core before it can be waited for. Where all are busy with what comes in that takes milliseconds, however
//! low the priority of what they do, and a small query waited for its helpers longer than it worked: so it does then by itself
//! what will not take long.

use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// What is left is worth helpers though no core is free: a few times what they may wait for one.
const LONG: Duration = Duration::from_millis(10);

/// Cores to use, at most 16. Asked for once: the answer is read from the files of the control groups, which takes longer than a small query.
#[must_use]
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZero::get).min(16))
}

/// Cores on which nothing runs, beside the caller's, as proc_loadavg(5) has it; all where the system does not say.
fn free_cores() -> usize {
    static ONLINE: OnceLock<usize> = OnceLock::new();
    let online = *ONLINE.get_or_init(|| {
        let listed = std::fs::read_to_string("/sys/devices/system/cpu/online").ok();
        listed.and_then(|text| count_of(&text)).unwrap_or(usize::MAX)
    });
    let running = std::fs::read_to_string("/proc/loadavg").ok().and_then(|text| running_of(&text));
    running.map_or(usize::MAX, |running| online.saturating_sub(running.max(1)))
}

/// How many numbers a list of ranges has: `0-2,5`.
fn count_of(ranges: &str) -> Option<usize> {
    ranges.trim().split(',').try_fold(0, |count, range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        Some(count + (last + 1).checked_sub(first)?)
    })
}

/// How many threads run or want to: `0.1 0.2 0.3 5/800 1234`.
fn running_of(loads: &str) -> Option<usize> {
    loads.split(' ').nth(3)?.split('/').next()?.parse().ok()
}

/// Calls `one` with each number below `count` until it breaks, on so many threads at most: on no more than the caller's and one for
/// each of the cores that are `free`, unless what is left takes long.
fn share(count: usize, threads: usize, free: impl Fn() -> usize, one: impl Fn(usize) -> ControlFlow<()> + Sync) {
    let next = AtomicUsize::new(0);
    let turn = || {
        let at = next.fetch_add(1, Ordering::Relaxed);
        if at < count { one(at) } else { ControlFlow::Break(()) }
    };
    let turns = || while turn().is_continue() {};
    if threads.min(count) <= 1 {
        return turns();
    }
    let mut helpers = free().min(threads - 1);
    if helpers == 0 {
        let begun = Instant::now();
        for done in 1..count {
            if turn().is_break() {
                return;
            }
            let (done, left) = (u32::try_from(done).unwrap_or(u32::MAX), u32::try_from(count - done).unwrap_or(u32::MAX));
            if left > 1 && begun.elapsed().saturating_mul(left) / done > LONG {
                helpers = threads - 1;
                break;
            }
        }
    }
    let left = count.saturating_sub(next.load(Ordering::Relaxed));
    std::thread::scope(|scope| {
        for _ in 1..(helpers + 1).min(left) {
            scope.spawn(turns);
        }
        turns();
    });
}

/// What `work` makes of each item, in their order. Threads take the items one by one; a single item, and what will not take long
/// where no core is free, is done here.
///
/// # Panics
/// Where `work` does.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = cores().min(items.len());
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    share(items.len(), threads, free_cores, |at| {
        let Some(item) = items.get(at) else { return ControlFlow::Break(()) };
        let made = work(item);
        done.lock().push((at, made));
        ControlFlow::Continue(())
    });
    let mut done = done.into_inner();
    done.sort_unstable_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

/// Hands what `work` makes of each item to `take`, as it comes, one at a time: threads that are done do not wait for others. Ends with
/// the first error of `take`.
///
/// # Errors
/// That one.
///
/// # Panics
/// Where `work` or `take` does.
pub(crate) fn each<T: Sync, R, E: Send>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    take: impl FnMut(&T, R) -> Result<(), E> + Send,
) -> Result<(), E> {
    let taking = Mutex::new((take, Ok(())));
    share(items.len(), cores(), free_cores, |at| {
        let Some(item) = items.get(at) else { return ControlFlow::Break(()) };
        let made = work(item);
        let (take, ended) = &mut *taking.lock();
        if ended.is_ok() {
            *ended = take(item, made);
        }
        if ended.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    taking.into_inner().1
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::ops::ControlFlow;
    use std::sync::Barrier;
    use std::time::Duration;

    use parking_lot::Mutex;

    use super::{LONG, count_of, running_of, share};

    #[test]
    fn small_work_is_done_alone_where_no_core_is_free_and_long_work_is_shared_all_the_same() {
        let (here, taken, threads) = (std::thread::current().id(), Mutex::new(Vec::new()), Mutex::new(HashSet::new()));
        let take = |at: usize| {
            taken.lock().push(at);
            threads.lock().insert(std::thread::current().id());
            ControlFlow::Continue(())
        };
        share(100, 4, || 0, |at| if at < 7 { take(at) } else { ControlFlow::Break(()) });
        assert_eq!(
            (std::mem::take(&mut *taken.lock()), threads.lock().drain().collect::<Vec<_>>()),
            ((0..7).collect(), vec![here])
        );
        // The first shows that it takes long; two of the others meet only on two threads.
        let both = Barrier::new(2);
        let slow = |at: usize| {
            if at == 0 {
                std::thread::sleep(LONG + Duration::from_millis(1));
            } else {
                both.wait();
            }
            take(at)
        };
        share(3, 2, || 0, slow);
        // At once where there is a core.
        share(
            2,
            4,
            || 1,
            |at| {
                both.wait();
                take(at)
            },
        );
        taken.lock().sort_unstable();
        assert_eq!((std::mem::take(&mut *taken.lock()), threads.lock().len() > 1), (vec![0, 0, 1, 1, 2], true));
        share(0, 4, || 3, take);
        assert_eq!(taken.lock().len(), 0);
    }

    #[test]
    fn what_the_system_says_of_its_cores_is_read() {
        assert_eq!(
            [count_of("0\n"), count_of("0-1\n"), count_of("0-2,5,8-9"), count_of(""), count_of("2-1")],
            [Some(1), Some(2), Some(6), None, Some(0)]
        );
        assert_eq!([running_of("5.54 15.49 15.33 7/173 17567\n"), running_of("5.54"), running_of("")], [Some(7), None, None]);
        #[cfg(target_os = "linux")]
        assert!(super::free_cores() < usize::MAX, "Linux says it");
    }

    #[test]
    fn each_result_is_taken_once_until_one_is_refused() {
        let items: Vec<u64> = (0..1000).collect();
        let mut sum = 0;
        let done: Result<(), ()> = super::each(
            &items,
            |i| i * 2,
            |_, double| {
                sum += double;
                Ok(())
            },
        );
        assert_eq!((done, sum), (Ok(()), 999 * 1000));
        let mut taken = 0;
        let refused = super::each(
            &items,
            |i| *i,
            |_, _| {
                taken += 1;
                if taken == 10 { Err("enough") } else { Ok(()) }
            },
        );
        assert_eq!((refused, taken), (Err("enough"), 10));
    }

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items: Vec<u64> = (0..1000).collect();
        assert_eq!(super::map(&items, |i| i * 2), items.iter().map(|i| i * 2).collect::<Vec<_>>());
        assert_eq!(super::map(&[] as &[u64], |i| *i), Vec::<u64>::new());
    }
}

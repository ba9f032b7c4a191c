//! Work on the parts of a scan, on all cores.

use std::num::NonZero;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Cores to use, at most 16. Asked for once: the answer is read from the files of the control groups, which takes longer than a small query.
#[must_use]
pub fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, NonZero::get).min(16))
}

/// What `work` makes of each item, in their order. Threads take the items one by one; a single item is done here.
///
/// # Panics
/// Where `work` does.
pub fn map<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let threads = cores().min(items.len());
    if threads <= 1 {
        return items.iter().map(work).collect();
    }
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, R)>> = Mutex::new(Vec::with_capacity(items.len()));
    let turn = || {
        let mut own = Vec::new();
        while let at = next.fetch_add(1, Ordering::Relaxed)
            && let Some(item) = items.get(at)
        {
            own.push((at, work(item)));
        }
        done.lock().extend(own);
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(turn);
        }
        turn();
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
    let threads = cores().min(items.len()).max(1);
    let next = AtomicUsize::new(0);
    let taking = Mutex::new((take, Ok(())));
    let turn = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            let made = work(item);
            let (take, ended) = &mut *taking.lock();
            if ended.is_ok() {
                *ended = take(item, made);
            }
            if ended.is_err() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(turn);
        }
        turn();
    });
    taking.into_inner().1
}

#[cfg(test)]
mod tests {
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

//! Work shared between threads; results come in the order of the items.

use std::panic::resume_unwind;
use std::sync::{Mutex, PoisonError};
use std::thread;

/// How many threads this process may keep busy.
#[must_use]
pub fn available() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// The result of `work` for each item, on up to `threads` threads, the calling one among them.
///
/// A panic in `work` is raised in the calling thread.
pub fn map<T, R, I>(threads: usize, items: I, work: impl Fn(T) -> R + Sync) -> Vec<R>
where
    T: Send,
    R: Send,
    I: IntoIterator<Item = T>,
    I::IntoIter: Send + ExactSizeIterator,
{
    let items = items.into_iter();
    let count = items.len();
    let workers = threads.min(count);
    if workers < 2 {
        return items.map(work).collect();
    }
    let queue = Mutex::new(items.enumerate());
    let run = || {
        let mut done = Vec::new();
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some((i, item)) = next else {
                return done;
            };
            done.push((i, work(item)));
        }
    };
    let mut done = thread::scope(|scope| {
        let others: Vec<_> = (1..workers).map(|_| scope.spawn(run)).collect();
        let mut done = run();
        for other in others {
            done.extend(other.join().unwrap_or_else(|panic| resume_unwind(panic)));
        }
        done
    });
    done.sort_unstable_by_key(|(i, _)| *i);
    done.into_iter().map(|(_, result)| result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_order_for_any_number_of_threads() {
        let wanted: Vec<usize> = (0..100).map(|i| i * i).collect();
        for threads in [0, 1, 2, 3, 200] {
            assert_eq!(map(threads, 0..100, |i| i * i), wanted);
        }
        assert_eq!(map(4, 0..0, |i: usize| i), []);
    }

    #[test]
    fn items_may_be_slices_that_are_written() {
        let mut squares = [0; 10];
        map(3, squares.chunks_mut(4).zip(0..3), |(part, i)| part.fill(i));
        assert_eq!(squares, [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]);
    }

    #[test]
    #[should_panic(expected = "item 7")]
    fn panic_of_a_worker_reaches_the_caller() {
        map(2, 0..9, |i| assert!(i != 7, "item {i}"));
    }
}

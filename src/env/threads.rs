//! Does the same thing to many, several at a time, on threads of their own.
//!
//! What waits for the disk waits at the same time: file systems bring the data of many fsync calls to disk in one go.

use std::sync::{Mutex, PoisonError};

/// How many threads there are at most.
pub const AT_ONCE: usize = 8;

/// Does something to each item, in no order.
pub fn on_each<T: Send>(items: impl IntoIterator<Item = T, IntoIter: Send>, act: impl Fn(T) + Sync) {
    let mut items = items.into_iter();
    // A lone item needs no thread.
    let Some(first) = items.next() else { return };
    let Some(second) = items.next() else {
        return act(first);
    };
    let queue = Mutex::new([first, second].into_iter().chain(items));
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work = || {
        while let Some(item) = next() {
            act(item);
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..AT_ONCE {
            // Where there are no more threads to be had, those that are there do it all.
            if std::thread::Builder::new().spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}

/// Makes one thing of each item; the results stand in the order of the items.
pub fn each<T: Send, R: Send>(
    items: impl IntoIterator<Item = T, IntoIter: Send>,
    make: impl Fn(T) -> R + Sync,
) -> Vec<R> {
    let results: Mutex<Vec<(usize, R)>> = Mutex::default();
    on_each(items.into_iter().enumerate(), |(index, item)| {
        let made = make(item);
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        results.push((index, made));
    });
    let mut results = results.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, made)| made).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_all_of_it_and_keeps_the_order() {
        for n in [0, 1, 2, 100] {
            assert_eq!(
                each(0..n, |number| number * 2),
                (0..n).map(|number| number * 2).collect::<Vec<_>>()
            );
        }
    }

    #[test]
    fn a_slow_one_holds_up_none_of_the_others() {
        // The first ends only when all the others have: in a line it never would.
        let done = std::sync::Barrier::new(2);
        let n_done = std::sync::atomic::AtomicUsize::new(0);
        on_each(0..20, |number| {
            let is_last = number > 0 && n_done.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 18;
            if number == 0 || is_last {
                done.wait();
            }
        });
    }
}

//! Whether a computation is shared out among all cores, or stays on the thread that asks for it. Where requests to a network keep
//! every core busy, handing small pieces of work to other threads costs more than it gains.

use std::cell::Cell;

use rayon::iter::{IndexedParallelIterator, MinLen};

thread_local! {
    static ALONE: Cell<bool> = const { Cell::new(false) };
}

/// Does `work` on this thread alone.
#[cfg(any(feature = "openvino", test))]
pub fn alone<R>(work: impl FnOnce() -> R) -> R {
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            ALONE.set(self.0);
        }
    }
    let _before = Before(ALONE.replace(true));
    work()
}

/// Both results, computed side by side unless this thread works [`alone`].
pub fn join<A: Send, B: Send>(a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B + Send) -> (A, B) {
    if ALONE.get() { (a(), b()) } else { rayon::join(a, b) }
}

/// What may be shared out among the cores.
pub trait SharedOut: IndexedParallelIterator {
    /// In pieces of any size, or in one where this thread works [`alone`]: rayon computes what it does not divide where it is asked
    /// to.
    fn shared_out(self) -> MinLen<Self> {
        self.with_min_len(if ALONE.get() { usize::MAX } else { 1 })
    }
}

impl<I: IndexedParallelIterator> SharedOut for I {}

#[cfg(test)]
mod tests {
    use rayon::prelude::*;

    use super::*;

    #[test]
    fn alone_everything_happens_on_the_thread_that_asks() {
        let here = std::thread::current().id();
        let threads = || {
            let (a, b) = join(|| std::thread::current().id(), || std::thread::current().id());
            let many: Vec<_> = (0..1000).into_par_iter().shared_out().map(|_| std::thread::current().id()).collect();
            [vec![a, b], many].concat()
        };
        assert!(alone(threads).iter().all(|thread| *thread == here));
        // Outside, this thread hands everything to rayon's.
        assert!(threads().iter().all(|thread| *thread != here));
        let panicked = std::panic::catch_unwind(|| alone(|| panic!("as a test")));
        assert!(panicked.is_err() && threads().iter().all(|thread| *thread != here));
    }
}

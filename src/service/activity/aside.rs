//! Work beside the line: on one thread, which leaves the processor to those that parts wait for.
#![allow(unsafe_code)] // one call of setpriority, see below

/// Niceness of the thread: it gets a tenth of what another one gets that wants the same core.
const NICENESS: i32 = 10;

/// Does `work`, and whatever it would spread over many threads, on a thread of its own that gives way to all others.
pub fn aside<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).thread_name(|_| "aside".into());
    match pool.start_handler(|_| give_way()).build() {
        Ok(pool) => pool.install(work),
        Err(error) => {
            tracing::warn!("no thread that gives way ({error}): what is learnt competes with the line");
            work()
        }
    }
}

/// This thread gives way to all others from now on.
pub fn give_way() {
    // SAFETY: the call takes three numbers and touches no memory of this process. Zero is the calling thread on Linux, where
    // the niceness is a thread's (setpriority(2), nptl(7)).
    let result = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, NICENESS) };
    if result != 0 {
        tracing::warn!(error = %std::io::Error::last_os_error(), "what is learnt competes with the line");
    }
}

//! Threads for what can wait.

/// Lets every other thread of the process go first: what is derived can wait, callers cannot.
pub fn give_way() {
    const NICE: i32 = 10;
    if let Err(error) = rustix::process::setpriority_process(Some(rustix::thread::gettid()), NICE) {
        tracing::debug!(%error, "the thread keeps its priority");
    }
}

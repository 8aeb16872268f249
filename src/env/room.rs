//! What has to be there before it is taken: tokio panics where it gets no descriptor and no thread, and a panic ends the
//! program.

use std::{fs::File, io, sync::RwLock, thread};

/// As many descriptors as a runtime opens at once, and a few to work with.
const DESCRIPTORS: usize = 12;
/// As many threads as a runtime has, one for what blocks, and one that waits for signals.
const THREADS: usize = 4;

/// Takes what a runtime needs, and gives it back.
///
/// # Errors
/// When there are too few descriptors or threads.
pub fn for_a_runtime() -> io::Result<()> {
    let files: io::Result<Vec<File>> = (0..DESCRIPTORS).map(|_| File::open("/dev/null")).collect();
    drop(files?);
    let gate = RwLock::new(());
    thread::scope(|scope| {
        // All of them at the same time.
        let held = gate.write();
        let begun = (0..THREADS).try_for_each(|_| {
            let waits = || drop(gate.read());
            thread::Builder::new().spawn_scoped(scope, waits).map(drop)
        });
        drop(held);
        begun
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_for_a_runtime_here() {
        for_a_runtime().unwrap();
    }
}

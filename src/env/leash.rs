//! Ends children before their time: when nobody wants their work any more, or when the program itself ends at once.
//!
//! A child has a process group of its own, so neither a terminal's Ctrl-C nor our own end reaches it. Only what is run on a
//! leash is ended: programs of the operator's. A reload under way is left alone.

use std::{
    collections::BTreeSet,
    process::{Child, ExitStatus},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, getpgid, kill_process, kill_process_group, waitid,
};

/// How long a child may take to clean up after SIGTERM, before it is killed.
const GRACE: Duration = Duration::from_secs(5);

/// How long a killed child is waited for: one that hangs in a device, or in a file system that is gone, does not end even
/// then.
const AFTER_KILL: Duration = Duration::from_secs(5);

/// The process groups that run on a leash now.
static RUNNING: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Says to children that their work is no longer wanted. Clones are one leash.
#[derive(Clone, Debug, Default)]
pub struct Leash(Arc<AtomicBool>);

impl Leash {
    /// Ends what runs on it, and lets nothing more begin.
    pub fn pull(&self) {
        self.0.store(true, Ordering::SeqCst);
    }

    /// Returns whether it was pulled.
    pub fn is_pulled(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// Kills everything that runs on a leash, with what it has started: the program ends now.
pub fn kill_all() {
    for group in running().iter() {
        signal(*group, Signal::KILL);
    }
}

/// A child that runs on a leash; forgotten when it is dropped.
pub(super) struct Held(u32);

impl Held {
    /// Knows a child that has just been started.
    pub fn new(child: &Child) -> Self {
        running().insert(child.id());
        Self(child.id())
    }

    /// Asks the child's group to end, and kills what is left of it then.
    ///
    /// As [`kill`], `None` when it has not ended even then.
    ///
    /// # Errors
    /// When the child cannot be waited for.
    pub fn end(&self, child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
        signal(self.0, Signal::TERM);
        let deadline = Instant::now() + GRACE;
        while !has_ended(self.0) && Instant::now() < deadline {
            std::thread::park_timeout(Duration::from_millis(2));
        }
        // Not waited for yet, so that the number is still this group's.
        kill(child)
    }
}

/// Kills a child that has not been waited for, with its process group; `None` when it has not ended a moment later.
///
/// # Errors
/// When the child cannot be waited for.
pub(super) fn kill(child: &mut Child) -> std::io::Result<Option<ExitStatus>> {
    signal(child.id(), Signal::KILL);
    let deadline = Instant::now() + AFTER_KILL;
    loop {
        match child.try_wait()? {
            None if Instant::now() < deadline => std::thread::park_timeout(Duration::from_millis(2)),
            ended => return Ok(ended),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        running().remove(&self.0);
    }
}

fn running() -> MutexGuard<'static, BTreeSet<u32>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns whether a child has ended, without taking its status.
fn has_ended(child: u32) -> bool {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    Pid::from_raw(child.cast_signed())
        .is_none_or(|pid| !matches!(waitid(WaitId::Pid(pid), options), Ok(None)))
}

/// Signals the group that a child was started with; and the child itself where it has moved into another one.
fn signal(child: u32, signal: Signal) {
    if let Some(child) = Pid::from_raw(child.cast_signed()) {
        // One that is gone needs none.
        let _ = kill_process_group(child, signal);
        if getpgid(Some(child)).is_ok_and(|group| group != child) {
            let _ = kill_process(child, signal);
        }
    }
}

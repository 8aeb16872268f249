//! Signals that ask the program to end.

use std::{io, thread};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// From now on calls `heed` at each SIGINT, SIGTERM and SIGHUP, on a thread of its own, with how many there were.
///
/// # Errors
/// When there is no descriptor or no thread for it.
pub fn heed_each(mut heed: impl FnMut(usize) + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    let wait = move || {
        for (index, _) in signals.forever().enumerate() {
            heed(index + 1);
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map(drop)
}

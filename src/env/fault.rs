//! How the program ends when it has a fault: at once, and with exit code 1.
//!
//! A panic in one conversation of many would leave its endpoint out of the result, and what was not looked at would count
//! as good. So nothing goes on after one: the next run takes up what this one left on disk, as after a kill.

use std::{io::Write, panic};

use super::leash;

/// Lets any panic end the program.
pub fn end_at_any_panic() {
    let tell = panic::take_hook();
    panic::set_hook(Box::new(move |about| {
        tell(about);
        // Nobody is left to be told that standard error is gone.
        let _ = std::io::stderr().write_all(
            b"mailcert: error: this is a fault of mailcert itself; the run ended here\n  \
              remedy: run it again: it goes on from what is on disk; report the lines above\n",
        );
        leash::kill_all();
        std::process::exit(1);
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "env::fault::tests::a_panic_in_any_thread_ends_the_program_with_1";
    const VARIABLE: &str = "MAILCERT_TEST_FAULT";

    #[test]
    fn a_panic_in_any_thread_ends_the_program_with_1() {
        if std::env::var_os(VARIABLE).is_some() {
            end_at_any_panic();
            let _ = std::thread::spawn(|| panic!("oops")).join();
            return;
        }
        let ended = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", HERE, "--nocapture"])
            .env(VARIABLE, "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert_eq!(ended.status.code(), Some(1), "{told}");
        assert!(
            told.contains("oops") && told.contains("fault of mailcert"),
            "{told}"
        );
    }
}

//! A run that somebody ends while a challenge hook is at work: nothing of it stays, and the next run goes on.

use std::{
    fs,
    path::PathBuf,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use crate::support::{
    World,
    hooks::Notes,
    mailcert::{Outcome, Running},
    world::{DOMAIN, HOST},
};

/// A site whose names are proven by a program that never ends by itself, in one of its two steps.
struct Slow {
    world: World,
    notes: Notes,
    /// Written when it hangs: its own process and one that it has started.
    waiting: PathBuf,
    /// While it is there, the step that hangs is the one that it names.
    hangs: PathBuf,
}

impl Slow {
    fn start() -> Self {
        let world = World::start();
        let notes = Notes::new(&world.scratch);
        let waiting = world.scratch.path().join("waiting");
        let hangs = world.scratch.path().join("hangs");
        let update = |line: &str| {
            format!(
                "nsupdate -k {} <<END\nserver {} 53\nzone {DOMAIN}.\n{line}\nsend\nEND\n",
                world.bind.key_file().display(),
                world.address.ip()
            )
        };
        // It leaves half of its work behind, and listens to SIGTERM alone.
        let script = format!(
            "trap '' INT HUP\n\
             hang() {{ sleep 600 & echo \"$$ $!\" >{waiting}.new; mv {waiting}.new {waiting}; wait; exit 1; }}\n\
             hangs=$(cat {hangs} 2>/dev/null)\n\
             case $1 in\n\
             present)\n{}test \"$hangs\" != present || hang ;;\n\
             cleanup)\ntest \"$hangs\" != cleanup || hang\n{};;\n\
             esac\n",
            update("update add $MAILCERT_RECORD. 60 TXT \"$MAILCERT_DIGEST\""),
            update("update delete $MAILCERT_RECORD. TXT \"$MAILCERT_DIGEST\""),
            waiting = waiting.display(),
            hangs = hangs.display(),
        );
        let program = notes.program(&world.scratch, "slow", &script);
        world.write_config(|text| {
            let kept = |line: &&str| {
                !["listen =", "provider ="]
                    .iter()
                    .any(|start| line.starts_with(start))
            };
            let text: String = text
                .replace("publish = [\"spf\"]\n", "")
                .lines()
                .filter(kept)
                .fold(String::new(), |text, line| text + line + "\n");
            let hook =
                format!("type = \"dns-01\"\nhook = {{ run = {program:?}, timeout = \"600s\", retries = 3 }}");
            text.replace("type = \"http-01\"", &hook)
        });
        world.name_live_files();
        Self {
            world,
            notes,
            waiting,
            hangs,
        }
    }

    /// Starts a run, and returns when the program hangs in this step.
    fn hang_in(&self, step: &str) -> Running {
        let _ = fs::remove_file(&self.waiting);
        fs::write(&self.hangs, step).unwrap();
        let mut running = self.world.mailcert().spawn(&["renew", "--force"]);
        until("the hook hangs", || self.waiting.exists() || running.has_ended());
        if !self.waiting.exists() {
            panic!("{}", running.wait());
        }
        running
    }

    /// Asserts that nothing is left of what ran, and that one more run brings everything to its end.
    #[track_caller]
    fn is_well(&self, told: &Outcome) {
        let left = |pid: &str| {
            let state = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !state.is_empty() && !state.contains(") Z ")
        };
        let pids = fs::read_to_string(&self.waiting).unwrap();
        until(&format!("the hook is gone: {told}"), || {
            !pids.split_whitespace().any(left)
        });
        let record = self.world.record(HOST);
        assert!(
            record["order"]["url"].is_string(),
            "the order is resumed: {record}\n{told}"
        );
        fs::remove_file(&self.hangs).unwrap();
        let n_orders = self.world.pebble.n_orders_and_certificates().0;
        self.world.mailcert().run(&["renew"]).expect(0);
        assert_eq!(self.world.pebble.n_orders_and_certificates().0, n_orders);
        assert_eq!(self.world.record(HOST)["state"], "verified");
        assert_eq!(self.records(), "");
        self.world.mailcert().run(&["status"]).expect(0);
    }

    fn records(&self) -> String {
        self.world.bind.dig(&format!("_acme-challenge.{HOST}"), "TXT")
    }
}

fn send(running: &Running, signal: Signal) {
    kill(Pid::from_raw(running.pid().cast_signed()), signal).unwrap();
}

/// Waits until something holds.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not seen: {what}");
        std::thread::yield_now();
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble, nsupdate"]
fn one_signal_ends_the_program_that_sets_up_a_challenge_and_takes_away_what_it_did() {
    let slow = Slow::start();
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        slow.notes.clear();
        let running = slow.hang_in("present");
        assert_ne!(slow.records(), "");
        let began = Instant::now();
        send(&running, signal);
        let told = running.wait();
        assert_ne!(told.code, 0, "{told}");
        assert!(
            began.elapsed() < Duration::from_secs(30),
            "{signal}: {:?}",
            began.elapsed()
        );
        assert!(told.stderr.contains("the run was interrupted"), "{told}");
        // Once: a program that was ended is not tried again.
        assert_eq!(slow.notes.lines(), ["slow present", "slow cleanup"], "{told}");
        assert_eq!(slow.records(), "");
        slow.is_well(&told);
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble, nsupdate"]
fn a_second_signal_leaves_no_program_behind_and_the_order_on_record() {
    let slow = Slow::start();
    // The first signal comes while a challenge is set up, and taking it away hangs; the second ends all.
    let running = slow.hang_in("present");
    let _ = fs::remove_file(&slow.waiting);
    fs::write(&slow.hangs, "cleanup").unwrap();
    send(&running, Signal::SIGTERM);
    until("cleanup hangs", || slow.waiting.exists());
    send(&running, Signal::SIGTERM);
    let told = running.wait();
    assert_eq!(told.code, 130, "{told}");
    assert_ne!(slow.records(), "", "nobody has taken it away");
    slow.is_well(&told);
}

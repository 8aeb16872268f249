//! Who could want what, tried: keys in core dumps, in arguments, variables, logs and files elsewhere; a crowd that keeps the CA
//! out. `SECURITY.md` names each of these tests.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::{CommandExt, ExitStatusExt},
    },
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use crate::support::{
    LoopbackAddress, Mailcert, PebbleOptions, Scratch, World, WorldOptions, inject,
    server::{run, wait_until},
    world::{HOST, without_postfix},
};

#[test]
#[ignore = "real: needs root"]
fn a_crash_leaves_no_core_and_nobody_else_may_look_into_the_memory() {
    let scratch = Scratch::new();
    let address = LoopbackAddress::take(&scratch);
    // It takes the connection and says nothing: the probe waits.
    let silent = std::net::TcpListener::bind(address.port(25)).unwrap();
    let target = address.port(25).to_string();
    let program = scratch.program("begin", "#!/bin/sh\nulimit -c unlimited; exec \"$@\"");
    let place = scratch.dir("place");
    fs::set_permissions(&place, fs::Permissions::from_mode(0o777)).unwrap();
    let built = Mailcert::new(None, Path::new("/")).command(&["probe", &target]);
    let copy = scratch.path().join("mailcert");
    // As `Scratch::program`: what a thread of ours has open for writing cannot be executed.
    run(Command::new("install")
        .args(["-m", "0755"])
        .arg(built.get_program())
        .arg(&copy));
    let mut child = Command::new(program)
        .arg(&copy)
        .args(built.get_args())
        .current_dir(&place)
        // Nobody: what belongs to root then is what the kernel keeps from its own user.
        .uid(65534)
        .gid(65534)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _held = silent.accept().unwrap();
    let memory = format!("/proc/{}/mem", child.id());
    assert_eq!(fs::metadata(memory).unwrap().uid(), 0);
    let pid = rustix::process::Pid::from_raw(child.id().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::ABORT).unwrap();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(6));
    assert!(!status.core_dumped());
    assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
}

/// Returns lines of the keys in a state directory, and the account's key as it is kept.
fn secrets(state: &Path) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![state.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                waiting.push(path);
            } else if path.ends_with("privkey.pem") {
                let text = fs::read_to_string(path).unwrap();
                // The beginning of a key's DER is that of every key of its kind.
                found.extend(
                    text.lines()
                        .filter(|line| !line.starts_with('-'))
                        .skip(1)
                        .map(str::to_owned),
                );
            } else if path.parent().is_some_and(|parent| parent.ends_with("accounts")) {
                let record: serde_json::Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
                found.extend(record["key_pkcs8"].as_str().map(|key| key[40..].to_owned()));
            }
        }
    }
    found
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn no_key_is_in_an_argument_a_variable_a_log_or_a_file_elsewhere() {
    let world = World::start();
    let state = world.state_directory();
    let hook = world.scratch.program("hook", "#!/bin/sh\nenv; echo \"$@\"; cat");
    world.write_config(|text| {
        text.replace("[[certificate]]\n", "[[certificate]]\nsni = true\n")
            + &format!("[hooks]\ndeploy = [{{ run = {hook:?} }}]\n")
    });
    let command = world.mailcert().command(&["--verbose", "apply", "--yes"]);
    let below = [fs::canonicalize(world.scratch.path()).unwrap()];
    let (outcome, recorded) = inject::record(&command, &below);
    assert_eq!(outcome.code, 0, "{outcome}");
    let secrets = secrets(&state);
    assert!(secrets.len() >= 3, "{} lines of keys", secrets.len());
    assert!(
        recorded
            .started
            .iter()
            .any(|(arguments, _)| arguments.iter().any(|word| word.contains("postmap")))
    );
    let told = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        secrets.iter().any(|secret| text.contains(secret))
    };
    for (arguments, variables) in &recorded.started {
        for word in arguments.iter().chain(variables) {
            assert!(!told(word.as_bytes()), "{:?}", arguments.first());
        }
    }
    let mut n_kept = 0;
    for written in recorded.written.iter().filter(|written| told(&written.bytes)) {
        // postmap is asked what is in the map that it made: it tells us, over a pipe that nobody else has.
        let is_told_us =
            written.program.ends_with("postmap") && written.place.to_string_lossy().starts_with("pipe:");
        let is_kept = written.place.starts_with(&state);
        let (program, place) = (written.program.display(), written.place.display());
        assert!(is_kept || is_told_us, "{program} wrote a key to {place}");
        n_kept += usize::from(is_kept);
    }
    assert!(n_kept > 0, "the recording saw no key at all");
    for said in [&outcome.stdout, &outcome.stderr, &world.postfix.log()] {
        assert!(!told(said.as_bytes()), "{said}");
    }
    // Whatever holds a key is for its owner alone.
    let mut waiting = vec![state];
    while let Some(directory) = waiting.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let meta = fs::symlink_metadata(&path).unwrap();
            if meta.is_dir() {
                waiting.push(path);
            } else if meta.is_file() && told(&fs::read(&path).unwrap()) {
                assert_eq!(meta.mode() & 0o077, 0, "{}", path.display());
            }
        }
    }
}

/// Connects from one address until it is told to stop, holds what it gets, and says nothing; returns how many it got.
fn flood(target: SocketAddr, over: &AtomicBool) -> usize {
    /// As many as one process may have open, nearly.
    const HELD: usize = 500;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut held = std::collections::VecDeque::new();
        let mut n_got = 0;
        while !over.load(Ordering::Relaxed) {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind((Ipv4Addr::new(127, 66, 6, 7), 0).into()).unwrap();
            let Ok(Ok(stream)) =
                tokio::time::timeout(Duration::from_millis(200), socket.connect(target)).await
            else {
                // Nobody listens yet, or no more.
                tokio::task::yield_now().await;
                continue;
            };
            n_got += 1;
            held.push_back(stream);
            if held.len() > HELD {
                held.pop_front();
            }
        }
        n_got
    })
}

#[test]
#[ignore = "real: needs named, pebble"]
fn a_crowd_at_the_listener_keeps_no_ca_out() {
    let mut pebble = PebbleOptions::quiet();
    pebble.env.retain(|(name, _)| *name != "PEBBLE_VA_NOSLEEP");
    pebble.env.push(("PEBBLE_VA_SLEEPTIME", "3".to_owned()));
    let world = World::with(&WorldOptions {
        pebble,
        ..WorldOptions::default()
    });
    world.write_config(|text| {
        // More names than one: the listener is open until the slowest validation is over.
        without_postfix(text).replace(
            &format!("identifiers = [\"{HOST}\"]"),
            &format!("identifiers = [\"{HOST}\", \"a.many.example.test\", \"b.many.example.test\", \"c.many.example.test\"]"),
        )
    });
    let over = AtomicBool::new(false);
    let target = world.address.port(80);
    std::thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(target, &over));
        let mut running = world.mailcert().spawn(&["issue"]);
        let status = format!("/proc/{}/status", running.pid());
        let mut most = 0_u64;
        wait_until("the certificate is issued", || {
            let text = fs::read_to_string(&status).unwrap_or_default();
            let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let kilobytes = peak.and_then(|line| line.split_whitespace().next()?.parse().ok());
            most = most.max(kilobytes.unwrap_or(0));
            running.has_ended()
        });
        over.store(true, Ordering::Relaxed);
        let n_got = flooding.join().unwrap();
        let outcome = running.wait();
        assert_eq!(outcome.code, 0, "{outcome}");
        // More than there are places: the door was full all the time.
        assert!(n_got > 256, "only {n_got} connections");
        assert!(most < 200 << 10, "{most} KiB");
    });
}

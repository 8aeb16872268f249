//! Challenges, keys and names against a real CA: what works in its every mood, and what is told when it cannot work.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use crate::support::{
    PebbleOptions, World, WorldOptions, judge,
    world::{HOST, without_postfix},
};

/// A web server that serves the files below a directory, one request for each connection.
struct WebServer {
    address: SocketAddr,
    ended: Arc<AtomicBool>,
}

impl WebServer {
    fn start(address: SocketAddr, root: PathBuf) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let asked_to_end = ended.clone();
        thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                if asked_to_end.load(Ordering::SeqCst) {
                    return;
                }
                let mut request = [0; 4096];
                let n_read = stream.read(&mut request).unwrap_or_default();
                let request = String::from_utf8_lossy(&request[..n_read]).into_owned();
                let path = request.split(' ').nth(1).unwrap_or("/").trim_start_matches('/');
                let (status, body) = match fs::read(root.join(path)) {
                    Ok(body) => ("200 OK", body),
                    Err(_) => ("404 Not Found", b"no such file".to_vec()),
                };
                let head = format!("HTTP/1.0 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
                let _ = stream.write_all(&[head.into_bytes(), body].concat());
            }
        });
        Self { address, ended }
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_name_that_leads_elsewhere_is_told_and_works_once_it_is_mended() {
    let world = World::start();
    let elsewhere = crate::support::LoopbackAddress::take(&world.scratch);
    world.write_config(without_postfix);
    world.bind.nsupdate(&format!(
        "update delete {HOST} A\nupdate add {HOST} 60 A {}",
        elsewhere.ip()
    ));
    let told = world.mailcert().run(&["issue"]).expect(1);
    for words in [
        "could not confirm mail.example.test by http-01",
        &elsewhere.ip().to_string(),
        "A and AAAA records",
        "port 80",
    ] {
        assert!(told.stderr.contains(words), "{words}: {told}");
    }
    assert!(!world.state_directory().join("live").join(HOST).exists());
    assert_eq!(world.record(HOST)["failure"]["count"], 1);
    // Nothing listens on port 80 any more.
    TcpListener::bind(world.address.port(80)).unwrap();
    world.bind.nsupdate(&format!(
        "update delete {HOST} A\nupdate add {HOST} 60 A {}",
        world.address.ip()
    ));
    world.mailcert().run(&["issue"]).expect(0);
    assert_eq!(world.pebble.n_orders_and_certificates().1, 1);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_name_that_does_not_exist_is_told() {
    let world = World::start();
    world.write_config(|text| {
        without_postfix(text).replace(
            &format!("identifiers = [\"{HOST}\"]"),
            "identifiers = [\"nowhere.example.test\"]",
        )
    });
    let told = world.mailcert().run(&["issue"]).expect(1);
    assert!(
        told.stderr.contains("nowhere.example.test not issued")
            && told.stderr.contains("does not exist in the DNS"),
        "{told}"
    );
    assert_eq!(world.pebble.n_orders_and_certificates().1, 0);
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_taken_port_is_told_with_its_owner_and_the_order_goes_on_later() {
    let world = World::start();
    world.write_config(without_postfix);
    let taken = TcpListener::bind(world.address.port(80)).unwrap();
    let told = world.mailcert().run_program(&["issue"]).expect(1);
    let program = fs::read_to_string("/proc/self/comm").unwrap();
    let owner = format!("{} (process {}) has the port", program.trim(), std::process::id());
    assert!(told.stderr.contains(&owner), "{owner}: {told}");
    assert!(
        told.stderr.contains(&world.address.port(80).to_string()),
        "{told}"
    );
    assert!(told.stderr.contains("acme.challenge.webroot"), "{told}");
    drop(taken);
    world.mailcert().run(&["issue"]).expect(0);
    assert_eq!(world.pebble.n_orders_and_certificates(), (1, 1));
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn a_web_server_serves_the_token_and_is_left_clean() {
    let world = World::start();
    let root = world.scratch.dir("www");
    world.scratch.file("www/index.html", "hello");
    let other = world.scratch.dir("www-of-somebody-else");
    let _server = WebServer::start(world.address.port(80), root.clone());
    let webroot = |path: &Path| {
        let line = format!("webroot = {path:?}\n");
        move |text: String| {
            let listen = text.lines().find(|line| line.starts_with("listen = ")).unwrap();
            without_postfix(text.replace(&format!("{listen}\n"), &line))
        }
    };
    let is_clean = |root: &Path| !root.join(".well-known").exists();

    world.write_config(webroot(&world.scratch.path().join("no-such-directory")));
    let told = world.mailcert().run(&["issue"]).expect(1);
    assert!(
        told.stderr.contains("no-such-directory") && told.stderr.contains("acme.challenge.webroot"),
        "{told}"
    );

    // The CA would be shown a 404 by the web server, whose root is another.
    world.write_config(webroot(&other));
    let told = world.mailcert().run(&["issue"]).expect(1);
    assert!(told.stderr.contains("it answers 404: `no such file`"), "{told}");
    assert!(is_clean(&other));

    world.write_config(webroot(&root));
    world.mailcert().run(&["issue"]).expect(0);
    assert!(is_clean(&root), "the token is gone");
    assert_eq!(fs::read_to_string(root.join("index.html")).unwrap(), "hello");
    assert_eq!(world.pebble.n_orders_and_certificates().1, 1);

    // A directory that others use stays, with what is theirs.
    let theirs = world
        .scratch
        .file("www/.well-known/acme-challenge/theirs", "token");
    world.mailcert().run(&["renew", "--force"]).expect(0);
    assert_eq!(fs::read_to_string(&theirs).unwrap(), "token");
    assert_eq!(fs::read_dir(theirs.parent().unwrap()).unwrap().count(), 1);
}

fn issues_with(pebble: PebbleOptions) {
    let options = WorldOptions {
        pebble,
        ..WorldOptions::default()
    };
    let world = World::issued(&options, |text| text);
    assert_eq!(world.pebble.n_orders_and_certificates(), (1, 1));
    world.postfix.verify(25, world.pebble.issuer_root_file()).unwrap();
    assert_eq!(world.postfix.leaf_sha256(25).unwrap(), world.live_sha256(HOST));
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn issues_with_pebble_as_its_authors_ship_it() {
    issues_with(PebbleOptions::shipped());
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn issues_while_half_of_all_nonces_are_rejected() {
    issues_with(PebbleOptions::quiet_with(&[("PEBBLE_WFE_NONCEREJECT", "50")]));
}

/// Returns what openssl says about the live certificate's key.
fn key_in_words(world: &World, lineage: &str) -> String {
    let file = world
        .state_directory()
        .join("live")
        .join(lineage)
        .join("privkey.pem");
    let said = std::process::Command::new("openssl")
        .args(["pkey", "-noout", "-text", "-in"])
        .arg(file)
        .output()
        .unwrap();
    String::from_utf8_lossy(&said.stdout).into_owned()
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn keys_are_of_the_kind_that_is_wanted_and_a_change_renews_with_another() {
    let world = World::start();
    world.name_live_files();
    for (key, words) in [
        ("ecdsa-p384", "P-384"),
        ("rsa-2048", "(2048 bit"),
        ("ecdsa-p256", "P-256"),
    ] {
        world.write_config(|text| {
            text.replace(
                "[[certificate]]\n",
                &format!("[[certificate]]\nkey = \"{key}\"\n"),
            )
        });
        let first = !world.state_directory().join("live").join(HOST).exists();
        let command: &[&str] = if first { &["issue"] } else { &["renew", "--force"] };
        world.mailcert().run(command).expect(0);
        let said = key_in_words(&world, HOST);
        assert!(said.contains(words), "{key}: {said}");
        world.postfix.verify(25, world.pebble.issuer_root_file()).unwrap();
        assert_eq!(
            world.postfix.leaf_sha256(25).unwrap(),
            world.live_sha256(HOST),
            "{key}"
        );
    }
}

#[test]
#[ignore = "real: needs postfix, named, pebble"]
fn owner_group_and_mode_of_the_key_outlive_renewals() {
    let world = World::issued(&WorldOptions::default(), |text| {
        without_postfix(text).replace(
            "[[certificate]]\n",
            "[[certificate]]\nowner = \"postfix\"\ngroup = \"mail\"\nmode = 0o640\n",
        )
    });
    let live = world.state_directory().join("live").join(HOST);
    let owner = nix::unistd::User::from_name("postfix")
        .unwrap()
        .unwrap()
        .uid
        .as_raw();
    let group = nix::unistd::Group::from_name("mail")
        .unwrap()
        .unwrap()
        .gid
        .as_raw();
    for _ in 0..2 {
        for (file, expected) in [
            ("privkey.pem", (owner, group, 0o640)),
            ("combined.pem", (owner, group, 0o640)),
            ("fullchain.pem", (0, 0, 0o644)),
        ] {
            let meta = fs::metadata(live.join(file)).unwrap();
            assert_eq!(
                (meta.uid(), meta.gid(), meta.permissions().mode() & 0o7777),
                expected,
                "{file}"
            );
        }
        world.mailcert().run(&["renew", "--force"]).expect(0);
    }
    assert_eq!(world.record(HOST)["generation"], 3);

    world.write_config(|text| {
        without_postfix(text).replace(
            "[[certificate]]\n",
            "[[certificate]]\nowner = \"nobody-of-that-name\"\n",
        )
    });
    let certificates = world.pebble.n_orders_and_certificates();
    let told = world.mailcert().run(&["renew", "--force"]);
    assert!(
        told.code != 0 && told.stderr.contains("nobody-of-that-name"),
        "{told}"
    );
    assert_eq!(world.pebble.n_orders_and_certificates(), certificates);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn names_are_made_canonical_once() {
    let options = WorldOptions {
        records: "xn--bcher-kva A 192.0.2.1\n".to_owned(),
        ..WorldOptions::default()
    };
    let world = World::with(&options);
    world.bind.nsupdate(&format!(
        "update delete xn--bcher-kva.example.test A\nupdate add xn--bcher-kva.example.test 60 A {}",
        world.address.ip()
    ));
    let identifiers = |list: &'static str| {
        world.write_config(|text| {
            without_postfix(text).replace(
                &format!("identifiers = [\"{HOST}\"]"),
                &format!("identifiers = [{list}]"),
            )
        });
    };
    // Two spellings of one name are refused where they stand, not ordered twice.
    identifiers(r#""MAIL.Example.TEST.", "Bücher.example.test", "mail.example.test""#);
    let told = world.mailcert().run(&["issue"]).expect(2);
    assert!(told.stderr.contains("`mail.example.test` twice"), "{told}");
    identifiers(r#""MAIL.Example.TEST.", "Bücher.example.test""#);
    world.mailcert().run(&["issue"]).expect(0);
    let chain = fs::read_to_string(world.state_directory().join("live").join(HOST).join("cert.pem")).unwrap();
    assert_eq!(
        judge::dns_names(&chain),
        ["mail.example.test", "xn--bcher-kva.example.test"]
    );
    let again = world.mailcert().run(&["renew"]).expect(0);
    assert!(again.stdout.contains("nothing is due"), "{again}");
    assert_eq!(world.pebble.n_orders_and_certificates(), (1, 1));
}

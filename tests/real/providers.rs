//! Challenges and records by every provider that is no dynamic update: a zone's file, programs for lego and acme.sh, a
//! server for lego, a person.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use crate::support::{
    Manner, Outcome, World, WorldOptions,
    foreign::fetched,
    world::{DOMAIN, HOST, without_postfix},
};

const SPF: &str = "\"v=spf1 mx -all\"";

/// A site whose certificate comes by dns-01, and whose records are written by this provider.
fn configure(world: &World, provider: &str) {
    world.write_config(|text| {
        let kept = |line: &&str| {
            !["listen =", "provider ="]
                .iter()
                .any(|start| line.starts_with(start))
        };
        let text: String = without_postfix(text)
            .lines()
            .filter(kept)
            .fold(String::new(), |text, line| text + line + "\n");
        text.replace("type = \"http-01\"", "type = \"dns-01\"").replace(
            "[dns]\n",
            &format!("[dns]\ntimeout = \"20s\"\nprovider = {{ {provider} }}\n"),
        )
    });
}

/// Applies the SPF records, gets a certificate, and takes the records back; nothing of ours is left in the zone then.
#[track_caller]
fn publishes_proves_and_takes_back(world: &World) {
    let before = world.bind.dig(DOMAIN, "TXT");
    world.mailcert().run(&["apply", "dns", "--yes"]).expect(0);
    assert!(world.bind.dig(DOMAIN, "TXT").contains(SPF));
    assert_eq!(world.bind.dig(HOST, "TXT"), "\"v=spf1 a -all\"");
    let again = world.mailcert().run(&["apply", "dns", "--yes"]).expect(0);
    assert!(again.to_string().contains("nothing to change"), "{again}");
    world.mailcert().run(&["issue"]).expect(0);
    assert_eq!(world.bind.dig(&format!("_acme-challenge.{HOST}"), "TXT"), "");
    world.mailcert().run(&["undo"]).expect(0);
    assert_eq!(
        (world.bind.dig(DOMAIN, "TXT"), world.bind.dig(HOST, "TXT")),
        (before, String::new())
    );
}

#[test]
#[ignore = "real: needs named, named-checkzone, pebble"]
fn a_zone_file_keeps_every_octet_that_is_not_ours() {
    let world = World::with(&WorldOptions {
        records: "; kept ( as \"it is\n@ 77 TXT ( \"other\" ; kept too\n )\n\tTXT third\n$ORIGIN sub\nx A 192.0.2.1\n"
            .to_owned(),
        manner: Manner::Static,
        ..WorldOptions::default()
    });
    let file = world.bind.zone_file(0);
    let original = fs::read_to_string(&file).unwrap();
    let reload = format!("[\"/bin/sh\", \"-c\", \"kill -HUP {}\"]", world.bind.pid());
    let provider = format!("type = \"zone-file\", file = {file:?}, zone = \"{DOMAIN}\", reload = ");
    configure(&world, &(provider.clone() + &reload));
    publishes_proves_and_takes_back(&world);
    let (edited, n_edits) = (fs::read_to_string(&file).unwrap(), 6);
    let serial = |n: u32| format!("hostmaster {n} ");
    assert_eq!(edited, original.replace(&serial(1), &serial(1 + n_edits)));

    // A server that cannot be told: the file is as it was.
    configure(
        &world,
        &(provider.clone() + "[\"/bin/sh\", \"-c\", \"echo no such server; exit 3\"]"),
    );
    let told = world.mailcert().run(&["apply", "dns", "--yes"]).expect(1);
    assert!(told.stderr.contains("no such server"), "{told}");
    assert_eq!(fs::read_to_string(&file).unwrap(), edited);

    // What named-checkzone refuses is not written, and what changes dynamically not touched.
    configure(&world, &(provider + &reload));
    let broken = format!("{edited}{DOMAIN}. CNAME elsewhere.test.\n");
    fs::write(&file, &broken).unwrap();
    let told = world.mailcert().run(&["apply", "dns", "--yes"]).expect(1);
    assert!(told.stderr.contains("CNAME and other data"), "{told}");
    assert_eq!(fs::read_to_string(&file).unwrap(), broken);
    fs::write(&file, &edited).unwrap();
    fs::write(file.with_extension("jnl"), "").unwrap();
    let told = world.mailcert().run(&["apply", "dns", "--yes"]).expect(1);
    assert!(told.stderr.contains("rfc2136"), "{told}");
    assert_eq!(fs::read_to_string(&file).unwrap(), edited);

    // One that is no zone file, and none.
    fs::remove_file(file.with_extension("jnl")).unwrap();
    fs::write(&file, "@ TXT \"never closed\n").unwrap();
    let told = world.mailcert().run(&["apply", "dns", "--yes"]).expect(1);
    let says = |told: &Outcome, parts: [&str; 2]| parts.iter().all(|part| told.stderr.contains(part));
    assert!(
        says(&told, ["line 1 cannot be read", "named-checkzone"]),
        "{told}"
    );
    fs::remove_file(&file).unwrap();
    let told = world.mailcert().run(&["apply", "dns", "--yes"]).expect(1);
    assert!(
        says(&told, ["No such file", "let dns.provider.file name"]),
        "{told}"
    );
    assert!(!file.exists());
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate"]
fn a_program_for_lego_publishes_records_too() {
    let world = World::start();
    let script = format!(
        "#!/bin/sh\nset -eu\ncase $1 in\npresent) line=\"update add $2 120 IN TXT \\\"$3\\\"\" ;;\n\
         cleanup) line=\"update delete $2 IN TXT \\\"$3\\\"\" ;;\nesac\n\
         nsupdate -k {} <<END\nserver {} 53\nzone {DOMAIN}.\n$line\nsend\nEND\n",
        world.bind.key_file().display(),
        world.address.ip()
    );
    let program = world.scratch.program("hooks/exec", script);
    configure(&world, &format!("type = \"hook\", run = {program:?}"));
    publishes_proves_and_takes_back(&world);

    let program = world
        .scratch
        .program("hooks/exec", "#!/bin/sh\necho no key here >&2\nexit 1\n");
    configure(&world, &format!("type = \"hook\", run = {program:?}"));
    let told = world.mailcert().run(&["apply", "dns", "--yes"]).expect(1);
    assert!(told.stderr.contains("no key here"), "{told}");
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate, acme.sh"]
fn an_unmodified_acme_sh_publishes_records_too() {
    let world = World::start();
    let tree = world.scratch.path().join("acme.sh");
    let copied = Command::new("cp")
        .arg("-a")
        .arg(fetched("acme.sh/usr/share/acme.sh"))
        .arg(&tree)
        .status()
        .unwrap();
    assert!(copied.success());
    let home = world.scratch.dir("acme-home");
    let credentials = format!(
        "NSUPDATE_SERVER={}\nNSUPDATE_KEY={}\nNSUPDATE_ZONE={DOMAIN}\nLE_WORKING_DIR={home}\nLE_CONFIG_HOME={home}\n",
        world.address.ip(),
        world.bind.key_file().display(),
        home = home.display()
    );
    let env_file = world.scratch.secret_file("acme.env", credentials);
    configure(
        &world,
        &format!(
            "type = \"hook\", style = \"acme.sh\", run = {:?}, dnsapi = \"dns_nsupdate\", env_file = {env_file:?}",
            tree.join("acme.sh")
        ),
    );
    // Of the values at a name its script removes all: so none of others' is there.
    world.mailcert().run(&["apply", "dns", "--yes"]).expect(0);
    assert_eq!(world.bind.dig(DOMAIN, "TXT"), SPF);
    world.mailcert().run(&["issue"]).expect(0);
    assert_eq!(world.bind.dig(&format!("_acme-challenge.{HOST}"), "TXT"), "");
    world.mailcert().run(&["undo"]).expect(0);
    assert_eq!(world.bind.dig(DOMAIN, "TXT"), "");
}

/// A server as operators write them for lego's httpreq: what it is told, it does with nsupdate.
struct Endpoint {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Endpoint {
    fn start(world: &World) -> Self {
        let listener = TcpListener::bind(world.address.port(8053)).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, key, server) = (
            Arc::clone(&requests),
            world.bind.key_file().to_owned(),
            world.address.ip().to_string(),
        );
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _ = answer(stream, &seen, &key, &server);
            }
        });
        Self { address, requests }
    }
}

fn answer(stream: TcpStream, seen: &Mutex<Vec<String>>, key: &Path, server: &str) -> std::io::Result<()> {
    answer_as(stream, |head, body| {
        let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
        seen.lock().unwrap().push(format!("{path} {body}"));
        // bWFpbDpnZWhlaW0= is `mail:geheim`; header names were put in lower case, and with them this.
        if !head.contains("authorization: basic bwfpbdpnzwhlaw0=") {
            return "401 Unauthorized";
        }
        let (fqdn, value) = (body["fqdn"].as_str().unwrap(), body["value"].as_str().unwrap());
        let line = match path.as_str() {
            "/lego/present" => format!("update add {fqdn} 60 IN TXT \"{value}\""),
            "/lego/cleanup" => format!("update delete {fqdn} IN TXT \"{value}\""),
            other => panic!("{other}"),
        };
        updates(key, server, &line)
    })
}

/// Reads one request and answers with the status that comes of its head, in lower case, and its JSON.
fn answer_as(
    mut stream: TcpStream,
    status: impl FnOnce(&str, &serde_json::Value) -> &'static str,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let head = head.to_ascii_lowercase();
    let length = head
        .split("content-length: ")
        .nth(1)
        .and_then(|rest| rest.lines().next());
    let mut body = vec![0; length.and_then(|text| text.parse().ok()).unwrap_or(0)];
    reader.read_exact(&mut body)?;
    let status = status(&head, &serde_json::from_slice(&body)?);
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: 9\r\nConnection: close\r\n\r\nthat's it"
    )
}

/// Sends an update of one line; returns the status that a server for lego has for how it went.
fn updates(key: &Path, server: &str, line: &str) -> &'static str {
    let mut child = Command::new("nsupdate")
        .arg("-k")
        .arg(key)
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let script = format!("server {server} 53\nzone {DOMAIN}.\n{line}\nsend\n");
    child.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
    match child.wait().unwrap().success() {
        true => "200 OK",
        false => "500 No",
    }
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate"]
fn a_server_for_lego_is_asked_as_lego_asks_it() {
    let world = World::start();
    let endpoint = Endpoint::start(&world);
    let provider = |secret: &PathBuf| {
        format!(
            "type = \"httpreq\", endpoint = \"http://{}/lego\", username = \"mail\", secret_file = {secret:?}",
            endpoint.address
        )
    };
    configure(
        &world,
        &provider(&world.scratch.secret_file("password", "geheim\n")),
    );
    publishes_proves_and_takes_back(&world);
    let requests = endpoint.requests.lock().unwrap().clone();
    assert_eq!(
        requests[0],
        format!("/lego/present {{\"fqdn\":\"{DOMAIN}.\",\"value\":\"v=spf1 mx -all\"}}")
    );
    assert_eq!(requests.len(), 6, "{requests:?}");
    configure(
        &world,
        &provider(&world.scratch.secret_file("password", "wrong-one")),
    );
    let told = world.mailcert().run(&["apply", "dns", "--yes"]).expect(1);
    assert!(
        told.stderr.contains("401") && told.stderr.contains("that's it"),
        "{told}"
    );
    assert!(!told.stderr.contains("wrong-one"), "{told}");
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate"]
fn a_person_is_told_what_to_publish_and_waited_for() {
    let world = World::start();
    configure(&world, "type = \"manual\"");
    let text = fs::read_to_string(world.config_file()).unwrap();
    world.scratch.file(
        "mailcert.toml",
        text.replace("timeout = \"20s\"", "timeout = \"1s\""),
    );
    let told = world.mailcert().run(&["apply", "dns", "--yes"]).expect(4);
    let line = format!("publish, beside what is there: {DOMAIN}. 3600 IN TXT {SPF}");
    assert!(told.stderr.contains(&line), "{told}");
    world.bind.nsupdate(&format!(
        "update add {DOMAIN}. 3600 TXT {SPF}\nupdate add {HOST}. 3600 TXT \"v=spf1 a -all\""
    ));
    let told = world.mailcert().run(&["apply", "dns", "--yes"]).expect(0);
    assert!(told.to_string().contains("nothing to change"), "{told}");
    // The order waits for the record, whose value stays the same.
    let told = world.mailcert().run(&["issue"]).expect(4);
    let start = "publish, beside what is there: ";
    let line = told.stderr.lines().find_map(|line| line.split_once(start));
    let (_, record) = line.unwrap_or_else(|| panic!("{told}"));
    assert!(
        record.starts_with(&format!("_acme-challenge.{HOST}. 60 IN TXT \"")),
        "{told}"
    );
    assert!(!told.stderr.contains("remove it"), "{told}");
    world.bind.nsupdate(&format!("update add {record}"));
    let told = world.mailcert().run(&["issue"]).expect(0);
    assert!(
        told.stderr
            .contains(&format!("remove it: _acme-challenge.{HOST}. IN TXT")),
        "{told}"
    );
}

/// A server in lego's mode RAW: it makes the record of the challenge itself.
fn answers_challenges(listener: &TcpListener, key: &Path, server: &str, seen: &Mutex<Vec<String>>) {
    for stream in listener.incoming().flatten() {
        let served = answer_as(stream, |head, body| {
            let told = |name: &str| body[name].as_str().unwrap().to_owned();
            let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
            let (domain, authorization) = (told("domain"), told("keyAuth"));
            assert!(authorization.starts_with(&(told("token") + ".")), "{body}");
            seen.lock().unwrap().push(format!("{path} {domain}"));
            let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, authorization.as_bytes());
            let value =
                base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, digest.as_ref());
            let record = format!("_acme-challenge.{domain}.");
            let line = match path.as_str() {
                "/present" => format!("update add {record} 60 IN TXT \"{value}\""),
                _ => format!("update delete {record} IN TXT \"{value}\""),
            };
            updates(key, server, &line)
        });
        served.unwrap();
    }
}

#[test]
#[ignore = "real: needs named, pebble, nsupdate"]
fn a_server_for_lego_in_its_mode_raw_is_told_the_challenge() {
    let world = World::start();
    let listener = TcpListener::bind(world.address.port(8054)).unwrap();
    let endpoint = listener.local_addr().unwrap();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (told, key, server) = (
        Arc::clone(&seen),
        world.bind.key_file().to_owned(),
        world.address.ip().to_string(),
    );
    thread::spawn(move || answers_challenges(&listener, &key, &server, &told));
    let wildcard = format!("identifiers = [\"{HOST}\", \"*.{HOST}\"]");
    configure(
        &world,
        &format!("type = \"httpreq\", mode = \"raw\", endpoint = \"http://{endpoint}\""),
    );
    let text = fs::read_to_string(world.config_file()).unwrap();
    let text = text.replace(&format!("identifiers = [\"{HOST}\"]"), &wildcard);
    world.scratch.file("mailcert.toml", text);
    world.mailcert().run(&["issue"]).expect(0);
    let present = format!("/present {HOST}");
    let cleanup = format!("/cleanup {HOST}");
    assert_eq!(
        *seen.lock().unwrap(),
        [present.clone(), present, cleanup.clone(), cleanup]
    );
    assert_eq!(world.bind.dig(&format!("_acme-challenge.{HOST}"), "TXT"), "");

    // It makes records of challenges alone: others are for the operator.
    let told = world.mailcert().run(&["apply", "dns", "--yes"]).expect(1);
    assert!(told.to_string().contains("v=spf1 mx -all"), "{told}");
    assert_eq!(seen.lock().unwrap().len(), 4, "nothing was asked of it");
}

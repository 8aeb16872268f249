//! A server that speaks Dovecot's authentication protocol (doc "Design/AuthProtocol", version 1.2) with PLAIN alone.
//!
//! Postfix's smtpd(8) is its client. It knows users by name and password, and says who logged in.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    thread,
};

use base64::{Engine, engine::general_purpose::STANDARD};

/// Listens on a socket until the test's process ends; the socket goes with its scratch directory.
pub fn serve(socket: &Path, users: &[(&'static str, &'static str)]) {
    fs::create_dir_all(socket.parent().unwrap()).unwrap();
    let listener = UnixListener::bind(socket).unwrap();
    // Postfix's own user asks.
    fs::set_permissions(socket, fs::Permissions::from_mode(0o666)).unwrap();
    let users = users.to_vec();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let users = users.clone();
            thread::spawn(move || converse(stream, &users));
        }
    });
}

/// Answers one client until it hangs up.
fn converse(mut stream: UnixStream, users: &[(&str, &str)]) {
    let greeting = "VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00\nDONE\n";
    if stream.write_all(greeting.as_bytes()).is_err() {
        return;
    }
    let lines = BufReader::new(stream.try_clone().unwrap()).lines();
    for line in lines.map_while(Result::ok) {
        let words: Vec<&str> = line.split('\t').collect();
        let ["AUTH", id, "PLAIN", rest @ ..] = words.as_slice() else {
            continue;
        };
        let response = rest.iter().find_map(|word| word.strip_prefix("resp="));
        let decoded = response
            .and_then(|text| STANDARD.decode(text).ok())
            .unwrap_or_default();
        let text = String::from_utf8_lossy(&decoded).into_owned();
        // RFC 4616: authorization identity, NUL, user, NUL, password.
        let parts: Vec<&str> = text.split('\0').collect();
        let known = |user: &str, password: &str| users.contains(&(user, password));
        let answer = match parts.as_slice() {
            [_, user, password] if known(user, password) => format!("OK\t{id}\tuser={user}\n"),
            _ => format!("FAIL\t{id}\treason=no\n"),
        };
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

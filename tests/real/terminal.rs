//! The main job as a person does it who sits at a terminal.

use std::{collections::BTreeMap, fs, path::PathBuf};

use crate::support::{Terminal, World, terminal::COLUMNS};

/// Each question, and an answer to it.
const QUESTIONS: [(&str, &str); 5] = [
    ("Name of this mail host", "mail.example.test"),
    ("Mail domains served here", "example.test"),
    ("Names in the certificate", ""),
    ("Do you agree to them?", "yes"),
    ("Do all this?", "yes"),
];

fn start(world: &World) -> Terminal {
    let mut arguments = world.init_args();
    // What is asked for is not given.
    arguments.retain(|argument| !["--yes", "--agree-to-terms"].contains(&argument.as_str()));
    for flag in ["--host", "--domain", "--identifier"] {
        let at = arguments.iter().position(|argument| argument == flag).unwrap();
        arguments.drain(at..at + 2);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Terminal::start(&world.mailcert().command(&arguments))
}

/// Returns the lines as they stay on the screen: what a carriage return and an erased line leave of each.
fn lines(shown: &str) -> Vec<String> {
    shown
        .split("\r\n")
        .map(|line| line.rsplit("\r\u{1b}[2K").next().unwrap_or_default().to_owned())
        .collect()
}

/// Everything that `init` could change, with what is in it.
fn files(world: &World) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut open = vec![world.postfix.config_directory(), world.state_directory()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                let text = fs::read(&path).unwrap();
                found.insert(path, text);
            }
        }
    }
    let config = world.config_file();
    if config.exists() {
        found.insert(config.to_owned(), fs::read(config).unwrap());
    }
    found
}

#[test]
#[ignore = "real: needs postfix, named, pebble, setsid"]
fn init_asks_until_it_can_begin_and_then_does_it_all() {
    let world = World::start();
    // The lab's name servers. Beside a file, what has a default is not asked for.
    world.write_answers();
    let mut terminal = start(&world);
    for wrong in ["not a host", "mail", &"a".repeat(300)] {
        terminal.until(QUESTIONS[0].0);
        terminal.answer(wrong);
    }
    let asked = QUESTIONS
        .into_iter()
        .filter(|(question, _)| *question != "Names in the certificate");
    for (question, answer) in asked.clone() {
        terminal.until(question);
        terminal.answer(answer);
    }
    let (code, shown) = terminal.end();
    assert_eq!(code, 0, "{shown}");
    world.postfix.verify(25, world.pebble.issuer_root_file()).unwrap();

    let lines = lines(&shown);
    let is_spinner = |line: &String| line.starts_with(|first| ('\u{2800}'..'\u{2900}').contains(&first));
    assert!(shown.contains("⠁ "), "no progress: {shown}");
    assert!(!lines.iter().any(is_spinner), "progress stays: {lines:#?}");
    for (question, _) in asked {
        let line = lines.iter().find(|line| line.contains(question)).unwrap();
        let prompt = line.split_once("]: ").map_or(line.as_str(), |(prompt, _)| prompt);
        assert!(prompt.chars().count() + 3 < usize::from(COLUMNS), "{line}");
    }
    assert!(shown.contains("\u{1b}["), "a terminal has colours: {shown}");
    let piped = world.mailcert().run_program(&["status"]).expect(0);
    assert!(!piped.to_string().contains('\u{1b}'), "{piped}");
}

#[test]
#[ignore = "real: needs postfix, named, pebble, setsid"]
fn giving_up_at_any_question_leaves_nothing_behind() {
    let world = World::start();
    let before = files(&world);
    // Ctrl-C, and Ctrl-D, which ends the input.
    for (key, n_answered) in ["\u{3}", "\u{4}"]
        .iter()
        .flat_map(|key| (0..QUESTIONS.len()).map(move |n| (key, n)))
    {
        let mut terminal = start(&world);
        for (question, answer) in &QUESTIONS[..n_answered] {
            terminal.until(question);
            terminal.answer(answer);
        }
        terminal.until(QUESTIONS[n_answered].0);
        terminal.until(": ");
        terminal.press(key);
        let (code, shown) = terminal.end();
        assert_ne!(code, 0, "{key:?} at question {n_answered}: {shown}");
        assert!(!shown.contains("panicked"), "{shown}");
        let after = files(&world);
        assert!(
            after == before,
            "{key:?} at question {n_answered}: {:?}\n{shown}",
            after.keys()
        );
    }
    assert_eq!(world.pebble.n_orders_and_certificates(), (0, 0));
    assert_eq!(world.pebble.count_in_log("sign-me-up"), 0);
}

//! The disk that keeps only what was synced, which other tests cut the power of.

use std::path::{Path, PathBuf};

use crate::support::disk::{
    Cut, Disk, Meta, Node,
    Operation::{self, Change, Exchange, Link, Make, Remove, Rename, Sync, SyncAll, Write},
    Tree,
};

fn path(text: &str) -> PathBuf {
    Path::new("/d").join(text)
}

fn file(text: &str) -> Node {
    Node::File(Meta::default(), text.into())
}

fn directory() -> Node {
    Node::Directory(Meta::default())
}

/// `a` with `old` in it, and two directories.
fn begun() -> Disk {
    let tree: Tree = [
        (path("a"), file("old")),
        (path("one"), directory()),
        (path("one/x"), file("x")),
        (path("two"), directory()),
    ]
    .into();
    Disk::holding(&tree)
}

/// Does the operations, and tells what is there after each of the cuts: `name=content`, `name/`, `name>target`.
fn check(operations: &[Operation], ordered: &str, strict: &str) {
    let mut disk = begun();
    for operation in operations {
        disk.apply(operation);
    }
    for (cut, expected) in [(Cut::Ordered, ordered), (Cut::Strict, strict)] {
        let tree = disk.after(cut, &["/d".into()]);
        let told: Vec<String> = tree
            .iter()
            .filter(|(place, _)| **place != *"/d")
            .map(|(place, node)| {
                let name = place.strip_prefix("/d").unwrap().display();
                match node {
                    Node::Directory(_) => format!("{name}/"),
                    Node::File(_, bytes) => format!("{name}={}", String::from_utf8_lossy(bytes)),
                    Node::Link(target) => format!("{name}>{}", target.display()),
                }
            })
            .collect();
        assert_eq!(told.join(" "), expected, "{cut:?} {operations:?}");
    }
}

#[test]
fn nothing_is_lost_of_what_was_there() {
    let all = "a=old one/ one/x=x two/";
    check(&[], all, all);
}

#[test]
fn content_and_names_are_synced_each_by_itself() {
    let new = || Make(path("b"), file(""));
    let written = || Write(path("b"), "new".into());
    let old = "a=old one/ one/x=x two/";
    check(&[new(), written()], "a=old b= one/ one/x=x two/", old);
    check(
        &[new(), written(), Sync(path("b"))],
        "a=old b=new one/ one/x=x two/",
        old,
    );
    check(
        &[new(), written(), Sync("/d".into())],
        "a=old b= one/ one/x=x two/",
        "a=old b= one/ one/x=x two/",
    );
    let both = "a=old b=new one/ one/x=x two/";
    check(
        &[new(), written(), Sync(path("b")), Sync("/d".into())],
        both,
        both,
    );
    check(&[new(), written(), SyncAll], both, both);
    // What is written into a file that was there is lost as well.
    check(&[Write(path("a"), "new".into())], old, old);
}

#[test]
fn a_file_that_is_replaced_too_early_is_empty_or_old() {
    let replace = |synced: bool| {
        let mut all = vec![Make(path(".a"), file("")), Write(path(".a"), "new".into())];
        all.extend(synced.then(|| Sync(path(".a"))));
        all.push(Rename(path(".a"), path("a")));
        all
    };
    let old = "a=old one/ one/x=x two/";
    check(&replace(false), "a= one/ one/x=x two/", old);
    check(&replace(true), "a=new one/ one/x=x two/", old);
    let mut whole = replace(true);
    whole.push(Sync("/d".into()));
    check(&whole, "a=new one/ one/x=x two/", "a=new one/ one/x=x two/");
}

#[test]
fn a_directory_takes_its_names_with_it() {
    let made = || {
        vec![
            Make(path("one/.y"), directory()),
            Make(path("one/.y/key"), file("")),
            Write(path("one/.y/key"), "key".into()),
            Sync(path("one/.y/key")),
            Sync(path("one/.y")),
            Rename(path("one/.y"), path("one/y")),
        ]
    };
    check(
        &made(),
        "a=old one/ one/x=x one/y/ one/y/key=key two/",
        "a=old one/ one/x=x two/",
    );
    let mut synced = made();
    synced.push(Sync(path("one")));
    let all = "a=old one/ one/x=x one/y/ one/y/key=key two/";
    check(&synced, all, all);
}

#[test]
fn a_move_between_directories_is_one_change() {
    let moved = Rename(path("one/x"), path("two/x"));
    let (before, after) = ("a=old one/ one/x=x two/", "a=old one/ two/ two/x=x");
    check(std::slice::from_ref(&moved), after, before);
    for synced in ["one", "two"] {
        check(&[moved.clone(), Sync(path(synced))], after, after);
    }
    check(&[moved, Sync("/d".into())], after, before);
}

#[test]
fn names_go_change_places_and_become_more() {
    let old = "a=old one/ one/x=x two/";
    check(&[Remove(path("a"))], "one/ one/x=x two/", old);
    check(
        &[Remove(path("a")), Sync("/d".into())],
        "one/ one/x=x two/",
        "one/ one/x=x two/",
    );
    check(
        &[Link(path("a"), path("two/b"))],
        "a=old one/ one/x=x two/ two/b=old",
        old,
    );
    let exchanged = [
        Make(path("l"), Node::Link("t".into())),
        Exchange(path("l"), path("one")),
    ];
    check(&exchanged, "a=old l/ l/x=x one>t two/", old);
    let meta = Meta {
        mode: 0o600,
        uid: 1,
        gid: 2,
    };
    let mut disk = begun();
    disk.apply(&Change(path("a"), meta));
    let tree = disk.after(Cut::Strict, &[path("a")]);
    assert_eq!(
        tree.into_values().collect::<Vec<_>>(),
        [Node::File(meta, "old".into())]
    );
}

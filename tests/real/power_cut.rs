//! The power goes in the middle of a run, at every point of it: what was not synced is lost. The machine starts again, and
//! Postfix with what is left: it serves the old or the new certificate. One more run ends verified, and no key is lost that
//! the CA has issued a certificate for.
//!
//! What a run does to the disk is recorded once, as system calls, its children's among them. From that the disks are made
//! that are left after each change: [`crate::support::disk`] says how.

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
};

use crate::{
    support::{
        Outcome,
        disk::{Cut, Disk, Node, Tree},
        inject, recorder,
        world::HOST,
    },
    sweep::{APPLY, DEPLOY, ISSUE, RENEW, Scene, Stage, UNDO, look},
};

/// A disk after a power cut, and when it was cut.
struct Left {
    /// After how many of the operations.
    after: usize,
    cut: Cut,
    tree: Tree,
    /// Whether the DNS server, which has its power still, had taken the change of the domain's policy by then.
    is_told: bool,
}

/// Which disks are tried.
#[derive(Clone, Copy)]
enum Points {
    /// All that differ.
    Every,
    /// So many, spread evenly.
    Spread(usize),
}

/// Records a run, and returns the disks that differ.
fn record(stage: &Stage, below: &[PathBuf]) -> (Outcome, Vec<Left>) {
    let mut disk = Disk::holding(&recorder::tree(below));
    let command = stage.world.mailcert().command(stage.scene.command);
    let (outcome, recorded) = inject::record(&command, below);
    assert_eq!(outcome.code, 0, "{outcome}");
    let told = recorded
        .written
        .iter()
        .filter(|written| written.is_dns_update() && has_policy(&written.bytes))
        .map(|written| written.after)
        .next_back();
    assert_eq!(
        told.is_some(),
        stage.beginning.spf != stage.end.spf,
        "the update of the zone was not seen"
    );
    let mut left: Vec<Left> = Vec::new();
    for after in 0..=recorded.operations.len() {
        if let Some(operation) = after
            .checked_sub(1)
            .and_then(|last| recorded.operations.get(last))
        {
            disk.apply(operation);
        }
        // Between two operations the power may go before the server is told, or after it.
        let is_told = match told {
            Some(told) if after == told => &[false, true][..],
            Some(told) if after > told => &[true],
            _ => &[false],
        };
        for (cut, is_told) in Cut::ALL
            .iter()
            .flat_map(|cut| is_told.iter().map(move |is_told| (*cut, *is_told)))
        {
            let tree = disk.after(cut, below);
            if left
                .iter()
                .all(|known| known.tree != tree || known.is_told != is_told)
            {
                left.push(Left {
                    after,
                    cut,
                    tree,
                    is_told,
                });
            }
        }
    }
    // The recording tells the truth: in the end the disk is what is there, and nothing of it waits to be synced.
    let there = recorder::tree(below);
    assert_eq!(
        names(&disk.after(Cut::Ordered, below)),
        names(&there),
        "what was recorded is not what was done"
    );
    let n_operations = recorded.operations.len();
    eprintln!(
        "{:?}: {n_operations} operations, {} disks",
        stage.scene.command,
        left.len()
    );
    (outcome, left)
}

fn names(tree: &Tree) -> Vec<&PathBuf> {
    tree.keys().collect()
}

/// Starts the machine with this disk, looks, and lets the next run mend it.
fn start_again(stage: &Stage, below: &[PathBuf], left: &Left, outcome: &Outcome) {
    let world = &stage.world;
    world.postfix.stop();
    stage.set_zone(match left.is_told {
        true => &stage.end.spf,
        false => &stage.beginning.spf,
    });
    recorder::put(below, &left.tree);
    // Postfix waits for a main.cf that was written a moment ago.
    world.postfix.edit_main_cf(|text| text);
    world.postfix.launch();
    let n_before = world.pebble.n_orders_and_certificates().1;
    stage.assert_no_worse(&look(world), outcome);
    stage.assert_whole(outcome);

    let again = stage.later().run(stage.scene.again);
    assert_eq!(again.code, 0, "{again}");
    let end = look(world);
    assert_eq!(
        (&end.main_cf, &end.master_cf),
        (&stage.end.main_cf, &stage.end.master_cf),
        "{again}"
    );
    assert_eq!(end.spf, stage.end.spf, "{again}");
    if stage.scene.undoes {
        assert_eq!(end.served, stage.end.served, "{again}");
    } else {
        assert_eq!(end.served, end.live, "{again}");
        stage.later().run(&["status"]).expect(0);
        assert_eq!(world.record(HOST)["state"], "verified", "{again}");
    }
    stage.assert_whole(&again);
    stage.assert_nothing_is_left(&again.to_string());
    let n_issued = world.pebble.n_orders_and_certificates().1 - n_before;
    // An order that the disk knows of has its key there too: its certificate is fetched, and no other one.
    let most = usize::from(!knows_an_order(&left.tree));
    assert!(n_issued <= most, "{n_issued} certificates: {again}");
}

/// Returns whether a message to a DNS server names a policy for mail.
fn has_policy(message: &[u8]) -> bool {
    message.windows(6).any(|bytes| bytes == b"v=spf1")
}

/// Returns whether the lineage's record has the URL of an order.
fn knows_an_order(tree: &Tree) -> bool {
    tree.iter().any(|(path, node)| match node {
        Node::File(_, bytes) if path.ends_with(format!("lineages/{HOST}/state.json")) => {
            let record: serde_json::Value = serde_json::from_slice(bytes).unwrap_or_default();
            record["order"]["url"].is_string()
        }
        _ => false,
    })
}

/// Cuts the power in the middle of a command, tells all that went wrong, and fails if anything did.
fn cut(scene: &'static Scene, points: Points) {
    let stage = Stage::set(scene);
    stage.reset();
    let below = [
        stage.world.state_directory(),
        stage.world.postfix.config_directory(),
    ];
    let below = below.map(|path| match fs::canonicalize(&path) {
        Ok(path) => path,
        Err(_) => fs::canonicalize(path.parent().unwrap())
            .unwrap()
            .join(path.file_name().unwrap()),
    });
    let (outcome, mut all) = record(&stage, &below);
    if let Points::Spread(n) = points {
        let n_all = all.len();
        let mut index = 0;
        all.retain(|_| {
            index += 1;
            // The first of each group of `n_all / n`, and the last.
            (index - 1) * n / n_all != (index * n) / n_all
        });
    }
    let mut failures = Vec::new();
    for left in &all {
        let tried = catch_unwind(AssertUnwindSafe(|| start_again(&stage, &below, left, &outcome)));
        if let Err(cause) = tried {
            let said = cause.downcast_ref::<String>().cloned().unwrap_or_default();
            let failure = format!(
                "{:?} after {} operations, {:?}: {said}",
                scene.command, left.after, left.cut
            );
            eprintln!("--- {failure}");
            failures.push(failure);
        }
    }
    eprintln!(
        "{:?}: {} power cuts, {} failures",
        scene.command,
        all.len(),
        failures.len()
    );
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn a_renewal_survives_some_power_cuts() {
    cut(&RENEW, Points::Spread(6));
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn an_apply_survives_some_power_cuts() {
    cut(&APPLY, Points::Spread(6));
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn long_an_issue_survives_every_power_cut() {
    cut(&ISSUE, Points::Every);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn long_a_renewal_survives_every_power_cut() {
    cut(&RENEW, Points::Every);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn long_a_deploy_survives_every_power_cut() {
    cut(&DEPLOY, Points::Every);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn long_an_apply_survives_every_power_cut() {
    cut(&APPLY, Points::Every);
}

#[test]
#[ignore = "real: needs postfix, named, pebble, openssl"]
fn long_an_undo_survives_every_power_cut() {
    cut(&UNDO, Points::Every);
}

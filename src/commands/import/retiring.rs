//! How the other client is switched off once its lineages are ours: its timers and cron lines on this host, by name.

use crate::{
    env::{Env, files},
    store::import::Client,
};

/// No table of cron's is larger, in bytes.
const LIMIT: u64 = 256 << 10;
/// Where timers are.
const UNITS: [&str; 3] = [
    "/etc/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
];
/// Where cron's tables are.
const TABLES: [&str; 7] = [
    "/etc/cron.d",
    "/etc/cron.daily",
    "/etc/cron.weekly",
    "/etc/cron.hourly",
    "/etc/cron.monthly",
    "/var/spool/cron/crontabs",
    "/var/spool/cron",
];

/// Returns what the operator does to keep the other client from renewing what is ours. `rest`: lineages that stay its own.
pub fn steps(env: &Env, client: Client, adopted: &[String], rest: &[String]) -> Vec<String> {
    let name = client.name();
    let mut steps = Vec::new();
    if !rest.is_empty() {
        steps.push(match client {
            Client::Certbot => format!(
                "certbot goes on with {}; keep it from renewing the others: write `autorenew = False` below [renewalparams] in \
                 renewal/{{{}}}.conf",
                rest.join(", "),
                adopted.join(",")
            ),
            Client::AcmeSh => format!(
                "acme.sh goes on with {}; keep it from renewing the others: `acme.sh --remove -d NAME` for each of {}",
                rest.join(", "),
                adopted.join(", ")
            ),
            Client::Dehydrated => format!(
                "dehydrated goes on with {}; take the lines of {} out of domains.txt",
                rest.join(", "),
                adopted.join(", ")
            ),
            Client::Lego => format!(
                "lego goes on with {}; take the commands for {} out of what runs it",
                rest.join(", "),
                adopted.join(", ")
            ),
        });
        return steps;
    }
    let mut timers = Vec::new();
    for directory in UNITS {
        for unit in files::list(&env.host_path(directory)) {
            let is_its = unit.ends_with(".timer") && unit.contains(name) && !unit.contains("mailcert");
            if is_its && !timers.contains(&unit) {
                timers.push(unit);
            }
        }
    }
    for timer in timers {
        steps.push(format!(
            "switch {name} off, once `mailcert status` is green: `systemctl disable --now {timer}`"
        ));
    }
    let mut tables: Vec<String> = TABLES
        .iter()
        .flat_map(|directory| {
            files::list(&env.host_path(directory))
                .into_iter()
                .map(move |file| format!("{directory}/{file}"))
        })
        .collect();
    tables.push("/etc/crontab".to_owned());
    for table in tables {
        let Ok(bytes) = files::read(&env.host_path(&table), LIMIT) else {
            continue;
        };
        if let Some(number) = line_with(&String::from_utf8_lossy(&bytes), name) {
            steps.push(format!(
                "switch {name} off, once `mailcert status` is green: line {number} of {table} runs it"
            ));
        }
    }
    if steps.is_empty() {
        steps.push(format!(
            "neither a timer nor a cron line of {name}'s was found: switch off what runs it, once `mailcert status` is green"
        ));
    }
    steps
}

/// Returns the number of the first line that names a client and is no comment.
fn line_with(text: &str, name: &str) -> Option<usize> {
    let is_it = |line: &str| {
        let line = line.trim_start();
        !line.starts_with('#') && line.contains(name) && !line.contains("mailcert")
    };
    text.lines().position(is_it).map(|index| index + 1)
}

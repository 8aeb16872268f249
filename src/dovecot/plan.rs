//! What is set against what should be: our file, and what would win over it commented out. Pure.
//!
//! The last assignment counts, and one in a block for a protocol, an address or a name counts before all outside of it. Dovecot opens
//! every file that is named all the same, and would not start once an old certificate is gone: those that do not count go too.
//! Planning what has been applied gives no change. Lines that need no change stay byte for byte.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::{
    desired::{Desired, memory, size},
    dialect::{Dialect, Setting},
    endpoints::is_covered,
    syntax::{Placed, Statement},
    tree::{Assignment, Overlay, Scope, Source, Tree, TreeError, matches},
};
use crate::model::{name::Identifier, plan::FileChange};

/// Our file where dovecot.conf includes `conf.d/*.conf`: nearly every other file there comes before it.
const IN_CONF_D: &str = "conf.d/99-mailcert.conf";
/// Our file beside dovecot.conf, where it does not.
const BESIDE: &str = "mailcert.conf";

/// An instance, and what its names are.
#[derive(Clone, Copy)]
pub struct Current<'a> {
    /// dovecot.conf.
    pub main: &'a Path,
    /// How settings are written.
    pub dialect: Dialect,
    /// Its files as they are.
    pub tree: &'a Tree,
    /// Where files are read.
    pub source: &'a dyn Source,
    /// What the certificates in question are for: a block for such a name would win over ours.
    pub identifiers: &'a [Identifier],
}

/// The changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DovecotPlan {
    /// The files, in the order in which they are written; none when all is as it should be.
    pub changes: Vec<FileChange>,
    /// What the operator should know besides.
    pub notes: Vec<String>,
}

/// What our file says.
struct Wanted<'a> {
    desired: &'a Desired,
    limit: Option<u64>,
    /// Whether TLS is off as yet.
    is_off: bool,
}

/// Something that would win over our file.
struct Rival<'a> {
    assignment: &'a Assignment,
    reason: String,
}

/// Compares an instance with what is wanted.
///
/// # Errors
/// When a file cannot be read.
pub fn plan(current: &Current<'_>, desired: &Desired) -> Result<DovecotPlan, TreeError> {
    let place = Place::find(current);
    let others = Others::of(current.tree, &place.file);
    let is_off = others.last_of(Setting::Tls.name(current.dialect)) == Some("no");
    let limit = limit(current, desired, &others);
    let drop_in = desired.drop_in(current.dialect, limit);
    let mut overlay = Overlay {
        under: current.source,
        files: BTreeMap::new(),
    };
    let mut reasons: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    let before = current.source.read(&place.file)?;
    if before.as_deref() != Some(drop_in.as_bytes()) {
        reasons.insert(place.file.clone(), describe(current.dialect, desired, limit));
        overlay.files.insert(place.file.clone(), drop_in.into_bytes());
    }
    if place.include == Include::Missing
        && let Some(main) = current.tree.file(current.main)
    {
        let why = "dovecot.conf reads no conf.d/*.conf: the last line counts";
        let line = format!("# mailcert: {why}\n!include {BESIDE}\n");
        overlay
            .files
            .insert(current.main.to_owned(), main.appended(&line));
        let reason = format!("!include {BESIDE}: {why}");
        reasons.entry(current.main.to_owned()).or_default().push(reason);
    }
    let order: Vec<PathBuf> = overlay.files.keys().cloned().collect();
    // As it will be: only there it is seen what comes after our file.
    let after = Tree::read(current.main, current.dialect, &overlay)?;
    let wanted = Wanted {
        desired,
        limit,
        is_off,
    };
    let (rivals, notes) = rivals(current, &wanted, &after, &place.file);
    let mut changed: BTreeMap<usize, Vec<(&Placed, &str)>> = BTreeMap::new();
    for rival in &rivals {
        if let Some(placed) = after.placed(rival.assignment) {
            let of_file = changed.entry(rival.assignment.file).or_default();
            if !of_file.iter().any(|(known, _)| *known == placed) {
                of_file.push((placed, &rival.reason));
            }
        }
    }
    let mut files = overlay.files;
    for (index, which) in &changed {
        let Some((path, file)) = after.files.get(*index) else {
            continue;
        };
        files.insert(path.clone(), file.commented_out(which));
        let told = which.iter().map(|(placed, reason)| match &placed.statement {
            Statement::Set(name, _) => format!("{name} is commented out: {reason}"),
            _ => (*reason).to_owned(),
        });
        reasons.entry(path.clone()).or_default().extend(told);
    }
    // Ours first: what is written next leaves a whole configuration at every moment.
    let ours = order.iter().filter(|path| **path == place.file);
    let paths = ours.chain(files.keys().filter(|path| **path != place.file));
    let mut changes = Vec::new();
    for path in paths {
        changes.push(FileChange {
            path: path.clone(),
            before: current.source.read(path)?,
            after: files.get(path).cloned(),
            reasons: reasons.remove(path).unwrap_or_default(),
        });
    }
    Ok(DovecotPlan { changes, notes })
}

/// Whether dovecot.conf reads our file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Include {
    Missing,
    There,
}

/// Where our file is.
struct Place {
    file: PathBuf,
    include: Include,
}

impl Place {
    fn find(current: &Current<'_>) -> Self {
        let directory = current.main.parent().unwrap_or(Path::new("/"));
        let (in_conf_d, beside) = (directory.join(IN_CONF_D), directory.join(BESIDE));
        let is_read = |path: &Path| current.tree.file(path).is_some();
        let named = |path: &Path, include| Self {
            file: path.to_owned(),
            include,
        };
        if is_read(&beside) {
            return named(&beside, Include::There);
        }
        if is_read(&in_conf_d) || Self::takes_conf_d(current, directory) {
            return named(&in_conf_d, Include::There);
        }
        named(&beside, Include::Missing)
    }

    /// Returns whether an include outside of every block would bring a new file in conf.d in. It has brought others in: so the
    /// directory is there.
    fn takes_conf_d(current: &Current<'_>, directory: &Path) -> bool {
        let conf_d = directory.join("conf.d");
        current
            .tree
            .includes
            .iter()
            .filter(|one| one.is_outermost)
            .any(|one| {
                let Some((_, file)) = current.tree.files.get(one.file) else {
                    return false;
                };
                let Some(Statement::Include(pattern)) =
                    file.statements.get(one.statement).map(|placed| &placed.statement)
                else {
                    return false;
                };
                let (parent, name) = match pattern.rsplit_once('/') {
                    Some((parent, name)) => (directory.join(parent), name),
                    None => (directory.to_owned(), pattern.as_str()),
                };
                let is_wanted = |path: &PathBuf| path.parent() == Some(&conf_d);
                let brought = one.files.iter().filter_map(|file| current.tree.files.get(*file));
                parent == conf_d
                    && name.contains('*')
                    && matches(name, "99-mailcert.conf")
                    && brought.map(|(path, _)| path).any(is_wanted)
            })
    }
}

/// What the operator's own files say.
struct Others<'a>(Vec<&'a Assignment>);

impl<'a> Others<'a> {
    fn of(tree: &'a Tree, ours: &Path) -> Self {
        let is_theirs = |one: &&Assignment| tree.files.get(one.file).is_some_and(|(path, _)| path != ours);
        Self(tree.assignments.iter().filter(is_theirs).collect())
    }

    /// Returns the value that counts outside of every block.
    fn last_of(&self, name: &str) -> Option<&'a str> {
        let last = self
            .0
            .iter()
            .rev()
            .find(|one| one.scope.is_empty() && one.name == name);
        last.map(|one| one.value.as_str())
    }

    /// Returns how many blocks for names there are; one that says nothing costs nothing.
    fn n_names(&self) -> usize {
        let of = |one: &&'a Assignment| one.scope.iter().find(|scope| scope.kind == "local_name");
        let mut scopes: Vec<&Scope> = self.0.iter().filter_map(of).collect();
        scopes.dedup();
        scopes.len()
    }
}

/// Returns the limit that our file has to set for the `config` service.
fn limit(current: &Current<'_>, desired: &Desired, others: &Others<'_>) -> Option<u64> {
    let theirs = others.0.iter().rev().find(|one| is_limit(one));
    let default = others
        .last_of("default_vsz_limit")
        .and_then(size)
        .unwrap_or_default();
    let theirs = theirs.map_or(Some(default), |one| size(&one.value));
    let needed = memory(
        current.dialect,
        desired.n_blocks(current.dialect) + others.n_names(),
    )?;
    // None: they have switched the limit off.
    (theirs? < needed).then_some(needed)
}

/// Returns whether it is the limit of the `config` service.
fn is_limit(assignment: &Assignment) -> bool {
    assignment.name == "vsz_limit" && is_scope(&assignment.scope, &[("service", "config")])
}

fn is_scope(scope: &[Scope], expected: &[(&str, &str)]) -> bool {
    scope.len() == expected.len()
        && scope
            .iter()
            .zip(expected)
            .all(|(one, (kind, name))| one.kind == *kind && one.name == *name)
}

/// Finds what would win over our file in the configuration as it will be, and what is left to win.
fn rivals<'a>(
    current: &Current<'_>,
    wanted: &Wanted<'_>,
    after: &'a Tree,
    ours: &Path,
) -> (Vec<Rival<'a>>, Vec<String>) {
    let dialect = current.dialect;
    let file = after.files.iter().position(|(path, _)| path == ours);
    let last = after
        .assignments
        .iter()
        .rposition(|one| Some(one.file) == file)
        .unwrap_or_default();
    let mut rivals = Vec::new();
    let mut foreign: BTreeSet<String> = BTreeSet::new();
    for (index, assignment) in after.assignments.iter().enumerate() {
        if Some(assignment.file) == file {
            continue;
        }
        let reason = match Setting::of(&assignment.name, dialect) {
            Some(Setting::Tls) => (wanted.is_off && assignment.scope.is_empty() && assignment.value == "no")
                .then(|| "no port would speak TLS".to_owned()),
            Some(setting) if !assignment.value.is_empty() => {
                match certificate(current, assignment, setting, index > last) {
                    Ok(reason) => reason,
                    Err(names) => {
                        foreign.extend(names);
                        None
                    }
                }
            }
            _ if index <= last => None,
            _ if is_limit(assignment) => wanted
                .limit
                .map(|_| "it stands after ours, and is too little for so many names".to_owned()),
            _ => socket(wanted.desired, assignment),
        };
        rivals.extend(reason.map(|reason| Rival { assignment, reason }));
    }
    (rivals, told(&foreign).into_iter().collect())
}

/// Says for which names others go on being served.
fn told(foreign: &BTreeSet<String>) -> Option<String> {
    const SHOWN: usize = 3;
    let shown: Vec<&str> = foreign.iter().take(SHOWN).map(String::as_str).collect();
    let more = match foreign.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!foreign.is_empty()).then(|| {
        format!(
            "clients that ask Dovecot for {}{more} go on being served certificates of others: none of ours is for these names",
            shown.join(", ")
        )
    })
}

/// Returns why an assignment of a certificate is in the way of ours, if so; or the names, where it is for one that is none of ours.
fn certificate(
    current: &Current<'_>,
    assignment: &Assignment,
    setting: Setting,
    is_later: bool,
) -> Result<Option<String>, Vec<String>> {
    let scope = &assignment.scope;
    if scope
        .iter()
        .any(|one| !matches!(one.kind.as_str(), "local" | "local_name" | "protocol" | "remote"))
    {
        return Ok(None);
    }
    let titles: Vec<String> = scope
        .iter()
        .map(|one| format!("{} {}", one.kind, one.name))
        .collect();
    let Some(named) = scope.iter().find(|one| one.kind == "local_name") else {
        let is_second = matches!(setting, Setting::AlternativeCertificate | Setting::AlternativeKey);
        return Ok(match (titles.is_empty(), is_second, is_later) {
            (false, ..) => Some(format!("in {} it counts in the place of ours", titles.join(", "))),
            (true, true, _) => {
                Some("a second certificate, which clients with its kind of key are served".to_owned())
            }
            (true, false, true) => Some("it stands after ours, and the last one counts".to_owned()),
            (true, false, false) => setting
                .named_file(&assignment.name, &assignment.value, current.dialect)
                .map(|_| {
                    "it does not count, but Dovecot opens it, and would not start once it is gone".to_owned()
                }),
        });
    };
    let foreign: Vec<String> = named
        .name
        .split_whitespace()
        .filter(|name| !is_covered(name, current.identifiers))
        .map(str::to_owned)
        .collect();
    if foreign.is_empty() {
        return Ok(Some(format!("for {} it counts in the place of ours", named.name)));
    }
    Err(foreign)
}

/// Returns why an assignment for the listener of Postfix that stands after ours wins over it, if so.
fn socket(desired: &Desired, assignment: &Assignment) -> Option<String> {
    let socket = desired.auth_socket.as_ref()?;
    let path = socket.path.to_str()?;
    if !is_scope(&assignment.scope, &[("service", "auth"), ("unix_listener", path)]) {
        return None;
    }
    let settings = socket.settings();
    let (_, wanted) = settings.iter().find(|(name, _)| *name == assignment.name)?;
    (assignment.value != *wanted).then(|| "it stands after ours, and the last one counts".to_owned())
}

/// Returns why our file says what it says.
fn describe(dialect: Dialect, desired: &Desired, limit: Option<u64>) -> Vec<String> {
    let certificate = dialect.file_value(&desired.default.fullchain.display().to_string());
    let mut reasons = vec![format!(
        "{} = {certificate}: the certificate of every service, with its chain; `doveadm reload` has it read",
        Setting::Certificate.name(dialect)
    )];
    if let Some(socket) = &desired.auth_socket {
        reasons.push(format!(
            "unix_listener {}: Postfix asks there who may log in; nobody else may",
            socket.path.display()
        ));
    }
    let n_names: usize = desired.named.iter().map(|one| one.names.len()).sum();
    if n_names > 0 {
        reasons.push(format!(
            "local_name: {n_names} names have a certificate of their own"
        ));
    }
    if let Some(limit) = limit {
        reasons.push(format!(
            "service config: vsz_limit = {}M: with so many names it would be ended for want of memory, while doveconf says all is well",
            limit >> 20
        ));
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            desired::{AuthSocket, LivePair, Named},
            tree::tests::Fake,
        },
        *,
    };

    const MAIN: &str = "/d/dovecot.conf";

    fn desired() -> Desired {
        Desired {
            default: LivePair::below(Path::new("/l/mail")),
            named: vec![Named {
                names: vec!["a.example".into()],
                pair: LivePair::below(Path::new("/l/a")),
            }],
            auth_socket: Some(AuthSocket {
                path: "/q/private/auth".into(),
                user: "postfix".into(),
                group: "postfix".into(),
            }),
        }
    }

    fn plan_of(files: &Fake, dialect: Dialect) -> DovecotPlan {
        let identifiers = ["mail.example".parse().unwrap(), "a.example".parse().unwrap()];
        let tree = Tree::read(Path::new(MAIN), dialect, files).unwrap();
        let current = Current {
            main: Path::new(MAIN),
            dialect,
            tree: &tree,
            source: files,
            identifiers: &identifiers,
        };
        plan(&current, &desired()).unwrap()
    }

    /// Plans twice, and returns the files that are written first, without reasons, and the notes.
    fn check(files: &[(&str, &str)], dialect: Dialect, expected: &[(&str, &str)]) -> Vec<String> {
        let mut fake = Fake::new(files);
        let planned = plan_of(&fake, dialect);
        let mut written = Vec::new();
        for change in &planned.changes {
            assert!(!change.reasons.is_empty(), "{change:?}");
            let text = String::from_utf8(change.after.clone().unwrap()).unwrap();
            let text: Vec<&str> = text
                .lines()
                .map(|line| match line.trim_start() {
                    comment if comment.starts_with("# mailcert:") => "#!",
                    _ => line,
                })
                .collect();
            written.push((change.path.display().to_string(), text.join("\n")));
            fake.0.insert(change.path.clone(), change.after.clone().unwrap());
        }
        let ours = written.remove(0);
        assert!(ours.0.ends_with("mailcert.conf"), "{}", ours.0);
        let written: Vec<(&str, &str)> = written
            .iter()
            .map(|(path, text)| (path.as_str(), text.as_str()))
            .collect();
        assert_eq!(written, expected);
        assert_eq!(plan_of(&fake, dialect).changes, vec![], "planned again");
        planned.notes
    }

    #[test]
    fn our_file_stands_in_conf_d_or_beside() {
        let path = |files: &[(&str, &str)]| plan_of(&Fake::new(files), Dialect::V2_3).changes[0].path.clone();
        let stock = [
            (MAIN, "!include conf.d/*.conf\n!include_try local.conf\n"),
            ("/d/conf.d/10-ssl.conf", "ssl = yes\n"),
        ];
        assert_eq!(path(&stock), Path::new("/d/conf.d/99-mailcert.conf"));
        assert_eq!(
            path(&[(MAIN, "!include_try conf.d/*.conf\n")]),
            Path::new("/d/mailcert.conf")
        );
        assert_eq!(
            path(&[
                (MAIN, "!include conf.d/10*.conf\n"),
                ("/d/conf.d/10-ssl.conf", "")
            ]),
            Path::new("/d/mailcert.conf")
        );
        let absolute = [(MAIN, "!include /d/conf.d/*.conf"), ("/d/conf.d/x.conf", "")];
        assert_eq!(path(&absolute), Path::new("/d/conf.d/99-mailcert.conf"));
        // A last line that nothing ends stays as it is.
        check(
            &[(MAIN, "ssl_cert = </x")],
            Dialect::V2_3,
            &[(MAIN, "#!\n#ssl_cert = </x\n#!\n!include mailcert.conf")],
        );
    }

    #[test]
    fn what_would_win_is_commented_out() {
        let notes = check(
            &[
                (
                    MAIN,
                    "!include conf.d/*.conf\n!include_try local.conf\nssl_key = </z # last\n",
                ),
                (
                    "/d/conf.d/10-ssl.conf",
                    "ssl_cert_file = /old\nssl_cert = </a\nssl_key = </b\nssl_alt_cert = </c\nprotocol imap {\n  ssl_cert = </d\n  ssl = no\n}\n\
                     local_name MAIL.example {\n  ssl_cert = </e\n}\nlocal_name \"x.example mail.example\" {\n  ssl_cert = </f\n}\n",
                ),
                (
                    "/d/conf.d/auth.conf",
                    "service auth {\n  unix_listener /q/private/auth {\n    mode = 0666\n    user = postfix\n  }\n}\n",
                ),
                ("/d/local.conf", "ssl_cert = </g\nssl = no\n"),
            ],
            Dialect::V2_3,
            &[
                (
                    "/d/conf.d/10-ssl.conf",
                    "#!\n#ssl_cert_file = /old\n#!\n#ssl_cert = </a\n#!\n#ssl_key = </b\n#!\n#ssl_alt_cert = </c\nprotocol imap {\n#!\n#  ssl_cert = </d\n  ssl = no\n}\n\
                     local_name MAIL.example {\n#!\n#  ssl_cert = </e\n}\nlocal_name \"x.example mail.example\" {\n  ssl_cert = </f\n}",
                ),
                (
                    "/d/conf.d/auth.conf",
                    "service auth {\n  unix_listener /q/private/auth {\n#!\n#    mode = 0666\n    user = postfix\n  }\n}",
                ),
                (
                    MAIN,
                    "!include conf.d/*.conf\n!include_try local.conf\n#!\n#ssl_key = </z # last",
                ),
                ("/d/local.conf", "#!\n#ssl_cert = </g\n#!\n#ssl = no"),
            ],
        );
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].contains("for x.example go on"), "{notes:?}");
    }

    #[test]
    fn so_it_is_in_2_4() {
        check(
            &[
                (MAIN, "!include conf.d/*.conf\n"),
                (
                    "/d/conf.d/10-ssl.conf",
                    "ssl_server_cert_file = /a\nssl_server {\n  alt_cert_file = /b\n}\nprotocol imap {\n  ssl_server_key_file = /c\n}\n",
                ),
            ],
            Dialect::V2_4,
            &[(
                "/d/conf.d/10-ssl.conf",
                "#!\n#ssl_server_cert_file = /a\nssl_server {\n#!\n#  alt_cert_file = /b\n}\nprotocol imap {\n#!\n#  ssl_server_key_file = /c\n}",
            )],
        );
    }

    #[test]
    fn tls_that_is_off_is_switched_on_and_stays_on() {
        check(
            &[(MAIN, "ssl = no\n")],
            Dialect::V2_3,
            &[(MAIN, "#!\n#ssl = no\n#!\n!include mailcert.conf")],
        );
        // One that does not count does no harm.
        check(
            &[(MAIN, "ssl = no\nssl = required\n")],
            Dialect::V2_3,
            &[(MAIN, "ssl = no\nssl = required\n#!\n!include mailcert.conf")],
        );
    }

    #[test]
    fn memory_is_asked_for_where_it_is_too_little() {
        let blocks: String = (0..1000)
            .map(|n| format!("local_name n{n}.x {{\n  ssl_cert = </n\n}}\n"))
            .collect();
        let check = |further: &str, expected: Option<&str>| {
            let planned = plan_of(&Fake::new(&[(MAIN, &(blocks.clone() + further))]), Dialect::V2_3);
            let ours = String::from_utf8(planned.changes[0].after.clone().unwrap()).unwrap();
            let found = ours
                .lines()
                .find_map(|line| line.trim().strip_prefix("vsz_limit = "));
            assert_eq!(found, expected, "{further}");
        };
        check("", Some("448M"));
        check("service config {\n  vsz_limit = 400M\n}\n", Some("448M"));
        // One that comes after our file would win.
        let later = "!include mailcert.conf\nservice config {\n  vsz_limit = 400M\n}\n";
        let files = Fake::new(&[(MAIN, &(blocks.clone() + later)), ("/d/mailcert.conf", "")]);
        let planned = plan_of(&files, Dialect::V2_3);
        let main = String::from_utf8_lossy(planned.changes[1].after.as_deref().unwrap());
        assert!(main.ends_with("\n#  vsz_limit = 400M\n}\n"), "{main}");
        check("service config {\n  vsz_limit = 4G\n}\n", None);
        check("service config {\n  vsz_limit = 0\n}\n", None);
        check("default_vsz_limit = 1G\n", None);
    }
}

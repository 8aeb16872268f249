//! Whom smtpd(8) asks whether a user may log in: Dovecot, or the library Cyrus SASL with a file of its own. Pure.
//!
//! Rules: postconf(5), smtpd_sasl_type, smtpd_sasl_path; Postfix SASL_README; Cyrus SASL, options.

use std::path::{Path, PathBuf};

use super::{
    submission::{effective, words},
    syntax::Service,
    values::Values,
};

/// Where saslauthd listens when nothing else is said.
const SASLAUTHD: &str = "/var/run/saslauthd/mux";
/// What saslauthd can check: it is handed the password.
const OF_SASLAUTHD: [&str; 2] = ["LOGIN", "PLAIN"];
/// Where Cyrus SASL looks for the file of an application, after what Postfix says; which of them depends on how it was built.
const DIRECTORIES: [&str; 5] = [
    "/usr/lib/sasl",
    "/etc/sasl2",
    "/etc/sasl",
    "/usr/lib64/sasl2",
    "/usr/lib/sasl2",
];

/// Whom a service asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Cyrus SASL, with the first of these files that is there.
    Cyrus(Vec<PathBuf>),
    /// Dovecot, by the socket of this path.
    Dovecot(PathBuf),
    /// Dovecot on another host, or what this program knows nothing of.
    Elsewhere,
}

/// Whether a service has the queue directory as its root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Root {
    /// It has the host's.
    Host,
    /// master.cf leaves it to the version and to `compatibility_level`.
    Unsaid,
    /// It has the queue directory.
    Queue,
}

impl Root {
    /// Reads the column of master.cf.
    pub fn of(service: &Service) -> Self {
        match service.chroot.as_str() {
            "y" => Self::Queue,
            "n" => Self::Host,
            _ => Self::Unsaid,
        }
    }

    /// Returns where a path may be, as the host sees it.
    pub fn places(self, queue: &Path, path: &Path) -> Vec<PathBuf> {
        let inside = queue.join(path.strip_prefix("/").unwrap_or(path));
        match self {
            Self::Host => vec![path.to_owned()],
            Self::Queue => vec![inside],
            Self::Unsaid => vec![path.to_owned(), inside],
        }
    }
}

/// Returns whom a service asks; `None` when nobody may log in there.
pub fn backend(service: &Service, values: &Values, directory: &Path) -> Option<Backend> {
    let value = |name: &str| effective(service, name, values);
    let is_smtpd = service.command == "smtpd";
    if !is_smtpd || !value("smtpd_sasl_auth_enable").eq_ignore_ascii_case("yes") {
        return None;
    }
    let path = value("smtpd_sasl_path");
    Some(match value("smtpd_sasl_type").as_str() {
        "dovecot" if path.starts_with("inet:") => Backend::Elsewhere,
        "dovecot" => {
            // A relative path is below the queue directory, an absolute one is below smtpd's root.
            let path = Path::new(path.trim_start_matches("unix:"));
            let queue = Path::new(values.get("queue_directory"));
            match (path.is_absolute(), Root::of(service)) {
                (true, Root::Queue) => Backend::Dovecot(queue.join(path.strip_prefix("/").unwrap_or(path))),
                _ => Backend::Dovecot(queue.join(path)),
            }
        }
        "cyrus" => {
            let searched = value("cyrus_sasl_config_path");
            let own = searched
                .split(':')
                .filter(|one| !one.is_empty())
                .map(PathBuf::from);
            let known = DIRECTORIES.iter().map(PathBuf::from);
            let directories = own.chain([directory.join("sasl")]).chain(known);
            Backend::Cyrus(directories.map(|one| one.join(format!("{path}.conf"))).collect())
        }
        _ => Backend::Elsewhere,
    })
}

/// Returns whether Cyrus SASL is asked, with a path that is Dovecot's: `smtpd_sasl_type` was forgotten, and its default is cyrus.
pub fn is_dovecot_path(service: &Service, values: &Values) -> bool {
    effective(service, "smtpd_sasl_type", values) == "cyrus"
        && effective(service, "smtpd_sasl_path", values).contains('/')
}

/// The file of Cyrus SASL, as far as it says who checks passwords.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cyrus {
    /// Who checks them, in this order.
    methods: Vec<String>,
    /// What is offered; `None` is all that is installed.
    mechanisms: Option<Vec<String>>,
    /// Where saslauthd is to listen, as smtpd sees it.
    socket: PathBuf,
}

impl Cyrus {
    /// Reads a file; an empty text is what an absent one means.
    pub fn parse(text: &str) -> Self {
        let value = |key: &str| {
            let lines = text.lines().filter(|line| !line.starts_with('#'));
            let mut pairs = lines.filter_map(|line| line.split_once(':'));
            let found = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case(key));
            found.map(|(_, value)| value.trim().to_owned())
        };
        let list = |text: String| words(&text).map(str::to_owned).collect::<Vec<_>>();
        Self {
            methods: value("pwcheck_method").map(list).unwrap_or_default(),
            mechanisms: value("mech_list").map(|text| list(text.to_ascii_uppercase())),
            socket: value("saslauthd_path").map_or_else(|| SASLAUTHD.into(), PathBuf::from),
        }
    }

    /// Returns where saslauthd is to listen; `None` when it is not asked, or others are asked besides.
    pub fn saslauthd(&self) -> Option<&Path> {
        (self.methods == ["saslauthd"]).then_some(&self.socket)
    }

    /// Returns what is offered, and saslauthd cannot check; the end of a sentence.
    pub fn beyond_saslauthd(&self) -> Option<String> {
        self.saslauthd()?;
        let Some(offered) = &self.mechanisms else {
            return Some("whatever is installed is offered, since there is no mech_list".to_owned());
        };
        let beyond: Vec<&str> = offered
            .iter()
            .map(String::as_str)
            .filter(|one| !OF_SASLAUTHD.contains(one))
            .collect();
        (!beyond.is_empty()).then(|| format!("mech_list offers {}", beyond.join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::syntax::MasterCf;

    fn asked(master: &str, main: &str) -> Option<Backend> {
        let service = MasterCf::parse(format!("{master}\n").as_bytes())
            .services()
            .remove(0);
        let defaults = "smtpd_sasl_auth_enable = yes\nsmtpd_sasl_type = cyrus\nsmtpd_sasl_path = smtpd\nqueue_directory = /q\n";
        let mut values = Values::parse(defaults.as_bytes());
        values.extend(Values::parse(main.as_bytes()));
        backend(&service, &values, Path::new("/etc/postfix"))
    }

    #[test]
    fn knows_whom_a_service_asks() {
        let dovecot = |path: &str| Some(Backend::Dovecot(path.into()));
        let check =
            |master: &str, expected: Option<Backend>| assert_eq!(asked(master, ""), expected, "{master}");
        let of = |more: &str, chroot: &str| {
            format!("587 inet n - {chroot} - - smtpd -o smtpd_sasl_type=dovecot{more}")
        };
        let path = " -o smtpd_sasl_path=";
        check(
            &of(&format!("{path}private/auth"), "y"),
            dovecot("/q/private/auth"),
        );
        check(
            &of(&format!("{path}unix:private/auth"), "n"),
            dovecot("/q/private/auth"),
        );
        check(&of(&format!("{path}/run/auth"), "n"), dovecot("/run/auth"));
        check(&of(&format!("{path}/run/auth"), "y"), dovecot("/q/run/auth"));
        check(
            &of(&format!("{path}inet:auth.test:12345"), "n"),
            Some(Backend::Elsewhere),
        );
        check(
            "587 inet n - n - - smtpd -o smtpd_sasl_type=own",
            Some(Backend::Elsewhere),
        );
        check("587 inet n - n - - smtpd -o smtpd_sasl_auth_enable=no", None);
        check("smtp unix - - n - - smtp", None);
        let Some(Backend::Cyrus(files)) =
            asked("587 inet n - n - - smtpd", "cyrus_sasl_config_path = /a:/b\n")
        else {
            panic!("the default is Cyrus");
        };
        let files: Vec<&str> = files.iter().filter_map(|file| file.to_str()).take(3).collect();
        assert_eq!(
            files,
            ["/a/smtpd.conf", "/b/smtpd.conf", "/etc/postfix/sasl/smtpd.conf"]
        );
    }

    #[test]
    fn reads_the_file_of_cyrus_sasl() {
        let check = |text: &str, socket: Option<&str>, beyond: Option<&str>| {
            let read = Cyrus::parse(text);
            assert_eq!(read.saslauthd(), socket.map(Path::new), "{text}");
            assert_eq!(read.beyond_saslauthd().as_deref(), beyond, "{text}");
        };
        let all = "whatever is installed is offered, since there is no mech_list";
        check("", None, None);
        check("pwcheck_method: auxprop\n", None, None);
        check(
            "pwcheck_method: auxprop saslauthd\nmech_list: cram-md5\n",
            None,
            None,
        );
        check(
            "#pwcheck_method: auxprop\nPWCHECK_METHOD:saslauthd\n",
            Some(SASLAUTHD),
            Some(all),
        );
        check(
            "pwcheck_method: saslauthd\nmech_list: plain login\n",
            Some(SASLAUTHD),
            None,
        );
        check(
            "pwcheck_method: saslauthd\nmech_list: PLAIN CRAM-MD5\nsaslauthd_path: /a/mux\n",
            Some("/a/mux"),
            Some("mech_list offers CRAM-MD5"),
        );
    }

    #[test]
    fn a_chroot_is_where_the_socket_has_to_be() {
        let check = |root: Root, expected: &[&str]| {
            let places = root.places(Path::new("/q"), Path::new(SASLAUTHD));
            assert_eq!(
                places,
                expected.iter().map(PathBuf::from).collect::<Vec<_>>(),
                "{root:?}"
            );
        };
        check(Root::Host, &[SASLAUTHD]);
        check(Root::Queue, &["/q/var/run/saslauthd/mux"]);
        check(Root::Unsaid, &[SASLAUTHD, "/q/var/run/saslauthd/mux"]);
    }
}

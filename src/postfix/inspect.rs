//! Asks the installed Postfix: version, effective values, services; and whether it runs.
//!
//! Changes nothing. A configuration that Postfix itself refuses is told with its own message, before anybody touches it.
//! For every other instance than the default one, `-c DIR` is enough when root asks (postconf(1), postfix(1)).

use std::{
    fmt, io,
    path::{Path, PathBuf},
    time::Duration,
};

use super::{
    desired::{PARAMETERS, system_bundles},
    endpoints::{Host, Ports, TlsServices, tls_services},
    plan::Current,
    syntax::{MasterCf, Service},
    values::{Values, Version},
};
use crate::env::{
    Env,
    files::{self, FileError},
    process::{Program, RunError},
};

/// No main.cf or master.cf is larger than this, in bytes.
pub const FILE_LIMIT: u64 = 4 << 20;

/// How long postconf may take; it needs milliseconds, and more where the resolver is slow.
const POSTCONF_PATIENCE: Duration = Duration::from_secs(30);

/// One Postfix instance as it is now.
#[derive(Clone, Debug)]
pub struct Instance {
    /// Its configuration directory.
    pub directory: PathBuf,
    /// The postconf(1) that was asked.
    pub postconf: PathBuf,
    /// The installed version.
    pub version: Version,
    /// Effective values: all that main.cf sets, and those of [`PARAMETERS`].
    pub values: Values,
    /// The bytes of main.cf.
    pub main_cf: Vec<u8>,
    /// The bytes of master.cf.
    pub master_cf: Vec<u8>,
    /// The services of master.cf, with their overrides.
    pub services: Vec<Service>,
    /// What postconf(1) warned about, such as unused parameters.
    pub warnings: Vec<String>,
    /// The types of tables that it can read (`postconf -m`); empty where that cannot be said: postconf then looks at more
    /// of main.cf than for values.
    pub table_types: Vec<String>,
    /// What the host has besides Postfix.
    pub host: Host,
    /// The files with the distribution's roots that this host has.
    pub system_bundles: Vec<&'static str>,
}

/// Why nothing could be learned about an instance.
#[derive(Debug)]
pub enum InspectError {
    /// A file could not be read.
    File(FileError),
    /// The program of this name is not installed.
    NotInstalled(&'static str),
    /// Postfix refuses its own configuration.
    Refused {
        /// What was asked, as a command line.
        command: String,
        /// What it said, whole.
        message: String,
    },
    /// A program could not be run.
    Run(RunError),
    /// `mail_version` is no version.
    Version(String),
}

impl fmt::Display for InspectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => error.fmt(f),
            Self::NotInstalled(program) => {
                write!(f, "Postfix is not installed: no `{program}` in PATH or /usr/sbin")
            }
            Self::Refused { command, message } => {
                write!(
                    f,
                    "Postfix refuses its own configuration; `{command}` says: {message}"
                )
            }
            Self::Run(error) => error.fmt(f),
            Self::Version(text) => write!(f, "`{}` is not a version of Postfix", text.escape_debug()),
        }
    }
}

impl std::error::Error for InspectError {}

impl From<FileError> for InspectError {
    fn from(error: FileError) -> Self {
        Self::File(error)
    }
}

impl From<RunError> for InspectError {
    fn from(error: RunError) -> Self {
        Self::Run(error)
    }
}

impl Instance {
    /// Returns the file that postlogd(8) writes the log to; `None` where syslog does (postconf(5), maillog_file).
    pub fn own_log(&self) -> Option<PathBuf> {
        Some(self.values.get("maillog_file"))
            .filter(|path| !path.is_empty())
            .map(PathBuf::from)
    }

    /// Returns what [`super::plan::plan`] compares with.
    pub fn current(&self) -> Current<'_> {
        Current {
            directory: &self.directory,
            main_cf: &self.main_cf,
            master_cf: &self.master_cf,
            values: &self.values,
            host: &self.host,
        }
    }

    /// Returns the endpoints that speak TLS today.
    pub fn tls_services(&self) -> TlsServices {
        tls_services(&self.services, &self.values, &self.host)
    }
}

/// Asks the installed Postfix about the instance with this configuration directory.
///
/// # Errors
/// [`InspectError::NotInstalled`], [`InspectError::Refused`] with Postfix's own message, or a file or program that could
/// not be read or run.
pub fn inspect(env: &Env, directory: &Path) -> Result<Instance, InspectError> {
    let postconf = env
        .find_program("postconf")
        .ok_or(InspectError::NotInstalled("postconf"))?;
    let main_cf = files::read(&directory.join("main.cf"), FILE_LIMIT)?;
    let master_cf = files::read(&directory.join("master.cf"), FILE_LIMIT)?;
    let (values, warnings) = ask(&postconf, directory)?;
    let types = match run_postconf(&postconf, directory, &["-m"]) {
        Ok((types, _)) => types,
        Err(InspectError::Refused { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    let version = values.get("mail_version");
    let version = Version::parse(version).ok_or_else(|| InspectError::Version(version.to_owned()))?;
    Ok(Instance {
        directory: directory.to_owned(),
        version,
        values,
        services: MasterCf::parse(&master_cf).services(),
        main_cf,
        master_cf,
        warnings,
        table_types: String::from_utf8_lossy(&types)
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        host: host(env)?,
        system_bundles: system_bundles(|path| {
            env.host_path(path).metadata().is_ok_and(|meta| meta.len() > 0)
        }),
        postconf,
    })
}

/// Asks postconf(1) for values and complaints about a configuration directory, live or staged.
pub(super) fn ask(postconf: &Path, directory: &Path) -> Result<(Values, Vec<String>), InspectError> {
    // What main.cf sets, names of the operator's own included; then what it leaves to the defaults; then the syntax of
    // master.cf, which the first two read only in part.
    let (explicit, warnings) = run_postconf(postconf, directory, &["-n", "-x"])?;
    let names: Vec<&str> = ["-x"]
        .into_iter()
        .chain(PARAMETERS.iter().map(|parameter| parameter.name))
        .collect();
    let (known, _) = run_postconf(postconf, directory, &names)?;
    let (_, complaints) = run_postconf(postconf, directory, &["-M"])?;
    // It reads on after these; master(8) ends.
    let fatal = ["master.cf: missing '}'", "master.cf: syntax error after '}'"];
    if let Some(message) = complaints
        .iter()
        .find(|line| fatal.iter().any(|one| line.contains(one)))
    {
        return Err(InspectError::Refused {
            command: format!("postconf -c {} -M", directory.display()),
            message: message.clone(),
        });
    }
    let mut values = Values::parse(&explicit);
    values.extend(Values::parse(&known));
    Ok((values, warnings))
}

/// Returns those of the names that the installed Postfix has no parameter for.
///
/// # Errors
/// When postconf(1) cannot be asked.
pub fn unknown_parameters<'a>(
    instance: &Instance,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<Vec<&'a str>, InspectError> {
    let names: Vec<&str> = names.into_iter().collect();
    if names.is_empty() {
        return Ok(names);
    }
    let args: Vec<&str> = ["-d"].into_iter().chain(names.iter().copied()).collect();
    let (known, _) = run_postconf(&instance.postconf, &instance.directory, &args)?;
    let known = Values::parse(&known);
    let is_unknown = |name: &&str| !known.iter().any(|(found, _)| found == *name);
    Ok(names.into_iter().filter(is_unknown).collect())
}

/// Returns the kinds of SASL servers that it can ask (`postconf -a`).
///
/// # Errors
/// When postconf(1) cannot be asked.
pub fn sasl_types(instance: &Instance) -> Result<Vec<String>, InspectError> {
    let (types, _) = run_postconf(&instance.postconf, &instance.directory, &["-a"])?;
    let types = String::from_utf8_lossy(&types);
    Ok(types.split_whitespace().map(str::to_owned).collect())
}

fn run_postconf(
    postconf: &Path,
    directory: &Path,
    args: &[&str],
) -> Result<(Vec<u8>, Vec<String>), InspectError> {
    let output = Program::new(postconf)
        .arg("-c")
        .arg(directory)
        .args(args)
        .timeout(POSTCONF_PATIENCE)
        .run()?;
    if !output.success() {
        let command = format!(
            "postconf -c {} {}",
            directory.display(),
            args.first().unwrap_or(&"")
        );
        return Err(InspectError::Refused {
            command,
            message: output.complaint(),
        });
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let mut warnings: Vec<String> = Vec::new();
    for line in stderr.lines().map(str::trim).filter(|line| !line.is_empty()) {
        // postconf reads main.cf several times and repeats itself.
        if !warnings.iter().any(|seen| seen == line) {
            warnings.push(line.to_owned());
        }
    }
    Ok((output.stdout, warnings))
}

fn host(env: &Env) -> Result<Host, InspectError> {
    let services = files::read_if_exists(&env.host_path("/etc/services"), FILE_LIMIT)?.unwrap_or_default();
    // The kernel's list of IPv6 addresses; absent where IPv6 is switched off.
    let addresses = match files::read_if_exists(&env.host_path("/proc/net/if_inet6"), FILE_LIMIT) {
        Ok(bytes) => bytes.unwrap_or_default(),
        Err(error) if error.reason.kind() == io::ErrorKind::PermissionDenied => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(Host {
        ports: Ports::parse(&String::from_utf8_lossy(&services)),
        ipv6: String::from_utf8_lossy(&addresses).contains("00000000000000000000000000000001 "),
    })
}

/// Returns whether the instance's master is running.
///
/// # Errors
/// When postfix(1) is not installed, cannot be run, or says something else than yes or no.
pub fn is_running(env: &Env, instance: &Instance) -> Result<bool, InspectError> {
    let (running, message) = postfix(env, &instance.directory, "status")?;
    if running || message.contains("is not running") {
        return Ok(running);
    }
    let command = format!("postfix -c {} status", instance.directory.display());
    Err(InspectError::Refused { command, message })
}

/// Runs postfix(1) and returns whether it succeeded and what it said.
pub(super) fn postfix(env: &Env, directory: &Path, command: &str) -> Result<(bool, String), InspectError> {
    let program = env
        .find_program("postfix")
        .ok_or(InspectError::NotInstalled("postfix"))?;
    // It talks to the log alone, unless its standard error is a terminal.
    let output = Program::new(program)
        .arg("-c")
        .arg(directory)
        .arg(command)
        .on_terminal()
        .run()?;
    Ok((output.success(), output.complaint().replace('\r', "")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::postfix::scratch::Scratch;

    #[test]
    #[ignore = "real: needs postfix"]
    fn learns_what_an_instance_is() {
        let scratch = Scratch::new("127.0.77.1", &["a_file = /x", "unused_one = 1"]);
        let instance = inspect(&Env::real(), &scratch.directory()).unwrap();
        assert!(instance.version >= Version::new(3, 4), "{}", instance.version);
        assert_eq!(instance.values.get("inet_interfaces"), "127.0.0.1");
        assert_eq!(instance.values.get("smtpd_tls_wrappermode"), "no");
        assert!(
            instance.warnings.iter().any(|line| line.contains("unused_one")),
            "{:?}",
            instance.warnings
        );
        let endpoints: Vec<String> = instance
            .tls_services()
            .services
            .iter()
            .map(|service| service.endpoint.to_string())
            .collect();
        assert_eq!(
            endpoints,
            [
                "smtp://127.0.77.1:2525",
                "submission://127.0.77.1:2587",
                "submissions://127.0.77.1:2465"
            ]
        );
        assert!(!is_running(&Env::real(), &instance).unwrap());
    }

    #[test]
    #[ignore = "real: needs postfix"]
    fn tells_what_postfix_refuses_in_its_own_words() {
        let check = |file: &str, line: &str, expected: &str| {
            let scratch = Scratch::new("127.0.77.2", &[]);
            scratch.append(file, line);
            let error = inspect(&Env::real(), &scratch.directory()).unwrap_err();
            assert!(matches!(error, InspectError::Refused { .. }), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        };
        check(
            "main.cf",
            "no equals sign",
            "missing '=' after attribute name: \"no equals sign\"",
        );
        check("master.cf", "bad line", "bad field count");
        check(
            "master.cf",
            "a unix - - x - - smtpd",
            "invalid chroot field \"x\"",
        );
        let open = "2626 inet n - n - - smtpd -o { smtpd_banner = x";
        check("master.cf", open, "missing '}' in \"{ smtpd_banner = x\"");
        check("master.cf", &format!("{open} }}y"), "syntax error after '}'");
    }

    #[test]
    fn says_when_it_is_not_there() {
        let check = |directory: &str| {
            inspect(&Env::real(), Path::new(directory))
                .unwrap_err()
                .to_string()
        };
        let message = check("/nonexistent");
        assert!(
            message.contains("not installed") || message.contains("/nonexistent/main.cf"),
            "{message}"
        );
    }
}

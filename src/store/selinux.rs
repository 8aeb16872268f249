//! Labels for the directories that daemons read: smtpd may not read `var_lib_t`, but it may read `cert_t`.

use std::{path::Path, time::Duration};

use super::Store;
use crate::env::{Env, process::Program};

impl Store {
    /// Gives `lineages/`, `live/`, the directory of maps and the files with roots the type `cert_t` where SELinux is on: by `semanage fcontext`, else by `chcon`.
    ///
    /// Returns what the operator should know: that the label was set by `chcon` only and a relabel takes it away, or that
    /// it could not be set at all.
    pub fn label(&self, env: &Env) -> Option<String> {
        if !env.host_path("/sys/fs/selinux/enforce").exists() {
            return None;
        }
        let root = self.layout().root().display().to_string();
        // With a slash at its end the pattern would match no file.
        let root = root.trim_end_matches('/');
        let run = |name: &str, args: &[&str]| {
            let path = env.find_program(name)?;
            let output = Program::new(path)
                .args(args)
                .timeout(Duration::from_secs(60))
                .run()
                .ok()?;
            output.success().then_some(())
        };
        let pattern = format!(
            "{}/(lineages|live|postfix|ca-bundle\\.pem|ca/root\\.pem)(/.*)?",
            root.replace('.', "\\.")
        );
        let directories = ["lineages", "live", "postfix", "ca-bundle.pem", "ca/root.pem"]
            .map(|name| format!("{root}/{name}"));
        // The directory of maps and the files with roots are there only where they are needed.
        let there: Vec<&str> = directories
            .iter()
            .map(String::as_str)
            .filter(|path| Path::new(path).exists())
            .collect();
        let shown = there.join(" and ");
        let known = run("semanage", &["fcontext", "-a", "-t", "cert_t", &pattern])
            .or_else(|| run("semanage", &["fcontext", "-m", "-t", "cert_t", &pattern]));
        if known
            .and_then(|()| run("restorecon", &[&["-R"], there.as_slice()].concat()))
            .is_some()
        {
            return None;
        }
        match run("chcon", &[&["-R", "-t", "cert_t"], there.as_slice()].concat()) {
            Some(()) => Some(format!(
                "SELinux: {shown} were labelled cert_t by chcon only, which a relabel takes away; \
                 install policycoreutils-python-utils and run this again"
            )),
            None => Some(format!(
                "SELinux: {shown} could not be labelled cert_t; Postfix may not be able to read them"
            )),
        }
    }
}

//! `man` and `completions`.

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// `man`.
#[derive(Debug, Args)]
pub struct Man {
    /// Where the pages are written, one for each command; without it, the program's own goes to stdout
    #[arg(value_name = "DIR")]
    pub directory: Option<PathBuf>,
}

/// `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

//! Leaves out of a release what only unwinding needs, a tenth of it: a panic ends the program there (`panic = "abort"` in
//! Cargo.toml, `src/env/fault.rs`).

use std::{env, error::Error, fs, path::Path};

/// An addition to the linker's own script: without the tables of stack frames, which the standard library and C bring whatever
/// the profile says.
const SCRIPT: &str = "\
SECTIONS { /DISCARD/ : { *(.eh_frame) *(.eh_frame_hdr) *(.gcc_except_table) *(.gcc_except_table.*) } }
INSERT AFTER .comment;
";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=src/build.rs");
    // LLD and GNU ld read such a script. Whoever chooses a linker may have chosen one that does not: gold, mold.
    let is_chosen = env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("fuse-ld"));
    let is_for = |variable: &str, value: &str| env::var(variable).is_ok_and(|found| found == value);
    if is_for("PROFILE", "release") && is_for("CARGO_CFG_TARGET_OS", "linux") && !is_chosen {
        let script = Path::new(&env::var("OUT_DIR")?).join("without-unwinding.ld");
        fs::write(&script, SCRIPT)?;
        println!("cargo::rustc-link-arg-bins=-T{}", script.display());
    }
    Ok(())
}

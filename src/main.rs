//! The real world in, the exit code out.

fn main() -> std::process::ExitCode {
    std::process::ExitCode::from(mailcert::cli::run(mailcert::env::Env::real()).code())
}

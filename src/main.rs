//! The real world in, the exit code out.

fn main() -> std::process::ExitCode {
    mailcert::env::secret::keep_out_of_core_dumps();
    mailcert::env::fault::end_at_any_panic();
    std::process::ExitCode::from(mailcert::cli::run(mailcert::env::Env::real()).code())
}

//! `exchange`: everything around the three stages.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::process::run(infra::cli::main())
}

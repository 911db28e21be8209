//! `settler`: emits winners to the ledger.

use std::process::ExitCode;

fn main() -> ExitCode {
    runtime::process::run(settler::cli::main())
}

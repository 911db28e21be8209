//! `settler`: emits winners to the ledger.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    settler::cli::main().await
}

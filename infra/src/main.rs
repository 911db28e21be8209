//! `exchange`: everything around the three stages.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    infra::cli::main().await
}

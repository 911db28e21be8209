//! Logs to standard error: JSON lines on a pipe, readable lines on a terminal.

use std::fmt::Display;
use std::io::{IsTerminal, Write};

use tracing_subscriber::EnvFilter;

/// What is logged when `RUST_LOG` says nothing.
const FILTER_DEFAULT: &str =
    "info,aws_config=error,aws_smithy_runtime=warn,hyper=warn,tokio_postgres=warn,dynoxide=error";

/// Starts logging for this process; a second call changes nothing.
pub fn init(default_filter: Option<&str>) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new(default_filter.unwrap_or(FILTER_DEFAULT)));
    // A line that cannot be written is gone: to complain about it on the same closed standard error would panic.
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .log_internal_errors(false);
    // A second subscriber is refused; the first stays, which is what a test that starts two stages wants.
    let _ = if std::io::stderr().is_terminal() {
        builder.with_target(false).try_init()
    } else {
        builder.json().flatten_event(true).with_current_span(true).with_span_list(false).try_init()
    };
}

/// Says why a stage ends: on a pipe as a line of its log, so that whoever filters the log meets it.
pub fn ends(stage: &str, error: &dyn Display, exit_code: u8) {
    if tracing::enabled!(tracing::Level::ERROR) && !std::io::stderr().is_terminal() {
        tracing::error!(stage, exit_code, "{error}");
    } else {
        let _ = writeln!(std::io::stderr(), "{stage}: {error}");
    }
}

//! What a program says instead of beginning: its help, its version, or what is wrong with its arguments.

use std::io::Write;

use schemas::exit;

/// Prints what was asked for or what is wrong, and answers the exit code. Help that nobody could read is not done.
pub fn answer(told: &clap::Error) -> u8 {
    let printed = told.print().and_then(|()| std::io::stdout().flush());
    match printed {
        _ if told.use_stderr() => exit::USAGE,
        Ok(()) => exit::DONE,
        Err(error) => {
            // Standard error may be as full.
            let _ = writeln!(std::io::stderr(), "standard output cannot be written: {error}");
            exit::IO
        }
    }
}

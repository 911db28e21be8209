//! Lines for people: what is put into one can neither begin another nor move the cursor.

use std::fmt;
use std::io::{self, Write};

use schemas::shown::shown;

/// Writes one line.
///
/// # Errors
/// When writing fails.
pub fn line(out: &mut dyn Write, text: fmt::Arguments<'_>) -> io::Result<()> {
    writeln!(out, "{}", shown(&text.to_string()))
}

/// Writes one line for people, with the arguments of [`writeln!`]: see [`line`](crate::say::line()).
#[macro_export]
macro_rules! say {
    ($out:expr, $($text:tt)+) => {
        $crate::say::line($out, ::core::format_args!($($text)+))
    };
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_line_stays_one_line_whatever_is_put_into_it() {
        let mut out = Vec::new();
        say!(&mut out, "{:>4} of {}", 7, "a\n\u{1b}[2Jb").unwrap();
        assert_eq!(out, b"   7 of a\\n\\u{1b}[2Jb\n");
    }
}

//! Text of others as a terminal shows it: keys, names and reasons can hold what moves the cursor or turns the line round.
//!
//! Used wherever text is printed for people. JSON and CSV are for programs and keep the text as it is.

use std::borrow::Cow;

/// The text with every character escaped that is not printed as itself: control characters, line breaks, and format
/// characters such as the marks that change the direction of a line (`\u{1b}`, `\n`, `\u{202e}`).
///
/// Quotes and backslashes stay, so text that was escaped before does not change again.
#[must_use]
pub fn shown(text: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c == ' ' || c.is_ascii_graphic();
    if text.chars().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let is_kept = |c: char| matches!(c, '"' | '\'' | '\\');
    let mut printed = String::with_capacity(text.len() + 8);
    for part in text.split_inclusive(is_kept) {
        let (part, kept) = match part.chars().next_back() {
            Some(last) if is_kept(last) => (&part[..part.len() - 1], Some(last)),
            _ => (part, None),
        };
        printed.extend(part.escape_debug());
        printed.extend(kept);
    }
    Cow::Owned(printed)
}

/// The same, cut after `chars_max` characters of the text.
#[must_use]
pub fn shortened(text: &str, chars_max: usize) -> Cow<'_, str> {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => Cow::Owned(format!("{}…", shown(&text[..end]))),
        None => shown(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_the_cursor_or_turns_the_line_is_escaped_and_letters_stay() {
        for (text, printed) in [
            ("plain \"quoted\" it's c:\\dir", "plain \"quoted\" it's c:\\dir"),
            ("Zürich, 東京, क्षेत्र, ✓", "Zürich, 東京, क्षेत्र, ✓"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\nb\r\tc", "a\\nb\\r\\tc"),
            ("\u{202e}txt\u{2066}\u{200f}\u{feff}", "\\u{202e}txt\\u{2066}\\u{200f}\\u{feff}"),
            ("\u{9b}2J\u{7f}\0", "\\u{9b}2J\\u{7f}\\0"),
            ("\u{2028}\u{e0041}", "\\u{2028}\\u{e0041}"),
        ] {
            assert_eq!(shown(text), printed);
            assert_eq!(shown(&shown(text)), printed, "what was escaped stays");
        }
        assert!(matches!(shown("plain"), Cow::Borrowed("plain")));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(shortened("äöü", 2), "äö…");
        assert_eq!(shortened("ä\u{1b}", 2), "ä\\u{1b}");
    }
}

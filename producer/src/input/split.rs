//! Lines from what each read gave: pieces are put together, and each line is numbered and bounded.

use schemas::intake::{BYTE_ORDER_MARK, IntakeRules, Refusal};

use super::{LINE_BYTES_MAX, Line, line, refused, too_long};

/// Why no more of a line comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// A request to stop.
    Stop,
    /// The input failed.
    Failure,
}

/// Puts lines together from what each read gave.
#[derive(Debug, Default)]
pub(super) struct Splitter {
    partial: Vec<u8>,
    too_long: bool,
    number: u64,
}

impl Splitter {
    /// Takes bytes up to and including a newline, or to where the read ended.
    pub(super) fn on_piece(&mut self, piece: &[u8], rules: IntakeRules) -> Option<Line> {
        let Some(end) = piece.strip_suffix(b"\n") else {
            self.keep(piece);
            return None;
        };
        if self.partial.is_empty() && !self.too_long && end.len() <= LINE_BYTES_MAX {
            return self.on_line(end, rules);
        }
        self.keep(end);
        self.on_end(rules)
    }

    /// Takes the end of a line, if there is anything of one.
    pub(super) fn on_end(&mut self, rules: IntakeRules) -> Option<Line> {
        let bytes = std::mem::take(&mut self.partial);
        if bytes.is_empty() && !self.too_long {
            return None;
        }
        if std::mem::take(&mut self.too_long) {
            self.number += 1;
            let Refusal { field, reason } = too_long();
            return Some(Line { number: self.number, content: Err(refused(field, reason, &bytes)) });
        }
        self.on_line(&bytes, rules)
    }

    /// Takes the end of the input in the midst of a line, if there is anything but blanks of one.
    pub(super) fn on_cut(&mut self, cut: Cut) -> Option<Line> {
        let bytes = std::mem::take(&mut self.partial);
        if bytes.trim_ascii().is_empty() {
            return None;
        }
        self.number += 1;
        let reason = match cut {
            Cut::Stop => "was cut by a request to stop before its end was read; send it again",
            Cut::Failure => "was cut because the input cannot be read further; send it again",
        };
        let refused = refused("line".to_owned(), reason.to_owned(), &bytes);
        Some(Line { number: self.number, content: Err(refused) })
    }

    fn on_line(&mut self, bytes: &[u8], rules: IntakeRules) -> Option<Line> {
        self.number += 1;
        let is_first = self.number == 1;
        let bytes = if is_first { bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes) } else { bytes };
        line(self.number, bytes, rules)
    }

    fn keep(&mut self, piece: &[u8]) {
        let room = LINE_BYTES_MAX - self.partial.len();
        self.too_long |= piece.len() > room;
        self.partial.extend_from_slice(&piece[..piece.len().min(room)]);
    }
}

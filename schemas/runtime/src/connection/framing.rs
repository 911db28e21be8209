//! Whether a further request's head has begun among the bytes that came, which the HTTP library does not tell.

/// Where requests end among the bytes that came.
///
/// A head ends with an empty line, a body after its stated bytes. Behind a body of unknown length, or where requests
/// come ahead of answers, what came last decides: an empty line ends a head and a chunked body alike.
#[derive(Debug, Default)]
pub(super) struct Framing {
    came: u64,
    /// The last four bytes that came, the latest lowest.
    tail: u32,
    /// Where the head that is looked for ends, once it came.
    head_end: Option<u64>,
    /// Where the request that came last ends, when that is known.
    end: Option<u64>,
}

impl Framing {
    pub(super) fn on_bytes(&mut self, bytes: &[u8]) {
        let body = self.end.map_or(0, |end| end.saturating_sub(self.came));
        let body = usize::try_from(body).map_or(bytes.len(), |body| body.min(bytes.len()));
        self.pass(&bytes[..body]);
        let mut rest = &bytes[body..];
        while let (None, [byte, behind @ ..]) = (self.head_end, rest) {
            self.pass(&[*byte]);
            self.head_end = self.is_empty_line().then_some(self.came);
            rest = behind;
        }
        self.pass(rest);
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.came += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let last = &bytes[bytes.len().saturating_sub(4)..];
        self.tail = last.iter().fold(self.tail, |tail, byte| tail << 8 | u32::from(*byte));
    }

    /// Takes into account that a head was read, of a request with so many bytes of body where that is known.
    pub(super) fn on_request(&mut self, body_bytes: Option<u64>) {
        // Where requests came ahead, the bytes of this head were those of another's body or tail: then nobody knows.
        self.end = self.head_end.take().zip(body_bytes).map(|(head_end, bytes)| head_end + bytes);
    }

    /// Takes into account that the request was answered. Returns whether behind it another has begun of which the head is
    /// not whole.
    pub(super) fn on_answered(&mut self) -> bool {
        match self.end {
            Some(end) if self.came <= end => false,
            Some(_) => !self.is_empty_line(),
            None => {
                // An empty line within a body is no head's.
                self.head_end = None;
                !self.is_empty_line()
            }
        }
    }

    /// Whether what came last is an empty line, of either form.
    fn is_empty_line(&self) -> bool {
        self.tail & 0xff_ff == 0x0a_0a || self.tail & 0xff_ff_ff == 0x0a_0d_0a
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"POST / HTTP/1.1\r\n\r\n";

    /// Whether a head has begun behind one request with this body, however the bytes are cut.
    fn amid_head(body: &[u8], length: Option<u64>, behind: &[u8]) -> bool {
        let all = [HEAD, body, behind].concat();
        let mut found = Vec::new();
        for cut in [1, 5, HEAD.len(), all.len()] {
            let mut framing = Framing::default();
            let (mut came, mut is_read) = (0, false);
            for part in all.chunks(cut) {
                framing.on_bytes(part);
                came += part.len();
                if came >= HEAD.len() && !is_read {
                    framing.on_request(length);
                    is_read = true;
                }
            }
            found.push(framing.on_answered());
        }
        assert!(found.iter().all(|one| *one == found[0]), "{found:?}");
        found[0]
    }

    #[test]
    fn half_a_head_behind_a_request_is_seen_whatever_its_body() {
        for (body, length) in [
            (&b""[..], Some(0)),
            (b"{\"bid\":1}", Some(9)),
            (b"a line\n\n", Some(8)),
            (b"no line end", Some(11)),
            (b"2\r\nab\r\n0\r\n\r\n", None),
        ] {
            assert!(!amid_head(body, length, b""), "{body:?}");
            assert!(amid_head(body, length, b"GET /hea"), "{body:?}");
            assert!(amid_head(body, length, b"GET / HTTP/1.1\r\nhost: it\r\n"), "{body:?}");
        }
        assert!(!amid_head(b"half of it", Some(20), b""), "the rest of a body is no head");
    }

    #[test]
    fn the_next_head_is_found_behind_a_body() {
        let mut framing = Framing::default();
        for _ in 0..3 {
            framing.on_bytes(HEAD);
            framing.on_request(Some(4));
            framing.on_bytes(b"\r\n\r\n");
            assert!(!framing.on_answered());
            framing.on_bytes(b"GET / HTTP/1.1\r\nx: y");
            assert!(framing.on_answered());
            framing.on_bytes(b"\r\n\r\n");
            framing.on_request(Some(0));
            assert!(!framing.on_answered());
        }
    }

    #[test]
    fn requests_that_come_ahead_leave_no_head_behind_when_the_last_is_whole() {
        let mut framing = Framing::default();
        framing.on_bytes(&[HEAD, HEAD, HEAD].concat());
        for _ in 0..3 {
            framing.on_request(Some(0));
        }
        assert!(!framing.on_answered());
        framing.on_bytes(b"GET");
        assert!(framing.on_answered());
    }
}

//! PostgreSQL's frames: a type byte, a length and a body; the first packet of a connection has no type.
//!
//! Owns cutting a stream into frames and building the few that the proxy says itself. Reads no meaning
//! into a body beyond the fields named here.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// The length field counts itself.
const LENGTH_BYTES: usize = 4;

/// One typed frame.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    pub(super) tag: u8,
    pub(super) body: Bytes,
}

impl Frame {
    pub(super) fn write_to(&self, out: &mut BytesMut) {
        put(out, self.tag, |body| body.extend_from_slice(&self.body));
    }
}

/// Cuts a stream into frames. What is half read stays for the next call, so a call may be dropped.
#[derive(Debug)]
pub(super) struct Frames<R> {
    stream: R,
    buffer: BytesMut,
    /// Longest frame taken.
    bytes_max: usize,
    /// A frame that was given back.
    unread: Option<Frame>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Takes frames of up to so many bytes: a longer one is an error before memory is claimed for it.
    pub(super) fn new(stream: R, bytes_max: usize) -> Self {
        Self { stream, buffer: BytesMut::with_capacity(16 << 10), bytes_max, unread: None }
    }

    /// Changes the longest frame taken.
    pub(super) fn take_up_to(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Gives one frame back, which the next call of `next` returns.
    pub(super) fn unread(&mut self, frame: Frame) {
        self.unread = Some(frame);
    }

    /// The next typed frame; an `UnexpectedEof` error at the end of the stream.
    pub(super) async fn next(&mut self) -> io::Result<Frame> {
        if let Some(frame) = self.unread.take() {
            return Ok(frame);
        }
        let mut body = self.packet(1).await?;
        let tag = body.get_u8();
        body.advance(LENGTH_BYTES);
        Ok(Frame { tag, body })
    }

    /// The next packet without a type, whole, as at the start of a connection.
    pub(super) async fn untyped(&mut self) -> io::Result<Bytes> {
        self.packet(0).await
    }

    async fn packet(&mut self, tag_bytes: usize) -> io::Result<Bytes> {
        loop {
            let header = tag_bytes + LENGTH_BYTES;
            if let Some(mut length) = self.buffer.get(tag_bytes..header) {
                let length = usize::try_from(length.get_u32()).unwrap_or(usize::MAX);
                if !(LENGTH_BYTES..=self.bytes_max).contains(&length) {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "frame of an impossible length"));
                }
                if self.buffer.len() >= tag_bytes + length {
                    return Ok(self.buffer.split_to(tag_bytes + length).freeze());
                }
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// Appends a frame whose body `fill` writes.
pub(super) fn put(out: &mut BytesMut, tag: u8, fill: impl FnOnce(&mut BytesMut)) {
    out.put_u8(tag);
    let begin = out.len();
    out.put_u32(0);
    fill(out);
    let length = u32::try_from(out.len() - begin).expect("frames are far below 4 GiB");
    out[begin..begin + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
}

/// Appends text and the zero byte that ends it.
pub(super) fn put_text(out: &mut BytesMut, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.put_u8(0);
}

/// Takes text up to its zero byte; what is not UTF-8 is replaced, which no statement of ours contains.
pub(super) fn take_text(body: &mut Bytes) -> Option<String> {
    let end = body.iter().position(|byte| *byte == 0)?;
    let text = body.split_to(end);
    body.advance(1);
    Some(String::from_utf8_lossy(&text).into_owned())
}

/// A simple query.
pub(super) fn query(sql: &str) -> Bytes {
    let mut out = BytesMut::new();
    put(&mut out, b'Q', |body| put_text(body, sql));
    out.freeze()
}

/// Appends the preparation of `sql` under `name`, with the parameter types that follow in `types`.
pub(super) fn put_parse(out: &mut BytesMut, name: &str, sql: &str, types: &[u8]) {
    put(out, b'P', |body| {
        put_text(body, name);
        put_text(body, sql);
        body.extend_from_slice(types);
    });
}

/// Appends binding and running of the prepared `name`, which takes no parameters.
pub(super) fn put_run(out: &mut BytesMut, name: &str) {
    put(out, b'B', |body| {
        put_text(body, name);
        put_text(body, name);
        body.put_bytes(0, 6);
    });
    put(out, b'E', |body| {
        put_text(body, name);
        body.put_u32(0);
    });
    put_sync(out);
}

/// Appends the end of an extended request.
pub(super) fn put_sync(out: &mut BytesMut) {
    put(out, b'S', |_| {});
}

/// Appends "ready for the next request", with the transaction's status.
pub(super) fn put_ready(out: &mut BytesMut, status: u8) {
    put(out, b'Z', |body| body.put_u8(status));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn frames_come_out_whole_however_the_stream_was_cut() {
        let mut stream = BytesMut::new();
        put_parse(&mut stream, "s1", "SELECT 1", &[0, 0]);
        put_ready(&mut stream, b'T');
        for cut in 1..stream.len() {
            let (head, tail) = stream.split_at(cut);
            let mut frames = Frames::new(AsyncReadExt::chain(head, tail), 100);
            let mut parse = frames.next().await.expect("the first frame");
            assert_eq!(parse.tag, b'P');
            assert_eq!(take_text(&mut parse.body).as_deref(), Some("s1"));
            assert_eq!(take_text(&mut parse.body).as_deref(), Some("SELECT 1"));
            assert_eq!(&frames.next().await.expect("the second frame").body[..], b"T");
            assert_eq!(frames.next().await.expect_err("the end").kind(), io::ErrorKind::UnexpectedEof);
        }
    }
}

//! `COPY ... FROM STDIN`: rows go from the client to PostgreSQL as they come.
//!
//! Owns the time between "send your rows" and the client's last one. Their bytes count as changed; PostgreSQL says at
//! the end how many rows they were.

use std::io;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;

use super::super::frame::{put, put_text};
use super::{Session, length};

impl Session {
    /// Passes rows on until the client ends them or PostgreSQL refuses one. What PostgreSQL says then is still to be
    /// read.
    pub(super) async fn copy_in(&mut self) -> io::Result<()> {
        loop {
            let frame = tokio::select! {
                frame = self.client.next() => frame?,
                frame = self.server.next() => {
                    let frame = frame?;
                    if frame.tag == b'E' {
                        self.server.unread(frame);
                        return Ok(());
                    }
                    // A notice.
                    frame.write_to(&mut self.out);
                    self.flush().await?;
                    continue;
                }
            };
            let mut bytes = BytesMut::with_capacity(frame.body.len() + 5);
            match frame.tag {
                b'd' | b'c' | b'f' => {
                    self.tx.add_bytes(length(frame.body.len()));
                    frame.write_to(&mut bytes);
                    self.server_out.write_all(&bytes).await?;
                    if frame.tag != b'd' {
                        return Ok(());
                    }
                }
                // They mean nothing while rows are sent.
                b'H' | b'S' => {}
                tag => {
                    let words = format!("message {:?} among the rows of a COPY", char::from(tag));
                    put(&mut bytes, b'f', |body| put_text(body, &words));
                    return self.server_out.write_all(&bytes).await;
                }
            }
        }
    }
}

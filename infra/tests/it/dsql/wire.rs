//! A client that sends what no driver would, one frame at a time.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::NoTls;

use super::Local;

/// How long an answer may take.
const DEADLINE: Duration = Duration::from_secs(60);
/// A role that needs no password.
const ROLE: &str = "stranger";

/// A connection.
pub(super) struct Wire {
    stream: TcpStream,
    /// The body of the frame read last.
    pub(super) last: Bytes,
}

/// A connection that has logged in, with a role that PostgreSQL lets in without a password.
pub(super) async fn log_in(local: &Local) -> Wire {
    let rules = local.postgres.dir().join("data/pg_hba.conf");
    let old = std::fs::read_to_string(&rules).unwrap();
    std::fs::write(&rules, format!("host all {ROLE} 127.0.0.1/32 trust\n{old}")).unwrap();
    let (client, connection) = tokio_postgres::connect(&local.postgres.database_url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let role = format!("CREATE ROLE {ROLE} SUPERUSER LOGIN");
    client.batch_execute(&role).await.unwrap();
    client.batch_execute("SELECT pg_reload_conf()").await.unwrap();
    // The reload is a signal; until it has come the role is asked for a password.
    for _ in 0..600 {
        let mut wire = Wire { stream: connect(local).await, last: Bytes::new() };
        wire.stream.write_all(&startup(ROLE)).await.unwrap();
        wire.frame().await;
        if wire.last[..] == [0; 4] {
            while wire.frame().await != b'Z' {}
            return wire;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the role is not let in");
}

pub(super) async fn connect(local: &Local) -> TcpStream {
    TcpStream::connect(local.dsql.address()).await.unwrap()
}

/// The first packet of a client.
pub(super) fn startup(user: &str) -> Vec<u8> {
    let fields = format!("user\0{user}\0database\0postgres\0\0");
    let length = u32::try_from(fields.len() + 8).unwrap();
    [&length.to_be_bytes()[..], &[0, 3, 0, 0], fields.as_bytes()].concat()
}

impl Wire {
    pub(super) async fn send(&mut self, tag: u8, body: &[u8]) {
        let mut frame = BytesMut::new();
        frame.put_u8(tag);
        frame.put_u32(u32::try_from(body.len() + 4).unwrap());
        frame.extend_from_slice(body);
        self.stream.write_all(&frame).await.unwrap();
    }

    pub(super) async fn parse(&mut self, name: &str, sql: &str) {
        self.send(b'P', format!("{name}\0{sql}\0\0\0").as_bytes()).await;
    }

    /// Binds one parameter as text, or none.
    pub(super) async fn bind(&mut self, portal: &str, name: &str, parameter: Option<&str>) {
        let mut body = BytesMut::from(format!("{portal}\0{name}\0\0\0").as_bytes());
        body.put_u16(u16::from(parameter.is_some()));
        if let Some(parameter) = parameter {
            body.put_u32(u32::try_from(parameter.len()).unwrap());
            body.extend_from_slice(parameter.as_bytes());
        }
        body.put_u16(0);
        self.send(b'B', &body).await;
    }

    pub(super) async fn execute(&mut self, portal: &str) {
        self.send(b'E', format!("{portal}\0\0\0\0\0").as_bytes()).await;
    }

    /// The tags of the next frames.
    pub(super) async fn tags(&mut self, count: usize) -> String {
        let mut tags = String::new();
        for _ in 0..count {
            tags.push(char::from(self.frame().await));
        }
        tags
    }

    /// Reads one frame; gives its tag.
    async fn frame(&mut self) -> u8 {
        let read = async {
            let tag = self.stream.read_u8().await.unwrap();
            let length = usize::try_from(self.stream.read_u32().await.unwrap()).unwrap();
            let mut body = vec![0; length - 4];
            self.stream.read_exact(&mut body).await.unwrap();
            self.last = body.into();
            tag
        };
        tokio::time::timeout(DEADLINE, read).await.expect("an answer")
    }
}

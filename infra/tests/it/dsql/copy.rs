//! COPY and `Flush` frame by frame: the extended way of COPY, and what a client may send ahead.

use std::pin::pin;

use bytes::Bytes;
use futures::{SinkExt, TryStreamExt};

use super::{Local, code};

#[tokio::test]
async fn rows_are_copied_by_prepared_statements_too() {
    let local = Local::start().await;
    let client = local.connect().await;
    let mut sink = pin!(client.copy_in::<_, Bytes>("COPY t FROM STDIN").await.unwrap());
    for row in ["2\t20\n", "3\t30\n"] {
        sink.send(Bytes::from(row)).await.unwrap();
    }
    assert_eq!(sink.as_mut().finish().await.unwrap(), 2);
    let copied = client.copy_out("COPY (SELECT * FROM t ORDER BY id) TO STDOUT").await.unwrap();
    let copied: Vec<Bytes> = copied.try_collect().await.unwrap();
    assert_eq!(copied.concat(), b"1\t0\n2\t20\n3\t30\n");

    // PostgreSQL refuses a row while more are on their way.
    let mut sink = pin!(client.copy_in::<_, Bytes>("COPY t FROM STDIN").await.unwrap());
    let mut refused = sink.send(Bytes::from("nonsense\t1\n")).await.err();
    for _ in 0..2_000 {
        if refused.is_some() {
            break;
        }
        refused = sink.send(Bytes::from(vec![b'x'; 1_000])).await.err();
    }
    let refused = match refused {
        Some(error) => error,
        None => sink.as_mut().finish().await.unwrap_err(),
    };
    assert_eq!(code(&refused), "22P02");
    assert_eq!(client.query("SELECT id FROM t", &[]).await.unwrap().len(), 3);

    // Dropped without an end, it is given up.
    let mut sink = Box::pin(client.copy_in::<_, Bytes>("COPY t FROM STDIN").await.unwrap());
    sink.send(Bytes::from("9\t90\n")).await.unwrap();
    drop(sink);
    assert_eq!(client.query("SELECT id FROM t", &[]).await.unwrap().len(), 3);
    local.stop().await;
}

#[tokio::test]
async fn a_copy_in_a_transaction_ends_with_it() {
    let local = Local::start().await;
    let mut client = local.connect().await;
    let tx = client.transaction().await.unwrap();
    let mut sink = pin!(tx.copy_in::<_, Bytes>("COPY t FROM STDIN").await.unwrap());
    sink.send(Bytes::from("2\t2\n")).await.unwrap();
    assert_eq!(sink.as_mut().finish().await.unwrap(), 1);
    assert_eq!(code(&tx.batch_execute("CREATE TABLE u (id int PRIMARY KEY)").await.unwrap_err()), "0A000");
    tx.rollback().await.unwrap();
    assert_eq!(client.query("SELECT id FROM t", &[]).await.unwrap().len(), 1);
    local.stop().await;
}

#[tokio::test]
async fn what_is_flushed_is_answered_before_the_sync() {
    let local = Local::start().await;
    let mut wire = super::wire::log_in(&local).await;
    // Parse, Describe, Flush: no "ready" follows.
    wire.parse("s", "SELECT n FROM t WHERE id = $1").await;
    wire.send(b'D', b"Ss\0").await;
    wire.send(b'H', b"").await;
    assert_eq!(wire.tags(3).await, "1tT");
    // A portal lives on over a Flush outside of any transaction.
    wire.bind("p", "s", Some("1")).await;
    wire.send(b'H', b"").await;
    assert_eq!(wire.tags(1).await, "2");
    wire.execute("p").await;
    wire.send(b'S', b"").await;
    assert_eq!(wire.tags(3).await, "DCZ");
    // A change is answered by a Flush and undone by an error before the Sync; all between is passed over.
    wire.parse("u", "UPDATE t SET n = n + $1 WHERE id = 1").await;
    wire.bind("", "u", Some("5")).await;
    wire.execute("").await;
    wire.send(b'H', b"").await;
    assert_eq!(wire.tags(3).await, "12C");
    wire.parse("bad", "TRUNCATE t").await;
    wire.send(b'H', b"").await;
    assert_eq!(wire.tags(1).await, "E");
    wire.bind("", "u", Some("7")).await;
    wire.execute("").await;
    wire.send(b'H', b"").await;
    wire.send(b'Q', b"UPDATE t SET n = 9\0").await;
    wire.send(b'S', b"").await;
    assert_eq!(wire.tags(1).await, "Z");
    assert_eq!(local.n().await, 0);
    // Rows sent without waiting for the word, in one piece with the request for them.
    wire.parse("c", "COPY t FROM STDIN").await;
    wire.bind("", "c", None).await;
    wire.execute("").await;
    wire.send(b'd', b"2\t2\n").await;
    wire.send(b'c', b"").await;
    wire.send(b'S', b"").await;
    assert_eq!(wire.tags(5).await, "12GCZ");
    // What is left of a COPY means nothing outside of one; a function call is refused and the connection goes on.
    wire.send(b'd', b"3\t3\n").await;
    wire.send(b'F', &[0; 14]).await;
    let (tags, error) = (wire.tags(1).await, wire.last.clone());
    assert!(tags == "E" && error.windows(5).any(|piece| piece == b"0A000"), "{tags} {error:?}");
    assert_eq!(wire.tags(1).await, "Z");
    wire.send(b'Q', b"SELECT count(*) FROM t\0").await;
    assert_eq!(wire.tags(4).await, "TDCZ");
    local.stop().await;
}

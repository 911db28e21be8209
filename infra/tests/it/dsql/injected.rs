//! What is broken on purpose: conflicts, lost messages, and a server that is unavailable.

use super::{Local, NEVER, add, code, is_unknown, message};
use infra::local::dsql::Injection;

#[tokio::test]
async fn an_injected_schema_conflict_is_an_oc001() {
    let local = Local::start().await;
    let mut client = local.connect().await;
    local.dsql.set_injection(Injection { schema_conflict_per_mille: 1_000, ..NEVER });
    for refused in [add(&mut client, 1).await, client.batch_execute("UPDATE t SET n = 7").await] {
        let refused = refused.unwrap_err();
        assert_eq!(code(&refused), "40001");
        assert!(message(&refused).contains("(OC001)"));
        assert_eq!(refused.as_db_error().unwrap().detail(), Some("injected"));
    }
    assert_eq!(local.n().await, 0);
    for ddl in ["CREATE TABLE s (id int PRIMARY KEY)", "CREATE INDEX ASYNC i ON t (n)"] {
        let refused = [client.batch_execute(ddl).await, client.execute(ddl, &[]).await.map(|_| ())];
        for refused in refused {
            let refused = refused.unwrap_err();
            assert!(code(&refused) == "40001" && message(&refused).contains("(OC001)"), "{ddl}: {refused}");
        }
    }
    local.dsql.set_injection(NEVER);
    client.batch_execute("CREATE TABLE s (id int PRIMARY KEY)").await.unwrap();
    let row = client.query_one("CREATE INDEX ASYNC i ON t (n)", &[]).await.unwrap();
    assert_eq!(row.get::<_, String>("job_id").len(), 26);
    local.stop().await;
}

#[tokio::test]
async fn an_injected_conflict_undoes_and_leaves_the_connection_usable() {
    let local = Local::start().await;
    let mut client = local.connect().await;
    local.dsql.set_injection(Injection { conflict_per_mille: 1_000, ..NEVER });
    for _ in 0..2 {
        let refused = add(&mut client, 1).await.unwrap_err();
        assert_eq!(code(&refused), "40001");
        assert!(message(&refused).contains("(OC000)"));
        assert_eq!(refused.as_db_error().unwrap().detail(), Some("injected"));
    }
    // The implicit commit of a statement by itself, and a text that brings its own COMMIT.
    let alone = client.execute("UPDATE t SET n = 7 WHERE id = 1", &[]).await.unwrap_err();
    assert_eq!(code(&alone), "40001");
    let text = client.batch_execute("BEGIN; UPDATE t SET n = 7 WHERE id = 1; COMMIT").await.unwrap_err();
    assert_eq!(code(&text), "40001");
    // What only read has nothing to conflict with.
    client.batch_execute("BEGIN; SELECT n FROM t; COMMIT").await.unwrap();
    assert_eq!(local.n().await, 0);
    assert_eq!(local.dsql.injected().conflicts, 4);

    local.dsql.set_injection(NEVER);
    add(&mut client, 1).await.unwrap();
    assert_eq!(local.n().await, 1);
    local.stop().await;
}

#[tokio::test]
async fn a_lost_reply_leaves_the_change_and_a_lost_request_does_not() {
    let local = Local::start().await;
    let mut client = local.connect().await;
    local.dsql.set_injection(Injection { lost_reply_per_mille: 1_000, ..NEVER });
    assert!(is_unknown(&add(&mut client, 1).await.unwrap_err()));
    assert!(client.batch_execute("SELECT 1").await.is_err(), "the connection is gone");
    assert_eq!(local.n().await, 1);
    let client = local.connect().await;
    assert!(is_unknown(&client.execute("UPDATE t SET n = n + 2 WHERE id = 1", &[]).await.unwrap_err()));
    assert_eq!(local.n().await, 3);

    local.dsql.set_injection(NEVER);
    let mut client = local.connect().await;
    let tx = client.transaction().await.unwrap();
    tx.execute("UPDATE t SET n = n + 4 WHERE id = 1", &[]).await.unwrap();
    local.dsql.set_injection(Injection { lost_request_per_mille: 1_000, ..NEVER });
    assert!(is_unknown(&tx.commit().await.unwrap_err()));
    assert_eq!(local.n().await, 3);
    let counts = local.dsql.injected();
    assert_eq!((counts.lost_replies, counts.lost_requests), (2, 1));
    local.stop().await;
}

#[tokio::test]
async fn an_unavailable_server_has_done_it_or_not() {
    let local = Local::start().await;
    let mut client = local.connect().await;
    local.dsql.set_injection(Injection { unavailable_per_mille: 1_000, ..NEVER });
    let (mut done, mut undone, mut before) = (0, 0, 0);
    while done == 0 || undone == 0 {
        let refused = add(&mut client, 1).await.unwrap_err();
        assert_eq!(code(&refused), "XX000");
        let now = local.n().await;
        if now == before {
            undone += 1
        } else {
            done += 1
        }
        before = now;
        assert!(done + undone < 200, "only one of the two happens");
    }
    assert_eq!(local.n().await, done);
    local.stop().await;
}

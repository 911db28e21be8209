//! Conflicts between transactions, told as DSQL tells them: by the loser's COMMIT.

use tokio_postgres::Client;

use super::{Local, add, code, message};

/// Two transactions that read row 1; the first has changed it and committed.
async fn contenders<'a>(winner: &'a mut Client, loser: &'a mut Client) -> tokio_postgres::Transaction<'a> {
    let winner = winner.transaction().await.unwrap();
    let loser = loser.transaction().await.unwrap();
    for tx in [&winner, &loser] {
        tx.query_one("SELECT n FROM t WHERE id = 1", &[]).await.unwrap();
    }
    winner.execute("UPDATE t SET n = n + 1 WHERE id = 1", &[]).await.unwrap();
    winner.commit().await.unwrap();
    loser
}

#[tokio::test]
async fn the_loser_of_a_genuine_conflict_learns_it_at_its_commit() {
    let local = Local::start().await;
    let (mut winner, mut loser) = (local.connect().await, local.connect().await);
    let prepared = loser.prepare("UPDATE t SET n = n + $1 WHERE id = 1").await.unwrap();
    let tx = contenders(&mut winner, &mut loser).await;
    assert_eq!(tx.execute(&prepared, &[&2_i32]).await.unwrap(), 1, "its change is said to be done");
    assert_eq!(tx.execute(&prepared, &[&4_i32]).await.unwrap(), 1);
    tx.batch_execute("INSERT INTO t VALUES (9, 9)").await.unwrap();
    let refused = tx.commit().await.unwrap_err();
    assert_eq!(code(&refused), "40001");
    assert!(message(&refused).contains("(OC000)"));
    assert_eq!(refused.as_db_error().unwrap().detail(), None, "nobody injected it");
    assert_eq!(local.n().await, 1);
    // The connection goes on, and what was doomed is gone.
    add(&mut loser, 8).await.unwrap();
    assert_eq!(local.n().await, 9);
    assert!(loser.query("SELECT 1 FROM t WHERE id = 9", &[]).await.unwrap().is_empty());
    local.stop().await;
}

#[tokio::test]
async fn a_doomed_transaction_can_be_rolled_back_and_cannot_be_read_in() {
    let local = Local::start().await;
    let (mut winner, mut loser) = (local.connect().await, local.connect().await);
    let prepared = loser.prepare("UPDATE t SET n = n + $1 WHERE id = 1").await.unwrap();
    let tx = contenders(&mut winner, &mut loser).await;
    tx.execute(&prepared, &[&2_i32]).await.unwrap();
    let refused = tx.query("SELECT n FROM t", &[]).await.unwrap_err();
    assert_eq!(code(&refused), "40001");
    tx.rollback().await.unwrap();
    let tx = contenders(&mut winner, &mut loser).await;
    tx.execute(&prepared, &[&2_i32]).await.unwrap();
    tx.rollback().await.unwrap();
    assert_eq!(local.n().await, 2);
    add(&mut loser, 4).await.unwrap();
    assert_eq!(local.n().await, 6);
    local.stop().await;
}

/// Outside a transaction the statement is its own COMMIT; one that answers rows cannot pretend.
#[tokio::test]
async fn a_change_that_answers_rows_is_told_of_its_conflict_itself() {
    let local = Local::start().await;
    let (mut winner, mut loser) = (local.connect().await, local.connect().await);
    let tx = contenders(&mut winner, &mut loser).await;
    let refused = tx.query("UPDATE t SET n = n + 2 WHERE id = 1 RETURNING n", &[]).await.unwrap_err();
    assert_eq!(code(&refused), "40001");
    assert!(message(&refused).contains("(OC000)"));
    tx.rollback().await.unwrap();
    local.stop().await;
}

/// Two transactions that take each other's row: a deadlock here, a conflict there.
#[tokio::test]
async fn a_deadlock_is_a_conflict_of_one_of_them() {
    let local = Local::start().await;
    let (mut first, mut second) = (local.connect().await, local.connect().await);
    first.execute("INSERT INTO t VALUES (2, 0)", &[]).await.unwrap();
    let update = "UPDATE t SET n = n + 1 WHERE id = $1";
    let (of_first, of_second) = (first.prepare(update).await.unwrap(), second.prepare(update).await.unwrap());
    let first = first.transaction().await.unwrap();
    let second = second.transaction().await.unwrap();
    first.execute(&of_first, &[&1_i32]).await.unwrap();
    second.execute(&of_second, &[&2_i32]).await.unwrap();
    let (first, second) = tokio::join!(
        async {
            first.execute(&of_first, &[&2_i32]).await.unwrap();
            first.commit().await
        },
        async {
            second.execute(&of_second, &[&1_i32]).await.unwrap();
            second.commit().await
        },
    );
    let refused: Vec<_> = [first, second].into_iter().filter_map(Result::err).collect();
    assert_eq!(refused.len(), 1, "one of them lost");
    assert_eq!(code(&refused[0]), "40001");
    assert!(message(&refused[0]).contains("(OC000)"));
    assert_eq!(local.n().await, 1, "and the other changed both rows");
    local.stop().await;
}

//! Idle connections, and a bound on how often a new one is made.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::{Connection, Connector};
use crate::error::Error;

/// Connections that are kept while nobody needs them.
const IDLE_MAX: usize = 64;

/// Connections of one process. Whoever takes one owns it until it is given back.
#[derive(Debug)]
pub struct Pool {
    connector: Arc<Connector>,
    idle: Mutex<Vec<Connection>>,
    /// When the next new connection may be made.
    next: tokio::sync::Mutex<Instant>,
    spacing: Duration,
}

impl Pool {
    /// An empty pool that makes at most `per_second` connections a second; 0 counts as 1.
    #[must_use]
    pub fn new(connector: Arc<Connector>, per_second: u32) -> Self {
        let spacing = Duration::from_secs(1) / per_second.max(1);
        Self { connector, idle: Mutex::default(), next: tokio::sync::Mutex::new(Instant::now()), spacing }
    }

    /// What every page and log calls the ledger.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.connector.name()
    }

    /// A connection that is fit for a transaction: an idle one, or a new one when its turn has come.
    ///
    /// # Errors
    /// When the ledger cannot be reached.
    pub async fn take(&self) -> Result<Connection, Error> {
        while let Some(connection) = self.pop() {
            if !connection.is_spent() {
                return Ok(connection);
            }
        }
        let turn = {
            let mut next = self.next.lock().await;
            let turn = (*next).max(Instant::now());
            *next = turn + self.spacing;
            turn
        };
        tokio::time::sleep_until(turn).await;
        self.connector.connect().await
    }

    /// Keeps a connection on which no transaction is open.
    pub fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if !connection.is_spent() && idle.len() < IDLE_MAX {
            idle.push(connection);
        }
    }

    /// Closes the connections that lie idle: what was prepared on them is of no use any more.
    pub(crate) fn forget(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn pop(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures::future::join_all;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::db::Ledger;

    /// Lets everyone in and then says nothing more; counts who came.
    async fn server() -> (Ledger, Arc<AtomicU32>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let ledger = Ledger::stand_in(&format!("postgres://nobody@{}/none", listener.local_addr().unwrap()));
        let count = Arc::new(AtomicU32::new(0));
        let came = Arc::clone(&count);
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                came.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(async move {
                    let mut asked = [0; 256];
                    let _ = client.read(&mut asked).await;
                    // Authentication is over, and the server is ready.
                    let _ = client.write_all(b"R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I").await;
                    while client.read(&mut asked).await.is_ok_and(|length| length > 0) {}
                });
            }
        });
        (ledger, count)
    }

    #[tokio::test]
    async fn a_connection_is_used_again_until_its_time_is_over() {
        let (ledger, count) = server().await;
        let pool = ledger.pool(100).await.unwrap();
        for _ in 0..3 {
            pool.give_back(pool.take().await.unwrap());
        }
        assert_eq!(count.load(Ordering::Relaxed), 1);
        // Over while it is held, and over while it lies idle.
        let mut held = pool.take().await.unwrap();
        held.retire_at = std::time::Instant::now();
        pool.give_back(held);
        let mut idle = pool.take().await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 2);
        idle.retire_at = std::time::Instant::now();
        pool.idle.lock().unwrap().push(idle);
        let fresh = pool.take().await.unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 3);
        assert!(fresh.retire_at > std::time::Instant::now() + Duration::from_secs(49 * 60));
    }

    #[tokio::test]
    async fn new_connections_are_made_no_faster_than_was_said() {
        let (ledger, count) = server().await;
        let pool = ledger.pool(50).await.unwrap();
        let began = std::time::Instant::now();
        let all = join_all((0..6).map(|_| pool.take())).await;
        // The first at once, and five that wait for 20 ms each.
        assert!(began.elapsed() >= Duration::from_millis(100), "{:?}", began.elapsed());
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(count.load(Ordering::Relaxed), 6);
    }
}

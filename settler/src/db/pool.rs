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

    fn pop(&self) -> Option<Connection> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }
}

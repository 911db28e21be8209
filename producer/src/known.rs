//! What the table of the pipeline says to a producer: the geometry, read once, and the roster of agreed accounts, which
//! is looked at again now and then.
//!
//! A table that does not answer later changes nothing: the roster that was read last stays in use, and that is told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use runtime::agreed;
use runtime::clients::Clients;
use runtime::directory::{self, DirectoryError, Latest};
use runtime::told::Told;
use schemas::geometry::Geometry;
use schemas::item::{Directory, Edition, Roster};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::error::Error;

/// Between two looks at the head of the roster: one GetItem of less than 4 KB, half a read unit each.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The roster as it stands; none while none was published, or one without a bound.
type Standing = Option<Arc<Roster>>;

/// What is known of the pipeline.
#[derive(Debug)]
pub(crate) struct Known {
    pub(crate) geometry: Option<Geometry>,
    roster: watch::Receiver<Standing>,
    /// The task that looks again; it ends with this.
    _looks: JoinSet<()>,
}

impl Known {
    /// Reads what the configuration's table says; nothing when it names none.
    ///
    /// # Errors
    /// When the table cannot be read or holds no geometry.
    pub(crate) async fn read(config: &Config, clients: &Clients) -> Result<Self, Error> {
        let Some(table) = config.agreed_table() else {
            tracing::info!(
                "without a table: windows and accounts are not known, and no bid is refused by them"
            );
            let (_, roster) = watch::channel(None);
            return Ok(Self { geometry: None, roster, _looks: JoinSet::new() });
        };
        let geometry = agreed::read(&clients.dynamodb, table, None).await?.geometry;
        let mut reader = Reader { clients: clients.clone(), table: table.to_owned(), edition: None };
        let standing = reader.read().await?.unwrap_or_else(|| {
            tracing::info!(table, "no roster of accounts was published, so no bid is refused by its account; `exchange provision` publishes one");
            None
        });
        let (sender, roster) = watch::channel(standing);
        let mut looks = JoinSet::new();
        looks.spawn(reader.run(sender));
        Ok(Self { geometry: Some(geometry), roster, _looks: looks })
    }

    /// The roster, when it is another one than at the last call.
    pub(crate) fn poll_roster(&mut self) -> Option<Standing> {
        let is_new = self.roster.has_changed().unwrap_or(false);
        is_new.then(|| self.roster.borrow_and_update().clone())
    }

    /// The roster as it stands.
    pub(crate) fn roster(&mut self) -> Standing {
        self.roster.borrow_and_update().clone()
    }
}

/// Reads the roster again and again.
struct Reader {
    clients: Clients,
    table: String,
    edition: Option<Edition>,
}

impl Reader {
    /// The roster, when another one stands than the one that was read last.
    async fn read(&mut self) -> Result<Option<Standing>, DirectoryError> {
        let latest =
            directory::read(&self.clients.dynamodb, &self.table, Directory::Roster, self.edition.as_ref());
        let (head, bytes) = match latest.await? {
            Latest::New(head, bytes) => (head, bytes),
            Latest::Nothing | Latest::Same => return Ok(None),
        };
        let (table, version, accounts) = (&self.table, head.edition.version, head.entries);
        let standing = if head.unbounded {
            tracing::warn!(
                table,
                version,
                accounts,
                "the ledger has more accounts than a roster holds, so no bid is refused by its account"
            );
            None
        } else {
            let unreadable = |error: schemas::item::ItemError| DirectoryError::Unreadable {
                table: table.clone(),
                sk: Directory::Roster.head_key().1,
                reason: error.to_string(),
            };
            let roster = Roster::decode(version, &bytes).map_err(unreadable)?;
            tracing::info!(table, version, accounts, "roster of accounts read");
            Some(Arc::new(roster))
        };
        self.edition = Some(head.edition);
        Ok(Some(standing))
    }

    async fn run(mut self, to: watch::Sender<Standing>) {
        let (told, mut failing) = (Told::default(), None::<Instant>);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.read().await {
                Ok(latest) => {
                    if let Some(since) = failing.take() {
                        let away_ms = u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX);
                        tracing::info!(table = self.table, away_ms, "the roster can be read again");
                    }
                    if let Some(standing) = latest
                        && to.send(standing).is_err()
                    {
                        return;
                    }
                }
                Err(error) => {
                    failing.get_or_insert_with(Instant::now);
                    if told.may_tell() {
                        let version = self.edition.as_ref().map(|edition| edition.version);
                        tracing::warn!(%error, version, "the roster cannot be read, the one that was read last stays in use");
                    }
                }
            }
        }
    }
}

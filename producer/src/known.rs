//! What the table of the pipeline says to a producer: the geometry, read once, and the roster of agreed accounts and the
//! name map, which are looked at again now and then.
//!
//! A table that does not answer later changes nothing: what was read last stays in use, and that is told.

use std::sync::Arc;
use std::time::Duration;

use runtime::agreed;
use runtime::clients::Clients;
use runtime::directory::{self, DirectoryError, Latest};
use runtime::outage::Watched;
use runtime::told::Told;
use schemas::geometry::Geometry;
use schemas::intake::names::Names;
use schemas::item::{Directory, DirectoryHead, Edition, ItemError, Roster, decode_names};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::config::Config;
use crate::error::Error;

/// Between two looks at the heads: two GetItem of less than 4 KB.
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
    /// Reads what the configuration's table says; nothing when it names none. Name maps go to `maps`.
    ///
    /// # Errors
    /// When the table cannot be read, holds no geometry, or what was published there cannot be read.
    pub(crate) async fn read(
        config: &Config,
        clients: &Clients,
        maps: watch::Sender<Arc<Names>>,
    ) -> Result<Self, Error> {
        let (rosters, roster) = watch::channel(None);
        let Some(table) = config.agreed_table() else {
            tracing::info!(
                "without a table: windows, accounts and names are not known, and no bid is refused by them"
            );
            return Ok(Self { geometry: None, roster, _looks: JoinSet::new() });
        };
        let geometry = agreed::read(&clients.dynamodb, table, None).await?.geometry;
        let mut reader = Reader {
            clients: clients.clone(),
            table: table.to_owned(),
            roster: None,
            names: None,
            rosters,
            maps,
        };
        reader.look().await?;
        if reader.roster.is_none() {
            tracing::info!(
                table,
                "no roster of accounts was published, so no bid is refused by its account; `exchange provision` publishes one"
            );
        }
        let mut looks = JoinSet::new();
        looks.spawn(reader.run());
        Ok(Self { geometry: Some(geometry), roster, _looks: looks })
    }

    /// The roster, when another one stands than at the last call.
    pub(crate) fn poll_roster(&mut self) -> Option<Standing> {
        let is_new = self.roster.has_changed().unwrap_or(false);
        is_new.then(|| self.roster())
    }

    /// The roster as it stands.
    pub(crate) fn roster(&mut self) -> Standing {
        self.roster.borrow_and_update().clone()
    }
}

/// Reads what was published again and again.
struct Reader {
    clients: Clients,
    table: String,
    /// What was read last.
    roster: Option<Edition>,
    names: Option<Edition>,
    rosters: watch::Sender<Standing>,
    maps: watch::Sender<Arc<Names>>,
}

impl Reader {
    async fn run(mut self) {
        let (told, table) = (Told::default(), Watched::after_a_good_start(format!("table {}", self.table)));
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            match self.look().await {
                Ok(()) => table.on_success(),
                // What was read last stays in use for as long as it takes.
                Err(DirectoryError::Call { failure, .. }) => drop(table.on_failure(&failure)),
                Err(error) if told.may_tell() => {
                    tracing::warn!(%error, "what was read last stays in use");
                }
                Err(_) => {}
            }
        }
    }

    /// Reads what is new.
    async fn look(&mut self) -> Result<(), DirectoryError> {
        if let Some((head, bytes)) = self.read(Directory::Roster, self.roster.as_ref()).await? {
            let standing = self.roster_of(&head, &bytes)?;
            self.roster = Some(head.edition);
            self.rosters.send_replace(standing);
        }
        if let Some((head, bytes)) = self.read(Directory::Names, self.names.as_ref()).await? {
            let names = decode_names(&bytes).map_err(|error| self.unreadable(Directory::Names, &error))?;
            tracing::info!(
                table = self.table,
                version = head.edition.version,
                names = head.entries,
                "name map read"
            );
            self.names = Some(head.edition);
            self.maps.send_replace(Arc::new(names));
        }
        Ok(())
    }

    async fn read(
        &self,
        directory: Directory,
        known: Option<&Edition>,
    ) -> Result<Option<(DirectoryHead, Vec<u8>)>, DirectoryError> {
        let latest = directory::read(&self.clients.dynamodb, &self.table, directory, known).await?;
        Ok(match latest {
            Latest::New(head, bytes) => Some((head, bytes)),
            Latest::Nothing | Latest::Same => None,
        })
    }

    fn roster_of(&self, head: &DirectoryHead, bytes: &[u8]) -> Result<Standing, DirectoryError> {
        let (table, version, accounts) = (&self.table, head.edition.version, head.entries);
        if head.unbounded {
            tracing::warn!(
                table,
                version,
                accounts,
                "the ledger has more accounts than a roster holds, so no bid is refused by its account"
            );
            return Ok(None);
        }
        let roster = Roster::decode(version, bytes);
        let roster = roster.map_err(|error| self.unreadable(Directory::Roster, &error))?;
        tracing::info!(table, version, accounts, "roster of accounts read");
        Ok(Some(Arc::new(roster)))
    }

    fn unreadable(&self, directory: Directory, error: &ItemError) -> DirectoryError {
        let (_, sk) = directory.head_key();
        DirectoryError::Unreadable { table: self.table.clone(), sk, reason: error.to_string() }
    }
}

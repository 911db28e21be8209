//! Where the pipeline is: its clients, its ledger and the names of its stream and tables.

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use runtime::clients::Clients;
use schemas::keys;

use crate::failure::Failure;

/// Names that every command takes.
#[derive(Args, Clone, Debug)]
pub struct Names {
    /// The stream of bids.
    #[arg(long, env = "STREAM_NAME", default_value = keys::STREAM, value_parser = NonEmptyStringValueParser::new())]
    pub stream: String,
    /// The table of aggregates.
    #[arg(long, env = "AGGREGATES_TABLE", default_value = keys::TABLE, value_parser = NonEmptyStringValueParser::new())]
    pub table: String,
    /// The table of leases.
    #[arg(long, env = "LEASE_TABLE", default_value = keys::LEASE_TABLE, value_parser = NonEmptyStringValueParser::new())]
    pub lease_table: String,
}

impl Default for Names {
    fn default() -> Self {
        Self {
            stream: keys::STREAM.to_owned(),
            table: keys::TABLE.to_owned(),
            lease_table: keys::LEASE_TABLE.to_owned(),
        }
    }
}

/// Clients and names of one pipeline.
#[derive(Clone, Debug)]
pub struct Place {
    /// Kinesis and DynamoDB.
    pub clients: Clients,
    /// Stream and tables.
    pub names: Names,
}

impl Place {
    /// The place the environment points to.
    ///
    /// # Errors
    /// A [`Failure`] when the environment does not lead to the services.
    pub async fn from_env(names: Names) -> Result<Self, Failure> {
        Ok(Self { clients: Clients::from_env().await?, names })
    }
}

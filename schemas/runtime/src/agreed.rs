//! Reading the geometry that all stages of a pipeline agreed on.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use schemas::exit;
use schemas::geometry::Geometry;
use schemas::item::GeometryItem;
use schemas::keys;

use crate::attrs;
use crate::failure::{Failure, classify};

/// Why there is no geometry to work by.
#[derive(Debug, thiserror::Error)]
pub enum AgreedError {
    /// The table cannot be read.
    #[error("{}", failure.told(&format!("table {table} cannot be read")))]
    Call {
        /// The table.
        table: String,
        /// What the service said.
        failure: Failure,
    },
    /// The table holds none.
    #[error("table {table} holds no geometry; run `exchange provision` first")]
    Absent {
        /// The table.
        table: String,
    },
    /// The item is not one of ours.
    #[error("the geometry in table {table} cannot be read: {reason}")]
    Unreadable {
        /// The table.
        table: String,
        /// Which attribute, and why.
        reason: String,
    },
    /// This stage was started with another one.
    #[error(
        "this stage was started with {given:?}, and the pipeline agreed on {agreed:?}; start it with the same"
    )]
    Other {
        /// What was given.
        given: Box<Geometry>,
        /// What stands in the table.
        agreed: Box<Geometry>,
    },
}

impl AgreedError {
    /// The exit code of a stage that cannot go on because of this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Call { failure, .. } => failure.exit_code(),
            Self::Absent { .. } | Self::Unreadable { .. } | Self::Other { .. } => exit::USAGE,
        }
    }
}

/// Reads the geometry, and compares it with the one this stage was started with, if it was given one.
///
/// # Errors
/// See [`AgreedError`].
pub async fn read(
    client: &Client,
    table: &str,
    given: Option<Geometry>,
) -> Result<GeometryItem, AgreedError> {
    let named = || table.to_owned();
    let answer = client
        .get_item()
        .table_name(table)
        .consistent_read(true)
        .key("PK", AttributeValue::S(keys::GEOMETRY.0.to_owned()))
        .key("SK", AttributeValue::S(keys::GEOMETRY.1.to_owned()))
        .send()
        .await
        .map_err(|error| AgreedError::Call { table: named(), failure: classify(&error) })?;
    let item = answer.item().ok_or_else(|| AgreedError::Absent { table: named() })?;
    let unreadable = |reason: String| AgreedError::Unreadable { table: named(), reason };
    let item = attrs::from_sdk(item).map_err(|error| unreadable(error.to_string()))?;
    let item = GeometryItem::from_attrs(&item).map_err(|error| unreadable(error.to_string()))?;
    match given.filter(|given| *given != item.geometry) {
        Some(given) => Err(AgreedError::Other { given: Box::new(given), agreed: Box::new(item.geometry) }),
        None => Ok(item),
    }
}

//! Reading what `provision` published for producers: the roster of agreed accounts and the name map.
//!
//! Reads the head and then its parts, and checks the whole against the head's digest. An edition that is taken away
//! meanwhile is noticed by a missing part, and the new head is read then.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use schemas::attr::Attrs;
use schemas::exit;
use schemas::item::{Directory, DirectoryHead, Edition};

use crate::attrs;
use crate::failure::{Failure, classify};

/// How often a head is read again when its parts are gone: each time somebody has published twice meanwhile.
const ATTEMPTS_MAX: u32 = 5;

/// Why a directory was not read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DirectoryError {
    /// The table cannot be read.
    #[error("{}", failure.told(&format!("table {table} cannot be read")))]
    Call {
        /// The table.
        table: String,
        /// What the service said.
        failure: Failure,
    },
    /// What stands there is not what was published.
    #[error("{sk} in table {table} cannot be used: {reason}; publish it again with `exchange provision`")]
    Unreadable {
        /// The table.
        table: String,
        /// The item.
        sk: String,
        /// What is wrong.
        reason: String,
    },
}

impl DirectoryError {
    /// The exit code of a stage that cannot begin because of this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Call { failure, .. } => failure.exit_code(),
            Self::Unreadable { .. } => exit::USAGE,
        }
    }
}

/// What stands in the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Latest {
    /// Nothing was published.
    Nothing,
    /// The edition that the caller has.
    Same,
    /// Another edition with its bytes.
    New(DirectoryHead, Vec<u8>),
}

/// Reads the head of a directory; none when nothing was published.
///
/// # Errors
/// See [`DirectoryError`].
pub async fn head(
    client: &Client,
    table: &str,
    directory: Directory,
) -> Result<Option<DirectoryHead>, DirectoryError> {
    let (pk, sk) = directory.head_key();
    let Some(item) = item(client, table, (pk, sk.clone())).await? else { return Ok(None) };
    let head = DirectoryHead::from_attrs(&item).map_err(|error| unreadable(table, sk, &error))?;
    Ok(Some(head))
}

/// Reads a directory unless its edition is `known`.
///
/// # Errors
/// See [`DirectoryError`].
pub async fn read(
    client: &Client,
    table: &str,
    directory: Directory,
    known: Option<&Edition>,
) -> Result<Latest, DirectoryError> {
    for _ in 0..ATTEMPTS_MAX {
        let Some(head) = head(client, table, directory).await? else { return Ok(Latest::Nothing) };
        if known == Some(&head.edition) {
            return Ok(Latest::Same);
        }
        let Some(bytes) = parts(client, table, directory, &head.edition).await? else { continue };
        if !head.unbounded && directory.digest(&bytes) != head.edition.digest {
            let error = "its parts do not have the digest that it names";
            return Err(unreadable(table, directory.head_key().1, &error));
        }
        return Ok(Latest::New(head, bytes));
    }
    Err(unreadable(table, directory.head_key().1, &"a part of it is missing"))
}

/// All bytes of an edition; none when a part is missing.
async fn parts(
    client: &Client,
    table: &str,
    directory: Directory,
    edition: &Edition,
) -> Result<Option<Vec<u8>>, DirectoryError> {
    let mut bytes = Vec::new();
    for part in 0..edition.parts {
        let key = directory.part_key(edition, part);
        let Some(item) = item(client, table, key.clone()).await? else { return Ok(None) };
        bytes.extend(Directory::part_bytes(&item).map_err(|error| unreadable(table, key.1, &error))?);
    }
    Ok(Some(bytes))
}

async fn item(
    client: &Client,
    table: &str,
    (pk, sk): (String, String),
) -> Result<Option<Attrs>, DirectoryError> {
    let get = client.get_item().table_name(table).consistent_read(true);
    let get = get.key("PK", AttributeValue::S(pk)).key("SK", AttributeValue::S(sk.clone()));
    let answer = get.send().await;
    let failed = |failure| DirectoryError::Call { table: table.to_owned(), failure };
    let answer = answer.map_err(|error| failed(classify(&error)))?;
    let plain = answer.item().map(attrs::from_sdk).transpose();
    plain.map_err(|error| unreadable(table, sk, &error))
}

fn unreadable(table: &str, sk: String, reason: &dyn std::fmt::Display) -> DirectoryError {
    DirectoryError::Unreadable { table: table.to_owned(), sk, reason: reason.to_string() }
}

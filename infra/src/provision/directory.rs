//! Publishes what producers read: the roster of agreed accounts and the name map.
//!
//! Parts first, then the head on the condition that nobody published meanwhile, then the parts of the edition before the
//! last are removed. A run that ends between these steps leaves parts that no head names, and the next run of the same
//! content uses them.

use aws_sdk_dynamodb::types::AttributeValue;
use runtime::directory;
use runtime::failure::classify;
use schemas::item::{Directory, DirectoryHead, Edition, PART_BYTES_MAX};

use super::services::sentence;
use crate::failure::Failure;
use crate::place::Place;

/// How often a head is tried that another run put first.
const ATTEMPTS_MAX: u32 = 8;

/// What a directory holds.
#[derive(Clone, Copy, Debug)]
pub struct Content<'a> {
    /// How many accounts or names.
    pub entries: usize,
    /// All of them; none when there are more than a directory holds.
    pub bytes: Option<&'a [u8]>,
}

/// Publishes a directory unless it stands already; answers the version that stands.
///
/// # Errors
/// A [`Failure`] when the table cannot be read or written, or others keep publishing.
pub async fn publish(place: &Place, directory: Directory, content: Content<'_>) -> Result<u64, Failure> {
    let bytes = content.bytes.unwrap_or_default();
    let (digest, unbounded) = (directory.digest(bytes), content.bytes.is_none());
    let entries = u64::try_from(content.entries).unwrap_or(u64::MAX);
    for _ in 0..ATTEMPTS_MAX {
        // A head that cannot be read is replaced by hand: to overwrite it could take back what a newer release knows.
        let stands = head(place, directory).await?;
        if let Some(head) = &stands
            && (&head.edition.digest, head.unbounded, head.entries) == (&digest, unbounded, entries)
        {
            return Ok(head.edition.version);
        }
        let version = stands.as_ref().map_or(0, |head| head.edition.version) + 1;
        let parts = u32::try_from(bytes.len().div_ceil(PART_BYTES_MAX)).unwrap_or(u32::MAX);
        let edition = Edition { version, digest: digest.clone(), parts };
        for (part, bytes) in (0..).zip(bytes.chunks(PART_BYTES_MAX)) {
            put(place, directory.part(&edition, part, bytes), None).await?;
        }
        let before = stands.as_ref().map(|head| head.edition.clone());
        let head = DirectoryHead { edition: edition.clone(), entries, unbounded, before };
        let expected = stands.as_ref().map_or(0, |head| head.edition.version);
        if put(place, head.to_attrs(directory), Some(expected)).await? {
            if let Some(gone) = stands.and_then(|head| head.before) {
                remove(place, directory, &gone).await?;
            }
            return Ok(version);
        }
        remove(place, directory, &edition).await?;
    }
    Err(Failure::unavailable("others publish all the time; run provision again"))
}

/// Whether anything was published.
///
/// # Errors
/// A [`Failure`] when the table cannot be read.
pub async fn stands(place: &Place, directory: Directory) -> Result<bool, Failure> {
    Ok(head(place, directory).await?.is_some())
}

async fn head(place: &Place, directory: Directory) -> Result<Option<DirectoryHead>, Failure> {
    let read = directory::head(&place.clients.dynamodb, &place.names.table, directory).await;
    read.map_err(|error| Failure { code: error.exit_code(), sentence: error.to_string() })
}

/// Puts an item; with an expected version only on the head that has it, 0 for none. Whether it was put.
async fn put(place: &Place, attrs: schemas::attr::Attrs, expected: Option<u64>) -> Result<bool, Failure> {
    let table = &place.names.table;
    let put = place.clients.dynamodb.put_item().table_name(table);
    let put = put.set_item(Some(runtime::attrs::to_sdk(attrs)));
    let put = match expected {
        None => put,
        Some(0) => put.condition_expression("attribute_not_exists(PK)"),
        Some(version) => put
            .condition_expression("version = :expected")
            .expression_attribute_values(":expected", AttributeValue::N(version.to_string())),
    };
    match put.send().await.map_err(|error| classify(&error)) {
        Ok(_) => Ok(true),
        Err(failure) if failure.code() == "ConditionalCheckFailedException" => Ok(false),
        Err(failure) => Err(sentence(&format!("table {table} cannot be written"), &failure)),
    }
}

/// Removes the parts of an edition.
async fn remove(place: &Place, directory: Directory, edition: &Edition) -> Result<(), Failure> {
    let table = &place.names.table;
    for part in 0..edition.parts {
        let (pk, sk) = directory.part_key(edition, part);
        let delete = place.clients.dynamodb.delete_item().table_name(table);
        let delete = delete.key("PK", AttributeValue::S(pk)).key("SK", AttributeValue::S(sk));
        let deleted = delete.send().await;
        deleted.map_err(|error| sentence(&format!("table {table} cannot be written"), &classify(&error)))?;
    }
    Ok(())
}

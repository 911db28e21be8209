//! Reads the whole table of aggregates, item by item, with consistent reads.

use std::collections::HashMap;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::AttributeValue;
use schemas::attr::Attrs;

use super::retry;
use crate::provision::sentence;

/// Hands every item to `take`, and answers for each that cannot be one of ours with its key and the reason.
///
/// # Errors
/// A [`crate::failure::Failure`] when the table cannot be read.
pub(crate) async fn scan(
    client: &Client,
    table: &str,
    mut take: impl FnMut(&Attrs),
) -> anyhow::Result<Vec<(String, String)>> {
    let mut foreign = Vec::new();
    let mut from: Option<HashMap<String, AttributeValue>> = None;
    loop {
        let scan = || {
            let call = client.scan().table_name(table).consistent_read(true);
            call.set_exclusive_start_key(from.clone()).send()
        };
        let page = retry::read(scan).await;
        let page = page.map_err(|failure| sentence(&format!("table {table} cannot be read"), &failure))?;
        for item in page.items() {
            match runtime::attrs::from_sdk(item) {
                Ok(attrs) => take(&attrs),
                Err(error) => foreign.push((key(item), error.to_string())),
            }
        }
        from = page.last_evaluated_key().cloned();
        if from.is_none() {
            return Ok(foreign);
        }
    }
}

fn key(item: &HashMap<String, AttributeValue>) -> String {
    let text = |name| item.get(name).and_then(|value| value.as_s().ok()).map_or("", String::as_str);
    format!("{} {}", text("PK"), text("SK"))
}

//! Tags of a stream.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::change;
use super::input::Input;
use crate::local::kinesis::frame::Op;
use crate::local::kinesis::model::{Refusal, refuse};
use crate::local::kinesis::shared::Shared;

/// Tags of one stream (Kinesis API reference, `AddTagsToStream`).
const TAGS_MAX: usize = 50;
/// Characters of a key.
const KEY_CHARS_MAX: usize = 128;
/// Characters of a value.
const VALUE_CHARS_MAX: usize = 256;

fn allowed(text: &str) -> bool {
    text.chars()
        .all(|letter| letter.is_alphanumeric() || letter.is_whitespace() || "_.:/=+-@%".contains(letter))
}

/// Whether these tags may be set, when the stream then has `total` of them.
pub(super) fn check(tags: &BTreeMap<String, String>, total: usize) -> Result<(), Refusal> {
    for (key, value) in tags {
        check_key(key)?;
        if value.chars().count() > VALUE_CHARS_MAX {
            return refuse(
                "ValidationException",
                format!("the value of tag {key} must be at most {VALUE_CHARS_MAX} characters"),
            );
        }
        if !allowed(key) || !allowed(value) || key.starts_with("aws:") {
            return refuse(
                "InvalidArgumentException",
                format!("tag {key} must be letters, digits, spaces and _.:/=+-@% and not begin with aws:"),
            );
        }
    }
    if total > TAGS_MAX {
        return refuse("InvalidArgumentException", format!("a stream has at most {TAGS_MAX} tags"));
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), Refusal> {
    if key.is_empty() || key.chars().count() > KEY_CHARS_MAX {
        return refuse("ValidationException", format!("a tag's key must be 1 to {KEY_CHARS_MAX} characters"));
    }
    Ok(())
}

pub(super) fn add(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let name = input.stream()?;
    let add = input.map("Tags")?.filter(|tags| !tags.is_empty());
    let Some(add) = add else { return refuse("ValidationException", "Tags is missing") };
    let total = {
        let mut engine = shared.engine();
        let tags = &engine.stream(&name, shared.now_ms())?.tags;
        tags.len() + add.keys().filter(|key| !tags.contains_key(*key)).count()
    };
    check(&add, total)?;
    change(shared, &name, Op::Tags { add, remove: Vec::new() })
}

pub(super) fn remove(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let name = input.stream()?;
    let remove = input.list("TagKeys")?.unwrap_or_default();
    if remove.is_empty() || remove.len() > TAGS_MAX {
        return refuse("ValidationException", format!("TagKeys must have 1 to {TAGS_MAX} keys"));
    }
    remove.iter().try_for_each(|key| check_key(key))?;
    change(shared, &name, Op::Tags { add: BTreeMap::new(), remove })
}

pub(super) fn list(shared: &Shared, input: &Input) -> Result<Value, Refusal> {
    let name = input.stream()?;
    let after = input.text("ExclusiveStartTagKey")?.unwrap_or_default();
    let most = input.most("Limit", 1..=50, 50)?;
    let mut engine = shared.engine();
    let tags = &engine.stream(&name, shared.now_ms())?.tags;
    let later = tags.iter().filter(|(key, _)| key.as_str() > after);
    let mut list: Vec<Value> =
        later.take(most + 1).map(|(key, value)| json!({ "Key": key, "Value": value })).collect();
    let more = list.len() > most;
    list.truncate(most);
    Ok(json!({ "Tags": list, "HasMoreTags": more }))
}

//! Between the items of `schemas` and the attribute values of the DynamoDB client.

use std::collections::HashMap;

use aws_sdk_dynamodb::primitives::Blob;
use aws_sdk_dynamodb::types::AttributeValue;
use schemas::attr::{Attr, Attrs};

/// An attribute of a type that no item of ours has (set of numbers, null).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("attribute {name} has a type that no item of this pipeline uses")]
pub struct ForeignType {
    /// The attribute's name, or the last name on the way to it.
    pub name: String,
}

/// An item as the client sends it.
#[must_use]
pub fn to_sdk(attrs: Attrs) -> HashMap<String, AttributeValue> {
    attrs.into_iter().map(|(name, value)| (name, value_to_sdk(value))).collect()
}

/// One value as the client sends it.
#[must_use]
pub fn value_to_sdk(value: Attr) -> AttributeValue {
    match value {
        Attr::S(text) => AttributeValue::S(text),
        Attr::N(number) => AttributeValue::N(number),
        Attr::Bool(truth) => AttributeValue::Bool(truth),
        Attr::M(map) => AttributeValue::M(to_sdk(map)),
        Attr::L(list) => AttributeValue::L(list.into_iter().map(value_to_sdk).collect()),
        Attr::Ss(set) => AttributeValue::Ss(set),
        Attr::B(bytes) => AttributeValue::B(Blob::new(bytes)),
    }
}

/// An item as the client received it.
///
/// # Errors
/// [`ForeignType`] for a type that no item of ours has.
pub fn from_sdk(item: &HashMap<String, AttributeValue>) -> Result<Attrs, ForeignType> {
    item.iter().map(|(name, value)| Ok((name.clone(), value_from_sdk(name, value)?))).collect()
}

fn value_from_sdk(name: &str, value: &AttributeValue) -> Result<Attr, ForeignType> {
    Ok(match value {
        AttributeValue::S(text) => Attr::S(text.clone()),
        AttributeValue::N(number) => Attr::N(number.clone()),
        AttributeValue::Bool(truth) => Attr::Bool(*truth),
        AttributeValue::M(map) => Attr::M(from_sdk(map)?),
        AttributeValue::L(list) => {
            Attr::L(list.iter().map(|value| value_from_sdk(name, value)).collect::<Result<_, _>>()?)
        }
        AttributeValue::Ss(set) => Attr::Ss(set.clone()),
        AttributeValue::B(bytes) => Attr::B(bytes.as_ref().to_vec()),
        _ => return Err(ForeignType { name: name.to_owned() }),
    })
}

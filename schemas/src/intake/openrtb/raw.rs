//! Fields of an object by name, as they are written: which is there, which is there twice, and what type it has.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::intake::Refusal;
use crate::intake::fields::wrong_type;
use crate::intake::json::{Malformed, Value, is_number};
use crate::intake::split;

/// What an object says under one name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// Nothing.
    #[default]
    Absent,
    /// This value, as it is written.
    Once(&'a [u8]),
    /// More than one value.
    Twice,
}

impl<'a> Field<'a> {
    /// The value as it is written; a `null` is none.
    pub(super) fn given(self, name: &str) -> Result<Option<&'a [u8]>, Refusal> {
        match self {
            Self::Absent | Self::Once(b"null") => Ok(None),
            Self::Once(raw) => Ok(Some(raw)),
            Self::Twice => Err(Refusal::new(name, "is given twice; give it once")),
        }
    }

    /// The value; a `null` is none.
    pub(super) fn value(self, name: &str) -> Result<Option<Value<'a>>, Refusal> {
        self.given(name)?.map(|raw| value(name, raw)).transpose()
    }
}

/// What the object says under each of these names; it says nothing else that matters.
pub(super) fn pick<'a, const N: usize>(
    object: &'a [u8],
    names: [&str; N],
) -> Result<[Field<'a>; N], Malformed> {
    let mut found = [Field::Absent; N];
    for member in split::members(object)? {
        let member = member?;
        if let Some(at) = names.iter().position(|name| name.as_bytes() == member.name.as_ref()) {
            found[at] = match found[at] {
                Field::Absent => Field::Once(member.value),
                _ => Field::Twice,
            };
        }
    }
    Ok(found)
}

/// [`pick`] from what should be an object.
pub(super) fn object<'a, const N: usize>(
    name: &str,
    raw: &'a [u8],
    names: [&str; N],
) -> Result<[Field<'a>; N], Refusal> {
    if raw.is_empty() {
        return Err(Refusal::new(name, "is empty; leave the comma out"));
    }
    match value(name, raw)? {
        Value::Object => pick(raw, names).map_err(|Malformed(fact)| Refusal::new(name, fact)),
        other => Err(wrong_type(name, &other, "an object, or leave it out")),
    }
}

/// [`object`] which is JSON from its beginning to its end.
pub(super) fn whole_object<'a, const N: usize>(
    name: &str,
    raw: &'a [u8],
    names: [&str; N],
) -> Result<[Field<'a>; N], Refusal> {
    let text = std::str::from_utf8(raw).map_err(|_| Refusal::new(name, "is not UTF-8"))?;
    let fields = object(name, raw, names)?;
    // Reads past any nesting without a stack.
    serde_json::from_str::<IgnoredAny>(text)
        .map_err(|error| Refusal::new(name, format!("is no JSON: {error}")))?;
    Ok(fields)
}

/// A value by its first byte; of an object or array no more is read.
pub(super) fn value<'a>(name: &str, raw: &'a [u8]) -> Result<Value<'a>, Refusal> {
    let bad = || Refusal::new(name, "is no value of JSON");
    let text = || std::str::from_utf8(raw).map_err(|_| Refusal::new(name, "is not UTF-8"));
    match raw {
        b"null" => Ok(Value::Null),
        b"true" | b"false" => Ok(Value::Truth),
        [b'{', ..] => Ok(Value::Object),
        [b'[', ..] => Ok(Value::Array),
        [b'"', ..] => {
            let text = text()?;
            let plain = serde_json::from_str::<&str>(text).map(Cow::Borrowed);
            let text = plain.or_else(|_| serde_json::from_str::<String>(text).map(Cow::Owned));
            text.map(Value::Text).map_err(|_| Refusal::new(name, "has a bad escape or a control character"))
        }
        raw if is_number(raw) => text().map(Value::Number),
        _ => Err(bad()),
    }
}

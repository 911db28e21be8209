//! What a caller sent, field by field: a wrong type is a `SerializationException`, a bad value a `ValidationException`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::local::kinesis::model::{Refusal, ShardId, refuse};

/// The account all streams belong to.
pub(super) const ACCOUNT: &str = "000000000000";
/// Characters of a stream's or a consumer's name.
const NAME_CHARS_MAX: usize = 128;

/// Parses a body of a known shape.
pub(super) fn parse<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).or_else(|error| refuse("SerializationException", error.to_string()))
}

/// The fields of a request.
#[derive(Debug)]
pub(super) struct Input(Map<String, Value>);

impl Input {
    /// The fields in a body; an empty body has none.
    pub(super) fn parse(body: &[u8]) -> Result<Self, Refusal> {
        if body.is_empty() {
            return Ok(Self(Map::new()));
        }
        parse(body).map(Self)
    }

    /// A field that is given; `null` is not.
    fn given(&self, field: &str) -> Option<&Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    pub(super) fn has(&self, field: &str) -> bool {
        self.given(field).is_some()
    }

    pub(super) fn text(&self, field: &str) -> Result<Option<&str>, Refusal> {
        match self.given(field) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => refuse("SerializationException", format!("{field} must be text")),
        }
    }

    pub(super) fn required(&self, field: &str) -> Result<&str, Refusal> {
        match self.text(field)? {
            Some(text) if !text.is_empty() => Ok(text),
            _ => refuse("ValidationException", format!("{field} is missing")),
        }
    }

    pub(super) fn whole(&self, field: &str, range: RangeInclusive<u64>) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.given(field) else { return Ok(None) };
        if !value.is_number() {
            return refuse("SerializationException", format!("{field} must be a number"));
        }
        match value.as_u64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let (least, most) = (range.start(), range.end());
                refuse("ValidationException", format!("{field} must be {least} to {most} and is {value}"))
            }
        }
    }

    /// How many of something at most, with a default.
    pub(super) fn most(
        &self,
        field: &str,
        range: RangeInclusive<u64>,
        unsaid: u64,
    ) -> Result<usize, Refusal> {
        let most = self.whole(field, range)?.unwrap_or(unsaid);
        Ok(usize::try_from(most).unwrap_or(usize::MAX))
    }

    pub(super) fn flag(&self, field: &str) -> Result<bool, Refusal> {
        match self.given(field) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(*flag),
            Some(_) => refuse("SerializationException", format!("{field} must be true or false")),
        }
    }

    /// The fields of a field.
    pub(super) fn inner(&self, field: &str) -> Result<Option<Input>, Refusal> {
        Self::of(&self.raw(field))
    }

    /// A field as it was sent.
    pub(super) fn raw(&self, field: &str) -> Value {
        self.0.get(field).cloned().unwrap_or_default()
    }

    /// The fields of a value; none when it is `null`.
    pub(super) fn of(value: &Value) -> Result<Option<Self>, Refusal> {
        match value {
            Value::Null => Ok(None),
            Value::Object(fields) => Ok(Some(Self(fields.clone()))),
            _ => refuse("SerializationException", "an object was expected"),
        }
    }

    /// A map of text to text.
    pub(super) fn map(&self, field: &str) -> Result<Option<BTreeMap<String, String>>, Refusal> {
        self.shaped(field, "a map of text to text")
    }

    /// A list of text.
    pub(super) fn list(&self, field: &str) -> Result<Option<Vec<String>>, Refusal> {
        self.shaped(field, "a list of text")
    }

    fn shaped<T: for<'a> Deserialize<'a>>(&self, field: &str, shape: &str) -> Result<Option<T>, Refusal> {
        let Some(value) = self.given(field) else { return Ok(None) };
        match T::deserialize(value) {
            Ok(value) => Ok(Some(value)),
            Err(_) => refuse("SerializationException", format!("{field} must be {shape}")),
        }
    }

    /// Milliseconds from JSON seconds with decimals, read from the digits.
    pub(super) fn time_ms(&self, field: &str) -> Result<Option<u64>, Refusal> {
        let Some(value) = self.given(field) else { return Ok(None) };
        let text = value.to_string();
        let (whole, decimals) = text.split_once('.').unwrap_or((&text, ""));
        // To the nearest: what was three decimals may have come back through a fraction in binary, a little below.
        let tenths: String = decimals.chars().chain("0000".chars()).take(4).collect();
        match (whole.parse::<u64>(), tenths.parse::<u64>()) {
            (Ok(whole), Ok(tenths)) => {
                Ok(Some(whole.saturating_mul(1_000).saturating_add((tenths + 5) / 10)))
            }
            _ => refuse("SerializationException", format!("{field} must be seconds since the epoch")),
        }
    }

    /// The stream's name, from its name or its ARN.
    pub(super) fn stream(&self) -> Result<String, Refusal> {
        stream_name(self.text("StreamName")?, self.text("StreamARN")?)
    }

    pub(super) fn shard(&self, field: &str) -> Result<ShardId, Refusal> {
        self.required(field)?.parse()
    }
}

/// The stream's name, from its name, its ARN, or both when they agree.
pub(super) fn stream_name(name: Option<&str>, arn: Option<&str>) -> Result<String, Refusal> {
    let of_arn = arn.map(stream_of_arn).transpose()?;
    match (name, of_arn) {
        (None, None) => refuse("ValidationException", "StreamName or StreamARN is missing"),
        (Some(name), Some(other)) if name != other => {
            refuse("InvalidArgumentException", format!("StreamName {name} and StreamARN {other} differ"))
        }
        (Some(name), _) => name_of(name, "StreamName"),
        (None, Some(name)) => name_of(name, "StreamARN"),
    }
}

/// The stream in `arn:aws:kinesis:<region>:<account>:stream/<name>`.
pub(super) fn stream_of_arn(arn: &str) -> Result<&str, Refusal> {
    let name = arn.starts_with("arn:").then(|| arn.split_once(":stream/")).flatten();
    match name.map(|(_, name)| name).filter(|name| !name.contains('/')) {
        Some(name) => Ok(name),
        None => refuse("ValidationException", format!("StreamARN {arn} is not the ARN of a stream")),
    }
}

/// A name as streams and consumers have it.
pub(super) fn name_of(name: &str, field: &str) -> Result<String, Refusal> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    if name.is_empty() || name.len() > NAME_CHARS_MAX || !name.bytes().all(good) {
        return refuse(
            "ValidationException",
            format!("{field} must be 1 to {NAME_CHARS_MAX} of a-z, A-Z, 0-9, _ . -"),
        );
    }
    Ok(name.to_owned())
}

pub(super) fn stream_arn(name: &str) -> String {
    format!("arn:aws:kinesis:us-east-1:{ACCOUNT}:stream/{name}")
}

/// A hash key: 128 bits in decimal, without a leading zero.
pub(super) fn hash_key(text: &str, field: &str) -> Result<u128, Refusal> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit()) && (1..=39).contains(&text.len());
    if !digits || (text.starts_with('0') && text != "0") {
        return refuse(
            "ValidationException",
            format!("{field} must be a decimal number of at most 39 digits"),
        );
    }
    text.parse()
        .or_else(|_| refuse("InvalidArgumentException", format!("{field} must be below 2^128 and is {text}")))
}

#[cfg(test)]
mod tests {
    use aws_sdk_kinesis::primitives::{DateTime, DateTimeFormat};

    use super::*;
    use crate::local::kinesis::api::number::seconds;

    /// A client reads it as a fraction in binary and cuts that to nanoseconds.
    #[test]
    fn a_time_that_a_client_sends_back_is_the_one_it_was_given() {
        for ms in (0..100_000).map(|number| 1_732_500_000_000 + number * 7_919) {
            let read = DateTime::from_secs_f64(seconds(ms).as_f64().unwrap());
            let sent = read.fmt(DateTimeFormat::EpochSeconds).unwrap();
            let input = Input::parse(format!("{{\"At\":{sent}}}").as_bytes()).unwrap();
            assert_eq!(input.time_ms("At").unwrap(), Some(ms), "{sent}");
        }
    }
}

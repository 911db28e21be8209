//! Numbers and times as the service writes them.

use crate::local::kinesis::model::{Refusal, ShardId, Stream, refuse};

/// Digits of a sequence number.
const DIGITS: usize = 56;
/// What every one begins with, so that none has a leading zero.
const PREFIX: &str = "49";
/// Digits of a record's own number: 64 bits.
const OWN: usize = 20;
/// Digits of the time at which the stream was made, at the end.
const MADE: usize = 20;

/// Writes a number into the end of a field of zeros.
fn write_digits(number: u64, field: &mut [u8]) {
    let mut rest = number;
    for digit in field.iter_mut().rev() {
        *digit = b'0' + u8::try_from(rest % 10).unwrap_or(0);
        rest /= 10;
    }
}

/// Writes a shard's name as its `Display` does, which is called once per record and so must not ask for memory.
pub(super) fn write_shard(shard: ShardId, out: &mut Vec<u8>) {
    let mut text = *b"shardId-000000000000";
    write_digits(u64::from(shard.0), &mut text["shardId-".len()..]);
    out.extend_from_slice(&text);
}

/// Writes a sequence number: 56 digits, of which the own number makes the order and the last say when its stream was
/// made, so that no two streams ever give the same one, not even under one name.
pub(super) fn write_sequence(number: u64, made_ms: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; DIGITS];
    digits[..PREFIX.len()].copy_from_slice(PREFIX.as_bytes());
    write_digits(number, &mut digits[PREFIX.len()..PREFIX.len() + OWN]);
    write_digits(made_ms, &mut digits[DIGITS - MADE..]);
    out.extend_from_slice(&digits);
}

pub(crate) fn sequence(number: u64, made_ms: u64) -> String {
    let mut out = Vec::with_capacity(DIGITS);
    write_sequence(number, made_ms, &mut out);
    String::from_utf8(out).unwrap_or_default()
}

/// A sequence number as it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Number {
    own: u64,
    made_ms: u64,
}

impl Number {
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        let digits = text.strip_prefix(PREFIX).filter(|_| text.len() == DIGITS);
        let digits = digits.filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        let parts = digits.map(|digits| (digits[..OWN].parse(), digits[digits.len() - MADE..].parse()));
        match parts {
            Some((Ok(own), Ok(made_ms))) => Ok(Self { own, made_ms }),
            _ => refuse("InvalidArgumentException", format!("{text} is not a sequence number")),
        }
    }

    /// The own number, when this stream gave it.
    pub(super) fn of(self, stream: &Stream) -> Result<u64, Refusal> {
        if self.made_ms == stream.created_ms {
            return Ok(self.own);
        }
        refuse("InvalidArgumentException", "the sequence number is not one that this stream gave")
    }
}

/// Writes seconds with three decimals.
pub(super) fn write_seconds(ms: u64, out: &mut Vec<u8>) {
    let text = [ms / 100 % 10, ms / 10 % 10, ms % 10].map(|digit| b'0' + u8::try_from(digit).unwrap_or(0));
    out.extend_from_slice((ms / 1_000).to_string().as_bytes());
    out.push(b'.');
    out.extend_from_slice(&text);
}

/// Seconds with three decimals as a JSON number.
pub(super) fn seconds(ms: u64) -> serde_json::Value {
    let mut text = Vec::new();
    write_seconds(ms, &mut text);
    serde_json::from_slice(&text).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_numbers_have_56_digits_keep_their_order_and_read_back() {
        let stream = Stream::new(1, 1_732_500_000_007);
        let texts = [0, 1, 9, 10, 1_000_000, u64::MAX].map(|own| sequence(own, stream.created_ms));
        assert!(texts.iter().all(|text| text.len() == 56 && !text.starts_with('0')));
        assert!(texts.is_sorted());
        let own = texts.clone().map(|text| Number::parse(&text).unwrap().of(&stream).unwrap());
        assert_eq!(own, [0, 1, 9, 10, 1_000_000, u64::MAX]);
        let again = Stream::new(1, stream.created_ms + 1);
        assert!(
            texts.iter().all(|text| Number::parse(text).unwrap().of(&again).is_err()),
            "of another stream"
        );
    }

    #[test]
    fn a_shard_is_written_as_it_is_displayed() {
        for shard in [0, 7, 4_000_000_000].map(ShardId) {
            let mut out = Vec::new();
            write_shard(shard, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), shard.to_string());
        }
    }

    #[test]
    fn what_is_no_sequence_number_is_refused_and_nothing_panics() {
        let beyond = format!("49{}{}", "9".repeat(20), "0".repeat(34));
        for text in
            ["", "49", "é", &"é".repeat(28), &"x".repeat(56), &format!("49+{}", "0".repeat(53)), &beyond]
        {
            assert!(Number::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_keep_their_milliseconds() {
        assert_eq!(seconds(1_732_500_000_007).to_string(), "1732500000.007");
    }
}

//! The few rules of the protobuf wire format that an aggregate needs, walked over borrowed bytes.
//!
//! Source: protobuf.dev, "Encoding". Never allocates; every length is held against what is left of the input.
//! Unknown fields are passed over, whatever their type.

/// Nesting of unknown groups that is followed; deeper input does not parse.
const GROUP_DEPTH_MAX: u32 = 16;

/// One field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// Wire type 0.
    Varint(u64, u64),
    /// Wire type 2.
    Bytes(u64, &'a [u8]),
    /// Any other wire type; already passed over.
    Other,
}

/// The input does not parse as a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// A message's fields in their order.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The next field, nothing at the end.
    #[inline]
    pub(super) fn poll(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        match wire_type {
            0 => Ok(Some(Field::Varint(number, self.varint()?))),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                Ok(Some(Field::Bytes(number, self.take(length)?)))
            }
            _ => self.skip(number, wire_type, GROUP_DEPTH_MAX).map(|()| Some(Field::Other)),
        }
    }

    fn tag(&mut self) -> Result<(u64, u64), Malformed> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || tag > u64::from(u32::MAX) { Err(Malformed) } else { Ok((number, tag & 7)) }
    }

    fn skip(&mut self, number: u64, wire_type: u64, depth: u32) -> Result<(), Malformed> {
        match wire_type {
            0 => self.varint().map(drop),
            1 => self.take(8).map(drop),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
                self.take(length).map(drop)
            }
            3 if depth > 0 => loop {
                match self.tag()? {
                    (end, 4) if end == number => return Ok(()),
                    (inner, inner_type) => self.skip(inner, inner_type, depth - 1)?,
                }
            },
            5 => self.take(4).map(drop),
            _ => Err(Malformed),
        }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    /// Most are of one byte: numbers of fields, lengths, places in tables.
    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        match self.0 {
            [byte @ ..0x80, rest @ ..] => {
                self.0 = rest;
                Ok(u64::from(*byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0;
        for (position, &byte) in self.0.iter().take(10).enumerate() {
            let bits = u64::from(byte & 0x7F);
            if position == 9 && bits > 1 {
                return Err(Malformed);
            }
            value |= bits << (7 * position);
            if byte < 0x80 {
                self.0 = &self.0[position + 1..];
                return Ok(value);
            }
        }
        Err(Malformed)
    }
}

/// Appends an integer in base 128.
pub(super) fn put_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7F).expect("seven bits") | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).expect("below 128"));
}

/// Appends a field of wire type 0; field numbers below 16.
pub(super) fn put_number(field: u8, value: u64, out: &mut Vec<u8>) {
    out.push(field << 3);
    put_varint(value, out);
}

/// Appends a field of wire type 2; field numbers below 16.
pub(super) fn put_bytes(field: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(field << 3 | 2);
    put_varint(u64::try_from(bytes.len()).expect("memory is below 2^64"), out);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_fields_of_every_wire_type_are_passed_over() {
        // varint, 64 bit, 32 bit, group 1 { varint; group 2 {} }, then field 3 = "x"
        let message =
            [8, 150, 1, 9, 1, 2, 3, 4, 5, 6, 7, 8, 13, 1, 2, 3, 4, 11, 8, 1, 19, 20, 12, 26, 1, b'x'];
        let mut fields = Fields::new(&message);
        let mut seen = Vec::new();
        while let Some(field) = fields.poll().unwrap() {
            seen.push(field);
        }
        assert_eq!(
            seen,
            [Field::Varint(1, 150), Field::Other, Field::Other, Field::Other, Field::Bytes(3, b"x")]
        );
    }

    #[test]
    fn what_runs_past_the_end_does_not_parse() {
        let endless = [[11_u8; 40].as_slice(), &[12; 40]].concat();
        let bad: [&[u8]; 8] = [
            &[8],
            &[8, 0x80],
            &[26, 5, 1],
            &[0, 0],
            &[11],
            &[12],
            &endless,
            &[26, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        ];
        for message in bad {
            assert_eq!(Fields::new(message).poll(), Err(Malformed), "{message:?}");
        }
    }
}

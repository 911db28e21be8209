//! Splits an array or an object into its parts without reading them, so that what is wrong within one part is that
//! part's own refusal.
//!
//! Only brackets, braces, commas and texts are understood here. Never recurses and never allocates, however deep the
//! nesting and however many the parts.

use std::borrow::Cow;

use super::json::{Malformed, quoted_length};

/// What stands between the commas of an array or an object, as it is written; blanks around it do not matter.
pub(super) struct Parts<'a> {
    inner: &'a [u8],
    /// Where the next part begins; nothing after the last.
    at: Option<usize>,
}

/// The elements of an array.
pub(super) fn elements(array: &[u8]) -> Result<Parts<'_>, Malformed> {
    parts(array, [b"[", b"]"]).ok_or(Malformed("is no array from [ to ]"))
}

/// The members of an object.
pub(super) fn members(
    object: &[u8],
) -> Result<impl Iterator<Item = Result<Member<'_>, Malformed>>, Malformed> {
    let parts = parts(object, [b"{", b"}"]).ok_or(Malformed("is no object from { to }"))?;
    Ok(parts.map(|part| member(part?)))
}

/// One field of an object, as it is written.
pub(super) struct Member<'a> {
    /// The name without its quotes and escapes.
    pub(super) name: Cow<'a, [u8]>,
    pub(super) value: &'a [u8],
}

fn parts<'a>(text: &'a [u8], [open, close]: [&[u8]; 2]) -> Option<Parts<'a>> {
    let inner = text.trim_ascii().strip_prefix(open)?.strip_suffix(close)?;
    Some(Parts { inner, at: (!inner.trim_ascii().is_empty()).then_some(0) })
}

fn member(part: &[u8]) -> Result<Member<'_>, Malformed> {
    let quoted = part.strip_prefix(b"\"").ok_or(Malformed("has a field name without quotes"))?;
    let length = quoted_length(quoted).ok_or(Malformed("ends within a text"))?;
    let value = quoted[length..].trim_ascii_start().strip_prefix(b":");
    let value = value.ok_or(Malformed("lacks a colon after a field name"))?.trim_ascii();
    if !is_one(value) {
        return Err(Malformed("lacks a comma between fields"));
    }
    let mut name = Cow::Borrowed(&quoted[..length - 1]);
    if name.contains(&b'\\') {
        let text = serde_json::from_slice::<String>(&part[..=length]);
        name = Cow::Owned(text.map_err(|_| Malformed("has a bad escape in a field name"))?.into_bytes());
    }
    Ok(Member { name, value })
}

/// Whether nothing but one value stands there, so that no field is swallowed by the one before it.
fn is_one(value: &[u8]) -> bool {
    match value {
        [] => false,
        [b'"', rest @ ..] => quoted_length(rest) == Some(rest.len()),
        [b'{' | b'[', rest @ ..] => closing(rest) == Some(rest.len()),
        word => word.iter().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(b)),
    }
}

/// Bytes up to and including the bracket that closes one opened before.
pub(super) fn closing(rest: &[u8]) -> Option<usize> {
    let (mut depth, mut at) = (1_u32, 0);
    while depth > 0 {
        match rest.get(at)? {
            b'"' => at += quoted_length(&rest[at + 1..])?,
            b'{' | b'[' => depth = depth.checked_add(1)?,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        at += 1;
    }
    Some(at)
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<&'a [u8], Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at.take()?;
        match part_end(self.inner, start) {
            Ok(end) => {
                self.at = (end < self.inner.len()).then_some(end + 1);
                Some(Ok(self.inner[start..end].trim_ascii()))
            }
            Err(malformed) => Some(Err(malformed)),
        }
    }
}

/// Where the part that begins at `start` ends: at a comma outside of all brackets, or with the text.
fn part_end(text: &[u8], start: usize) -> Result<usize, Malformed> {
    let (mut depth, mut at) = (0_u32, start);
    while let Some(&byte) = text.get(at) {
        match byte {
            b'"' => at += quoted_length(&text[at + 1..]).ok_or(Malformed("ends within a text"))?,
            b'{' | b'[' => depth = depth.checked_add(1).ok_or(Malformed("is nested too deep"))?,
            b'}' | b']' => depth = depth.checked_sub(1).ok_or(Malformed("closes what was never opened"))?,
            b',' if depth == 0 => return Ok(at),
            _ => {}
        }
        at += 1;
    }
    if depth == 0 { Ok(at) } else { Err(Malformed("opens what is never closed")) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn all(array: &[u8]) -> Result<Vec<&[u8]>, Malformed> {
        elements(array)?.collect()
    }

    #[test]
    fn members_are_names_and_values_as_they_are_written() {
        let text = br#" { "a" : [1,{"b":2}] ,"c\"d":"},", "":null } "#;
        let pair = |member: Result<Member<'_>, Malformed>| {
            let Member { name, value } = member.unwrap();
            [name.as_ref(), value].map(|text| String::from_utf8(text.to_vec()).unwrap())
        };
        let found: Vec<[String; 2]> = members(text).unwrap().map(pair).collect();
        let expected = [["a", r#"[1,{"b":2}]"#], [r#"c"d"#, r#""},""#], ["", "null"]];
        assert_eq!(found, expected);
        assert_eq!(members(b"{}").unwrap().count(), 0);
        for bad in ["", "[]", "{", "null"] {
            assert!(members(bad.as_bytes()).is_err(), "{bad}");
        }
        for bad in [
            "{a:1}",
            "{\"a\" 1}",
            "{\"a\":1,}",
            "{\"a:1}",
            "{\"a\":[}",
            "{\"a\":]}",
            "{\"\\x\":1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":\"1\" \"b\":2}",
            "{\"a\":[] \"b\":[]}",
            "{\"a\":}",
        ] {
            assert!(members(bad.as_bytes()).unwrap().any(|member| member.is_err()), "{bad}");
        }
    }

    #[test]
    fn a_million_brackets_take_no_stack() {
        let deep = format!("[{}{},1]", "[".repeat(1_000_000), "]".repeat(1_000_000));
        assert_eq!(all(deep.as_bytes()).unwrap().len(), 2);
        assert_eq!(
            all(format!("[{}]", "[".repeat(1_000_000)).as_bytes()),
            Err(Malformed("opens what is never closed"))
        );
        assert_eq!(elements(format!("[{}]", ",".repeat(1_000_000)).as_bytes()).unwrap().take(3).count(), 3);
    }

    proptest! {
        #[test]
        fn the_elements_of_an_array_are_those_that_a_json_reader_finds(
            values in proptest::collection::vec("[1-9][0-9]{0,3}|\"[a-z,\\[\\]{}]{0,6}\"|\\[1,\\{\"a\":\\[\\]\\}\\]", 0..6),
            blank in "[ \t\r\n]{0,3}",
        ) {
            let text = format!("{blank}[{blank}{}{blank}]{blank}", values.join(&format!("{blank},{blank}")));
            let expected: Vec<serde_json::Value> = serde_json::from_str(&text).unwrap();
            let found = all(text.as_bytes()).unwrap();
            let found: Vec<serde_json::Value> = found.iter().map(|part| serde_json::from_slice(part).unwrap()).collect();
            prop_assert_eq!(found, expected);
        }
    }
}

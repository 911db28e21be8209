//! The bearer token: from a file or the environment, never from the command line, where every user of the machine
//! could read it.

use std::fmt;
use std::path::Path;

use hyper::header::{AUTHORIZATION, HeaderMap};
use subtle::ConstantTimeEq;

use crate::error::Error;

/// The variable that holds the token.
pub(super) const VARIABLE: &str = "PRODUCER_TOKEN";
/// A shorter token can be guessed.
const BYTES_MIN: usize = 16;

/// What callers must give. Never shown.
#[derive(Clone)]
pub(super) struct Token(Vec<u8>);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The token of the file, else of the environment, if there is one.
    pub(super) fn configured(file: Option<&Path>) -> Result<Option<Self>, Error> {
        match (file, std::env::var_os(VARIABLE)) {
            (Some(path), _) => {
                let text = std::fs::read(path).map_err(|source| {
                    Error::io(format!("token file {} cannot be read", path.display()), source)
                })?;
                Self::new(&text, &format!("the token in {}", path.display())).map(Some)
            }
            (None, Some(text)) => {
                Self::new(text.as_encoded_bytes(), &format!("the token in {VARIABLE}")).map(Some)
            }
            (None, None) => Ok(None),
        }
    }

    fn new(text: &[u8], which: &str) -> Result<Self, Error> {
        let text = text.trim_ascii();
        if text.len() < BYTES_MIN || !text.iter().all(u8::is_ascii_graphic) {
            return Err(Error::Usage {
                message: format!("{which} must be at least {BYTES_MIN} visible ASCII characters on one line"),
            });
        }
        Ok(Self(text.to_vec()))
    }

    /// Whether the request carries this token. Takes as long for a wrong one as for the right one of its length.
    pub(super) fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let given = given.and_then(|value| value.split_at_checked(7));
        given.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(token.ct_eq(&self.0))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_in_the_right_scheme_is_taken() {
        let token = Token::new(b"0123456789abcdef\n", "it").unwrap();
        let holds =
            |value: &str| token.is_in(&HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())]));
        assert!(holds("Bearer 0123456789abcdef") && holds("bearer 0123456789abcdef"));
        for bad in
            ["Bearer 0123456789abcde", "Bearer 0123456789abcdef0", "Basic 0123456789abcdef", "", "Bearer "]
        {
            assert!(!holds(bad), "{bad}");
        }
        assert!(!token.is_in(&HeaderMap::new()));
        assert!(Token::new(b"short", "it").is_err() && Token::new(b"0123456789 abcdef", "it").is_err());
        assert_eq!(format!("{token:?}"), "Token");
    }
}

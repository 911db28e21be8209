//! The bearer token of a listener (RFC 6750): what it must look like, and whether a request carries it.

use std::fmt;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, WWW_AUTHENTICATE};
use subtle::ConstantTimeEq;

/// A shorter token can be guessed.
const BYTES_MIN: usize = 16;

/// What a 401 carries: the scheme in which a token is wanted (RFC 9110, section 11.6.1).
pub const CHALLENGE: (HeaderName, HeaderValue) = (WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));

/// What a 401 says.
pub const WANTED: &str = "the bearer token is missing or wrong; send Authorization: Bearer TOKEN";

/// What callers must give. Never shown.
#[derive(Clone)]
pub struct Token(Vec<u8>);

/// A token that cannot be used; says where it stands.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0} must be at least 16 visible ASCII characters on one line")]
pub struct TokenError(String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// The token in a text, less the space around it. `which` names it for a person, as in `the token in METRICS_TOKEN`.
    ///
    /// # Errors
    /// When it is too short, or no header can carry it.
    pub fn new(text: &[u8], which: &str) -> Result<Self, TokenError> {
        let text = text.trim_ascii();
        if text.len() < BYTES_MIN || !text.iter().all(u8::is_ascii_graphic) {
            return Err(TokenError(which.to_owned()));
        }
        Ok(Self(text.to_vec()))
    }

    /// Whether a request carries this token; the scheme may be in any case. Takes as long for a wrong token as for the
    /// right one of its length.
    #[must_use]
    pub fn is_in(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let given = given.and_then(|value| value.split_at_checked(7));
        given.is_some_and(|(scheme, token)| {
            scheme.eq_ignore_ascii_case(b"bearer ") && bool::from(token.trim_ascii().ct_eq(&self.0))
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
        for good in ["Bearer", "bearer", "BEARER", "Bearer  "] {
            assert!(holds(&format!("{good} 0123456789abcdef")), "{good}");
        }
        for bad in [
            "Bearer 0123456789abcde",
            "Bearer 0123456789abcdef0",
            "Bearer0123456789abcdef",
            "Basic 0123456789abcdef",
            "",
            "Bearer ",
        ] {
            assert!(!holds(bad), "{bad}");
        }
        assert!(!token.is_in(&HeaderMap::new()));
        let short = Token::new(b"short", "the token in METRICS_TOKEN").unwrap_err().to_string();
        assert!(short.starts_with("the token in METRICS_TOKEN must be at least 16"), "{short}");
        assert!(Token::new(b"0123456789 abcdef", "it").is_err());
        assert_eq!(format!("{token:?}"), "Token");
    }
}

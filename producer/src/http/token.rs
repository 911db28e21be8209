//! Where the bearer token stands: in a file or the environment, never on the command line, where every user of the machine
//! could read it.

use std::path::Path;

use runtime::bearer::Token;

use crate::error::Error;

/// The variable that holds the token.
pub(super) const VARIABLE: &str = "PRODUCER_TOKEN";

/// The token of the file, else of the environment, if there is one.
pub(super) fn configured(file: Option<&Path>) -> Result<Option<Token>, Error> {
    let (text, which) = match (file, std::env::var_os(VARIABLE)) {
        (Some(path), _) => {
            let text = std::fs::read(path).map_err(|source| {
                Error::io(format!("token file {} cannot be read", path.display()), source)
            })?;
            (text, format!("the token in {}", path.display()))
        }
        (None, Some(text)) => (text.into_encoded_bytes(), format!("the token in {VARIABLE}")),
        (None, None) => return Ok(None),
    };
    let token = Token::new(&text, &which);
    token.map(Some).map_err(|error| Error::Usage { message: error.to_string() })
}

//! Files of `ip xfrm` text.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use espwire_ipsec::xfrm::{self, Database};

/// A file that SAs can't be read from. Its message names the file, and the line and column where there are some.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XfrmFileError {
    #[error("{path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("{path}: not UTF-8 text from octet {at} on")]
    NotText { path: String, at: usize },
    #[error(transparent)]
    Text(#[from] xfrm::Error),
}

/// Reads the states and policies in `path`.
pub(crate) fn read(path: &Path) -> Result<Database, XfrmFileError> {
    let name = path.display().to_string();
    let mut octets = Vec::new();
    // One octet more than the parser takes: it says that there are too many.
    let limit = xfrm::MAX_LEN as u64 + 1;
    File::open(path)
        .and_then(|file| file.take(limit).read_to_end(&mut octets))
        .map_err(|source| XfrmFileError::Read { path: name.clone(), source })?;
    match String::from_utf8(octets) {
        Ok(text) => {
            // The text holds keys.
            let text = zeroize::Zeroizing::new(text);
            Ok(xfrm::parse(&name, &text)?)
        }
        Err(error) => Err(XfrmFileError::NotText { path: name, at: error.utf8_error().valid_up_to() }),
    }
}

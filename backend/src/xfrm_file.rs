//! Files of `ip xfrm` text.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use espwire_ipsec::xfrm::{self, Database};
use zeroize::Zeroizing;

/// A file that SAs can't be read from. Its message names the file, and the line and column where there are some.
#[derive(Debug, thiserror::Error)]
pub(crate) enum XfrmFileError {
    #[error("{path}: {source}")]
    Read { path: String, source: io::Error },
    #[error("{path}:{line}:{column}: not UTF-8 text from here on")]
    NotText { path: String, line: usize, column: usize },
    #[error(transparent)]
    Text(#[from] xfrm::Error),
}

/// Reads the states and policies in `path`.
pub(crate) fn read(path: &Path) -> Result<Database, XfrmFileError> {
    let name = path.display().to_string();
    // It holds keys.
    let mut octets = Zeroizing::new(Vec::new());
    // One octet more than the parser takes: it says that there are too many.
    let limit = xfrm::MAX_LEN as u64 + 1;
    File::open(path)
        .and_then(|file| {
            // Room for all of it at once: what a growing buffer leaves behind is not wiped.
            octets.reserve(file.metadata()?.len().min(limit) as usize + 1);
            file.take(limit).read_to_end(&mut octets)
        })
        .map_err(|source| XfrmFileError::Read { path: name.clone(), source })?;
    match std::str::from_utf8(&octets) {
        Ok(text) => Ok(xfrm::parse(&name, text)?),
        Err(error) => {
            let text = String::from_utf8_lossy(&octets[..error.valid_up_to()]);
            let (line, column) = text.lines().enumerate().last().map_or((1, 1), |(at, last)| {
                if text.ends_with('\n') { (at + 2, 1) } else { (at + 1, last.chars().count() + 1) }
            });
            Err(XfrmFileError::NotText { path: name, line, column })
        }
    }
}

//! Files of `ip xfrm` text.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
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
    XfrmText::of_file(path)?.parse()
}

/// A file's text, with the keys in it.
pub(crate) struct XfrmText {
    name: String,
    octets: Zeroizing<Vec<u8>>,
}

impl XfrmText {
    /// That of a file.
    pub(crate) fn of_file(path: &Path) -> Result<Self, XfrmFileError> {
        let name = path.display().to_string();
        let octets = File::open(path).and_then(|file| {
            // Room for all of it at once.
            let room = file.metadata()?.len();
            read_all(file, room)
        });
        Self::named(name, octets)
    }

    /// That of standard input, called `-`.
    pub(crate) fn of_stdin() -> Result<Self, XfrmFileError> {
        // Past std's buffer, which would keep a copy of the keys.
        let octets = io::stdin().as_fd().try_clone_to_owned().map(File::from);
        Self::named("-".to_owned(), octets.and_then(|file| read_all(file, 0)))
    }

    fn named(name: String, octets: io::Result<Zeroizing<Vec<u8>>>) -> Result<Self, XfrmFileError> {
        match octets {
            Ok(octets) => Ok(Self { name, octets }),
            Err(source) => Err(XfrmFileError::Read { path: name, source }),
        }
    }

    /// Whether it begins with a state or policy as `ip xfrm` prints it: such text has the newest first.
    pub(crate) fn is_printed(&self) -> bool {
        let mut lines = self.octets.split(|octet| *octet == b'\n').map(<[u8]>::trim_ascii_start);
        let first = lines.find(|line| !line.is_empty() && !line.starts_with(b"#"));
        first.is_some_and(|line| line.starts_with(b"src "))
    }

    /// What it leaves behind.
    pub(crate) fn parse(&self) -> Result<Database, XfrmFileError> {
        match std::str::from_utf8(&self.octets) {
            Ok(text) => Ok(xfrm::parse(&self.name, text)?),
            Err(error) => {
                let text = String::from_utf8_lossy(&self.octets[..error.valid_up_to()]);
                let (line, column) = text.lines().enumerate().last().map_or((1, 1), |(at, last)| {
                    if text.ends_with('\n') { (at + 2, 1) } else { (at + 1, last.chars().count() + 1) }
                });
                Err(XfrmFileError::NotText { path: self.name.clone(), line, column })
            }
        }
    }
}

/// Reads to the end, but not more than one octet beyond what the parser takes: it says that there are too many. `room`
/// is how many there may be. What a growing buffer leaves behind is wiped.
fn read_all(mut file: File, room: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    const LIMIT: usize = xfrm::MAX_LEN + 1;
    const LEAST_ROOM: usize = 1 << 16;
    let room = usize::try_from(room).unwrap_or(LIMIT).saturating_add(1);
    let mut octets = Zeroizing::new(vec![0; room.clamp(LEAST_ROOM, LIMIT)]);
    let mut len = 0;
    loop {
        match file.read(&mut octets[len..]) {
            Ok(0) => {
                octets.truncate(len);
                return Ok(octets);
            }
            Ok(count) => len += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
        // Full with `LIMIT`, the next read has no room and ends it.
        if len == octets.len() && len < LIMIT {
            let mut larger = Zeroizing::new(vec![0; (2 * len).min(LIMIT)]);
            larger[..len].copy_from_slice(&octets);
            octets = larger;
        }
    }
}

//! What can go wrong, one variant per thing that a caller can act on.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Shorthand for a result with this crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Every failure of this crate; each variant carries what failed.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// The system could not open, read or write the file.
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// An argument is out of range; the text names it, its value and what is allowed.
    Argument(String),
    /// The file can't be decoded.
    Media {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

impl Error {
    /// An [`Error::Media`] about `path`.
    pub fn media(path: &Path, reason: impl Into<String>) -> Self {
        Self::Media {
            path: path.to_owned(),
            reason: reason.into(),
        }
    }

    /// An [`Error::Io`] about `path`.
    #[must_use]
    pub fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            source,
        }
    }
}

impl Error {
    /// The same with the file named in front, where the text is about an argument.
    pub(crate) fn about(self, path: &Path) -> Self {
        match self {
            Self::Argument(text) => Self::Argument(format!("{}: {text}", path.display())),
            other => other,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io { path, source } => write!(f, "{}: {source}", path.display()),
            Self::Argument(text) => f.write_str(text),
            Self::Media { path, reason } => write!(f, "{}: {reason}", path.display()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}

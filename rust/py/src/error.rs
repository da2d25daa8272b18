//! Maps the core's errors to Python's, once.

use fastvd_core::Error;
use pyo3::exceptions::{PyOSError, PyValueError};
use pyo3::prelude::*;

pyo3::import_exception!(fastvd.errors, MediaError);

/// Bridge between [`Error`] and [`PyErr`], both foreign to this crate.
pub struct PyError(PyErr);

impl From<Error> for PyError {
    fn from(error: Error) -> Self {
        let text = error.to_string();
        Self(match error {
            // OSError(errno, text, file) picks FileNotFoundError and its kin by errno
            Error::Io { path, source } => match source.raw_os_error() {
                Some(errno) => {
                    let reason = source.to_string();
                    PyOSError::new_err((errno, reason, path))
                }
                None => PyOSError::new_err(text),
            },
            Error::Argument(_) => PyValueError::new_err(text),
            _ => MediaError::new_err(text),
        })
    }
}

impl From<PyErr> for PyError {
    fn from(error: PyErr) -> Self {
        Self(error)
    }
}

impl From<PyError> for PyErr {
    fn from(error: PyError) -> Self {
        error.0
    }
}

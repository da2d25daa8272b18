//! Maps the core's errors to Python's, once.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use fastvd_core::Error;
use pyo3::exceptions::{PyOSError, PyRuntimeError, PyValueError};
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

/// Does `work` without the interpreter's lock. A panic in it, which is a bug of ours, ends this call
/// in a `RuntimeError`; pyo3's own exception for it would pass by `except Exception`.
pub fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> Result<T, Error> + Send,
) -> Result<T, PyError> {
    let done = py.detach(|| catch_unwind(AssertUnwindSafe(work)));
    let result = done.map_err(|panic| {
        let text = format!("a bug in fastvd: {}", words_of(panic.as_ref()));
        PyError(PyRuntimeError::new_err(text))
    })?;
    Ok(result?)
}

fn words_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("it panicked")
}

/// Panics, as a bug would: for the test that this is an exception, not a dead process.
#[pyfunction]
pub fn force_panic(py: Python<'_>) -> Result<(), PyError> {
    detached(py, || panic!("a panic was asked for"))
}

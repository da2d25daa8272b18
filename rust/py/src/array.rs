//! Clips to and from NumPy.

use fastvd_core::clip::Clip;
use numpy::{IntoPyArray, PyArray4, PyArrayMethods};
use pyo3::prelude::*;

/// The clip as an array, without a copy.
pub fn to_array(py: Python<'_>, clip: Clip) -> PyResult<Bound<'_, PyArray4<u8>>> {
    clip.pixels.into_pyarray(py).reshape(clip.shape)
}

//! Clips to and from NumPy.

use fastvd_core::clip::Clip;
use fastvd_core::pixels::Pixels;
use numpy::PyArray4;
use numpy::ndarray::ArrayViewMut4;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// What keeps the pixels of an array: with the last view of it they go back to where they came from.
#[pyclass(frozen)]
struct Owner {
    // never read: the array points into it
    _pixels: Pixels,
}

/// The clip as an array, without a copy.
pub fn to_array(py: Python<'_>, clip: Clip) -> PyResult<Bound<'_, PyArray4<u8>>> {
    let Clip { mut pixels, shape } = clip;
    let start = pixels.as_mut_ptr();
    if pixels.len() != shape.iter().product::<usize>() {
        return Err(PyValueError::new_err(
            "a clip has other bytes than its shape",
        ));
    }
    let owner = Bound::new(py, Owner { _pixels: pixels })?;
    // SAFETY: the pixels are as many as the shape says and stay where they are, on the heap, for as
    // long as their owner lives, which is the base of the array; nobody else has a view of them
    unsafe {
        let view = ArrayViewMut4::from_shape_ptr(shape, start);
        Ok(PyArray4::borrow_from_array(&view, owner.into_any()))
    }
}

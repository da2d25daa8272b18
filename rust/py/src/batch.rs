//! Batches of decoded clips, and files as arrays.

#![allow(clippy::needless_pass_by_value, reason = "pyo3 hands over values")]

use std::path::PathBuf;

use fastvd_core::batch::{Brain, Clips, Half, Single};
use fastvd_core::{Error, map, order};
use numpy::ndarray::ArrayView1;
use numpy::{
    IntoPyArray, PyArray1, PyArray5, PyArrayMethods, PyReadonlyArray1, PyReadonlyArray2,
    PyReadonlyArray4, PyUntypedArrayMethods,
};
use pyo3::prelude::*;

use crate::error::PyError;

/// Holds what is mapped for as long as an array shows it.
#[pyclass(frozen)]
struct Mapped(memmap2::Mmap);

/// A part of a file as read-only uint8 [length].
#[pyfunction]
pub fn map_file(
    py: Python<'_>,
    path: PathBuf,
    offset: u64,
    length: usize,
) -> Result<Bound<'_, PyArray1<u8>>, PyError> {
    let owner = Bound::new(py, Mapped(py.detach(|| map::map(&path, offset, length))?))?;
    let view = ArrayView1::from(&owner.get().0[..]);
    // SAFETY: the array keeps `owner`, and with it the memory; nothing writes through it
    let array = unsafe { PyArray1::borrow_from_array(&view, owner.clone().into_any()) };
    array
        .try_readwrite()
        .map_err(PyErr::from)?
        .make_nonwriteable();
    Ok(array)
}

/// Videos and first frames, int64 [count].
type Chosen<'py> = (Bound<'py, PyArray1<i64>>, Bound<'py, PyArray1<i64>>);

/// Video and first frame of clips from number `first` on.
#[pyfunction]
pub fn choose_clips<'py>(
    py: Python<'py>,
    seed: u64,
    first: u64,
    count: usize,
    ends: PyReadonlyArray1<'py, u64>,
    starts: PyReadonlyArray1<'py, u64>,
) -> Result<Chosen<'py>, PyError> {
    let (ends, starts) = (ends.as_slice(), starts.as_slice());
    let (ends, starts) = (ends.map_err(PyErr::from)?, starts.map_err(PyErr::from)?);
    let chosen = order::choose(seed, first, count, ends, starts)?;
    let videos: Vec<i64> = chosen.iter().map(|clip| clip.0 as i64).collect();
    let starts: Vec<i64> = chosen.iter().map(|clip| clip.1 as i64).collect();
    Ok((videos.into_pyarray(py), starts.into_pyarray(py)))
}

/// Gathers frames `numbers` [B, T] of `videos`, one uint8 [F, H, W, C] a clip, into `out`: uint8
/// [B, T, H, W, C], or with `kind` "float32", "float16" or "bfloat16" (both as uint16)
/// [B, C, T, H, W].
#[pyfunction]
pub fn fill_batch<'py>(
    py: Python<'py>,
    videos: Vec<PyReadonlyArray4<'py, u8>>,
    numbers: PyReadonlyArray2<'py, i64>,
    out: Bound<'py, PyAny>,
    kind: &str,
    threads: usize,
) -> Result<(), PyError> {
    let frames = numbers.shape()[1];
    let numbers = numbers.as_slice().map_err(PyErr::from)?;
    // a negative number becomes one that no video has
    let numbers: Vec<usize> = numbers.iter().map(|n| *n as usize).collect();
    let frame = videos.first().map_or([0, 0, 1], |video| {
        let shape = video.shape();
        [shape[1], shape[2], shape[3]]
    });
    if videos.iter().any(|video| video.shape()[1..] != frame) {
        let text = "the videos of a batch differ in frame size".to_owned();
        return Err(Error::Argument(text).into());
    }
    let slices: Result<Vec<&[u8]>, _> = videos.iter().map(|video| video.as_slice()).collect();
    let clips = Clips {
        videos: &slices.map_err(PyErr::from)?,
        numbers: &numbers,
        frames,
        pixels: frame[0] * frame[1],
        channels: frame[2],
    };
    match kind {
        "uint8" => write::<u8>(py, &out, |out| clips.gather(out, threads)),
        "float32" => write(py, &out, |out| clips.normalise::<Single>(out, threads)),
        "float16" => write(py, &out, |out| clips.normalise::<Half>(out, threads)),
        "bfloat16" => write(py, &out, |out| clips.normalise::<Brain>(out, threads)),
        other => Err(Error::Argument(format!("unknown kind {other:?}")).into()),
    }
}

/// Calls `fill` on the values of a five-dimensional array, without the GIL.
fn write<T: numpy::Element + Send>(
    py: Python<'_>,
    out: &Bound<'_, PyAny>,
    fill: impl FnOnce(&mut [T]) -> fastvd_core::Result<()> + Send,
) -> Result<(), PyError> {
    let out = out.cast::<PyArray5<T>>().map_err(PyErr::from)?;
    let mut out = out.try_readwrite().map_err(PyErr::from)?;
    let values = out.as_slice_mut().map_err(PyErr::from)?;
    py.detach(|| fill(values))?;
    Ok(())
}

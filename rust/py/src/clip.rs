//! Video reader and resize.

#![allow(clippy::needless_pass_by_value, reason = "pyo3 hands over values")]

use std::path::{Path, PathBuf};

use fastvd_core::clip::Wanted;
use fastvd_core::convert::{Fit, Rect, View, resize_clip};
use fastvd_core::resize::Filter;
use fastvd_core::source::{Pick, video};
use fastvd_core::{Error, ffmpeg, store};
use numpy::{IntoPyArray, PyArray1, PyArray4, PyReadonlyArray4, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::array::to_array;
use crate::error::{PyError, detached};

type Rows = Option<(usize, usize)>;
type Crop = Option<(usize, usize, usize, usize)>;

/// Opens FFmpeg's libraries from `folder`, else from the system. Returns why it can't, or None.
#[pyfunction]
pub fn open_ffmpeg(py: Python<'_>, folder: Option<PathBuf>) -> Option<String> {
    py.detach(|| ffmpeg::open(folder.as_deref()).err())
}

/// Keeps frame tables in `folder` from now on, or in none.
#[pyfunction]
pub fn set_table_folder(folder: Option<PathBuf>) {
    store::set_folder(folder);
}

/// Times [T] in seconds, end, (height, width), rotation, codec, whether there is sound.
pub type Info<'py> = (
    Bound<'py, PyArray1<f64>>,
    f64,
    (usize, usize),
    u16,
    String,
    bool,
);

/// What a video holds.
#[pyfunction]
pub fn probe_video(
    py: Python<'_>,
    path: PathBuf,
    stream: Option<usize>,
) -> Result<Info<'_>, PyError> {
    let info = detached(py, || video::probe(pick(&path, stream)))?;
    let times = info.times.into_pyarray(py);
    Ok((
        times,
        info.end,
        info.size,
        info.rotation,
        info.codec,
        info.has_audio,
    ))
}

/// Numbers of the frames where decoding may start; none if it may only at the file's start.
#[pyfunction]
pub fn starts_of_video(
    py: Python<'_>,
    path: PathBuf,
    stream: Option<usize>,
) -> Result<Vec<usize>, PyError> {
    detached(py, || video::starts(pick(&path, stream)))
}

/// Frames `stride` apart as uint8 [T, H, W, C]; `frames` None reads to the end, `threads` at most.
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the arguments of read_clip")]
pub fn read_clip<'py>(
    py: Python<'py>,
    path: PathBuf,
    stream: Option<usize>,
    start: usize,
    frames: Option<usize>,
    stride: usize,
    size: Rows,
    crop: Crop,
    fit: &str,
    resample: &str,
    grey: bool,
    threads: usize,
) -> Result<Bound<'py, PyArray4<u8>>, PyError> {
    let view = view(size, crop, fit, resample, grey)?;
    let wanted = Wanted::Clip {
        start,
        frames,
        stride,
    };
    let clip = detached(py, || {
        video::read(pick(&path, stream), &wanted, &view, threads)
    })?;
    Ok(to_array(py, clip)?)
}

/// Frames by number as uint8 [T, H, W, C].
#[pyfunction]
#[expect(clippy::too_many_arguments, reason = "the arguments of read_frames")]
pub fn read_frames<'py>(
    py: Python<'py>,
    path: PathBuf,
    stream: Option<usize>,
    indices: Vec<usize>,
    size: Rows,
    crop: Crop,
    fit: &str,
    resample: &str,
    grey: bool,
) -> Result<Bound<'py, PyArray4<u8>>, PyError> {
    let view = view(size, crop, fit, resample, grey)?;
    let clip = detached(py, || {
        video::read(pick(&path, stream), &Wanted::List(indices), &view, 1)
    })?;
    Ok(to_array(py, clip)?)
}

/// C-contiguous uint8 frames [T, H, W, 3] as a view shows them.
#[pyfunction]
pub fn resize<'py>(
    py: Python<'py>,
    frames: PyReadonlyArray4<'py, u8>,
    size: Rows,
    crop: Crop,
    fit: &str,
    resample: &str,
    grey: bool,
) -> Result<Bound<'py, PyArray4<u8>>, PyError> {
    let view = view(size, crop, fit, resample, grey)?;
    let bytes = frames.as_slice().map_err(PyErr::from)?;
    let shape = frames.shape();
    let shape = [shape[0], shape[1], shape[2], shape[3]];
    let clip = detached(py, || resize_clip(bytes, shape, &view))?;
    Ok(to_array(py, clip)?)
}

fn pick(path: &Path, stream: Option<usize>) -> Pick<'_> {
    Pick { path, stream }
}

fn view(size: Rows, crop: Crop, fit: &str, resample: &str, grey: bool) -> Result<View, Error> {
    let fit = match fit {
        "crop" => Fit::Crop,
        "pad" => Fit::Pad,
        "stretch" => Fit::Stretch,
        other => return Err(Error::Argument(format!("unknown fit {other:?}"))),
    };
    let filter = match resample {
        "bilinear" => Filter::Bilinear,
        "area" => Filter::Area,
        other => return Err(Error::Argument(format!("unknown resample {other:?}"))),
    };
    let crop = crop.map(|(top, left, height, width)| Rect {
        top,
        left,
        height,
        width,
    });
    Ok(View {
        size,
        crop,
        fit,
        filter,
        is_grey: grey,
    })
}

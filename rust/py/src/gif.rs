//! GIF encoder and decoder.

#![allow(clippy::needless_pass_by_value, reason = "pyo3 hands over values")]

use std::path::PathBuf;

use fastvd_core::gif::{ClipView, Options, PaletteScope, encode};
use fastvd_core::source::gif::GifFile;
use numpy::{IntoPyArray, PyArray4, PyArrayMethods, PyReadonlyArray4, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::{PyError, detached};

/// A GIF file from C-contiguous uint8 [T, H, W, C]; `delays` in hundredths of a second.
#[pyfunction]
#[pyo3(signature = (frames, *, delays, colors, dither, local, repeat))]
pub fn encode_gif<'py>(
    py: Python<'py>,
    frames: PyReadonlyArray4<'py, u8>,
    delays: Vec<u16>,
    colors: usize,
    dither: bool,
    local: bool,
    repeat: Option<u16>,
) -> Result<Bound<'py, PyBytes>, PyError> {
    let data = frames.as_slice().map_err(PyErr::from)?;
    let shape = frames.shape();
    let clip = ClipView::new(data, [shape[0], shape[1], shape[2], shape[3]])?;
    let palette = if local {
        PaletteScope::Local
    } else {
        PaletteScope::Global
    };
    let options = Options {
        colors,
        dither,
        palette,
        repeat,
    };
    let bytes = detached(py, || encode(&clip, &delays, &options))?;
    Ok(PyBytes::new(py, &bytes))
}

/// RGB frames [T, H, W, 3], delays in hundredths of a second, and the repeat count.
pub type Gif<'py> = (Bound<'py, PyArray4<u8>>, Vec<u16>, Option<u16>);

/// Decodes a whole GIF file.
#[pyfunction]
pub fn decode_gif(py: Python<'_>, path: PathBuf) -> Result<Gif<'_>, PyError> {
    let (file, clip) = detached(py, || {
        let file = GifFile::open(&path)?;
        let clip = file.read()?;
        Ok((file, clip))
    })?;
    let [t, h, w] = file.shape();
    let frames = clip.into_pyarray(py).reshape([t, h, w, 3])?;
    Ok((frames, file.delays().to_vec(), file.repeat()))
}

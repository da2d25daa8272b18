//! GIF encoder and decoder.

#![allow(clippy::needless_pass_by_value, reason = "pyo3 hands over values")]

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use fastvd_core::gif::{ClipView, Encoder, Options};
use fastvd_core::source::gif::GifFile;
use fastvd_core::{Error, parallel};
use numpy::{IntoPyArray, PyArray4, PyArrayMethods, PyReadonlyArray4, PyUntypedArrayMethods};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::error::{PyError, detached};

/// Makes a GIF file of frames that come in pieces: all of them to `scan`, then again to `write`.
#[pyclass(frozen)]
pub struct GifEncoder(Mutex<Option<Encoder>>);

#[pymethods]
impl GifEncoder {
    #[new]
    #[pyo3(signature = (width, height, *, quality, colors, dither, palette, lossy, repeat, threads = None))]
    #[expect(clippy::too_many_arguments, reason = "the arguments of write_gif")]
    fn new(
        width: usize,
        height: usize,
        quality: &str,
        colors: usize,
        dither: &str,
        palette: &str,
        lossy: u8,
        repeat: Option<u16>,
        threads: Option<usize>,
    ) -> Result<Self, PyError> {
        let options = Options {
            quality: quality.parse()?,
            dither: dither.parse()?,
            palette: palette.parse()?,
            colors,
            lossy,
            repeat,
            threads: threads.unwrap_or_else(parallel::available),
        };
        let encoder = Encoder::new(width, height, &options)?;
        Ok(Self(Mutex::new(Some(encoder))))
    }

    /// Looks at C-contiguous uint8 [T, H, W, C] to choose colours.
    fn scan(&self, py: Python<'_>, frames: PyReadonlyArray4<'_, u8>) -> Result<(), PyError> {
        let clip = view(&frames)?;
        detached(py, || self.with(|encoder| encoder.scan(&clip)))
    }

    /// The bytes that frames make; `delays` in hundredths of a second.
    fn write<'py>(
        &self,
        py: Python<'py>,
        frames: PyReadonlyArray4<'py, u8>,
        delays: Vec<u16>,
    ) -> Result<Bound<'py, PyBytes>, PyError> {
        let clip = view(&frames)?;
        let bytes = detached(py, || self.with(|encoder| encoder.write(&clip, &delays)))?;
        Ok(PyBytes::new(py, &bytes))
    }

    /// What ends the file; the encoder is spent.
    fn finish<'py>(&self, py: Python<'py>) -> Result<Bound<'py, PyBytes>, PyError> {
        let encoder = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let bytes = encoder.ok_or_else(spent)?.finish();
        Ok(PyBytes::new(py, &bytes))
    }
}

impl GifEncoder {
    fn with<T>(
        &self,
        work: impl FnOnce(&mut Encoder) -> fastvd_core::Result<T>,
    ) -> fastvd_core::Result<T> {
        let mut encoder = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        work(encoder.as_mut().ok_or_else(spent)?)
    }
}

fn spent() -> Error {
    Error::Argument("the GIF is finished".to_owned())
}

fn view<'a>(frames: &'a PyReadonlyArray4<'_, u8>) -> Result<ClipView<'a>, PyError> {
    let data = frames.as_slice().map_err(PyErr::from)?;
    let shape = frames.shape();
    Ok(ClipView::new(
        data,
        [shape[0], shape[1], shape[2], shape[3]],
    )?)
}

/// RGB frames [T, H, W, 3], delays in hundredths of a second, and the repeat count.
pub type Gif<'py> = (Bound<'py, PyArray4<u8>>, Vec<u16>, Option<u16>);

/// Decodes a whole GIF file.
#[pyfunction]
pub fn decode_gif(py: Python<'_>, path: PathBuf) -> Result<Gif<'_>, PyError> {
    let (file, clip) = detached(py, || {
        let file = GifFile::open(&path)?;
        let clip = file.read(parallel::available())?;
        Ok((file, clip))
    })?;
    let [t, h, w] = file.shape();
    let frames = clip.into_pyarray(py).reshape([t, h, w, 3])?;
    Ok((frames, file.delays(), file.repeat()))
}

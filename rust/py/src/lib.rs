//! The extension module `fastvd._core`: converts arguments, calls `fastvd-core`, converts results.

mod array;
mod batch;
mod clip;
mod error;
mod gif;
mod limits;

use numpy::PyArray1;
use pyo3::prelude::*;

/// Rust half of fastvd; `fastvd.native` is the only importer.
#[pymodule]
fn _core(m: &Bound<'_, PyModule>) -> PyResult<()> {
    // NumPy is looked up by the first array: not in the middle of a read, where Ctrl-C would find it
    PyArray1::<u8>::zeros(m.py(), 0, false);
    m.add("__version__", env!("CARGO_PKG_VERSION"))?;
    m.add_function(wrap_pyfunction!(batch::choose_clips, m)?)?;
    m.add_function(wrap_pyfunction!(batch::fill_batch, m)?)?;
    m.add_function(wrap_pyfunction!(batch::map_file, m)?)?;
    m.add_function(wrap_pyfunction!(clip::open_ffmpeg, m)?)?;
    m.add_function(wrap_pyfunction!(clip::probe_video, m)?)?;
    m.add_function(wrap_pyfunction!(clip::read_clip, m)?)?;
    m.add_function(wrap_pyfunction!(clip::read_frames, m)?)?;
    m.add_function(wrap_pyfunction!(clip::resize, m)?)?;
    m.add_function(wrap_pyfunction!(clip::set_table_folder, m)?)?;
    m.add_function(wrap_pyfunction!(clip::starts_of_video, m)?)?;
    m.add_function(wrap_pyfunction!(error::force_panic, m)?)?;
    m.add_function(wrap_pyfunction!(gif::decode_gif, m)?)?;
    m.add_function(wrap_pyfunction!(limits::set_limits, m)?)?;
    m.add_class::<gif::GifEncoder>()?;
    Ok(())
}

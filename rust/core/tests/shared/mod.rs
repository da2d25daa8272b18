//! The real videos beside the repository, for tests of the crate and inside it.

#[path = "../limits/mod.rs"]
mod limits;

use std::fs;
use std::path::{Path, PathBuf};

use fastvd_core::ffmpeg;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The libraries of the `av` wheel in the repository's virtual environment.
fn av_libs() -> Option<PathBuf> {
    let versions = fs::read_dir(root().join(".venv/lib")).ok()?;
    let mut folders = versions.filter_map(|v| Some(v.ok()?.path().join("site-packages/av.libs")));
    folders.find(|folder| folder.is_dir())
}

/// A shared video; `None` where there is no FFmpeg or no such file.
pub fn shared(name: &str) -> Option<PathBuf> {
    ffmpeg::open(av_libs().as_deref()).ok()?;
    limits::set();
    let path = root().join("../shared/data/video").join(name);
    path.is_file().then_some(path)
}

//! Real videos, where FFmpeg and the shared files are there; the Python tests compare with PyAV.

mod shared;

use std::path::Path;

use fastvd_core::clip::{Clip, Wanted};
use fastvd_core::convert::{Fit, View};
use fastvd_core::resize::Filter;
use fastvd_core::source::Pick;
use fastvd_core::source::video::{self, Info};
use fastvd_core::{Error, Result};
use shared::shared;

const VIEW: View = View {
    size: Some((16, 16)),
    crop: None,
    fit: Fit::Crop,
    filter: Filter::Bilinear,
    is_grey: false,
};

fn best(path: &Path) -> Pick<'_> {
    Pick { path, stream: None }
}

fn probe(path: &Path) -> Result<Info> {
    video::probe(best(path))
}

fn read_list(path: &Path, numbers: &[usize]) -> Result<Clip> {
    video::read(best(path), &Wanted::List(numbers.to_vec()), &VIEW, 1)
}

#[test]
fn frames_are_the_same_however_they_are_reached() -> Result<()> {
    for name in [
        "nasa_opengop_offset.ts",
        "nasa_vfr_h264.mp4",
        "nasa_vp9.webm",
        "unordered.mov",
    ] {
        let Some(path) = shared(name) else {
            return Ok(());
        };
        let whole = video::read(
            best(&path),
            &Wanted::Clip {
                start: 0,
                frames: None,
                stride: 1,
            },
            &VIEW,
            2,
        )?;
        let frame = |i: usize| &whole.pixels[i * 768..(i + 1) * 768];
        let count = whole.shape[0];
        assert_eq!(probe(&path)?.times.len(), count, "{name}");
        for number in (0..count).step_by(13).chain([count - 1]) {
            let alone = read_list(&path, &[number])?;
            assert_eq!(&*alone.pixels, frame(number), "{name}, frame {number}");
        }
        let mixed = [count - 1, 0, count / 2, 0];
        let clip = read_list(&path, &mixed)?;
        assert_eq!(*clip.pixels, mixed.map(frame).concat(), "{name}");
    }
    Ok(())
}

#[test]
fn header_is_told() -> Result<()> {
    let Some(path) = shared("rotate_90.mov") else {
        return Ok(());
    };
    let info = probe(&path)?;
    assert_eq!(
        (info.size, info.rotation, info.codec.as_str()),
        ((568, 320), 90, "h264")
    );
    assert!(!info.has_audio);
    Ok(())
}

#[test]
fn frames_past_the_end_are_refused_with_the_count() {
    let Some(path) = shared("unordered.mov") else {
        return;
    };
    let error = read_list(&path, &[4])
        .err()
        .map(|e| e.to_string())
        .unwrap_or_default();
    assert!(
        error.contains("has 4 frames, frame 4 was asked for"),
        "{error}"
    );
}

#[test]
fn what_is_no_video_is_refused() {
    if shared("unordered.mov").is_none() {
        return;
    }
    let missing = probe(Path::new("no/such/file.mp4"));
    assert!(
        matches!(missing, Err(Error::Io { .. })),
        "a missing file is the system's error"
    );
    let this = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/video.rs");
    assert!(
        matches!(probe(&this), Err(Error::Media { .. })),
        "source text is no video"
    );
    let folder = probe(Path::new(env!("CARGO_MANIFEST_DIR")));
    assert!(
        matches!(folder, Err(Error::Media { .. })),
        "nor is a folder"
    );
}

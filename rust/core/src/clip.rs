//! Which frames of a file a clip is made of, and the clip itself.

use std::path::Path;

use crate::pixels::Pixels;
use crate::{Error, Result};

/// The frames that are asked for.
#[derive(Clone, Debug)]
pub enum Wanted {
    /// Frames `stride` apart.
    Clip {
        /// Number of the first frame.
        start: usize,
        /// How many; `None` for all that follow.
        frames: Option<usize>,
        /// Source frames from one frame of the clip to the next.
        stride: usize,
    },
    /// Frames by number, in any order and with repeats.
    List(Vec<usize>),
}

impl Wanted {
    /// The frame numbers in a file of `count` frames.
    pub fn resolve(&self, path: &Path, count: usize) -> Result<Vec<usize>> {
        let (last, numbers) = match *self {
            Self::Clip { stride: 0, .. }
            | Self::Clip {
                frames: Some(0), ..
            } => {
                let text = "frames and stride must be 1 or more".to_owned();
                return Err(Error::Argument(text));
            }
            Self::Clip {
                start,
                frames: None,
                stride,
            } => (start, (start..count).step_by(stride)),
            Self::Clip {
                start,
                frames: Some(frames),
                stride,
            } => {
                let last = (frames - 1).saturating_mul(stride).saturating_add(start);
                (last, (start..last.saturating_add(1)).step_by(stride))
            }
            Self::List(ref numbers) => {
                let last = numbers.iter().copied().max();
                let last = last.ok_or(Error::Argument("no frame is asked for".to_owned()))?;
                check_last(path, last, count)?;
                return Ok(numbers.clone());
            }
        };
        check_last(path, last, count)?;
        Ok(numbers.collect())
    }
}

fn check_last(path: &Path, last: usize, count: usize) -> Result<()> {
    if last >= count {
        let reason = format!("has {count} frames, frame {last} was asked for (first is 0)");
        return Err(Error::media(path, reason));
    }
    Ok(())
}

/// Decoded frames, packed.
#[derive(Debug)]
pub struct Clip {
    /// The pixels.
    pub pixels: Pixels,
    /// T, H, W, C.
    pub shape: [usize; 4],
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(wanted: &Wanted, count: usize) -> std::result::Result<Vec<usize>, String> {
        wanted
            .resolve(Path::new("file"), count)
            .map_err(|e| e.to_string())
    }

    #[test]
    fn clip_is_stride_apart() {
        let wanted = Wanted::Clip {
            start: 2,
            frames: Some(3),
            stride: 4,
        };
        assert_eq!(resolve(&wanted, 11), Ok(vec![2, 6, 10]));
        assert!(resolve(&wanted, 10).is_err_and(|text| text.contains("has 10 frames")));
    }

    #[test]
    fn clip_without_length_goes_to_the_end() {
        let wanted = Wanted::Clip {
            start: 1,
            frames: None,
            stride: 3,
        };
        assert_eq!(resolve(&wanted, 9), Ok(vec![1, 4, 7]));
        assert!(resolve(&wanted, 1).is_err());
    }

    #[test]
    fn huge_clip_is_refused_without_memory() {
        let wanted = Wanted::Clip {
            start: 1,
            frames: Some(usize::MAX),
            stride: usize::MAX,
        };
        assert!(resolve(&wanted, 9).is_err());
    }
}

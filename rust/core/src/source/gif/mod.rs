//! GIF files to RGB frames over black, composed as FFmpeg composes them.
//!
//! A canvas starts, and a frame is wiped, to transparent where the frame has a transparent entry or
//! the file no global palette, else to the background colour. Pillow differs there; with neither
//! wiping nor partial first frames the two agree.

mod canvas;
mod layout;
mod lzw;

use crate::source::open_file;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::limits::check_frame;
use crate::{Error, Result, limits, parallel};
use canvas::Canvas;
use layout::Layout;

/// Pixels that are unpacked before they are composed.
const BATCH_PIXELS: usize = 1 << 25;

/// A GIF file in memory whose structure has been read and checked; pixels are decoded on demand.
#[derive(Debug)]
pub struct GifFile {
    path: PathBuf,
    bytes: Vec<u8>,
    layout: Layout,
}

impl GifFile {
    /// Reads the file and walks over its frames.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = read_file(path)?;
        let wrong = |fault: String| Error::media(path, fault);
        let screen = layout::screen(&bytes).map_err(wrong)?;
        check_frame(path, screen.width, screen.height)?;
        let layout = layout::walk(&bytes, screen, limits::get().max_gif_frames).map_err(wrong)?;
        Ok(Self {
            path: path.to_owned(),
            bytes,
            layout,
        })
    }

    /// Frames, height and width.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        let screen = &self.layout.screen;
        [self.layout.frames.len(), screen.height, screen.width]
    }

    /// How long each frame is shown, in hundredths of a second, as the file says it.
    #[must_use]
    pub fn delays(&self) -> Vec<u16> {
        self.layout.frames.iter().map(|frame| frame.delay).collect()
    }

    /// How often the clip is shown again: 0 for ever, `None` not at all.
    #[must_use]
    pub fn repeat(&self) -> Option<u16> {
        self.layout.repeat
    }

    /// All frames as RGB `[T, H, W, 3]`, decoded by so many threads.
    pub fn read(&self, threads: usize) -> Result<Vec<u8>> {
        let [frames, height, width] = self.shape();
        let len = decoded_bytes(self.shape()).map_err(|e| Error::media(&self.path, e))?;
        let frame_bytes = len / frames;
        let mut clip = vec![0; len];
        let mut canvas = Canvas::new(&self.bytes, &self.layout);
        let batch = (BATCH_PIXELS / (height * width)).max(threads).max(1);
        let mut first = 0;
        for (frames, clip) in self
            .layout
            .frames
            .chunks(batch)
            .zip(clip.chunks_mut(batch * frame_bytes))
        {
            let unpacked = parallel::map(threads, frames, |frame| {
                lzw::unpack(&self.bytes[frame.data.clone()], frame.width * frame.height)
            });
            let mut pixels = Vec::with_capacity(frames.len());
            for (i, unpacked) in (first..).zip(unpacked) {
                let wrong = |fault| Error::media(&self.path, format!("frame {i}: {fault}"));
                pixels.push(unpacked.map_err(wrong)?);
            }
            canvas.paint(threads, frames, &pixels, clip);
            first += frames.len();
        }
        Ok(clip)
    }
}

/// Bytes of the decoded frames, if they are not too many.
fn decoded_bytes([frames, height, width]: [usize; 3]) -> std::result::Result<usize, String> {
    let len = (height * width * 3).saturating_mul(frames);
    let most = limits::get().max_gif_bytes;
    if len > most {
        return Err(format!(
            "{frames} frames of {width}x{height} are {len} bytes, above the limit of {most}"
        ));
    }
    Ok(len)
}

fn read_file(path: &Path) -> Result<Vec<u8>> {
    let wrong = |e| Error::io(path, e);
    let (file, len) = open_file(path)?;
    if len == 0 {
        return Err(Error::media(path, "the file is empty"));
    }
    // a file that holds more than its pixels could take
    let most = limits::get().max_gif_bytes as u64;
    if len > most {
        let reason = format!("the file has {len} bytes, above the limit of {most}");
        return Err(Error::media(path, reason));
    }
    let mut bytes = Vec::new();
    let reserved = bytes.try_reserve_exact(len as usize);
    reserved.map_err(|_| Error::media(path, format!("no memory for a file of {len} bytes")))?;
    file.take(most).read_to_end(&mut bytes).map_err(wrong)?;
    Ok(bytes)
}

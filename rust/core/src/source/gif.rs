//! GIF files to RGB frames over black, composed as FFmpeg composes them.
//!
//! A canvas starts, and a frame is wiped, to transparent where the frame has a transparent entry or
//! the file no global palette, else to the background colour. Pillow differs there; with neither
//! wiping nor partial first frames the two agree.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use gif::streaming_decoder::FrameDecoder;
use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, DisposalMethod, Frame};
use gif::{MemoryLimit, Repeat};

use crate::limits::{MAX_GIF_BYTES, MAX_GIF_FRAMES, MAX_PIXELS, check_frame};
use crate::{Error, Result};

type Color = [u8; 3];
const BLACK: Color = [0; 3];

/// A GIF file whose structure has been read and checked; pixels are decoded on demand.
pub struct GifFile {
    path: PathBuf,
    width: usize,
    height: usize,
    repeat: Option<u16>,
    palette: Vec<u8>,
    background: Color,
    frames: Vec<Frame<'static>>,
}

impl GifFile {
    /// Reads every frame's header and compressed data.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| Error::io(path, e))?;
        let size = file.metadata().map_err(|e| Error::io(path, e))?.len();
        if size == 0 {
            return Err(Error::media(path, "the file is empty"));
        }
        // many writers leave out the trailer; a frame that is cut short is still an error
        let bytes = file.chain(&b";"[..]);
        let mut decoder = options()
            .read_info(bytes)
            .map_err(|e| media(path, "header", e))?;
        let (width, height) = (usize::from(decoder.width()), usize::from(decoder.height()));
        check_frame(path, width, height)?;
        let frames = read_frames(path, &mut decoder)?;
        let palette = decoder.global_palette().unwrap_or_default().to_vec();
        let background = decoder.bg_color().and_then(|index| color(&palette, index));
        Ok(Self {
            path: path.to_owned(),
            width,
            height,
            repeat: match decoder.repeat() {
                Repeat::Infinite => Some(0),
                Repeat::Finite(0) => None,
                Repeat::Finite(count) => Some(count),
            },
            palette,
            background: background.unwrap_or(BLACK),
            frames,
        })
    }

    /// Frames, height and width.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        [self.frames.len(), self.height, self.width]
    }

    /// How long each frame is shown, in hundredths of a second, as the file says it.
    #[must_use]
    pub fn delays(&self) -> Vec<u16> {
        self.frames.iter().map(|frame| frame.delay).collect()
    }

    /// How often the clip is shown again: 0 for ever, `None` not at all.
    #[must_use]
    pub fn repeat(&self) -> Option<u16> {
        self.repeat
    }

    /// All frames as RGB `[T, H, W, 3]`.
    pub fn read(&self) -> Result<Vec<u8>> {
        let len = self.width * self.height * 3 * self.frames.len();
        if len > MAX_GIF_BYTES {
            let [frames, height, width] = self.shape();
            let reason = format!(
                "{frames} frames of {width}x{height} are {len} bytes, above the limit of \
                 {MAX_GIF_BYTES}"
            );
            return Err(Error::media(&self.path, reason));
        }
        let mut clip = Vec::with_capacity(len);
        self.visit(|_, frame| {
            clip.extend_from_slice(frame);
            true
        })?;
        Ok(clip)
    }

    /// Hands frame after frame, RGB `[H, W, 3]` with its number, to `see` until that says false.
    pub fn visit(&self, mut see: impl FnMut(usize, &[u8]) -> bool) -> Result<()> {
        let Some(first) = self.frames.first() else {
            return Ok(());
        };
        let mut canvas = vec![self.wipe_color(first); self.width * self.height];
        let mut before = Vec::new();
        let mut lzw = FrameDecoder::new(options());
        let mut indices = Vec::new();
        for (i, frame) in self.frames.iter().enumerate() {
            if frame.dispose == DisposalMethod::Previous {
                before.clone_from(&canvas);
            }
            indices.resize(usize::from(frame.width) * usize::from(frame.height), 0);
            lzw.decode_lzw_encoded_frame_into_buffer(frame, &mut indices)
                .map_err(|e| media(&self.path, &format!("frame {i}"), e))?;
            self.paint(&mut canvas, frame, &indices);
            if !see(i, canvas.as_flattened()) {
                break;
            }
            match frame.dispose {
                DisposalMethod::Any | DisposalMethod::Keep => {}
                DisposalMethod::Background => {
                    let wiped = self.wipe_color(frame);
                    self.rows(&mut canvas, frame)
                        .for_each(|row| row.fill(wiped));
                }
                DisposalMethod::Previous => canvas.clone_from(&before),
            }
        }
        Ok(())
    }

    fn wipe_color(&self, frame: &Frame<'_>) -> Color {
        if frame.transparent.is_some() {
            BLACK
        } else {
            self.background
        }
    }

    fn paint(&self, canvas: &mut [Color], frame: &Frame<'_>, indices: &[u8]) {
        let palette = frame.palette.as_ref().unwrap_or(&self.palette);
        // a pixel without an entry is drawn black
        let mut colors = [BLACK; 256];
        for (slot, entry) in colors.as_flattened_mut().iter_mut().zip(palette) {
            *slot = *entry;
        }
        let rows = self.rows(canvas, frame);
        for (row, indices) in rows.zip(indices.chunks_exact(usize::from(frame.width))) {
            for (pixel, index) in row.iter_mut().zip(indices) {
                if frame.transparent != Some(*index) {
                    *pixel = colors[usize::from(*index)];
                }
            }
        }
    }

    /// The part of each canvas row that a frame covers; frames lie inside, as `open` checked.
    fn rows<'c>(
        &self,
        canvas: &'c mut [Color],
        frame: &Frame<'_>,
    ) -> impl Iterator<Item = &'c mut [Color]> {
        let (left, width) = (usize::from(frame.left), usize::from(frame.width));
        let rows = canvas.chunks_exact_mut(self.width);
        rows.skip(usize::from(frame.top))
            .take(usize::from(frame.height))
            .filter_map(move |row| row.get_mut(left..left + width))
    }
}

fn options() -> DecodeOptions {
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.skip_frame_decoding(true);
    options.check_frame_consistency(true);
    if let Ok(limit) = (MAX_PIXELS as u64).try_into() {
        options.set_memory_limit(MemoryLimit::Bytes(limit));
    }
    options
}

fn read_frames(path: &Path, decoder: &mut Decoder<impl Read>) -> Result<Vec<Frame<'static>>> {
    let mut frames = Vec::new();
    loop {
        let name = format!("frame {}", frames.len());
        match decoder
            .read_next_frame()
            .map_err(|e| media(path, &name, e))?
        {
            Some(frame) if frame.width == 0 || frame.height == 0 => {
                return Err(Error::media(path, format!("{name} has no pixels")));
            }
            Some(_) if frames.len() == MAX_GIF_FRAMES => {
                let reason = format!("more than {MAX_GIF_FRAMES} frames");
                return Err(Error::media(path, reason));
            }
            Some(frame) => frames.push(frame.clone()),
            None if frames.is_empty() => return Err(Error::media(path, "no frames")),
            None => return Ok(frames),
        }
    }
}

fn color(palette: &[u8], index: usize) -> Option<Color> {
    palette.as_chunks().0.get(index).copied()
}

fn media(path: &Path, place: &str, error: DecodingError) -> Error {
    let is_end = |e: &io::Error| e.kind() == io::ErrorKind::UnexpectedEof;
    match error {
        DecodingError::Io(e) if !is_end(&e) => Error::io(path, e),
        DecodingError::Io(_) | DecodingError::UnexpectedEof => {
            Error::media(path, format!("{place}: the file ends too early"))
        }
        other => Error::media(path, format!("{place}: {other}")),
    }
}

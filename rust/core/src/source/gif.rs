//! GIF files to RGB frames over black, composed as FFmpeg composes them.
//!
//! A canvas starts, and a frame is wiped, to transparent where the frame has a transparent entry or
//! the file no global palette, else to the background colour. Pillow differs there; with neither
//! wiping nor partial first frames the two agree.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use gif::{ColorOutput, DecodeOptions, Decoder, DecodingError, DisposalMethod, Frame};
use gif::{MemoryLimit, Repeat};

use crate::limits::{MAX_GIF_BYTES, MAX_GIF_FRAMES, MAX_PIXELS, check_frame};
use crate::source::open_file;
use crate::{Error, Result};

type Color = [u8; 3];
const BLACK: Color = [0; 3];

/// A GIF file whose structure has been read and checked; pixels are decoded on demand.
#[derive(Debug)]
pub struct GifFile {
    path: PathBuf,
    width: usize,
    height: usize,
    repeat: Option<u16>,
    delays: Vec<u16>,
}

impl GifFile {
    /// Reads every frame's header and walks over its data.
    pub fn open(path: &Path) -> Result<Self> {
        let mut decoder = decoder(path, true)?;
        let repeat = match decoder.repeat() {
            Repeat::Infinite => Some(0),
            Repeat::Finite(0) => None,
            Repeat::Finite(count) => Some(count),
        };
        let (width, height) = (usize::from(decoder.width()), usize::from(decoder.height()));
        let delays = read_delays(path, &mut decoder)?;
        Ok(Self {
            path: path.to_owned(),
            width,
            height,
            repeat,
            delays,
        })
    }

    /// Frames, height and width.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        [self.delays.len(), self.height, self.width]
    }

    /// How long each frame is shown, in hundredths of a second, as the file says it.
    #[must_use]
    pub fn delays(&self) -> &[u16] {
        &self.delays
    }

    /// How often the clip is shown again: 0 for ever, `None` not at all.
    #[must_use]
    pub fn repeat(&self) -> Option<u16> {
        self.repeat
    }

    /// All frames as RGB `[T, H, W, 3]`.
    pub fn read(&self) -> Result<Vec<u8>> {
        let len = self.width * self.height * 3 * self.delays.len();
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
        let mut decoder = decoder(&self.path, false)?;
        let mut canvas: Option<Canvas> = None;
        let mut indices = Vec::new();
        for i in 0..self.delays.len() {
            let wrong = |e| media(&self.path, &format!("frame {i}"), e);
            let Some(frame) = decoder.next_frame_info().map_err(wrong)?.cloned() else {
                return Err(Error::media(&self.path, format!("frame {i} is gone")));
            };
            indices.resize(decoder.buffer_size(), 0);
            decoder.read_into_buffer(&mut indices).map_err(wrong)?;
            let canvas = canvas.get_or_insert_with(|| Canvas::new(&decoder, &frame));
            canvas.paint(&frame, &indices);
            if !see(i, canvas.pixels.as_flattened()) {
                break;
            }
            canvas.dispose(&frame);
        }
        Ok(())
    }
}

/// What a viewer sees, black where nothing was drawn.
struct Canvas {
    pixels: Vec<Color>,
    width: usize,
    palette: Vec<u8>,
    background: Color,
    /// The pixels under a frame that is to be taken away again.
    before: Vec<Color>,
}

impl Canvas {
    fn new(decoder: &Decoder<impl Read>, first: &Frame<'_>) -> Self {
        let palette = decoder.global_palette().unwrap_or_default().to_vec();
        let entry = |index: usize| palette.as_chunks().0.get(index).copied();
        let background = decoder.bg_color().and_then(entry).unwrap_or(BLACK);
        let (width, height) = (usize::from(decoder.width()), usize::from(decoder.height()));
        let mut canvas = Self {
            pixels: Vec::new(),
            width,
            palette,
            background,
            before: Vec::new(),
        };
        canvas
            .pixels
            .resize(width * height, canvas.wipe_color(first));
        canvas
    }

    fn wipe_color(&self, frame: &Frame<'_>) -> Color {
        if frame.transparent.is_some() {
            BLACK
        } else {
            self.background
        }
    }

    fn paint(&mut self, frame: &Frame<'_>, indices: &[u8]) {
        if frame.dispose == DisposalMethod::Previous {
            self.before.clone_from(&self.pixels);
        }
        // a pixel without an entry is drawn black
        let mut colors = [BLACK; 256];
        let palette = frame.palette.as_ref().unwrap_or(&self.palette);
        for (slot, value) in colors.as_flattened_mut().iter_mut().zip(palette) {
            *slot = *value;
        }
        let rows = indices.chunks_exact(usize::from(frame.width));
        for (row, indices) in self.rows(frame).zip(rows) {
            for (pixel, index) in row.iter_mut().zip(indices) {
                if frame.transparent != Some(*index) {
                    *pixel = colors[usize::from(*index)];
                }
            }
        }
    }

    /// Readies the canvas for the frame after this one.
    fn dispose(&mut self, frame: &Frame<'_>) {
        match frame.dispose {
            DisposalMethod::Any | DisposalMethod::Keep => {}
            DisposalMethod::Background => {
                let color = self.wipe_color(frame);
                self.rows(frame).for_each(|row| row.fill(color));
            }
            DisposalMethod::Previous => self.pixels.clone_from(&self.before),
        }
    }

    /// The part of each row that a frame covers; frames outside were refused.
    fn rows(&mut self, frame: &Frame<'_>) -> impl Iterator<Item = &mut [Color]> {
        let (left, width) = (usize::from(frame.left), usize::from(frame.width));
        let (top, height) = (usize::from(frame.top), usize::from(frame.height));
        let rows = self
            .pixels
            .chunks_exact_mut(self.width)
            .skip(top)
            .take(height);
        rows.filter_map(move |row| row.get_mut(left..left + width))
    }
}

fn decoder(path: &Path, skips_pixels: bool) -> Result<Decoder<impl Read + use<>>> {
    let (file, bytes) = open_file(path)?;
    if bytes == 0 {
        return Err(Error::media(path, "the file is empty"));
    }
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    options.skip_frame_decoding(skips_pixels);
    options.check_frame_consistency(true);
    if let Ok(limit) = (MAX_PIXELS as u64).try_into() {
        options.set_memory_limit(MemoryLimit::Bytes(limit));
    }
    // many writers leave out the trailer; a frame that is cut short is still an error
    let bytes = file.chain(&b";"[..]);
    let decoder = options
        .read_info(bytes)
        .map_err(|e| media(path, "header", e))?;
    check_frame(
        path,
        usize::from(decoder.width()),
        usize::from(decoder.height()),
    )?;
    Ok(decoder)
}

fn read_delays(path: &Path, decoder: &mut Decoder<impl Read>) -> Result<Vec<u16>> {
    let mut delays = Vec::new();
    loop {
        let name = format!("frame {}", delays.len());
        match decoder
            .next_frame_info()
            .map_err(|e| media(path, &name, e))?
        {
            Some(frame) if frame.width == 0 || frame.height == 0 => {
                return Err(Error::media(path, format!("{name} has no pixels")));
            }
            Some(_) if delays.len() == MAX_GIF_FRAMES => {
                let reason = format!("more than {MAX_GIF_FRAMES} frames");
                return Err(Error::media(path, reason));
            }
            Some(frame) => delays.push(frame.delay),
            None if delays.is_empty() => return Err(Error::media(path, "no frames")),
            None => return Ok(delays),
        }
    }
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

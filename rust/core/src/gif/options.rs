//! How a clip is encoded.

use std::str::FromStr;

use crate::{Error, Result};

/// How much time goes into the choice of colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quality {
    /// As little as possible.
    Fast,
    /// What is worth its time.
    Good,
    /// All that helps.
    Best,
}

impl Quality {
    /// Most pixels of a frame that are looked at for a palette.
    pub(super) fn samples(self) -> usize {
        match self {
            Self::Fast => 1 << 12,
            Self::Good => 1 << 14,
            Self::Best => usize::MAX,
        }
    }

    /// How often a palette is refined.
    pub(super) fn rounds(self) -> usize {
        match self {
            Self::Fast => 1,
            Self::Good => 3,
            Self::Best => 16,
        }
    }
}

/// Where the colours of a frame are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaletteScope {
    /// One palette for the clip.
    Global,
    /// One palette from cut to cut.
    Scene,
    /// A palette for each frame.
    Local,
}

/// How a colour is shown that no palette holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dither {
    /// As the nearest one.
    None,
    /// Errors go to the pixels around (Floyd-Steinberg).
    Diffusion,
    /// Two colours are mixed by an 8x8 Bayer matrix.
    Ordered,
    /// Two colours are mixed by a mask without low frequencies.
    BlueNoise,
}

/// How a clip is encoded.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Time against closeness.
    pub quality: Quality,
    /// Most entries of a palette, 2 to 256; a transparent entry counts.
    pub colors: usize,
    /// What is done where a palette can't hold every colour.
    pub dither: Dither,
    /// What has a palette of its own.
    pub palette: PaletteScope,
    /// How far colours may be off to make the file smaller, as in gifsicle; nought for not at all.
    pub lossy: u8,
    /// How often the clip is shown again: 0 for ever, `None` not at all.
    pub repeat: Option<u16>,
    /// How many threads work; the bytes do not depend on it.
    pub threads: usize,
}

impl FromStr for Quality {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "fast" => Ok(Self::Fast),
            "good" => Ok(Self::Good),
            "best" => Ok(Self::Best),
            _ => Err(unknown("quality", name)),
        }
    }
}

impl FromStr for PaletteScope {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "global" => Ok(Self::Global),
            "scene" => Ok(Self::Scene),
            "local" => Ok(Self::Local),
            _ => Err(unknown("palette", name)),
        }
    }
}

impl FromStr for Dither {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        match name {
            "none" => Ok(Self::None),
            "diffusion" => Ok(Self::Diffusion),
            "ordered" => Ok(Self::Ordered),
            "blue_noise" => Ok(Self::BlueNoise),
            _ => Err(unknown("dither", name)),
        }
    }
}

fn unknown(what: &str, name: &str) -> Error {
    Error::Argument(format!("unknown {what} {name:?}"))
}

//! The planes of a decoded frame as rows of samples, where the resize can read them as they are.

use super::handle::Frame;
use crate::resize::{Colors, Format, Grid, Matrix, Rows};

const BT709: [f64; 2] = [0.2126, 0.0722];
const FCC: [f64; 2] = [0.30, 0.11];
const BT601: [f64; 2] = [0.299, 0.114];
const SMPTE240M: [f64; 2] = [0.212, 0.087];
const BT2020: [f64; 2] = [0.2627, 0.0593];

/// What a pixel format's name tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    depth: u32,
    /// Rows and columns of pixels for one sample of colour.
    steps: [usize; 2],
    is_joined: bool,
    is_full_range: bool,
}

impl Layout {
    /// Of planar YUV without alpha, or NV12; `None` for all else.
    fn of(name: &str) -> Option<Self> {
        if name == "nv12" {
            return Some(Self {
                depth: 8,
                steps: [2, 2],
                is_joined: true,
                is_full_range: false,
            });
        }
        let is_full_range = name.starts_with("yuvj");
        let rest = name.strip_prefix(if is_full_range { "yuvj" } else { "yuv" })?;
        let (sampling, bits) = rest.split_once('p')?;
        let steps = match sampling {
            "420" => [2, 2],
            "422" => [1, 2],
            "444" => [1, 1],
            "440" => [2, 1],
            "411" => [1, 4],
            "410" => [4, 4],
            _ => return None,
        };
        let depth = match bits {
            "" => 8,
            "9le" => 9,
            "10le" => 10,
            "12le" => 12,
            "14le" => 14,
            _ => return None,
        };
        Some(Self {
            depth,
            steps,
            is_joined: false,
            is_full_range,
        })
    }
}

impl Frame {
    /// Format and rows of each plane; `None` where the samples are stored in another way.
    pub fn samples(&self) -> Option<(Format, Vec<Rows<'_>>)> {
        let layout = Layout::of(self.format_name())?;
        let (width, height) = self.size();
        let size = [height, width];
        let offsets = chroma_place(layout.steps, self.chroma_location());
        let grid = |axis: usize| Grid {
            samples: size[axis].div_ceil(layout.steps[axis]),
            step: layout.steps[axis],
            place: offsets[axis],
        };
        let chroma = [grid(0), grid(1)];
        let is_full_range = layout.is_full_range || self.is_full_range();
        let colors = Colors::Yuv {
            matrix: Matrix::new(luma_weights(self.colorspace()), is_full_range, layout.depth),
            chroma,
            is_joined: layout.is_joined,
        };
        let format = Format {
            depth: layout.depth,
            colors,
        };
        let mut shapes = vec![size];
        if layout.is_joined {
            shapes.push([chroma[0].samples, 2 * chroma[1].samples]);
        } else {
            shapes.extend([[chroma[0].samples, chroma[1].samples]; 2]);
        }
        let planes = shapes.into_iter().enumerate();
        let rows = planes.map(|(plane, shape)| self.rows(plane, shape, layout.depth));
        Some((format, rows.collect::<Option<_>>()?))
    }

    #[expect(clippy::cast_ptr_alignment, reason = "is_aligned")]
    fn rows(&self, plane: usize, [height, width]: [usize; 2], depth: u32) -> Option<Rows<'_>> {
        let (planes, strides) = self.planes();
        let (start, stride) = (planes[plane], isize::try_from(strides[plane]).ok()?);
        let sample_bytes = if depth > 8 { 2 } else { 1 };
        let is_whole = stride.unsigned_abs() >= width * sample_bytes;
        let is_aligned = (start.addr() | stride.unsigned_abs()).is_multiple_of(sample_bytes);
        if start.is_null() || !is_whole || !is_aligned {
            return None;
        }
        let row = |y: usize| start.wrapping_offset(stride * y as isize);
        // SAFETY: the decoder filled `height` rows of `width` samples, `stride` apart, which live as
        // long as the frame is not given back to it, for which it needs `&mut`; words are aligned
        let rows = unsafe {
            if depth > 8 {
                let row = |y| std::slice::from_raw_parts(row(y).cast::<u16>(), width);
                Rows::Words((0..height).map(row).collect())
            } else {
                let row = |y| std::slice::from_raw_parts(row(y), width);
                Rows::Bytes((0..height).map(row).collect())
            }
        };
        Some(rows)
    }
}

/// Weights of red and blue in luma; a stream without a tag is BT.601, whatever its size.
fn luma_weights(colorspace: i32) -> [f64; 2] {
    match colorspace {
        1 => BT709,
        4 => FCC,
        7 => SMPTE240M,
        9 | 10 => BT2020,
        _ => BT601,
    }
}

/// Where the first chroma sample lies, down and across, in 256ths of a pixel: by `AVChromaLocation`,
/// without a tag in the centre of its pixels.
fn chroma_place(steps: [usize; 2], location: i32) -> [i64; 2] {
    let centre = steps.map(|step| 128 * (step as i64 - 1));
    let end = steps.map(|step| 256 * (step as i64 - 1));
    match location {
        1 => [centre[0], 0],
        3 => [0, 0],
        4 => [0, centre[1]],
        5 => [end[0], 0],
        6 => [end[0], centre[1]],
        _ => centre,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_pixel_formats_are_understood() {
        let depth_and_steps = |name| Layout::of(name).map(|layout| (layout.depth, layout.steps));
        assert_eq!(depth_and_steps("yuv420p"), Some((8, [2, 2])));
        assert_eq!(depth_and_steps("yuv422p10le"), Some((10, [1, 2])));
        assert_eq!(depth_and_steps("nv12"), Some((8, [2, 2])));
        assert!(Layout::of("yuvj444p").is_some_and(|layout| layout.is_full_range));
        for other in [
            "yuva420p",
            "rgb24",
            "gbrp",
            "yuv420p16le",
            "yuv420p10be",
            "nv21",
            "gray",
        ] {
            assert_eq!(Layout::of(other), None, "{other}");
        }
    }
}

//! Batches from decoded frames: gathered as they are, or as normalised floats with the channels
//! first, in one pass over memory.

mod float;
#[cfg(target_arch = "x86_64")]
mod simd;

use std::sync::{Mutex, PoisonError};
use std::thread;

pub use float::{Brain, Format, Half, Single};

use crate::{Error, Result};

/// Where the frames of the clips of a batch lie.
#[derive(Clone, Copy, Debug)]
pub struct Clips<'a> {
    /// For each clip its video, `u8` frames [F, H, W, C].
    pub videos: &'a [&'a [u8]],
    /// For each clip the numbers of its frames in the video, [B, T].
    pub numbers: &'a [usize],
    /// Frames of a clip.
    pub frames: usize,
    /// Height times width.
    pub pixels: usize,
    /// Values of a pixel.
    pub channels: usize,
}

impl Clips<'_> {
    /// Copies the clips to `out`, [B, T, H, W, C].
    pub fn gather(&self, out: &mut [u8], threads: usize) -> Result<()> {
        self.check(out.len())?;
        self.each(out, threads, |source, t, clip| {
            let bytes = source.len();
            copy(source, &mut clip[t * bytes..][..bytes]);
        });
        Ok(())
    }

    /// Writes the clips to `out`, [B, C, T, H, W], 0 as -1 and 255 as 1.
    pub fn normalise<F: Format>(&self, out: &mut [F::Value], threads: usize) -> Result<()> {
        self.check(out.len())?;
        let table = F::table();
        let (plane, channels) = (self.frames * self.pixels, self.channels);
        self.each(out, threads, |source, t, clip| {
            let mut planes = clip.chunks_exact_mut(plane);
            let mut next = || {
                planes
                    .next()
                    .map(|p| &mut p[t * self.pixels..][..self.pixels])
            };
            if channels == 3
                && let (Some(r), Some(g), Some(b)) = (next(), next(), next())
            {
                split::<F>(source, [r, g, b], &table);
                return;
            }
            for (c, plane) in clip.chunks_exact_mut(plane).enumerate() {
                let plane = &mut plane[t * self.pixels..][..self.pixels];
                for (value, pixel) in plane.iter_mut().zip(source.chunks_exact(channels)) {
                    *value = table[usize::from(pixel[c])];
                }
            }
        });
        Ok(())
    }

    /// Calls `write(frame, t, clip of out)` for each frame of each clip, clips shared by threads.
    fn each<V: Send>(
        &self,
        out: &mut [V],
        threads: usize,
        write: impl Fn(&[u8], usize, &mut [V]) + Sync,
    ) {
        let bytes = self.pixels * self.channels;
        let size = self.frames * bytes;
        if size == 0 || out.is_empty() {
            return;
        }
        let clips = Mutex::new(out.chunks_exact_mut(size).enumerate());
        let next = || clips.lock().unwrap_or_else(PoisonError::into_inner).next();
        // a clip at a time: a thread that loses its core holds the others up for one at most
        let work = || {
            while let Some((i, clip)) = next() {
                let numbers = &self.numbers[i * self.frames..][..self.frames];
                for (t, number) in numbers.iter().enumerate() {
                    write(&self.videos[i][number * bytes..][..bytes], t, clip);
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads.min(self.videos.len()) {
                scope.spawn(work);
            }
            work();
        });
    }

    fn check(&self, values: usize) -> Result<()> {
        let bytes = self.pixels.checked_mul(self.channels);
        let wanted = bytes
            .and_then(|bytes| bytes.checked_mul(self.frames))
            .and_then(|clip| clip.checked_mul(self.videos.len()));
        let count = self.videos.len().checked_mul(self.frames);
        if wanted != Some(values) || count != Some(self.numbers.len()) {
            let (clips, numbers) = (self.videos.len(), self.numbers.len());
            return Err(Error::Argument(format!(
                "{clips} clips of {} frames with {numbers} numbers do not fill {values} values",
                self.frames
            )));
        }
        let bytes = bytes.unwrap_or(0);
        for (i, number) in self.numbers.iter().enumerate() {
            let has = self.videos[i / self.frames].len() / bytes.max(1);
            if *number >= has {
                let text = format!("frame {number} of a video of {has} frames");
                return Err(Error::Argument(text));
            }
        }
        Ok(())
    }
}

/// Copies a frame. The C library's copy of some ten kilobytes is a string instruction, which some
/// processors run several times slower than plain moves.
fn copy(source: &[u8], out: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2
        unsafe { simd::copy(source, out) };
        return;
    }
    out.copy_from_slice(source);
}

/// Takes packed pixels apart into planes.
fn split<F: Format>(source: &[u8], planes: [&mut [F::Value]; 3], table: &[F::Value; 256]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c")
    {
        // SAFETY: the processor has AVX2, FMA and F16C
        unsafe { simd::split::<F>(source, planes, table) };
        return;
    }
    split_plain::<F>(source, planes, table);
}

fn split_plain<F: Format>(source: &[u8], planes: [&mut [F::Value]; 3], table: &[F::Value; 256]) {
    let [r, g, b] = planes;
    let values = r.iter_mut().zip(g).zip(b);
    for (((r, g), b), pixel) in values.zip(source.chunks_exact(3)) {
        *r = table[usize::from(pixel[0])];
        *g = table[usize::from(pixel[1])];
        *b = table[usize::from(pixel[2])];
    }
}

#[cfg(test)]
mod tests;

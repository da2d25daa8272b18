//! How long a video has been read without giving a frame.

use std::ffi::{c_int, c_void};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::{Error, Result, limits};

/// Shared by what reads the file and what waits for its frames.
#[derive(Debug)]
pub(crate) struct Clock {
    start: Instant,
    /// When the last frame came, after the start.
    frame_ns: AtomicU64,
}

impl Clock {
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            frame_ns: AtomicU64::new(0),
        }
    }

    /// A frame came.
    pub fn restart(&self) {
        let now = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.frame_ns.store(now, Ordering::Relaxed);
    }

    pub fn is_late(&self) -> bool {
        let frame = Duration::from_nanos(self.frame_ns.load(Ordering::Relaxed));
        self.start.elapsed().saturating_sub(frame) > limits::get().open_timeout
    }

    pub fn check(&self, path: &Path) -> Result<()> {
        if self.is_late() {
            let seconds = limits::get().open_timeout.as_secs_f64();
            return Err(Error::media(path, format!("no frame within {seconds} s")));
        }
        Ok(())
    }
}

/// FFmpeg's `AVIOInterruptCB.callback`: anything but 0 ends what it is at.
pub(super) unsafe extern "C" fn interrupt(opaque: *mut c_void) -> c_int {
    // SAFETY: `opaque` is the clock that the file's `FileIo` keeps
    unsafe { &*opaque.cast_const().cast::<Clock>() }
        .is_late()
        .into()
}

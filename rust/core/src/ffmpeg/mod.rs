//! The only place that knows FFmpeg: finds it at run time, and owns what it hands out.

mod clock;
mod decoder;
mod facts;
mod handle;
mod input;
mod io;
mod layout;
mod library;
mod listed;
mod parameters;
mod picture;
mod refusal;
mod scaler;
mod streams;

pub use library::open;

pub(crate) use decoder::{Decoder, Received, Settings};
pub(crate) use facts::Facts;
pub(crate) use handle::{Frame, Packet};
pub(crate) use input::Input;
pub(crate) use library::{Rational, library};
pub(crate) use scaler::Scaler;

//! One decoder for each kind of file.

pub mod gif;

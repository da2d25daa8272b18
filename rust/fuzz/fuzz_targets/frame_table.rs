//! Any packets as a frame table: what is not refused is in order and reached from where it says.
#![no_main]

use fastvd_core::index::check_rows;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| check_rows(data));

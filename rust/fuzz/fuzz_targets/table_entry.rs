//! Any bytes as the entry of a frame table on disk.
#![no_main]

use fastvd_core::store::check_entry;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| check_entry(data));

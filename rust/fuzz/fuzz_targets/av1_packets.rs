//! Any bytes as packets of AV1: no more of them is needed than there is.
#![no_main]

use fastvd_core::av1::check_packets;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| check_packets(data));

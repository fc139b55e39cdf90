#![no_main]
//! See [`orders_fuzz::stream_image`].

libfuzzer_sys::fuzz_target!(|input: &[u8]| orders_fuzz::stream_image(input));

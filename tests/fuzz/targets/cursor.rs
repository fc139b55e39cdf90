#![no_main]
//! See [`orders_fuzz::cursor`].

libfuzzer_sys::fuzz_target!(|input: &[u8]| orders_fuzz::cursor(input));

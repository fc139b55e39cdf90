#![no_main]
//! See [`orders_fuzz::id`].

libfuzzer_sys::fuzz_target!(|input: &[u8]| orders_fuzz::id(input));

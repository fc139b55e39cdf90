#![no_main]
//! See [`orders_fuzz::price`].

libfuzzer_sys::fuzz_target!(|input: &[u8]| orders_fuzz::price(input));

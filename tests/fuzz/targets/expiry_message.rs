#![no_main]
//! See [`orders_fuzz::expiry_message`].

libfuzzer_sys::fuzz_target!(|input: &[u8]| orders_fuzz::expiry_message(input));

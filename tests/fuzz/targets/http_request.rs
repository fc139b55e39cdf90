#![no_main]
//! See [`orders_fuzz::http_request`].

libfuzzer_sys::fuzz_target!(|input: &[u8]| orders_fuzz::http_request(input));

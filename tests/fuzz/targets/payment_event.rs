#![no_main]
//! See [`orders_fuzz::payment_event`].

libfuzzer_sys::fuzz_target!(|input: &[u8]| orders_fuzz::payment_event(input));

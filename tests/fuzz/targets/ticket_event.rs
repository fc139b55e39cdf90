#![no_main]
//! See [`orders_fuzz::ticket_event`].

libfuzzer_sys::fuzz_target!(|input: &[u8]| orders_fuzz::ticket_event(input));

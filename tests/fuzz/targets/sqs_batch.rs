#![no_main]
//! See [`orders_fuzz::sqs_batch`].

libfuzzer_sys::fuzz_target!(|input: &[u8]| orders_fuzz::sqs_batch(input));

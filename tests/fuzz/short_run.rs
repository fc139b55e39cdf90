//! Every target on its kept inputs and on some thousand mutations of them, the same ones each time.
//! A target that breaks names the input; kept in `corpus/`, it is tried first from then on.

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use fastrand::Rng;

/// How many mutations each target gets.
const MUTATIONS: usize = 3_000;

/// What readers are known to stumble over, and chance seldom makes.
const PIECES: [&str; 12] =
    ["", "\"", "\\ud800", "é", "\0", "{}", "null", "-1", "1e999", "0.001", ": ", "\n\n"];

macro_rules! no_input_breaks {
    ($($sentence:ident: $target:ident)+) => {
        const TARGETS: &[&str] = &[$(stringify!($target)),+];

        $(
            #[test]
            fn $sentence() {
                try_out(stringify!($target), orders_fuzz::$target);
            }
        )+
    };
}

no_input_breaks! {
    no_input_breaks_a_cursor: cursor
    no_input_breaks_an_expiry_message: expiry_message
    no_input_breaks_an_http_event: http_event
    no_input_breaks_an_http_request: http_request
    no_input_breaks_an_id: id
    no_input_breaks_a_payment_event: payment_event
    no_input_breaks_a_price: price
    no_input_breaks_a_batch_of_messages: sqs_batch
    no_input_breaks_a_batch_of_the_stream: stream_batch
    no_input_breaks_an_image_of_an_order: stream_image
    no_input_breaks_a_ticket_event: ticket_event
}

#[test]
fn every_target_of_the_fuzzer_is_tried_here_too() {
    for folder in ["targets", "corpus"] {
        let mut names: Vec<_> = entries(folder)
            .iter()
            .map(|path| path.file_stem().expect("it has a name").to_owned())
            .collect();
        names.sort();
        assert_eq!(names, TARGETS, "{folder}");
    }
}

fn try_out(name: &str, target: fn(&[u8])) {
    let mut kept = entries(&format!("corpus/{name}"));
    kept.sort();
    let kept: Vec<_> = kept.iter().map(|path| fs::read(path).expect("it can be read")).collect();
    let mut rng = Rng::with_seed(0);
    let mutations = (0..MUTATIONS).map(|_| mutation(&mut rng, &kept));
    for (number, input) in kept.iter().cloned().chain(mutations).enumerate() {
        let outcome = catch_unwind(|| target(&input));
        assert!(outcome.is_ok(), "input {number} breaks {name}: b\"{}\"", input.escape_ascii());
    }
}

fn entries(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).expect("it is there");
    entries.map(|entry| entry.expect("it can be read").path()).collect()
}

/// A kept input with one to four changes.
fn mutation(rng: &mut Rng, kept: &[Vec<u8>]) -> Vec<u8> {
    let mut input = rng.choice(kept).expect("some are kept").clone();
    for _ in 0..rng.usize(1..=4) {
        let start = rng.usize(0..=input.len());
        let end = input.len().min(start + rng.usize(0..=16));
        let other = rng.choice(kept).expect("some are kept");
        let from = rng.usize(0..=other.len());
        match rng.u8(0..6) {
            // Puts a known piece, any byte, a part of another input, or nothing there.
            0 => drop(input.splice(start..end, rng.choice(PIECES).unwrap_or_default().bytes())),
            1 => drop(input.splice(start..end, [rng.u8(..)])),
            2 => drop(input.splice(start..end, other[from..].iter().copied().take(32))),
            3 => drop(input.drain(start..end)),
            // Repeats a part, or changes one bit.
            4 => drop(input.splice(start..start, input[start..end].repeat(rng.usize(1..=20)))),
            _ => input[start..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << rng.u8(0..8)),
        }
    }
    input
}

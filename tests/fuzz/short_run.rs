//! Runs each target on its corpus and on mutations of it, always the same ones. Add a failing input
//! to `corpus/`, so that later runs try it first.

use std::{
    fs,
    panic::catch_unwind,
    path::{Path, PathBuf},
};

use fastrand::Rng;

/// Mutations of each target.
const MUTATIONS: usize = 3_000;

/// Pieces that are hard for parsers and rare in random input.
const PIECES: [&str; 12] =
    ["", "\"", "\\ud800", "é", "\0", "{}", "null", "-1", "1e999", "0.001", ": ", "\n\n"];

macro_rules! short_runs {
    ($($target:ident)+) => {
        const TARGETS: &[&str] = &[$(stringify!($target)),+];

        $(
            #[test]
            fn $target() {
                short_run(stringify!($target), orders_fuzz::$target);
            }
        )+
    };
}

short_runs! {
    cursor
    expiry_message
    http_event
    http_request
    id
    payment_event
    price
    sqs_batch
    stream_batch
    stream_image
    ticket_event
}

#[test]
fn every_fuzz_target_has_a_short_run() {
    for folder in ["targets", "corpus"] {
        let mut names: Vec<_> = entries(folder)
            .iter()
            .map(|path| path.file_stem().expect("a file name").to_owned())
            .collect();
        names.sort();
        assert_eq!(names, TARGETS, "{folder}");
    }
}

fn short_run(name: &str, target: fn(&[u8])) {
    let mut corpus = entries(&format!("corpus/{name}"));
    corpus.sort();
    let corpus: Vec<_> =
        corpus.iter().map(|path| fs::read(path).expect("a readable input")).collect();
    let mut rng = Rng::with_seed(0);
    let mutations = (0..MUTATIONS).map(|_| mutation(&mut rng, &corpus));
    for (number, input) in corpus.iter().cloned().chain(mutations).enumerate() {
        let outcome = catch_unwind(|| target(&input));
        assert!(outcome.is_ok(), "{name} fails for input {number}: b\"{}\"", input.escape_ascii());
    }
}

fn entries(folder: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    let entries = fs::read_dir(folder).expect("a folder");
    entries.map(|entry| entry.expect("a directory entry").path()).collect()
}

/// An input of the corpus with one to four changes.
fn mutation(rng: &mut Rng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = rng.choice(corpus).expect("a corpus").clone();
    for _ in 0..rng.usize(1..=4) {
        let start = rng.usize(0..=input.len());
        let end = input.len().min(start + rng.usize(0..=16));
        let other = rng.choice(corpus).expect("a corpus");
        let from = rng.usize(0..=other.len());
        match rng.u8(0..6) {
            // Inserts a piece, a random byte or a part of another input, or deletes.
            0 => drop(input.splice(start..end, rng.choice(PIECES).unwrap_or_default().bytes())),
            1 => drop(input.splice(start..end, [rng.u8(..)])),
            2 => drop(input.splice(start..end, other[from..].iter().copied().take(32))),
            3 => drop(input.drain(start..end)),
            // Repeats a part, or flips a bit.
            4 => drop(input.splice(start..start, input[start..end].repeat(rng.usize(1..=20)))),
            _ => input[start..end].iter_mut().take(1).for_each(|byte| *byte ^= 1 << rng.u8(0..8)),
        }
    }
    input
}

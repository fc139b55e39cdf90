//! Derives the next release from this release: copies the sources of its crates as modules, with edits.

mod next_release;

use std::{
    env,
    error::Error,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use next_release::{Change, Edit, READS, WRITES};

/// Name and source folder of each copied crate. Code refers to the first four as `orders_<name>`.
const CRATES: [(&str, &str); 12] = [
    ("domain", "shared/domain/src"),
    ("contracts", "shared/contracts/src"),
    ("dynamo", "shared/dynamo/src"),
    ("lambda", "shared/lambda/src"),
    ("cancel_order", "functions/cancel-order/src"),
    ("create_order", "functions/create-order/src"),
    ("expire_orders", "functions/expire-orders/src"),
    ("list_orders", "functions/list-orders/src"),
    ("order_relay", "functions/order-relay/src"),
    ("payment_events", "functions/payment-events/src"),
    ("show_order", "functions/show-order/src"),
    ("ticket_events", "functions/ticket-events/src"),
];

fn main() -> Result<(), Box<dyn Error>> {
    // Not `env!`: a checkout can be moved with its target folder.
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    let target = PathBuf::from(env::var("OUT_DIR")?);
    println!("cargo::rerun-if-changed=build");
    for (_, source) in CRATES {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let both = [READS, WRITES].concat();
    let modules = [
        this_release(&root)?,
        next_release(&root, &target, "reads", READS)?,
        next_release(&root, &target, "writes", &both)?,
    ];
    fs::write(target.join("releases.rs"), modules.concat())?;
    Ok(())
}

/// Module of this release: its crates under the names of the copies.
fn this_release(root: &Path) -> Result<String, Box<dyn Error>> {
    let mut crates = String::new();
    for (name, source) in CRATES {
        let prefix = if source.starts_with("shared/") { "orders_" } else { "" };
        writeln!(crates, "    pub(crate) use {prefix}{name} as {name};")?;
    }
    module("this", &crates, root)
}

/// Module of a next release: copies of the crates in `target`, with these edits.
fn next_release(
    root: &Path,
    target: &Path,
    release: &str,
    edits: &[Edit],
) -> Result<String, Box<dyn Error>> {
    let mut crates = String::new();
    for (name, source) in CRATES {
        let copy = target.join(release).join(name);
        let edits: Vec<_> = edits.iter().filter(|edit| edit.file.starts_with(source)).collect();
        copy_folder(root, Path::new(source), &copy, &|file, text| {
            let mut edits = edits.iter().filter(|edit| Path::new(edit.file) == file);
            let edited = edits.try_fold(text, |text, edit| edit.apply(&text))?;
            Ok(with_paths(&edited, release, name))
        })?;
        let file = copy.join("lib.rs");
        writeln!(crates, "    #[allow(dead_code, unused_imports)]")?;
        writeln!(crates, "    #[path = {:?}] pub(crate) mod {name};", file.display().to_string())?;
    }
    module(release, &crates, root)
}

/// A module with the crates of a release and its wiring.
fn module(release: &str, crates: &str, root: &Path) -> Result<String, Box<dyn Error>> {
    let wiring = root.join("tests/releases/functions.rs");
    let mut text = String::new();
    writeln!(text, "pub(crate) mod {release} {{\n{crates}")?;
    writeln!(text, "    #[path = {:?}]", wiring.display().to_string())?;
    writeln!(text, "    pub(crate) mod functions;\n}}")?;
    Ok(text)
}

/// The changed text of a source file, or why it cannot be changed.
type Rewrite<'a> = &'a dyn Fn(&Path, String) -> Result<String, Box<dyn Error>>;

/// Copies a folder of sources, rewritten.
fn copy_folder(
    root: &Path,
    folder: &Path,
    copy: &Path,
    rewrite: Rewrite<'_>,
) -> Result<(), Box<dyn Error>> {
    fs::create_dir_all(copy)?;
    for entry in fs::read_dir(root.join(folder))? {
        let name = entry?.file_name();
        let (source, target) = (folder.join(&name), copy.join(&name));
        let path = root.join(&source);
        if path.is_dir() {
            copy_folder(root, &source, &target, rewrite)?;
        } else if source.extension().is_some_and(|extension| extension == "rs") {
            fs::write(&target, rewrite(&source, fs::read_to_string(path)?)?)?;
        } else {
            fs::copy(path, &target)?;
        }
    }
    Ok(())
}

/// The text of a crate as the text of a module: other paths, and no tests.
fn with_paths(text: &str, release: &str, name: &str) -> String {
    let mut text = text
        .replace("crate::", &format!("crate::{release}::{name}::"))
        .replace("#[cfg(test)]", "#[cfg(any())]");
    for (name, _) in CRATES {
        let path = format!("crate::{release}::{name}::");
        text = text.replace(&format!("orders_{name}::"), &path);
    }
    text
}

impl Edit {
    /// The text with the edit.
    fn apply(&self, text: &str) -> Result<String, Box<dyn Error>> {
        let Self { file, find, change } = self;
        if !text.contains(find) {
            return Err(format!("{file} does not contain: {find}").into());
        }
        Ok(match change {
            Change::After(added) => text.replace(find, &format!("{find}{added}")),
            Change::Instead(other) => text.replace(find, other),
        })
    }
}

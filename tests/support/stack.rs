//! The deployed stack that the tests talk to.
//!
//! `ORDERS_STACK_FILE` names a description of it, as `make run` writes it; one of a stack in a real
//! account works as well (with `"endpointUrl": null`, and `ORDERS_TOKEN_COMMAND` to make tokens).
//! Without it the tests start a stack of their own on this machine, which ends when they do.

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    thread,
    time::Duration,
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::Credentials;
use orders_lambda::aws;
use serde::Deserialize;

/// The root of the checkout.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// What tells a stack from others.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stack {
    /// Where the HTTP API answers.
    pub api_url: String,
    /// The bus that takes ticket events.
    pub bus_name: String,
    endpoint_url: Option<String>,
    region: String,
    state_folder: Option<PathBuf>,
    outputs: HashMap<String, String>,
}

impl Stack {
    /// An output of the template.
    #[must_use]
    pub fn output(&self, name: &str) -> &str {
        self.outputs.get(name).unwrap_or_else(|| panic!("the stack has no output {name}"))
    }

    /// How to reach the stack's AWS services.
    pub async fn sdk_config(&self) -> SdkConfig {
        sdk_config(self.endpoint_url.as_deref(), &self.region).await
    }

    /// The folder with the stack's data.
    fn state_folder(&self) -> &Path {
        self.state_folder.as_deref().expect("the stack runs on this machine")
    }

    /// The process that plays AWS on this machine, and has started the functions that run.
    #[must_use]
    pub fn emulator_pid(&self) -> u32 {
        pid("emulator")
    }

    /// A token for each of these buyers; or, for a JSON object, one with these claims.
    #[must_use]
    pub fn tokens(&self, subs: &[String]) -> Vec<String> {
        let command = env::var("ORDERS_TOKEN_COMMAND")
            .unwrap_or_else(|_| "python3 local/cli.py token".to_owned());
        let mut words = command.split_whitespace();
        let output = Command::new(words.next().expect("ORDERS_TOKEN_COMMAND is not blank"))
            .args(words)
            .args(subs)
            .current_dir(ROOT)
            .envs(self.state_folder.iter().map(|folder| ("ORDERS_STATE", folder)))
            .output()
            .expect("the token command runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tokens = String::from_utf8(output.stdout).expect("tokens are text");
        tokens.lines().map(str::to_owned).collect()
    }
}

/// What can break on this machine.
#[derive(Clone, Copy, Debug)]
pub enum Crash {
    /// Every function that runs, whatever it is doing.
    Functions,
    /// The emulator, with everything in it. It starts again with what it had stored.
    Emulator,
}

/// The id of a process of the stack, which `local/processes.py` has noted.
fn pid(name: &str) -> u32 {
    let noted = fs::read_to_string(stack().state_folder().join(name).with_extension("pid"));
    let noted = noted.expect("the stack is up");
    noted.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a process has a number")
}

/// Breaks it. Only a stack on this machine can be broken.
pub fn crash(what: Crash) {
    let signal = match what {
        Crash::Functions => "USR2",
        Crash::Emulator => "USR1",
    };
    let kill = format!("kill -s {signal} {}", pid("stack"));
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("sh runs").success());
}

/// Has the bus on this machine refuse every second event of the service, or take them all again.
pub fn refuse_events(refuse: bool) {
    let file = stack().state_folder().join("emulator/refuse-events");
    let done = if refuse { fs::write(file, "") } else { fs::remove_file(file) };
    done.expect("the stack's data can be written");
}

/// Runs `make redrive` on the stack, and returns what it printed.
pub fn redrive(queue: &str) -> String {
    let output = Command::new("make")
        .args(["--silent", "redrive", &format!("QUEUES={queue}")])
        .current_dir(ROOT)
        .env("ORDERS_STACK_FILE", stack_file())
        .output()
        .expect("make runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("it prints text")
}

/// How to reach AWS: an endpoint that is not AWS's takes any credentials.
pub async fn sdk_config(endpoint_url: Option<&str>, region: &str) -> SdkConfig {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(aws::http_client().expect("nothing else is trusted"))
        .region(Region::new(region.to_owned()));
    let config = match endpoint_url {
        Some(url) => config
            .endpoint_url(url)
            .credentials_provider(Credentials::new("test", "test", None, None, "tests")),
        None => config,
    };
    config.load().await
}

/// The stack; started first, if need be.
pub fn stack() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| {
        let file = stack_file();
        let text = fs::read_to_string(file)
            .unwrap_or_else(|error| panic!("{} cannot be read: {error}", file.display()));
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("{} describes no stack: {error}", file.display()))
    })
}

fn stack_file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| match env::var_os("ORDERS_STACK_FILE") {
        Some(file) => PathBuf::from(file),
        None => own_stack(),
    })
}

/// Starts a stack that lives as long as its standard input is open, which is as long as this process
/// lives.
fn own_stack() -> PathBuf {
    static OWN: OnceLock<Child> = OnceLock::new();
    let file = env::temp_dir().join(format!("orders-tests-{}.json", uuid::Uuid::new_v4()));
    let mut child = Command::new("python3")
        .args(["local/cli.py", "exec", "cat"])
        .current_dir(ROOT)
        .env_remove("ORDERS_STATE") // so that it has a folder of its own, and removes it
        .env("ORDERS_STACK_FILE", &file)
        .stdin(Stdio::piped())
        .spawn()
        .expect("python3 is on the PATH");
    while !file.exists() {
        let ended = child.try_wait().expect("its status can be asked for");
        assert!(ended.is_none(), "the stack did not start; its output says why");
        thread::sleep(Duration::from_millis(100));
    }
    OWN.get_or_init(|| child);
    file
}

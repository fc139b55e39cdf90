//! The deployed stack under test.
//!
//! `ORDERS_STACK_FILE` names the description written by `make run`. A description of a stack in an
//! AWS account works as well, with `"endpointUrl": null` and a token command in
//! `ORDERS_TOKEN_COMMAND`. Without the variable the tests start a local stack and stop it at the end.

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

/// Root of the checkout.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Description of a stack.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stack {
    /// Base URL of the HTTP API.
    pub api_url: String,
    /// Name of the event bus.
    pub bus_name: String,
    endpoint_url: Option<String>,
    region: String,
    state_folder: Option<PathBuf>,
    outputs: HashMap<String, String>,
}

impl Stack {
    /// Returns an output of the template.
    #[must_use]
    pub fn output(&self, name: &str) -> &str {
        self.outputs.get(name).unwrap_or_else(|| panic!("the stack has no output {name}"))
    }

    /// Returns the AWS configuration of the stack.
    pub async fn sdk_config(&self) -> SdkConfig {
        sdk_config(self.endpoint_url.as_deref(), &self.region).await
    }

    /// Returns the folder with the local stack's data.
    fn state_folder(&self) -> &Path {
        self.state_folder.as_deref().expect("a local stack")
    }

    /// Returns the process id of the emulator, the parent of the running functions.
    #[must_use]
    pub fn emulator_pid(&self) -> u32 {
        pid("emulator")
    }

    /// Returns a token per buyer. A JSON object instead of a buyer defines the claims of its token.
    #[must_use]
    pub fn tokens(&self, subs: &[String]) -> Vec<String> {
        let command = env::var("ORDERS_TOKEN_COMMAND")
            .unwrap_or_else(|_| "python3 local/cli.py token".to_owned());
        let mut words = command.split_whitespace();
        let output = Command::new(words.next().expect("a command in ORDERS_TOKEN_COMMAND"))
            .args(words)
            .args(subs)
            .current_dir(ROOT)
            .envs(self.state_folder.iter().map(|folder| ("ORDERS_STATE", folder)))
            .output()
            .expect("the token command");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tokens = String::from_utf8(output.stdout).expect("UTF-8 tokens");
        tokens.lines().map(str::to_owned).collect()
    }
}

/// A crash of a part of the local stack.
#[derive(Clone, Copy, Debug)]
pub enum Crash {
    /// Kills every running function.
    Functions,
    /// Kills the emulator. The emulator restarts with its stored data.
    Emulator,
}

/// Reads the id of a process from the file written by `local/processes.py`.
fn pid(name: &str) -> u32 {
    let noted = fs::read_to_string(stack().state_folder().join(name).with_extension("pid"));
    let noted = noted.expect("a running stack");
    noted.split(' ').next().and_then(|pid| pid.parse().ok()).expect("a process id")
}

/// Crashes a part of the local stack.
pub fn crash(target: Crash) {
    let signal = match target {
        Crash::Functions => "USR2",
        Crash::Emulator => "USR1",
    };
    let kill = format!("kill -s {signal} {}", pid("stack"));
    assert!(Command::new("sh").args(["-c", &kill]).status().expect("a shell").success());
}

/// Turns the rejection of every second event of the service by the local bus on or off.
pub fn refuse_events(refuse: bool) {
    let file = stack().state_folder().join("emulator/refuse-events");
    let done = if refuse { fs::write(file, "") } else { fs::remove_file(file) };
    done.expect("a writable state folder");
}

/// Runs `make redrive` on the stack and returns its output: lists the queues, or moves the messages of a
/// queue back. Messages that other tests have left may be kept, a failure of the command.
pub fn redrive(queue: &str) -> String {
    let write = if queue.is_empty() { "" } else { "1" };
    let output = Command::new("make")
        .args(["--silent", "redrive", &format!("QUEUES={queue}"), &format!("WRITE={write}")])
        .current_dir(ROOT)
        .env("ORDERS_STACK_FILE", stack_file())
        .output()
        .expect("the command make");
    let text = String::from_utf8(output.stdout).expect("UTF-8 output");
    let is_kept = text.contains(" kept") && !text.contains(" 0 kept");
    assert!(output.status.success() || is_kept, "{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// Returns an AWS configuration. An endpoint outside AWS accepts any credentials.
pub async fn sdk_config(endpoint_url: Option<&str>, region: &str) -> SdkConfig {
    let config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(aws::http_client().expect("the trusted roots"))
        .region(Region::new(region.to_owned()));
    let config = match endpoint_url {
        Some(url) => config
            .endpoint_url(url)
            .credentials_provider(Credentials::new("test", "test", None, None, "tests")),
        None => config,
    };
    config.load().await
}

/// Returns the stack. Starts a local stack if none is given.
pub fn stack() -> &'static Stack {
    static STACK: OnceLock<Stack> = OnceLock::new();
    STACK.get_or_init(|| {
        let file = stack_file();
        let text = fs::read_to_string(file)
            .unwrap_or_else(|error| panic!("cannot read {}: {error}", file.display()));
        serde_json::from_str(&text)
            .unwrap_or_else(|error| panic!("invalid stack description {}: {error}", file.display()))
    })
}

fn stack_file() -> &'static Path {
    static FILE: OnceLock<PathBuf> = OnceLock::new();
    FILE.get_or_init(|| match env::var_os("ORDERS_STACK_FILE") {
        Some(file) => PathBuf::from(file),
        None => own_stack(),
    })
}

/// Starts a local stack. The stack runs as long as its standard input is open, that is, as long as
/// this process lives.
fn own_stack() -> PathBuf {
    static OWN: OnceLock<Child> = OnceLock::new();
    let file = env::temp_dir().join(format!("orders-tests-{}.json", uuid::Uuid::new_v4()));
    let mut child = Command::new("python3")
        .args(["local/cli.py", "exec", "cat"])
        .current_dir(ROOT)
        .env_remove("ORDERS_STATE") // a temporary state folder
        .env("ORDERS_STACK_FILE", &file)
        .stdin(Stdio::piped())
        .spawn()
        .expect("python3 in the PATH");
    while !file.exists() {
        let ended = child.try_wait().expect("the status of the stack's process");
        assert!(ended.is_none(), "the stack did not start, see its output");
        thread::sleep(Duration::from_millis(100));
    }
    OWN.get_or_init(|| child);
    file
}

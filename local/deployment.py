"""Build and deployment of the template into the emulator, each skipped if nothing has changed."""

import fcntl
import hashlib
import os
import platform
import subprocess

import aws
import processes
from issuer import AUDIENCE
from tools import ROOT, log

STACK_NAME = "orders-local"
ARCHITECTURE = "arm64" if platform.machine() == "aarch64" else "x86_64"
BUILD_FOLDER = ROOT / ".aws-sam"
BUILD_FAILURE = "The build failed; see the lines above."
SOURCE_FOLDERS = ("functions", "shared")
SOURCE_FILES = ("Cargo.toml", "Cargo.lock", "rust-toolchain.toml", "template.yaml", "samconfig.toml")


def build(sam):
    """Builds and packages the functions. Returns the fingerprint of their sources.

    `sam` is the folder with sam and cargo-lambda. A lock lets one process build at a time.
    """
    BUILD_FOLDER.mkdir(exist_ok=True)
    with open(BUILD_FOLDER / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built, fingerprint = BUILD_FOLDER / "fingerprint", _fingerprint()
        if not built.exists() or built.read_text() != fingerprint:
            built.unlink(missing_ok=True)
            _compile()
            _package(sam)
            built.write_text(fingerprint)
        return fingerprint


def deploy(sam, fingerprint, folder, ports):
    """Deploys the packaged template. Returns the outputs of the CloudFormation stack."""
    endpoint, mark = ports.url("emulator"), folder / "deployed"
    wanted = f"{fingerprint} {endpoint} {ports.url('issuer')} {ports.url('shop')}"
    cloudformation = aws.client("cloudformation", endpoint)
    if not mark.exists() or mark.read_text() != wanted or _outputs(cloudformation) is None:
        log("Deploying ...")
        with open(folder / "deploy.log", "wb") as log_file:
            processes.run(
                _deploy_command(sam, ports),
                f"The deployment failed; see {log_file.name}",
                cwd=ROOT,
                stdout=log_file,
                stderr=log_file,
                env={**_sam_environment(sam), **aws.environment(endpoint)},
            )
        mark.write_text(wanted)
    return _outputs(cloudformation)


def _compile():
    log("Building the functions (the first time takes some minutes) ...")
    target = f"{platform.machine()}-unknown-linux-gnu"
    # sam hides the progress of cargo, so cargo runs first; sam then finds everything compiled.
    processes.run(["cargo", "build", "--locked", "--target", target], BUILD_FAILURE, cwd=ROOT)


def _package(sam):
    log("Packaging the functions ...")
    command = [
        sam / "sam",
        "build",
        "--config-env",
        "local",
        "--parameter-overrides",
        f"Architecture={ARCHITECTURE} JwtIssuer=http://localhost JwtAudience={AUDIENCE}",
    ]
    environment = {**_sam_environment(sam), "SAM_BUILD_MODE": "debug", "CARGO_LAMBDA_COMPILER": "cargo"}
    processes.run(command, BUILD_FAILURE, cwd=ROOT, stdout=subprocess.DEVNULL, env=environment)


def _deploy_command(sam, ports):
    parameters = [f"Architecture={ARCHITECTURE}", f"JwtIssuer={ports.url('issuer')}", f"JwtAudience={AUDIENCE}"]
    if hold := os.environ.get("ORDERS_HOLD_SECONDS"):
        parameters.append(f"HoldSeconds={hold}")
    if ports.shop:
        # CORS: the browser may call the API from the shop's page.
        parameters.append(f"CorsOrigins={ports.url('shop')},http://localhost:{ports.shop}")
    return [
        sam / "sam",
        "deploy",
        "--config-env",
        "local",
        "--stack-name",
        STACK_NAME,
        "--parameter-overrides",
        *parameters,
    ]


def _outputs(cloudformation):
    """Returns the outputs by name; `None` if nothing is deployed."""
    try:
        stack = cloudformation.describe_stacks(StackName=STACK_NAME)["Stacks"][0]
    except cloudformation.exceptions.ClientError:
        return None
    return {output["OutputKey"]: output["OutputValue"] for output in stack.get("Outputs", [])}


def _fingerprint():
    """Returns a hash of all sources of the deployment."""
    sources = [path for folder in SOURCE_FOLDERS for path in (ROOT / folder).rglob("*") if path.is_file()]
    sources += [ROOT / name for name in SOURCE_FILES]
    digest = hashlib.sha256()
    for path in sorted(sources):
        digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def _sam_environment(sam):
    return {**os.environ, "PATH": f"{sam}{os.pathsep}{os.environ['PATH']}", "SAM_CLI_TELEMETRY": "0"}

"""Runs the commands of README.md and docs/deployment.md as printed, in bash and in zsh, on the stack described by
ORDERS_STACK_FILE.

`local.sh` replaces the commands that need AWS itself. Each page is one session of a shell that ends at the first
failing command. Prints the commands that did not run.
"""

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
# Last: `operations` has a module with the same name as one of `local`.
sys.path.append(str(ROOT / "local"))

import aws  # noqa: E402
import tools  # noqa: E402

STACK = json.loads(Path(os.environ["ORDERS_STACK_FILE"]).read_text())
DEPLOYMENT = "docs/deployment.md"
# Headings of the first and of the last section of a page, and texts of its output.
PAGES = {
    "README.md": ("First order", "First order", ('"status":"awaiting_payment"', '"paidBy":"payment-')),
    DEPLOYMENT: ("Tools", "Removal", ('"paidBy":"payment-', "DELETING")),
}
# Commands that a page shows for later, or for another purpose.
LATER = ("--config-env production", "--rule ticket-office")
# The ticket of the examples: the stack of the tests has no sample tickets.
TICKET = {"id": "concert-1", "title": "Concert in the park", "price": 25.5, "version": 0}
TIMEOUT_SECONDS = 900
MAKE_VARIABLES = ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")


def main():
    publish_ticket()
    for shell in ("bash", tools.zsh()):
        for page in PAGES:
            print(f"{Path(shell).name}: {page}", flush=True)
            follow(page, shell)


def publish_ticket():
    """Puts the ticket of the pages on sale."""
    event = {"TYPE": "TicketCreated", "DETAIL": json.dumps(TICKET)}
    subprocess.run(["make", "--silent", "publish"], cwd=ROOT, env={**os.environ, **event}, check=True)


def follow(page, shell):
    """Runs the commands of a page in a shell. Exits with their output if one fails."""
    _, _, texts = PAGES[page]
    with tempfile.TemporaryDirectory() as folder:
        names = ("page.sh", "not-run", "printed", "template.json")
        script, not_run, printed, template = (Path(folder) / name for name in names)
        not_run.touch()
        template.write_text(packaged() if page == DEPLOYMENT else "")
        script.write_text("\n".join(["set -eu -o pipefail", f". {HERE}/local.sh", "set -x", *commands(page)]))
        with printed.open("w") as output:
            # `timeout` ends the whole process group.
            done = subprocess.run(
                ["timeout", str(TIMEOUT_SECONDS), shell, script],
                cwd=ROOT,
                env={**environment(), "NOT_RUN": str(not_run), "TEMPLATE": str(template)},
                check=False,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        missing = [text for text in texts if text not in printed.read_text()]
        if done.returncode or missing:
            sys.exit(f"{printed.read_text()}\n{page}: exit code {done.returncode}, missing output: {missing}")
        print(not_run.read_text(), end="")


def environment():
    """The environment of a user of the stack, and the settings of local.sh. A user's shell is no child of `make`,
    whose variables make `make` print its directory into `$(make -s token)`.
    """
    return {
        **{name: value for name, value in os.environ.items() if name not in MAKE_VARIABLES},
        **aws.environment(STACK["endpointUrl"]),
        "ARCHITECTURE": "arm64" if platform.machine() == "aarch64" else "x86_64",
        "PATH": f"{tools.aws_bin()}{os.pathsep}{os.environ['PATH']}",
        "SAM_CLI_TELEMETRY": "0",
    }


def packaged():
    """The template of the running stack, with copies of its uploaded programs: `sam delete` deletes them."""
    cloudformation, s3 = (aws.client(name, STACK["endpointUrl"]) for name in ("cloudformation", "s3"))
    body = cloudformation.get_template(StackName=STACK["stackName"], TemplateStage="Original")["TemplateBody"]
    text = body if isinstance(body, str) else json.dumps(body)
    for bucket, key in set(re.findall(r"s3://([^/]+)/([0-9a-f]{32})\b", text)):
        s3.copy_object(Bucket=bucket, Key=f"pages/{key}", CopySource={"Bucket": bucket, "Key": key})
    return re.sub(r"(s3://[^/]+/)([0-9a-f]{32})\b", r"\1pages/\2", text)


def commands(page):
    """The commands of a page, with the address of the stack."""
    first, last, _ = PAGES[page]
    text = (ROOT / page).read_text()
    text = text[text.index(f"\n## {first}\n") : text.index("\n## ", text.index(f"\n## {last}\n") + 1)]
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    now = [block for block in blocks if not any(words in block for words in LATER)]
    return [block.replace("http://127.0.0.1:4566", STACK["apiUrl"]) for block in now]


if __name__ == "__main__":
    main()

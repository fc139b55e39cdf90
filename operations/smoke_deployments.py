"""Step of the smoke test on deployments: CodeDeploy moves the traffic of show-order, and takes it back from a broken
version. At the end the alias has the version with which the step began."""

import json
import time

import smoke_platform
import stack as stacks
from smoke_site import expect

FUNCTION = "ShowOrder"
CANARY = 0.1
SHIFT_SECONDS, ROLLBACK_SECONDS = 5 * 60, 15 * 60
POLL_SECONDS = 5
# A canary needs 20 failures or requests within a minute: a tenth of these are more.
REQUESTS_PER_SECOND = 5
ENDED = ("Succeeded", "Failed", "Stopped")


def deployment(site):
    """A second deployment moves a part of the traffic; a broken one is taken back."""
    site.needs("CodeDeploy")
    function = Function(site)
    sound = function.publish(SMOKE="sound")
    shifted = function.deploy(sound)
    site.until("a canary with 10 % of the traffic", lambda: function.weights() == {sound: CANARY}, SHIFT_SECONDS)
    function.stop(shifted)
    function.wait_for_first_version()
    # Without the names of its tables the function does not start.
    broken = function.publish(SMOKE="broken", ORDERS_TABLE="", TICKETS_TABLE="")
    failing = function.deploy(broken)
    started = time.monotonic()
    function.request_until_ended(failing)
    status, cause = function.outcome(failing)
    expect("status of the broken deployment", (status, cause), ("Stopped", "ALARM_ACTIVE"))
    function.wait_for_first_version()
    return f"10 % moved to a second version; a broken one was taken back after {time.monotonic() - started:.0f} s"


class Function:
    """The deployed function, its alias and its deployment group."""

    def __init__(self, site):
        self._site, self._lambda, self._deploy = site, site.client("lambda"), site.client("codedeploy")
        self._name = site.stack.output(f"{FUNCTION}FunctionName")
        self._group = {
            "applicationName": smoke_platform.resource(site, "ServerlessDeploymentApplication"),
            "deploymentGroupName": smoke_platform.resource(site, f"{FUNCTION}FunctionDeploymentGroup"),
        }
        self._first = self._alias()["FunctionVersion"]
        found = self._lambda.get_function_configuration(FunctionName=self._name)
        self._settings = {"Variables": found["Environment"]["Variables"]}
        site.undo(f"settings of {self._name}", self._change, self._settings)

    def publish(self, **variables):
        """Publishes a version with these environment variables. Returns its number."""
        self._change({"Variables": {**self._settings["Variables"], **variables}})
        version = self._lambda.publish_version(FunctionName=self._name)["Version"]
        self._site.undo(f"version {version}", self._lambda.delete_function, FunctionName=self._name, Qualifier=version)
        return version

    def deploy(self, version):
        """Starts a deployment of a version. Returns its id."""
        properties = {"Name": self._name, "Alias": stacks.ALIAS}
        properties |= {"CurrentVersion": self._first, "TargetVersion": version}
        specification = {"version": 0.0, "Resources": [{FUNCTION: _resource(properties)}]}
        content = {"revisionType": "AppSpecContent", "appSpecContent": {"content": json.dumps(specification)}}
        id = self._deploy.create_deployment(**self._group, revision=content)["deploymentId"]
        self._site.undo(f"deployment {id}", self._take_back, id)
        return id

    def stop(self, deployment):
        """Stops a deployment that still runs."""
        if self.outcome(deployment)[0] not in ENDED:
            self._deploy.stop_deployment(deploymentId=deployment, autoRollbackEnabled=True)

    def wait_for_first_version(self):
        self._wait(
            f"all traffic on version {self._first}", lambda: self._has_first_version() and not self._is_deploying()
        )

    def request_until_ended(self, deployment):
        """Sends requests until a deployment ends."""
        token, path = self._site.buyer().token, smoke_platform.unknown_order()["rawPath"]

        def has_ended():
            for _ in range(REQUESTS_PER_SECOND * POLL_SECONDS):
                self._site.request("GET", path, token)
                time.sleep(1 / REQUESTS_PER_SECOND)
            return self.outcome(deployment)[0] in ENDED

        self._site.until("the end of the broken deployment", has_ended, ROLLBACK_SECONDS)

    def weights(self):
        """The shares of the traffic by version, without the version of the alias."""
        return self._alias().get("RoutingConfig", {}).get("AdditionalVersionWeights", {})

    def outcome(self, deployment):
        """Returns the status of a deployment, and the code of its error."""
        info = self._deploy.get_deployment(deploymentId=deployment)["deploymentInfo"]
        return info["status"], info.get("errorInformation", {}).get("code")

    def _take_back(self, deployment):
        """Stops a deployment, and returns the traffic to the first version, also after a success."""
        self.stop(deployment)
        self._wait("the end of all deployments", lambda: not self._is_deploying())
        if not self._has_first_version():
            routing = {"AdditionalVersionWeights": {}}
            alias = {"FunctionName": self._name, "Name": stacks.ALIAS}
            self._lambda.update_alias(**alias, FunctionVersion=self._first, RoutingConfig=routing)

    def _wait(self, what, happens):
        self._site.until(what, happens, ROLLBACK_SECONDS, POLL_SECONDS)

    def _has_first_version(self):
        return self._alias()["FunctionVersion"] == self._first and not self.weights()

    def _is_deploying(self):
        running = ["Created", "Queued", "InProgress", "Baking", "Ready"]
        return bool(self._deploy.list_deployments(**self._group, includeOnlyStatuses=running)["deployments"])

    def _alias(self):
        return self._lambda.get_alias(FunctionName=self._name, Name=stacks.ALIAS)

    def _change(self, settings):
        self._lambda.update_function_configuration(FunctionName=self._name, Environment=settings)
        self._lambda.get_waiter("function_updated_v2").wait(FunctionName=self._name)


def _resource(properties):
    return {"Type": "AWS::Lambda::Function", "Properties": properties}

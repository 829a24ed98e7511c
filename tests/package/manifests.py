"""Holds container/ to the schemas of Kubernetes and Compose, to the agent's own validation, and to itself.

Usage: manifests.py BINARY COMPOSE_SCHEMA     with kubernetes-validate, PyYAML and jsonschema
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
import tomllib

import jsonschema
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2] / "container"
# From the first with native sidecars to the newest that is known here.
KUBERNETES = ["1.29", "1.31", "1.33", "1.35", "1.37"]
USER = 65532


def holds(condition, words):
    if not condition:
        sys.exit(f"manifests: {words}")


def seconds(duration):
    value, unit = re.fullmatch(r"(\d+)(ms|s|m|h)", duration).groups()
    return int(value) * {"ms": 0.001, "s": 1, "m": 60, "h": 3600}[unit]


def environment_of(container):
    """What stands in the pod's env, with something in the place of what only a cluster knows."""
    return {one["name"]: one.get("value", "192.0.2.1").replace("$(HOST_IP)", "192.0.2.1") for one in container["env"]}


def checked(binary, config, environment, secret_at):
    """The merged settings, as `rallyhere-agent check` prints them, for a configuration with its secret in a file."""
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        secret = place / "client-secret"
        secret.write_text("s3cret\n")
        secret.chmod(0o400)
        (place / "agent.toml").write_text(config.replace(secret_at, str(secret)))
        environment = {name: value.replace(secret_at, str(secret)) for name, value in environment.items()}
        environment |= {"RUNTIME_DIRECTORY": "/run/rallyhere-agent", "STATE_DIRECTORY": "/var/lib/rallyhere-agent"}
        said = subprocess.run([binary, "check", "--config", place / "agent.toml"], env=environment, capture_output=True, text=True)
        holds(said.returncode == 0, f"check refuses it: {said.stderr}")
        holds("Warning" not in said.stdout, said.stdout)
        return tomllib.loads(said.stdout)


def kubernetes(binary):
    documents = {}
    for path in sorted((ROOT / "kubernetes").glob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text()):
            for version in KUBERNETES:
                try:
                    kubernetes_validate.validate(document, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    sys.exit(f"manifests: {path.name} is not valid for Kubernetes {version}: {error.message}")
            documents[document["kind"]] = document
    holds(sorted(documents) == ["ConfigMap", "Pod", "Secret"], f"there are {sorted(documents)}")

    pod = documents["Pod"]["spec"]
    [agent], [game] = pod["initContainers"], pod["containers"]
    config = documents["ConfigMap"]["data"]["agent.toml"]
    mounts = {mount["name"]: mount["mountPath"] for mount in agent["volumeMounts"]}
    secret_at = f"{mounts['secret']}/{next(iter(documents['Secret']['stringData']))}"
    holds(secret_at in config, "the secret is not where the configuration looks for it")
    holds(mounts["config"] == "/etc/rallyhere-agent/agent.toml", "the configuration is not where the agent looks for it")
    settings = checked(binary, config, environment_of(agent), secret_at)
    holds(settings["instance"]["private_conn_str"] == "192.0.2.1:7777", "the connection string")

    holds(agent["restartPolicy"] == "Always", "the agent is no sidecar")
    drain = seconds(settings["shutdown"]["drain_timeout"])
    holds(pod["terminationGracePeriodSeconds"] >= drain + 30, "the pod is killed before the drain is over")
    port = int(settings["admin"]["listen"].rsplit(":", 1)[1])
    ports = {port["name"]: port["containerPort"] for port in agent["ports"]}
    for probe, path in [("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")]:
        wanted = agent[probe]["httpGet"]
        holds(wanted["path"] == path and ports[wanted["port"]] == port, f"{probe} asks at the wrong place: {wanted}")
    holds(settings["admin"]["listen"].startswith("0.0.0.0:"), "the kubelet cannot reach the probes on loopback")
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    for mount in agent["volumeMounts"] + game["volumeMounts"]:
        holds(mount["name"] in volumes, f"no volume {mount['name']}")
    holds(mounts["socket"] == "/run/rallyhere-agent", "the socket is in no volume")
    holds({"name": "socket", "mountPath": mounts["socket"]} in game["volumeMounts"], "the game does not see the socket")
    # The agent wants a directory of its own, and a volume's root is root's.
    holds("/var/lib/rallyhere-agent".startswith(mounts["state"] + "/"), "the state is the root of a volume")
    holds(not any(mount["name"] == "secret" for mount in game["volumeMounts"]), "the game sees the secret")
    safe = agent["securityContext"]
    holds(safe["readOnlyRootFilesystem"] and not safe["allowPrivilegeEscalation"], "the agent may too much")
    holds(safe["capabilities"]["drop"] == ["ALL"] and "add" not in safe["capabilities"], "the agent has capabilities")
    holds(pod["securityContext"]["runAsNonRoot"] and pod["securityContext"]["seccompProfile"]["type"] == "RuntimeDefault", "the pod")
    holds(safe["runAsUser"] == safe["runAsGroup"] == pod["securityContext"]["fsGroup"] == USER, "the numbers differ")
    return agent["image"]


def compose(binary, schema):
    document = yaml.safe_load((ROOT / "compose.yaml").read_text())
    checker = jsonschema.Draft7Validator(json.loads(pathlib.Path(schema).read_text()))
    mistakes = [f"{mistake.json_path}: {mistake.message}" for mistake in checker.iter_errors(document)]
    holds(not mistakes, f"compose.yaml: {mistakes}")
    agent, game = document["services"]["rallyhere-agent"], document["services"]["game"]
    settings = checked(binary, "", agent["environment"], "/run/secrets/client-secret")
    holds(seconds(agent["stop_grace_period"]) >= seconds(settings["shutdown"]["drain_timeout"]) + 30, "killed in its drain")
    port = settings["admin"]["listen"].rsplit(":", 1)[1]
    holds(agent["ports"] == [f"127.0.0.1:{port}:{port}"], "the admin listener is open to others")
    holds(agent["read_only"] and agent["cap_drop"] == ["ALL"] and agent["user"] == f"{USER}:{USER}", "the agent may too much")
    holds(game["group_add"] == [str(USER)], "the game may not use the socket")
    holds(agent["depends_on"] == ["game"], "the game is stopped before the agent")
    holds(set(document["volumes"]) == {"socket", "state"} and "secrets" not in game, "the volumes")
    holds(agent["secrets"] == list(document["secrets"]), "the secret")
    return agent["image"], agent["healthcheck"]["test"]


def main():
    binary, schema = sys.argv[1:]
    image = kubernetes(binary)
    composed, test = compose(binary, schema)
    version = subprocess.run([binary, "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    holds(image == composed == f"rallyhere-agent:{version}", f"the images are {image} and {composed}, the version is {version}")
    built = (ROOT / "Containerfile").read_text()
    holds(f"\nUSER {USER}:{USER}\n" in built, "the image has another user")
    holds(f"CMD {json.dumps(test[1:])}\n" in built, "the image has another health check")
    print(f"manifests: good for Kubernetes {', '.join(KUBERNETES)} and for Compose, and what the agent is told is valid")


main()

"""The manifest for KubeRay and the file for Ray's launcher."""

import copy

import pytest
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli as ray_cli

from tests.deploy.files import ROOT, read_yaml

CLUSTER = read_yaml("workers/kuberay.yaml")
SPEC = CLUSTER["spec"]
LAUNCHER = read_yaml("workers/ray-cluster.yaml")
GROUPS = {"head": SPEC["headGroupSpec"], **{group["groupName"]: group for group in SPEC["workerGroupSpecs"]}}


def container(group):
    (only,) = group["template"]["spec"]["containers"]
    return only


def test_the_manifest_is_a_ray_cluster_that_grows():
    assert (CLUSTER["apiVersion"], CLUSTER["kind"]) == ("ray.io/v1", "RayCluster")
    assert SPEC["enableInTreeAutoscaling"] is True
    gpu = GROUPS["gpu"]
    assert 1 <= gpu["minReplicas"] <= gpu["replicas"] < gpu["maxReplicas"]


def test_workers_ask_for_gpus_and_the_head_lends_nothing():
    assert int(container(GROUPS["gpu"])["resources"]["limits"]["nvidia.com/gpu"]) >= 1
    assert "nvidia.com/gpu" not in container(GROUPS["head"])["resources"]["limits"]
    assert GROUPS["head"]["rayStartParams"]["num-cpus"] == "0"


def test_the_cluster_asks_for_a_token_that_a_secret_holds():
    assert SPEC["authOptions"]["mode"] == "token" and SPEC["authOptions"]["secretName"]
    assert GROUPS["head"]["serviceType"] == "ClusterIP"
    assert SPEC["authOptions"]["secretName"] in ROOT.joinpath("docs", "deploy.md").read_text()


@pytest.mark.parametrize("name", GROUPS)
def test_pods_are_limited_checked_and_run_by_an_ordinary_user(name):
    pod, only = GROUPS[name]["template"]["spec"], container(GROUPS[name])
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert {"cpu", "memory"} <= only["resources"]["limits"].keys() & only["resources"]["requests"].keys()
    assert only["readinessProbe"] and only["livenessProbe"]
    mounted = {mount["name"] for mount in only.get("volumeMounts", [])}
    assert mounted == {volume["name"] for volume in pod.get("volumes", [])}


@pytest.mark.parametrize("name", GROUPS)
def test_parameters_are_options_of_ray_start(name):
    options = {option for parameter in ray_cli.commands["start"].params for option in parameter.opts}
    assert {f"--{parameter}" for parameter in GROUPS[name]["rayStartParams"]} <= options


def test_the_launcher_takes_its_file():
    prepared = prepare_config(copy.deepcopy(LAUNCHER))
    validate_config(prepared)
    assert prepared["max_workers"] == len(LAUNCHER["provider"]["worker_ips"])


def test_a_mistake_in_the_launchers_file_would_be_found():
    with pytest.raises(Exception, match="docker_image"):
        validate_config(prepare_config({**copy.deepcopy(LAUNCHER), "docker_image": "autopeft"}))


def test_the_launchers_machines_start_ray_with_the_token_and_options_that_it_has():
    options = {option for parameter in ray_cli.commands["start"].params for option in parameter.opts}
    for command in (*LAUNCHER["head_start_ray_commands"], *LAUNCHER["worker_start_ray_commands"]):
        used = {word.partition("=")[0] for word in command.split() if word.startswith("--")}
        assert used <= options
    assert "--env RAY_AUTH_MODE=token" in LAUNCHER["docker"]["run_options"]
    (target,) = LAUNCHER["file_mounts"]
    assert f"--env RAY_AUTH_TOKEN_PATH={target}" in LAUNCHER["docker"]["run_options"]

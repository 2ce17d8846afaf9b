"""The manifests for KubeRay and for what works beside it, and the file for Ray's launcher."""

import copy

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import cli as ray_cli

from tests.deploy.files import ROOT, read_yaml

CLUSTER = read_yaml("workers/kuberay.yaml")
SPEC = CLUSTER["spec"]
LAUNCHER = read_yaml("workers/ray-cluster.yaml")
COMPOSE = read_yaml("docker-compose.yml")["services"]
BESIDE = list(yaml.safe_load_all(ROOT.joinpath("workers", "kubernetes.yaml").read_text()))
DEPLOYMENTS = {one["metadata"]["name"]: one["spec"] for one in BESIDE if one["kind"] == "Deployment"}
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


@pytest.mark.parametrize("name", ["controller", "service"])
def test_the_controller_and_the_service_run_as_in_the_compose_file(name):
    only = container(DEPLOYMENTS[f"autopeft-{name}"])
    assert (only["command"], only["image"]) == (COMPOSE[name]["command"], COMPOSE[name]["image"])
    variables = {variable["name"] for variable in only["env"]}
    assert variables == COMPOSE[name]["environment"].keys()


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_the_pods_beside_the_cluster_are_limited_and_may_read_what_they_are_given(name):
    spec = DEPLOYMENTS[name]
    pod, only = spec["template"]["spec"], container(spec)
    assert spec["selector"]["matchLabels"].items() <= spec["template"]["metadata"]["labels"].items()
    assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": 10001, "fsGroup": 10001}
    assert {"cpu", "memory"} <= only["resources"]["limits"].keys() & only["resources"]["requests"].keys()
    mounts = {mount["name"]: mount["mountPath"] for mount in only["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts.keys() == volumes.keys() and mounts["data"] == "/data"
    for variable in only["env"]:
        if variable["name"].endswith(("_FILE", "_PATH")):
            folder, _, _ = variable["value"].rpartition("/")
            (volume,) = [volumes[volume] for volume, path in mounts.items() if path == folder]
            assert volume["secret"]["defaultMode"] == 0o440, variable["name"]


def test_every_secret_and_claim_beside_the_cluster_is_prepared():
    document = ROOT.joinpath("docs", "deploy.md").read_text()
    claims = {one["metadata"]["name"] for one in BESIDE if one["kind"] == "PersistentVolumeClaim"}
    for spec in DEPLOYMENTS.values():
        keys = {variable["value"].rpartition("/")[2] for variable in container(spec)["env"]}
        for volume in spec["template"]["spec"]["volumes"]:
            if secret := volume.get("secret"):
                (key,) = [key for key in keys if f"generic {secret['secretName']} --from-file={key}=" in document]
                assert key
            elif claim := volume.get("persistentVolumeClaim"):
                assert claim["claimName"] in claims


def test_the_service_is_found_at_the_port_that_it_listens_to():
    (service,) = [one["spec"] for one in BESIDE if one["kind"] == "Service"]
    spec = DEPLOYMENTS["autopeft-service"]
    assert service["selector"] == spec["selector"]["matchLabels"]
    (port,) = container(spec)["ports"]
    assert service["ports"][0]["targetPort"] == port["name"]
    assert str(port["containerPort"]) in container(spec)["command"]


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

"""Which worker goes where: shares of GPUs by need, CPUs where there is no GPU, and threads."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from autopeft.architecture import Architecture, Placement
from autopeft.base_models import describe_model
from autopeft.executors.memory import gpu_need
from autopeft.executors.placement import GpuNeed, Machine, Place, pack_size, places
from autopeft.messages import SearchSpec, TaskSpec, TrainingSettings, TrialRequest
from workers import proxy
from workers.devices import least_gpu_bytes

GPUS = Machine("g", cpus=16, gpus=4)
CPUS = Machine("c", cpus=8, gpus=0)


def test_without_gpus_the_cpus_are_shared_equally():
    assert places([CPUS], 2) == [Place(1.0, 0.0, 4, "c")] * 2
    assert places([CPUS], 16) == [Place(0.5, 0.0, 1, "c")] * 16


def test_on_several_machines_without_gpus_workers_take_turns():
    other = Machine("d", cpus=4, gpus=0)
    assert [place.machine for place in places([CPUS, other], 3)] == ["c", "d", "c"]
    assert {place.threads for place in places([CPUS, other], 4)} == {2}, "as the smaller machine has them"


def test_where_the_need_is_not_known_gpus_are_shared_equally():
    assert [place.gpus for place in places([GPUS], 4)] == [1.0] * 4
    assert [place.gpus for place in places([GPUS], 6)] == [0.5] * 6


def test_a_small_need_still_spreads_workers_over_all_gpus():
    assert [place.gpus for place in places([GPUS], 4, gpu_share=0.05)] == [1.0] * 4


def test_a_need_above_the_equal_share_leaves_room_for_fewer_workers():
    assert [place.gpus for place in places([GPUS], 16, gpu_share=0.4)] == [0.4] * 8


def test_a_model_larger_than_a_gpu_gets_a_whole_one():
    assert [place.gpus for place in places([GPUS], 6, gpu_share=1.7)] == [1.0] * 4


def test_gpus_are_taken_first_and_machines_without_one_take_the_rest():
    placed = places([GPUS, CPUS], 6, gpu_share=0.8)
    assert [place.gpus for place in placed] == [0.8] * 4 + [0.0] * 2
    assert [place.machine for place in placed] == [None] * 4 + ["c"] * 2


def test_machines_without_a_gpu_stay_idle_while_the_gpus_suffice():
    assert all(place.gpus for place in places([GPUS, CPUS], 8))


def test_a_machine_that_lends_gpus_and_no_cpus_is_used():
    assert places([Machine("g", cpus=0, gpus=1)], 2) == [Place(0.0, 0.5, 1)] * 2


machines = st.builds(Machine, st.uuids().map(str), st.integers(0, 64), st.integers(0, 8)).filter(
    lambda machine: machine.cpus or machine.gpus
)


@given(
    st.lists(machines, min_size=1, max_size=5), st.integers(1, 40), st.none() | st.floats(0.001, 3.0, allow_nan=False)
)
def test_every_place_fits_whichever_machines_ray_chooses(lending, workers, share):
    placed = places(lending, workers, share)
    assert 1 <= len(placed) <= workers
    with_gpu = [machine for machine in lending if machine.gpus]
    on_gpu = [place for place in placed if place.gpus]
    if with_gpu:
        room = sum(machine.gpus * int(1 / on_gpu[0].gpus + 1e-9) for machine in with_gpu)
        assert len(on_gpu) <= room
        for machine in with_gpu:
            most = min(len(on_gpu), machine.gpus * int(1 / on_gpu[0].gpus + 1e-9))
            assert most * on_gpu[0].cpus <= machine.cpus + 1e-6
    for machine in lending:
        here = [place for place in placed if place.machine == machine.key]
        assert sum(place.cpus for place in here) <= machine.cpus + 1e-6
        assert not (here and machine.gpus), "a worker without a GPU is placed on a machine with one"


def test_the_need_of_a_run_grows_with_batch_length_and_width_of_its_numbers():
    small = gpu_need(describe_model("minilm"), SearchSpec())
    assert 0.75e9 < small.of(1) < 2e9
    more = [
        SearchSpec(training=TrainingSettings(batch_size=64)),
        SearchSpec(task=TaskSpec(name="docstrings", max_length=512)),
        SearchSpec(precision="float32"),
    ]
    assert all(gpu_need(describe_model("minilm"), spec).run > small.run for spec in more)


def test_the_need_is_that_of_the_widest_storage_that_the_space_has():
    base, spec = describe_model("minilm"), SearchSpec(quantise="nf4")
    assert gpu_need(base, spec, ("nf4", "int8")) == gpu_need(base, spec, ("int8",))
    assert gpu_need(base, spec, ("int8",)).base > gpu_need(base, spec).base


@given(st.integers(1, 10**11), st.integers(1, 10**10), st.integers(1, 10**12))
def test_what_fits_is_the_most_that_stays_within_the_memory(base, run, memory):
    need = GpuNeed(base, run)
    fitting = need.fitting(memory)
    assert need.of(fitting + 1) > memory and (fitting == 1 or need.of(fitting) <= memory)


def test_a_pack_is_what_a_workers_share_of_the_smallest_gpu_has_room_for():
    need = GpuNeed(base=2 * 10**9, run=10**9)
    assert pack_size([GPUS], 4, 16, need, 10 * 10**9) == 8
    assert pack_size([GPUS], 8, 16, need, 10 * 10**9) == 3, "two workers on a GPU"
    assert pack_size([GPUS], 4, 5, need, 10 * 10**9) == 5
    assert pack_size([GPUS], 8, 16, need, 10**9) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_run_stays_within_its_estimated_need(tiny_model, tiny_task):
    assert least_gpu_bytes() > 1024**3
    base, spec = describe_model(str(tiny_model)), SearchSpec(task=TaskSpec(name=str(tiny_task)))
    architecture = Architecture((Placement("lora", "attention.query", 0, 2),)).to_dict()
    report = proxy.run(
        TrialRequest(key="r", model=str(tiny_model), task=spec.task, architecture=architecture, fidelity=spec.proxy)
    )
    assert report.state == "complete" and report.peak_memory < gpu_need(base, spec).of(1)

"""What an architecture brings for its training goes before what the recipe says."""

import pytest

from autopeft.architecture import Architecture
from autopeft.messages import Fidelity, TaskSpec, TrainingSettings, TrialRequest


def request(brought, **changes):
    given = {"key": "k", "model": "minilm", "task": TaskSpec(name="docstrings"), "fidelity": Fidelity(epochs=3)}
    return TrialRequest(**{**given, "architecture": Architecture(training=brought).to_dict(), **changes})


def test_what_the_architecture_says_nothing_about_stays():
    asked = request((), training=TrainingSettings(learning_rate=0.1, batch_size=8))
    assert asked.chosen_training == asked.training and asked.chosen_fidelity == asked.fidelity


def test_the_architectures_settings_go_before_the_recipes():
    brought = {"learning_rate": 0.5, "head_learning_rate": 0.25, "batch_size": 16, "weight_decay": 0.1, "warmup": 0.2}
    asked = request(tuple(brought.items()), training=TrainingSettings(learning_rate=0.1, gradient_clip=2.0))
    assert asked.chosen_training == TrainingSettings(**brought, gradient_clip=2.0)
    assert asked.chosen_fidelity == Fidelity(epochs=3)


def test_epochs_belong_to_the_fidelity():
    asked = request((("epochs", 1.5), ("batch_size", 4)), fidelity=Fidelity(rows=10, epochs=3, evaluations=2))
    assert asked.chosen_fidelity == Fidelity(rows=10, epochs=1.5, evaluations=2)
    assert asked.chosen_training == TrainingSettings(batch_size=4)


@pytest.mark.parametrize("wrong", [("momentum", 0.9), ("batch_size", 0), ("epochs", -1.0)])
def test_what_is_no_setting_or_out_of_range_is_an_error(wrong):
    with pytest.raises(ValueError, match=wrong[0]):
        asked = request((wrong,))
        _ = asked.chosen_training, asked.chosen_fidelity

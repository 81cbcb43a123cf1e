"""What looks wrong is in the metrics of its steps, and is said once."""

from __future__ import annotations

from gift_dsl.train.alarms import WINDOW
from tests.run.small import SPEC, here, metrics

UNTAUGHT = "\n".join(line for line in SPEC.partition("evaluation:")[0].splitlines() if "warmup" not in line)


def test_an_alarm_is_in_the_metrics_of_its_steps_and_is_said_once(tmp_path, capsys):
    outcome = here(tmp_path, UNTAUGHT.replace("steps: 4", f"steps: {WINDOW + 1}"))
    assert outcome.exit_code == 0
    alarms = [line.get("alarms", {}) for line in metrics(outcome.run)]
    name = "bad_format/arithmetic"  # a model that was taught nothing says nothing in the format
    assert [name in one for one in alarms] == [False] * (WINDOW - 1) + [True] * 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"alarm {name}: ")]
    assert said == [f"alarm {name}: {alarms[WINDOW - 1][name]}"]

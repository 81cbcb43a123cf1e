"""The final test: against whom it is played where an opponent is a snapshot."""

from __future__ import annotations

import torch
from accelerate import PartialState

from gift_dsl.evaluate.games import GamesResult
from gift_dsl.run import final
from gift_dsl.run.stage import open_session


def test_a_snapshot_is_the_model_that_the_last_stage_began_with_whatever_is_tested(finished, monkeypatch):
    began = []

    class Looking(final.Examiner):
        def measure(self, stage, request, team):
            began.append((self.start().policy.model.state_dict(), self.policy.policy.model.state_dict()))
            return GamesResult(request, (), {})

    monkeypatch.setattr(final, "Examiner", Looking)
    monkeypatch.setattr(final, "write_whole", lambda *_: None)
    PartialState(cpu=True)
    run = finished.run
    final._play(open_session(run, []))
    start = began[0][0]
    warmed = final.load_policy(run.plan.model, str(run.stages / "warmup")).model.state_dict()
    assert all(torch.equal(start[name], warmed[name]) for name in warmed)
    assert not all(torch.equal(began[0][0][name], began[0][1][name]) for name in warmed)

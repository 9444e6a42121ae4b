"""modeling.evaluation.outcome: measured answers as reports hold them."""

import json
import math

from modeling.evaluation.evaluate import evaluate
from modeling.evaluation.outcome import Outcome
from modeling.sample import Sample
from tests.unit.modeling.evaluation.conftest import BoxFiller


def test_outcomes_come_back_from_their_json(sample: Sample) -> None:
    """Every field and value is the same again; what is not finite stays unknown."""
    outcomes = evaluate([BoxFiller()], [sample], ("box", "click"), fixed_side=20.0).outcomes
    assert outcomes
    for it in outcomes:
        plain = {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in it.to_json().items()}
        back = Outcome.from_json(json.loads(json.dumps(plain)))
        assert (back.model, back.protocol, back.patient, back.target) == (it.model, it.protocol, it.patient, it.target)
        assert back.values.keys() == it.values.keys()
        for name, value in it.values.items():
            assert back.values[name] == value or (math.isnan(back.values[name]) and not math.isfinite(value))

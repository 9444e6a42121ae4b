"""modeling.evaluation.studies: the papers' tables, filled or "not available"."""

from modeling.evaluation.outcome import Outcome
from modeling.evaluation.studies import breast_table, consistency_table, skin_table, stone_table
from modeling.evaluation.tables import NOT_AVAILABLE


def _answer(protocol: str, modality: str, label: str, dice: float, *, simulated: bool = False) -> Outcome:
    iou = dice / (2 - dice)
    values = {"dice": dice, "f1": dice, "iou": iou, "precision": dice, "recall": dice, "accuracy": 0.99}
    values |= {"found": float(iou >= 0.5), "empty": 0.0}
    name = f"{label} {dice}"
    return Outcome("mine", protocol, f"{label} set", modality, name, name, 0, label, simulated, values)


def test_without_data_every_table_says_so() -> None:
    """With no answers at all the three tables still have their rows, all not available."""
    for table in (stone_table([]), breast_table([]), skin_table([])):
        ours = [row for row in table.rows if "published" not in row[0]]
        assert ours
        assert all(NOT_AVAILABLE in row for row in ours)


def test_stones_have_rows_by_image_and_count_objects() -> None:
    """Two stones on CT, one found: precision, recall and F1 .5, accuracy 1/3; simulated X-ray has a row of its own."""
    answers = [_answer("box jittered", "CT", "kidney stone", dice) for dice in (0.9, 0.2)]
    answers.append(_answer("box jittered", "DX", "kidney stone", 0.9, simulated=True))
    rows = {row[0]: row for row in stone_table(answers).rows}
    assert rows["CT"][3:7] == ("0.500", "0.500", "0.500", "0.333")
    assert NOT_AVAILABLE in rows["X-ray"]
    assert rows["X-ray, simulated"][3] == "1.000"


def test_breast_tumours_are_told_apart_by_label() -> None:
    """A benign tumour counts in "all" and "benign"; other organs on ultrasound do not count."""
    answers = [_answer("box", "US", "breast, benign", 0.8), _answer("box", "US", "kidney", 0.1)]
    rows = {(row[0], row[2]): row for row in breast_table(answers).rows}
    assert rows["mine", "all"][4].startswith("0.800")
    assert rows["mine", "benign"][4].startswith("0.800")
    assert NOT_AVAILABLE in rows["mine", "malignant"]
    assert NOT_AVAILABLE in rows["sam-vit-b", "all"]


def test_skinsams_abstract_contradicts_itself_and_ours_does_not() -> None:
    """The published row is doubted in the note; our own means are consistent."""
    assert "0.7984" in skin_table([]).note
    rows = consistency_table([_answer("box", "CT", "liver", dice) for dice in (0.3, 0.9, 0.6)]).rows
    assert [row[-1] for row in rows] == ["yes"]

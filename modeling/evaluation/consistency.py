"""Checks that figures can belong together, for our own tables and for published ones.

Of one mask IoU = D / (2 - D) and F1 = D = 2 P R / (P + R). Means over masks only keep inequalities: D / (2 - D) is
convex, so mean IoU >= D / (2 - D) of the mean D, and IoU <= D gives mean IoU <= mean D; 2 P R / (P + R) is concave, so
mean F1 <= 2 P R / (P + R) of the means.
"""

from collections.abc import Mapping

# Published figures carry two to four digits.
ROUNDING = 1e-6


def contradictions(figures: Mapping[str, float], rounding: float = ROUNDING) -> list[str]:
    """Which means contradict each other, in words; empty where they can be true together.

    Args:
        figures: means over masks by name: "dice", "iou", "precision", "recall", "f1"; absent ones are not checked.
        rounding: how far a figure may be from the number it stands for.
    """
    found = []
    dice, iou = figures.get("dice"), figures.get("iou")
    if dice is not None and iou is not None:
        least = dice / (2 - dice)
        # The slope of D / (2 - D) is at most 2.
        if iou < least - 3 * rounding:
            found.append(f"mean IoU {iou:.4f} is below {least:.4f}, the least that a mean Dice of {dice:.4f} allows")
        if iou > dice + 2 * rounding:
            found.append(f"mean IoU {iou:.4f} is above mean Dice {dice:.4f}")
    f1, precision, recall = (figures.get(name) for name in ("f1", "precision", "recall"))
    if f1 is not None and precision is not None and recall is not None:
        most = f1_of(precision, recall)
        if f1 > most + 3 * rounding:
            found.append(f"mean F1 {f1:.4f} is above {most:.4f}, the most that P {precision:.4f}, R {recall:.4f} allow")
    return found


def f1_of(precision: float, recall: float) -> float:
    """Harmonic mean; 0 where both are."""
    total = precision + recall
    return 2 * precision * recall / total if total else 0.0


def iou_of(dice: float) -> float:
    """The IoU of a mask with this Dice."""
    return dice / (2 - dice)

"""What the label numbers of the volumes mean: those of TotalSegmentator 2 for CT, and its MR task's.

Parts that are told apart by convention and not by what is seen are left out or joined: the lobes of a lung are one
lung, the gut is left out.
"""

CT_ORGANS = {
    1: "spleen",
    2: "right kidney",
    3: "left kidney",
    4: "gallbladder",
    5: "liver",
    6: "stomach",
    10: "left lung",
    11: "left lung",
    12: "right lung",
    13: "right lung",
    14: "right lung",
    16: "trachea",
    21: "urinary bladder",
    51: "heart",
    52: "aorta",
    63: "inferior vena cava",
    **{number: f"vertebra {number}" for number in range(26, 51)},
    69: "left humerus",
    70: "right humerus",
    75: "left femur",
    76: "right femur",
    77: "left hip",
    78: "right hip",
    86: "left autochthonous muscle",
    87: "right autochthonous muscle",
    88: "left iliopsoas",
    89: "right iliopsoas",
}
MR_ORGANS = {
    1: "spleen",
    2: "right kidney",
    3: "left kidney",
    5: "liver",
    6: "stomach",
    19: "vertebrae",
    20: "vertebrae",
    23: "aorta",
    46: "left autochthonous muscle",
    47: "right autochthonous muscle",
}

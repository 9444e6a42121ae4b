"""Real DICOM files of every transfer syntax, modality, photometric interpretation and depth, damaged ones too."""

import json
import resource
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.pixels.utils import pixel_array

from hilum.images import frame_count, read_image

TIMEOUT_S = 120
MAX_RSS_BYTES = 1 << 30
READER = """
import json, pathlib, re, sys
from hilum.errors import UnreadableImage
from hilum.images import frame_count, read_image
for path in sys.argv[1:]:
    try:
        frames = frame_count(path)
        image = read_image(path, frame=1 if frames > 1 else None)
        outcome = f"{'x'.join(map(str, image.pixels.shape))} {image.pixels.dtype}"
        last = read_image(path, frame=frames) if frames > 1 else image
        assert last.pixels.shape == image.pixels.shape
        kind = "read"
    except UnreadableImage as error:
        kind, outcome = "refused", str(error)
    # The kernel's own mark of this program; getrusage would count the process that started it.
    peak = re.search(r"VmHWM:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())
    print(json.dumps([path, kind, outcome, int(peak[1])]), flush=True)
"""
# What is damaged, or in a coding that no library without GPL decodes.
REFUSED = {
    "pydicom__MR_truncated.dcm": "pixel data end early: 8130 of 8192 bytes",
    "pydicom__badVR.dcm": "NumberOfFrames is no number",
    "pydicom-data__liver_deflate.dcm": "transfer syntax is not supported",
    "pydicom-data__liver_rle.dcm": "cannot be decoded",
}
CT = "cs3d__CTImage.dcm_"
# The same image in two codings, and how far they may differ: nothing where both are lossless.
TWINS = [
    (f"{CT}LittleEndianImplicitTransferSyntax_1.2.840.10008.1.2.dcm", f"{CT}{other}", tolerance)
    for other, tolerance in [
        ("BigEndianExplicitTransferSyntax_1.2.840.10008.1.2.2.dcm", 0),
        ("DeflatedExplicitVRLittleEndianTransferSyntax_1.2.840.10008.1.2.1.99.dcm", 0),
        ("RLELosslessTransferSyntax_1.2.840.10008.1.2.5.dcm", 0),
        ("JPEGProcess14TransferSyntax_1.2.840.10008.1.2.4.57.dcm", 0),
        ("JPEGProcess14SV1TransferSyntax_1.2.840.10008.1.2.4.70.dcm", 0),
        ("JPEGLSLosslessTransferSyntax_1.2.840.10008.1.2.4.80.dcm", 0),
        ("JPEGLSLossyTransferSyntax_1.2.840.10008.1.2.4.81.dcm", 3),
        ("JPEG2000TransferSyntax_1.2.840.10008.1.2.4.91.dcm", 60),
        ("JPEGProcess2_4TransferSyntax_1.2.840.10008.1.2.4.51.dcm", 40),
        ("JPEGProcess6_8TransferSyntax_1.2.840.10008.1.2.4.53.dcm", 40),
        ("JPEGProcess10_12TransferSyntax_1.2.840.10008.1.2.4.55.dcm", 40),
        ("JPEGProcess1TransferSyntax_1.2.840.10008.1.2.4.50.dcm", 200),
    ]
] + [
    ("pydicom-data__693_UNCR.dcm", "pydicom-data__693_J2KR.dcm", 0),
    ("pydicom-data__JPEG2000_UNC.dcm", "pydicom__JPEG2000.dcm", 0),
    ("pydicom__MR_small_implicit.dcm", "pydicom__MR_small_RLE.dcm", 0),
    ("pydicom__MR_small_implicit.dcm", "pydicom__MR_small_bigendian.dcm", 0),
    ("pydicom__MR_small_implicit.dcm", "pydicom__MR_small_jp2klossless.dcm", 0),
    ("pydicom__MR_small_implicit.dcm", "pydicom__MR_small_jpeg_ls_lossless.dcm", 0),
    ("pydicom-data__emri_small.dcm", "pydicom-data__emri_small_RLE.dcm", 0),
    ("pydicom-data__emri_small.dcm", "pydicom-data__emri_small_jpeg_2k_lossless_too_short.dcm", 0),
    ("pydicom-data__emri_small.dcm", "pydicom-data__emri_small_big_endian.dcm", 0),
    ("pydicom-data__emri_small.dcm", "pydicom-data__emri_small_jpeg_ls_lossless.dcm", 0),
    ("pydicom__rtdose.dcm", "pydicom__rtdose_rle.dcm", 0),
    ("pydicom__rtdose.dcm", "pydicom__rtdose_expb.dcm", 0),
    ("pydicom-data__SC_rgb.dcm", "pydicom-data__SC_rgb_expb.dcm", 0),
    ("pydicom-data__SC_rgb.dcm", "pydicom-data__SC_rgb_16bit.dcm", 0),
    ("pydicom-data__SC_rgb.dcm", "pydicom-data__SC_rgb_expb_32bit.dcm", 0),
    ("pydicom-data__SC_rgb.dcm", "pydicom__SC_rgb_rle_32bit.dcm", 0),
    ("pydicom-data__SC_rgb.dcm", "pydicom__SC_rgb_jpeg_gdcm.dcm", 0),
    ("pydicom-data__SC_rgb.dcm", "pydicom-data__SC_ybr_full_uncompressed.dcm", 6),
    ("pydicom-data__SC_rgb.dcm", "pydicom__SC_ybr_full_422_uncompressed.dcm", 6),
    ("pydicom-data__OBXXXX1A_rle.dcm", "pydicom-data__OBXXXX1A_expb.dcm", 0),
    ("pydicom-data__OBXXXX1A_2frame.dcm", "pydicom-data__OBXXXX1A_rle_2frame.dcm", 0),
    ("pydicom-data__gdcm-US-ALOKA-16.dcm", "pydicom-data__gdcm-US-ALOKA-16_big.dcm", 0),
    ("cs3d__TestPattern_JPEG-LS-Lossless.dcm", "cs3d__TestPattern_JPEG-LS-NearLossless.dcm", 10),
    ("pydicom-data__parametric_map_float.dcm", "pydicom-data__parametric_map_double_float.dcm", 1e-6),
    ("pydicom-data__MR2_J2KR.dcm", "pydicom-data__MR2_J2KI.dcm", 150),
]


@dataclass(frozen=True)
class Outcome:
    """What reading one file ended in."""

    kind: str
    text: str
    max_rss_bytes: int


@pytest.fixture(scope="module")
def zoo(shared_data: Path) -> Path:
    """The folder of files."""
    return shared_data / "dicom_zoo"


@pytest.fixture(scope="module")
def outcomes(zoo: Path) -> dict[str, Outcome]:
    """Every file, read in processes of their own, so that a crash or a hang would show."""
    found: dict[str, Outcome] = {}
    paths = [str(path) for path in sorted(zoo.glob("*.dcm"))]
    for start in range(0, len(paths), 24):
        command = [sys.executable, "-W", "ignore", "-c", READER, *paths[start : start + 24]]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
        assert done.returncode == 0, done.stderr[-2000:]
        for line in done.stdout.splitlines():
            path, kind, text, kibibytes = json.loads(line)
            found[Path(path).name] = Outcome(kind, text, kibibytes * 1024)
    assert len(found) == len(paths)
    return found


def test_every_file_is_read_or_refused_with_a_reason(outcomes: dict[str, Outcome]) -> None:
    """First and last frame of each file end in an image, or in UnreadableImage that names the reason."""
    refused = {name: outcome.text for name, outcome in outcomes.items() if outcome.kind == "refused"}
    print(f"\n{len(outcomes) - len(refused)} of {len(outcomes)} read")
    for name, outcome in outcomes.items():
        print(f"{outcome.kind:8} {name[:60]:60} {outcome.text}")
    assert sorted(refused) == sorted(REFUSED)
    for name, reason in REFUSED.items():
        assert reason in refused[name]


def test_no_file_takes_a_gigabyte(outcomes: dict[str, Outcome]) -> None:
    """A process that reads two dozen files, large ones among them, stays below 1 GiB."""
    assert max(outcome.max_rss_bytes for outcome in outcomes.values()) < MAX_RSS_BYTES


@pytest.mark.parametrize(("first", "second", "tolerance"), TWINS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_twins_agree(zoo: Path, first: str, second: str, tolerance: float) -> None:
    """The same image in another coding has the same values: exactly where both are lossless."""
    for frame in range(1, min(frame_count(zoo / first), frame_count(zoo / second)) + 1):
        a, b = (read_image(zoo / name, frame=frame).pixels for name in (first, second))
        assert a.dtype == b.dtype or tolerance > 0
        assert np.abs(a.astype(np.float64) - b.astype(np.float64)).max() <= tolerance


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_pixels_without_transform_agree_with_pydicom(zoo: Path) -> None:
    """Where a file has no rescale, inversion or palette, its pixels are the stored ones that pydicom decodes."""
    compared = 0
    for path in sorted(zoo.glob("*.dcm")):
        header = dcmread(path, stop_before_pixels=True, force=True)
        transformed = {"RescaleSlope", "ModalityLUTSequence", "SharedFunctionalGroupsSequence"} & set(header.dir())
        if path.name in REFUSED or transformed or header.PhotometricInterpretation not in ("MONOCHROME2", "RGB"):
            continue
        reference = reference_pixels(path)
        if reference is not None and reference.dtype in (np.uint8, np.uint16, np.int16) and reference.max() < 1 << 15:
            np.testing.assert_array_equal(read_image(path, frame=1).pixels, reference)
            compared += 1
    assert compared >= 25


def reference_pixels(path: Path) -> Any:
    """The stored values of the first frame, where pydicom itself decodes them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return pixel_array(path, index=0)
        except (AttributeError, NotImplementedError, RuntimeError, ValueError):
            return None


def test_reading_here_stays_small(zoo: Path) -> None:
    """A multi-frame file is not decoded as a whole: thirty frames cost one."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    read_image(zoo / "pydicom__examples_ybr_color.dcm", frame=30)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024

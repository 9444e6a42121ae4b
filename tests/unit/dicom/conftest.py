"""Small DICOM files, written for each test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

WriteDicom: TypeAlias = Callable[..., Path]


def dataset(stored: NDArray[Any], **attributes: Any) -> Dataset:
    """An image of stored values: (height, width[, 3]), or (frames, height, width) with NumberOfFrames."""
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = CTImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = generate_uid()
    colour = stored.ndim == 3 and "NumberOfFrames" not in attributes
    made.Rows, made.Columns = stored.shape[:2] if colour or stored.ndim == 2 else stored.shape[1:3]
    made.SamplesPerPixel = 3 if colour else 1
    made.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        made.PlanarConfiguration = 0
    made.BitsAllocated = made.BitsStored = 8 * stored.dtype.itemsize
    made.HighBit = made.BitsStored - 1
    made.PixelRepresentation = int(stored.dtype.kind == "i")
    for keyword, value in attributes.items():
        if isinstance(value, DataElement):  # with a value representation of its own
            made.add(value)
        else:
            setattr(made, keyword, value)
    made.PixelData = stored.astype(stored.dtype.newbyteorder("<")).tobytes()
    if len(made.PixelData) % 2:
        made.PixelData += b"\0"
    made["PixelData"].VR = "OB" if made.BitsAllocated <= 8 else "OW"
    return made


def item(**attributes: Any) -> Sequence:
    """A sequence of one item."""
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return Sequence([made])


def groups(*frames: dict[str, Sequence]) -> Sequence:
    """Functional groups, an item per frame."""
    items = []
    for frame in frames:
        made = Dataset()
        for keyword, value in frame.items():
            setattr(made, keyword, value)
        items.append(made)
    return Sequence(items)


@pytest.fixture
def write_dicom(tmp_path: Path) -> WriteDicom:
    """Writes `dataset(stored, **attributes)` to a file; `name` and `remove` (keywords) are options."""

    def write(
        stored: NDArray[Any], *, name: str = "image.dcm", remove: tuple[str, ...] = (), **attributes: Any
    ) -> Path:
        made = dataset(stored, **attributes)
        for keyword in remove:
            delattr(made, keyword)
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        made.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture
def ramp() -> NDArray[np.uint16]:
    """(4, 6) values 0 to 23."""
    return np.arange(24, dtype=np.uint16).reshape(4, 6)

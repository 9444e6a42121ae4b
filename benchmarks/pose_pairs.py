"""CT volumes and simulated radiographs of them in known poses, for the benchmark of 2-D/3-D poses.

The forward model shares no code and no parameters with services/fusion. The body is split into soft tissue and bone;
rays step from slice to slice of the volume, along the axis that they follow most, and are interpolated within each
slice (Joseph, IEEE Trans. Med. Imaging 1 (1982) 192); then four energies, scatter, quantum noise, blur and a
radiograph's windowing, as in the demo's simulated X-ray. The table, which the CT shows, is not in the picture, nor is
iodine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmarks.report import ROOT
from examples.demo.ct_volume import CtVolume, load_ct_volume, read_ct_volume
from examples.demo.simulated_xray import BONE_G_CM3, SOFT_G_CM3, detect, material_shares, present, transmission
from examples.demo.truth import body_mask
from hilum.geometry import Matrix3, PatientFrame, pixel_to_patient
from hilum.pose import Beam, ConeBeam, ParallelBeam, Radiograph

KIDNEY_STONES = ROOT.parent / "shared" / "data" / "ct_kidney_stones"
ROTATION_DEG, TRANSLATION_MM = 10.0, 20.0
SOURCE_TO_CENTRE_MM, CENTRE_TO_DETECTOR_MM = 950.0, 200.0
# A cassette of 43 x 43 cm, collimated along the body so that the volume's ends stay outside.
ROWS, COLUMNS, PIXEL_MM = 190, 288, 1.5
# Voxels are binned to about this edge for the forward model.
_BIN_MM = 1.5

Float = NDArray[np.float64]
# Columns are the directions of a picture's columns, rows and normal: seen from the front, and from the patient's right.
ANTERO_POSTERIOR: Matrix3 = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, -1.0, 0.0))
LATERAL: Matrix3 = ((0.0, 0.0, -1.0), (1.0, 0.0, 0.0), (0.0, -1.0, 0.0))
_INTO = {ANTERO_POSTERIOR: (0.0, 1.0, 0.0), LATERAL: (1.0, 0.0, 0.0)}


@dataclass(frozen=True, eq=False)
class Patient:
    """A CT and what the forward model makes of it.

    Attributes:
        name: such as "chest".
        hounsfield: int16 (depth, height, width), as registered: with its table.
        frame: where its voxels lie.
        materials: float32 (2, depth, height, width), binned: soft tissue and bone in g/cm3, without the table.
        index_from_patient: float64 (4, 4): LPS mm to (x, y, slice) of the materials.
        centre: float64 (3,), LPS: the middle of the body.
        body_mm: float64 (n, 3), LPS: points of the body over which errors count.
    """

    name: str
    hounsfield: NDArray[np.int16]
    frame: PatientFrame
    materials: NDArray[np.float32]
    index_from_patient: Float
    centre: Float
    body_mm: Float

    @classmethod
    def of(cls, name: str, volume: CtVolume) -> Patient:
        """Split a CT into materials."""
        factors = [max(1, round(_BIN_MM / spacing)) for spacing in volume.spacing_mm]
        soft, bone = zip(*material_shares(volume), strict=True)
        materials = [
            _binned(np.stack([part.astype(np.float32) for part in shares]), factors) * np.float32(density)
            for shares, density in ((soft, SOFT_G_CM3), (bone, BONE_G_CM3))
        ]
        patient_from_index = np.eye(4)
        steps = np.asarray(volume.frame.spacing_mm) * factors[::-1]
        patient_from_index[:3, :3] = np.asarray(volume.frame.direction) * steps
        patient_from_index[:3, 3] = pixel_to_patient(volume.frame, [[(factor - 1) / 2 for factor in factors[::-1]]])[0]
        slices, rows, columns = np.nonzero(body_mask(volume))
        voxels = np.stack([columns, rows, slices], axis=1)[:: max(1, len(rows) // 4000)]
        body = pixel_to_patient(volume.frame, voxels)
        centre = (body.min(axis=0) + body.max(axis=0)) / 2
        index = np.asarray(np.linalg.inv(patient_from_index))
        return cls(name, volume.hounsfield, volume.frame, np.stack(materials), index, centre, body)

    def true_pose(self, seed: int, far: float = 1.0) -> Float:
        """4 x 4, patient to room: turns by up to 10 degrees, shifts by up to 20 mm along each axis, times far."""
        random = np.random.default_rng(seed)
        pose = np.eye(4)
        turn = far * random.uniform(-ROTATION_DEG, ROTATION_DEG, 3)
        pose[:3, :3] = Rotation.from_rotvec(turn, degrees=True).as_matrix()
        shift = far * random.uniform(-TRANSLATION_MM, TRANSLATION_MM, 3)
        pose[:3, 3] = self.centre + shift - pose[:3, :3] @ self.centre
        return pose

    def radiograph(self, view: Matrix3, pose: Float, seed: int, *, parallel: bool = False) -> Radiograph:
        """Take the picture of the patient in a pose.

        Args:
            view: ANTERO_POSTERIOR or LATERAL.
            pose: 4 x 4, patient to room.
            seed: of the quantum noise.
            parallel: rays run alongside each other, not from a focal spot.
        """
        into, axes = np.asarray(_INTO[view]), np.asarray(view)
        # A parallel beam magnifies nothing: the same field needs smaller pixels.
        magnification = 1.0 if parallel else (SOURCE_TO_CENTRE_MM + CENTRE_TO_DETECTOR_MM) / SOURCE_TO_CENTRE_MM
        pixel = PIXEL_MM * magnification / 1.2
        middle = self.centre + CENTRE_TO_DETECTOR_MM * into
        corner = middle - pixel * ((COLUMNS - 1) / 2 * axes[:, 0] + (ROWS - 1) / 2 * axes[:, 1])
        detector = PatientFrame(_vector(corner), view, (pixel, pixel, 0.0))
        beam: Beam = ParallelBeam(_vector(into))
        if not parallel:
            beam = ConeBeam(_vector(self.centre - SOURCE_TO_CENTRE_MM * into))
        soft, bone = self._paths(detector, beam, pose)
        detected, open_beam = detect(transmission(soft, bone), pixel, np.random.default_rng(seed))
        attenuation = -np.log(np.maximum(detected, 1.0) / open_beam)
        shown = present(attenuation, np.ones(attenuation.shape, np.bool_))
        return Radiograph(shown, detector, beam)

    def _paths(self, detector: PatientFrame, beam: Beam, pose: Float) -> Float:
        """g/cm2 of both materials along the ray to each pixel; (2, rows, columns)."""
        y, x = np.mgrid[:ROWS, :COLUMNS]
        pixels = pixel_to_patient(detector, np.stack([x.ravel(), y.ravel()], axis=1))
        if isinstance(beam, ConeBeam):
            starts = np.broadcast_to(beam.source_mm, pixels.shape)
        else:
            starts = pixels - 1000.0 * np.asarray(beam.direction)
        to_index = self.index_from_patient @ np.linalg.inv(pose)
        start, end = (points @ to_index[:3, :3].T + to_index[:3, 3] for points in (starts, pixels))
        length_cm = np.linalg.norm(pixels - starts, axis=1) / 10
        across = end - start
        axis = int(np.abs(across.mean(axis=0)).argmax())
        others = [other for other in range(3) if other != axis]
        total = np.zeros((2, len(pixels)))
        for index in range(self.materials.shape[3 - axis]):
            share = (index - start[:, axis]) / across[:, axis]
            at = [start[:, other] + share * across[:, other] for other in reversed(others)]
            for material, volume in enumerate(self.materials):
                total[material] += ndimage.map_coordinates(np.take(volume, index, axis=2 - axis), at, order=1)
        return np.asarray(total * (length_cm / np.abs(across[:, axis]))).reshape(2, ROWS, COLUMNS)


def patients() -> Iterator[Patient]:
    """Yield the demo's CT of chest and upper abdomen and, where shared/data is there, a CT of abdomen and pelvis."""
    yield Patient.of("chest", load_ct_volume())
    if KIDNEY_STONES.is_dir():
        folder = KIDNEY_STONES
        abdomen = read_ct_volume(folder / "ct_full.nii.gz", folder / "seg_full_fast_model.nii.gz")
        yield Patient.of("abdomen", abdomen)
    else:
        print(f"no abdomen: {KIDNEY_STONES.relative_to(ROOT.parent)} beside the checkout is absent")


def moved(radiograph: Radiograph, shift: Float) -> Radiograph:
    """The same picture, taken elsewhere in the room: for taking one patient's picture for another's."""
    detector = replace(radiograph.detector, origin_mm=_vector(np.asarray(radiograph.detector.origin_mm) + shift))
    beam = radiograph.beam
    if isinstance(beam, ConeBeam):
        beam = ConeBeam(_vector(np.asarray(beam.source_mm) + shift))
    return replace(radiograph, detector=detector, beam=beam)


def _binned(volume: NDArray[np.float32], factors: list[int]) -> NDArray[np.float32]:
    """Means over blocks of voxels; what does not fill a block is left out."""
    counts = [size // factor for size, factor in zip(volume.shape, factors, strict=True)]
    whole = volume[tuple(slice(0, count * factor) for count, factor in zip(counts, factors, strict=True))]
    shape = [part for pair in zip(counts, factors, strict=True) for part in pair]
    return np.asarray(whole.reshape(shape).mean(axis=(1, 3, 5)), np.float32)


def _vector(values: Any) -> tuple[float, float, float]:
    x, y, z = (float(value) for value in values)
    return x, y, z

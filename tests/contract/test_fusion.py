"""FusionService as its .proto describes it: the fake and the service."""

import hashlib
from functools import partial
from typing import Any

import numpy as np
import pytest

from hilum.codec.transforms import transform_from_message
from hilum.v1 import fusion_service_pb2 as pb
from tests.contract.fusing import (
    FIXED,
    FIXED_CENTRE,
    MOVING,
    MOVING_CENTRE,
    MOVING_SIZE,
    SHIFT,
    SIZE,
    by_value,
    fusing,
    image,
    mask,
    moving_points,
    organ,
    pair,
    patient,
    projecting,
    resampling,
    transform,
)
from tests.contract.messages import array_of, box, identity, mask_of
from tests.contract.refusals import refused
from tests.contract.registered import register
from tests.contract.wiring import Caller

VOXELS = np.random.default_rng(0).integers(-1000, 1500, (5, 7, 9)).astype(np.int16)
AXES = {pb.PROJECTION_AXIS_DEPTH: 0, pb.PROJECTION_AXIS_HEIGHT: 1, pb.PROJECTION_AXIS_WIDTH: 2}
FLAGGED = {"flags": [pb.TRANSFORM_FLAG_VIEWS_DIFFER, pb.TRANSFORM_FLAG_LOW_OVERLAP]}


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("slab", [None, (1, 4)])
def test_projections(caller: Caller, axis: Any, slab: tuple[int, int] | None) -> None:
    """Mean and maximum run along the axis asked for, over the slab asked for; the other axes keep their order."""
    field: dict[str, Any] = {"slab": pb.IndexRange(begin=slab[0], end=slab[1])} if slab else {}
    inside = np.moveaxis(VOXELS, AXES[axis], 0)[slice(*slab) if slab else slice(None)]
    for method, expected in (
        (pb.PROJECTION_METHOD_MEAN, inside.mean(axis=0)),
        (pb.PROJECTION_METHOD_MAXIMUM, inside.max(axis=0)),
    ):
        response = caller.call("ProjectVolume", projecting(VOXELS, axis=axis, method=method, **field))
        assert array_of(response.image).dtype == np.float32
        np.testing.assert_allclose(array_of(response.image), expected, rtol=1e-6, atol=1e-3)
        assert response.geometry.WhichOneof("frame") == "pixel_plane"


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
def test_projected_types(caller: Caller, dtype: str) -> None:
    """Voxels of all four data types are projected, however the stream cuts them."""
    voxels = (np.abs(VOXELS) % 256).astype(dtype)
    for chunk in (1, 7, 1000):
        response = caller.call("ProjectVolume", projecting(voxels, chunk_bytes=chunk))
        np.testing.assert_allclose(array_of(response.image), voxels.mean(axis=0), rtol=1e-6)


def test_attenuation(caller: Caller) -> None:
    """10 cm of water attenuate by 2.06 (60 keV), air by nothing, and padding counts as air."""
    voxels = np.zeros((50, 2, 3), np.int16)
    voxels[:, 1] = -1000
    voxels[:, 0, 2] = 3071
    attenuation: dict[str, Any] = {"method": pb.PROJECTION_METHOD_ATTENUATION, "geometry": patient(spacing=(1, 1, 2))}
    projected = array_of(caller.call("ProjectVolume", projecting(voxels, **attenuation, padding_value=3071)).image)
    assert projected[0, 0] == pytest.approx(2.06, rel=0.02)
    assert np.abs(projected[1]).max() < 1e-6
    assert abs(projected[0, 2]) < 1e-6


def test_projected_geometry(caller: Caller) -> None:
    """The picture lies through the middle of the slab, spanned by the two remaining axes."""
    geometry = patient(origin=(10, 20, 30), spacing=(0.5, 0.6, 3.0))
    slab = pb.IndexRange(begin=2, end=6)
    response = caller.call(
        "ProjectVolume", projecting(VOXELS, geometry=geometry, axis=pb.PROJECTION_AXIS_HEIGHT, slab=slab)
    )
    plane = response.geometry.patient_lps
    assert list(plane.origin_mm) == pytest.approx([10, 20 + 0.6 * 3.5, 30])
    assert list(plane.spacing_mm) == pytest.approx([0.5, 3.0, 0.6 * 4])
    x, y, _ = np.reshape(plane.direction, (3, 3)).T
    assert (x.tolist(), y.tolist()) == ([1, 0, 0], [0, 0, 1])
    assert plane.frame_of_reference_uid == "1.2.3"


def test_registration_finds_the_shift(caller: Caller) -> None:
    """Two bodies that differ by a shift and by contrast are registered to within 2 px, with progress on the way."""
    progress, result = register(caller)
    assert progress
    fractions = [step.fraction for step in progress]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] <= 1
    assert all(step.stage for step in progress)
    matrix = np.reshape(result.transform.pixel_matrix, (3, 3))
    centre = matrix @ (*FIXED_CENTRE, 1)
    assert np.hypot(centre[0] - MOVING_CENTRE[0], centre[1] - MOVING_CENTRE[1]) < 2
    assert matrix[2].tolist() == [0, 0, 1]
    assert 0 <= result.overlap_fraction <= 1
    assert result.match_loss_after >= 0
    assert result.stages
    assert not result.targets
    assert result.transform.algorithm


def test_a_transform_is_its_content(caller: Caller) -> None:
    """The result's transform names both sizes and geometries, and its id is the digest of all of it."""
    _, result = register(caller, fixed=image(FIXED, geometry=patient()))
    found = result.transform
    assert (found.fixed_size.height_px, found.fixed_size.width_px) == SIZE
    assert (found.moving_size.height_px, found.moving_size.width_px) == MOVING_SIZE
    assert found.fixed_geometry == patient()
    assert len(found.transform_id) == hashlib.sha256().digest_size
    assert transform_from_message(found, "transform").transform_id == found.transform_id


def test_targets_are_reported(caller: Caller) -> None:
    """With targets the result says for each how well it agrees, and which outlines were used."""
    outlines = organ(SIZE, FIXED_CENTRE), organ(MOVING_SIZE, MOVING_CENTRE)
    _, result = register(caller, targets=[pair(*outlines)])
    (report,) = result.targets
    assert 0 <= report.dice_before <= 1
    assert report.dice_after > 0.7
    assert np.array_equal(mask_of(report.mask_fixed), outlines[0])
    assert np.array_equal(mask_of(report.mask_moving), outlines[1])
    assert pb.TRANSFORM_FLAG_MASKS_DISAGREE not in result.transform.flags


def test_targets_may_be_prompts(caller: Caller) -> None:
    """Targets given as prompts are segmented with the model asked for, and their masks are returned."""
    prompts = box(20, 22, 38, 44), box(26, 18, 44, 40)
    _, result = register(caller, targets=[pair(*prompts)], model=caller.served.model)
    (report,) = result.targets
    assert mask_of(report.mask_fixed).shape == SIZE
    assert mask_of(report.mask_moving).shape == MOVING_SIZE
    assert mask_of(report.mask_fixed).any()
    assert mask_of(report.mask_moving).any()


def test_differing_views_are_flagged(caller: Caller) -> None:
    """A slab registered to a projection is flagged, and the flag is part of the transform's content."""
    _, result = register(caller, view_relation=pb.VIEW_RELATION_SLAB_AND_PROJECTION)
    assert pb.TRANSFORM_FLAG_VIEWS_DIFFER in result.transform.flags
    request = fusing(transform=pb.TransformReference(transform_id=result.transform.transform_id))
    assert refused(lambda: caller.call("FuseImages", request)).reason == "TRANSFORM_FLAGGED"
    unflagged = transform()
    unflagged.CopyFrom(result.transform)
    del unflagged.flags[:]
    request = fusing(transform=pb.TransformReference(transform=unflagged))
    refusal = refused(lambda: caller.call("FuseImages", request))
    assert (refusal.reason, refusal.field) == ("INVALID_FIELD", "transform.transform.transform_id")


def test_transforms_are_known_by_id_to_their_tenant(caller: Caller, stranger: Caller) -> None:
    """A transform that the service made is used by its id, by its tenant alone."""
    _, result = register(caller)
    by_id = pb.TransformReference(transform_id=result.transform.transform_id)
    request = moving_points([FIXED_CENTRE], transform=by_id)
    inline = moving_points([FIXED_CENTRE], transform=pb.TransformReference(transform=result.transform))
    assert caller.call("TransformPoints", request) == caller.call("TransformPoints", inline)
    assert refused(lambda: stranger.call("TransformPoints", request)).reason == "TRANSFORM_NOT_FOUND"


@pytest.mark.parametrize("base_rule", pb.BaseRule.values())
@pytest.mark.parametrize("levels", [0, 1, 6])
def test_fusion(caller: Caller, levels: int, base_rule: Any) -> None:
    """The fused picture has the fixed image's size, with both grey images and the coverage on the same grid."""
    response = caller.call("FuseImages", fusing(levels=levels, base_rule=base_rule))
    for picture in (response.fused, response.fixed, response.moving):
        assert array_of(picture).dtype == np.uint8
        assert array_of(picture).shape == SIZE
    covered = mask_of(response.moving_coverage)
    expected = np.zeros(SIZE, np.bool_)
    expected[int(-SHIFT[1]) :] = True
    assert np.array_equal(covered, expected)
    fixed = np.clip(np.rint((FIXED + 200.0) * 255 / 400), 0, 255)
    assert np.abs(array_of(response.fixed) - fixed).max() <= 1
    assert not response.burned_flags


STYLES: dict[Any, tuple[int, ...]] = {
    pb.FUSION_STYLE_UNSPECIFIED: SIZE,
    pb.FUSION_STYLE_PYRAMID: SIZE,
    pb.FUSION_STYLE_COLOUR_OVERLAY: (*SIZE, 3),
    pb.FUSION_STYLE_ALPHA_BLEND: SIZE,
    pb.FUSION_STYLE_CHECKERBOARD: SIZE,
    pb.FUSION_STYLE_FLICKER: (2, *SIZE),
}


@pytest.mark.parametrize(("style", "shape"), STYLES.items())
def test_every_style_has_its_shape(caller: Caller, style: Any, shape: tuple[int, ...]) -> None:
    """Each style is UINT8 of the shape that the contract states, with the flags drawn in."""
    plain = array_of(caller.call("FuseImages", fusing(style=style)).fused)
    assert plain.dtype == np.uint8
    assert plain.shape == shape
    request = fusing(style=style, transform=by_value(**FLAGGED), accepted_flags=FLAGGED["flags"])
    flagged = array_of(caller.call("FuseImages", request).fused)
    for before, after in zip(plain, flagged, strict=True) if len(shape) == 3 and shape[0] == 2 else [(plain, flagged)]:
        assert (before != after).any()
        assert (before[0] == after[0]).all()


def test_styles_show_what_they_say(caller: Caller) -> None:
    """Overlay, blend, checkerboard and flicker are made of the two grey images that come with them."""

    def shown(**fields: Any) -> Any:
        response = caller.call("FuseImages", fusing(**fields))
        pictures = (array_of(picture) for picture in (response.fused, response.fixed, response.moving))
        return *pictures, mask_of(response.moving_coverage)

    overlay, fixed, moving, covered = shown(style=pb.FUSION_STYLE_COLOUR_OVERLAY, opacity=1.0)
    assert (overlay[moving == 0] == fixed[moving == 0][:, None]).all()
    assert (overlay[moving > 200][:, 0] > overlay[moving > 200][:, 2] + 100).all()
    for opacity, alone in ((0.0, fixed), (1.0, np.where(covered, moving, fixed))):
        assert np.array_equal(shown(style=pb.FUSION_STYLE_ALPHA_BLEND, opacity=opacity)[0], alone)
    board = shown(style=pb.FUSION_STYLE_CHECKERBOARD, tile_px=16)[0]
    rows, columns = np.indices(SIZE) // 16
    assert np.array_equal(board, np.where(((rows + columns) % 2 == 1) & covered, moving, fixed))
    frames = shown(style=pb.FUSION_STYLE_FLICKER)[0]
    assert np.array_equal(frames[0], fixed)
    assert np.array_equal(frames[1], np.where(covered, moving, fixed))


def test_pyramid_options(caller: Caller) -> None:
    """Every option of the pyramid is taken, alone and all together."""
    options: dict[str, Any] = {
        "window_px": 7,
        "match_threshold": -0.5,
        "energy_ratio": 1.0,
        "noise_floor": 0.0,
        "background": 0.1,
        "gradient_fidelity": 0.5,
        "levels": 5,
    }
    for chosen in (*({name: value} for name, value in options.items()), options):
        assert array_of(caller.call("FuseImages", fusing(**chosen)).fused).shape == SIZE


def test_a_target_s_contrast_is_told(caller: Caller) -> None:
    """With a target its contrast comes back, in both images and the picture; without one there is none."""
    target = mask(organ(SIZE, FIXED_CENTRE))
    contrast = caller.call("FuseImages", fusing(target=target)).target_contrast
    assert min(contrast.fixed, contrast.moving, contrast.fused) > 0
    assert not caller.call("FuseImages", fusing()).HasField("target_contrast")


def test_flags_are_burned_in(caller: Caller) -> None:
    """A flagged transform is used when every flag is accepted by name; the flags are then in the picture."""
    for accepted in ([], [pb.TRANSFORM_FLAG_VIEWS_DIFFER], [pb.TRANSFORM_FLAG_NO_IMPROVEMENT]):
        request = fusing(transform=by_value(**FLAGGED), accepted_flags=accepted)
        refusal = refused(partial(caller.call, "FuseImages", request))
        assert refusal.reason == "TRANSFORM_FLAGGED"
        assert "LOW_OVERLAP" in refusal.message
    plain = caller.call("FuseImages", fusing())
    flagged = caller.call("FuseImages", fusing(transform=by_value(**FLAGGED), accepted_flags=FLAGGED["flags"]))
    assert set(flagged.burned_flags) == set(FLAGGED["flags"])
    assert flagged.fused.data != plain.fused.data
    assert flagged.fixed == plain.fixed


@pytest.mark.parametrize("interpolation", pb.Interpolation.values())
def test_resampling_by_whole_pixels(caller: Caller, interpolation: Any) -> None:
    """A shift by whole pixels copies values exactly, in the image's own type, background elsewhere."""
    response = caller.call("ResampleImage", resampling(interpolation=interpolation, background_value=-1024))
    x, y = (int(part) for part in SHIFT)
    expected = np.full(SIZE, -1024, np.int16)
    expected[-y:] = MOVING[: SIZE[0] + y, x : x + SIZE[1]]
    assert np.array_equal(array_of(response.image), expected)
    assert np.array_equal(mask_of(response.coverage), np.arange(SIZE[0])[:, None] * np.ones(SIZE[1]) >= -y)
    assert not response.flags


def test_resampling_between_pixels(caller: Caller) -> None:
    """Half-way between pixels LINEAR is the mean and NEAREST one of the two; flags are listed, not drawn."""
    half = {"pixel_matrix": [1, 0, 6.5, 0, 1, 0, 0, 0, 1], **FLAGGED}
    request = resampling(
        moving=image(MOVING.astype(np.float32)), transform=by_value(**half), accepted_flags=FLAGGED["flags"]
    )
    response = caller.call("ResampleImage", request)
    left, right = MOVING[: SIZE[0], 6 : 6 + SIZE[1]], MOVING[: SIZE[0], 7 : 7 + SIZE[1]]
    np.testing.assert_allclose(array_of(response.image), (left + right.astype(np.float32)) / 2, atol=0.01)
    assert set(response.flags) == set(FLAGGED["flags"])
    request.interpolation = pb.INTERPOLATION_NEAREST
    near = array_of(caller.call("ResampleImage", request).image)
    assert ((near == left) | (near == right)).all()


def test_padding_is_not_mixed_in(caller: Caller) -> None:
    """Padding of the moving image is not covered, and is not mixed into its neighbours."""
    padded = MOVING.copy()
    padded[:, :30] = -2000
    response = caller.call("ResampleImage", resampling(moving=image(padded, padding_value=-2000), background_value=7))
    covered = mask_of(response.coverage)
    pixels = array_of(response.image)
    assert not covered[:, :24].any()
    assert covered[4:, 24:].all()
    assert (pixels[~covered] == 7).all()
    assert pixels[covered].min() >= MOVING.min()


POINTS = [(0.0, 0.0), (12.5, -3.0), (79.0, 59.0)]
PLANES = {"fixed_geometry": patient((1, 2, 3)), "moving_geometry": patient((5, 6, 7), (0.5, 0.5, 2.0))}


def _moved(caller: Caller, request: pb.TransformPointsRequest) -> Any:
    return np.array([list(point.values) for point in caller.call("TransformPoints", request).points])


def test_points_in_pixels(caller: Caller) -> None:
    """Points go from fixed to moving and back, in pixels."""
    moved = _moved(caller, moving_points(POINTS))
    np.testing.assert_allclose(moved, np.array(POINTS) + SHIFT)
    back = _moved(caller, moving_points(moved, direction=pb.TRANSFORM_DIRECTION_MOVING_TO_FIXED))
    np.testing.assert_allclose(back, POINTS, atol=1e-9)
    assert caller.call("TransformPoints", moving_points([])).points == []


def test_points_in_millimetres(caller: Caller) -> None:
    """In the plane, millimetres are pixels times the spacing of the image that the point lies in."""
    request = moving_points(POINTS, transform=by_value(**PLANES), unit=pb.POINT_UNIT_PLANE_MM)
    np.testing.assert_allclose(_moved(caller, request), (np.array(POINTS) + SHIFT) * 0.5)


def test_points_in_the_patient(caller: Caller) -> None:
    """In LPS, points of the fixed plane go to the moving plane; flags come with them."""
    reference = by_value(**PLANES, **FLAGGED)
    request = moving_points([(1 + 10, 2 + 20, 3)], transform=reference, unit=pb.POINT_UNIT_PATIENT_LPS_MM)
    expected = [[5 + (10 + SHIFT[0]) * 0.5, 6 + (20 + SHIFT[1]) * 0.5, 7]]
    np.testing.assert_allclose(_moved(caller, request), expected)
    assert set(caller.call("TransformPoints", request).flags) == set(FLAGGED["flags"])


def test_grey_levels_are_the_mapping_s(caller: Caller) -> None:
    """FuseImages maps each image by its own mapping; identity keeps uint8 as it is."""
    grey = (np.arange(SIZE[0] * SIZE[1]) % 256).reshape(SIZE).astype(np.uint8)
    response = caller.call("FuseImages", fusing(fixed=image(grey, intensity_mapping=identity())))
    assert np.array_equal(array_of(response.fixed), grey)

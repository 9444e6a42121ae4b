"""Running services evaluated through the client, as a user meets them: whole images unless regions are asked for."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hilum.blocking_client import Client
from hilum.connection import Endpoints
from hilum.errors import ModelNotFound
from hilum.geometry import ImageGeometry, PlaneFrame
from hilum.serving.bundle import PromptKinds
from hilum.serving.calibration import ScoreCalibration
from hilum.types import Identity, Image, ImageSource, Prompt
from modeling.evaluation.predictor import Answers, Candidates
from modeling.sample import Sample


class ServicesPredictor:
    """A model that running services serve.

    Args:
        client: connected to them.
        model: its name; "" for their default.
        regions: whether small targets and clicks are looked at in regions, by the client's documented rule. Logits of
            a region are not fed back then, as the place of the next region is not known beforehand.
        bright_target: as `hilum.AsyncClient.predict`.
        refine_bright: whether the services refine masks of bright objects; the refined mask is measured then.

    Raises:
        ModelNotFound: they do not serve it.
    """

    def __init__(
        self,
        client: Client,
        model: str = "",
        *,
        regions: bool = False,
        bright_target: bool = False,
        refine_bright: bool = False,
    ) -> None:
        served = client.models()
        chosen = [entry for entry in served if not model or entry.name == model]
        if not chosen:
            raise ModelNotFound(f"the services do not serve {model!r}, but {[entry.name for entry in served]}")
        self._client, self._model = client, chosen[0]
        self._regions, self._bright, self._refine = regions, bright_target, refine_bright

    @property
    def name(self) -> str:
        """The model's, and that services answered."""
        extras = [", regions"] * self._regions + [", bright"] * self._bright + [", refined"] * self._refine
        return f"{self._model.name} (services{''.join(extras)})"

    @property
    def kinds(self) -> PromptKinds:
        """What the encoder lists."""
        kinds = self._model.prompts
        fed_back = "mask_input" in kinds and not self._regions
        return PromptKinds(
            points="points" in kinds, box="box" in kinds, mask_input=fed_back, single_click=self._model.single_click
        )

    @property
    def refuses(self) -> bool:
        """Services refuse prompts that a model was not trained on."""
        return True

    @property
    def looks_closely(self) -> bool:
        """Whether regions are used."""
        return self._regions

    @property
    def calibration(self) -> Mapping[str, ScoreCalibration]:
        """None: services tell what a score is worth with each answer only."""
        return MappingProxyType({})

    def set_image(self, sample: Sample) -> None:
        """Keep the image; the client sends it with the first prompt."""
        geometry = ImageGeometry(PlaneFrame(sample.spacing_mm)) if sample.spacing_mm else ImageGeometry()
        source = ImageSource(modality=sample.modality, simulated=sample.simulated)
        self._image = Image(sample.image, geometry, source=source)

    def predict(self, prompts: Sequence[Prompt], candidates: Candidates = "single") -> Answers:
        """Answer prompts through PredictMasks; "four" takes two calls."""
        # In regions the client's one answer to a click is what people get, and it may be another candidate.
        single = None if self._regions and self._model.single_click else False
        wanted = {"single": (single,), "three": (True,), "four": (single, True)}[candidates]
        parts = [self._predict(prompts, multimask) for multimask in wanted]
        masks, scores, low_res = (np.concatenate(column, axis=1) for column in zip(*parts, strict=True))
        return Answers(masks, scores, low_res)

    def _predict(
        self, prompts: Sequence[Prompt], multimask: bool | None
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        rows = self._client.predict(
            self._image,
            prompts,
            mapping=Identity(),
            model=self._model.name,
            region="auto" if self._regions else None,
            multimask_output=multimask,
            bright_target=self._bright,
            refine_bright=self._refine,
            return_low_res_masks=True,
        ).masks
        low_res = [[mask.low_res_mask for mask in row if mask.low_res_mask is not None] for row in rows]
        return (
            np.stack([[mask.mask for mask in row] for row in rows]),
            np.array([[mask.model_score for mask in row] for row in rows], np.float64),
            np.array(low_res, np.float32),
        )


def endpoints(addresses: str) -> Endpoints:
    """Endpoints of "ENCODER,DECODER", or of one address where both are behind a proxy."""
    encoder, _, decoder = addresses.partition(",")
    return Endpoints(encoder.strip(), (decoder or encoder).strip())

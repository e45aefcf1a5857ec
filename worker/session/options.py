"""What a user may ask of one run; the CLI, the HTTP body and the panel all fill this one model."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from worker.session.model import Model

EnginedStage = Literal["geometry", "harvest", "clean_plate", "scene", "lighting", "props"]


class Studio(Model):
    """Who delivers; goes into every metadata record. A prefix is only ever the studio's own."""

    producer: str | None = None
    doi_prefix: str | None = None
    film_title: str | None = None
    film_eidr: str | None = None
    film_isan: str | None = None


class Options(Model):
    skip_scene: bool = False
    skip_geometry: bool = False
    asset_gen_backend: Literal["auto", "trellis", "sam3d_objects", "embedded"] = "auto"
    engines: dict[EnginedStage, str] = {}  # stage -> engine name; absent means auto
    rois: list[tuple[int, int, int, int]] = []  # x, y, width, height in pixels of the input still, upright
    max_props: int = Field(default=8, ge=0, le=64)
    seed: int = Field(default=0, ge=0, le=2**63 - 1)
    hfov_deg: float | None = Field(default=None, gt=1.0, lt=170.0)
    lens_mm: float | None = Field(default=None, gt=1.0, lt=2000.0)  # on a 36 mm wide sensor, as Blender counts
    geometry_tiles: bool = False  # finer depth through overlapping tiles, where the geometry engine can
    keep_props: bool = False  # the scene stage works on the still itself, not on the clean plate
    no_blend: bool = False
    language: Literal["en", "zh"] = "en"
    studio: Studio = Studio()

    @field_validator("asset_gen_backend", mode="before")
    @classmethod
    def _pre_study_name(cls, name: object) -> object:
        return "sam3d_objects" if name == "sam3d" else name

    @field_validator("rois")
    @classmethod
    def _boxes_have_area(cls, rois: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
        for x, y, width, height in rois:
            if width < 1 or height < 1 or x < 0 or y < 0:
                raise ValueError(f"a box needs x, y >= 0 and width, height >= 1, not {x},{y},{width},{height}")
        return rois

    @model_validator(mode="after")
    def _one_lens(self) -> Options:
        if self.hfov_deg is not None and self.lens_mm is not None:
            raise ValueError("give either --fov or --lens_mm, not both")
        return self

"""props/harvest_manifest.json: what was taken from the still, what was not, and why."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field

from worker.session.model import Model, Notice

Box = tuple[int, int, int, int]  # x, y, width, height in the still's pixels
Outline = list[list[tuple[int, int]]]  # closed polygons in the still's pixels


class Candidate(Model):
    """What is known of anything that was looked at. `area` is its share of the frame, `score` 0..1."""

    label: str
    label_zh: str
    source: str
    score: float
    bbox: Box
    area: float
    outline: Outline = []
    reasons: list[Notice] = []  # of a prop: what speaks against it though it was taken; of a rejected one: why


class HarvestedProp(Candidate):
    """`mask` and `crop` are session-relative; `crop` covers `crop_box` of the still, which is `bbox` with a margin."""

    id: str
    mask: str
    crop: str
    crop_box: Box
    truncated: bool = False
    occluded: bool = False
    roi: int | None = None  # index into options.rois where the user asked for it


class HarvestManifest(Model):
    """Props best first: their ids count in that order."""

    schema_: Literal["assetize.harvest/1"] = Field(default="assetize.harvest/1", alias="schema")
    width: int
    height: int
    depth_used: bool  # whether the rules that need trustworthy depth were applied
    props: list[HarvestedProp] = []
    rejected: list[Candidate] = []

    model_config = ConfigDict(extra="forbid", populate_by_name=True, ser_json_inf_nan="null")

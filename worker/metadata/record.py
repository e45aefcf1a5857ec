"""The metadata record of one asset: two views of GB/T 36369, what it is, where it came from, what it may be used for.

`system_metadata` uses the words of Tables B.1 and B.2 of the revision under way; `kernel` is the declaration of the
published edition (GB/T 36369-2018, identical to ISO 26324:2012, Annex B.2). Neither is a registration: only an agency
can name itself and a DOI name, so both stay null and `self_check` counts them as missing. See docs/metadata.md.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from worker.metadata.licences import Commercial, LedgerEntry
from worker.session.model import Model

BASIS = ["GB/T 36369-2018", "ISO 26324:2012 Annex B.2", "GB 45438-2025"]
AGENCY_ONLY = ("referentDoiName", "registrationAgencyDoiName")

Text = dict[Literal["en", "zh"], str]


class Identifier(Model):
    """`type` from the kernel's list where it has one (UUID, ProprietaryIdentifier, EidrContentID, ISAN)."""

    type: str
    value: str
    relationship: str | None = None


class SystemMetadata(Model):
    """Table B.1: DOI Name, Referent Type, Sub-Type, Name(s), Basic Metadata, Identifier(s); Table B.2: the last two."""

    doi_name: None = None
    referent_type: Literal["DigitalAsset"] = "DigitalAsset"
    referent_sub_type: str
    referent_name: list[str]
    basic_metadata: dict[str, Any]
    referent_identifier: list[Identifier]
    registration_authority: None = None
    created_date: str


class KernelName(Model):
    value: str
    type: Literal["Title", "Name"] = "Title"
    primaryLanguage: str  # noqa: N815  the standard's own spelling, here and below


class KernelIdentifier(Model):
    nonUriValue: str  # noqa: N815
    type: str


class KernelAgent(Model):
    name: dict[Literal["value"], str]
    role: None = None


class LinkedCreation(Model):
    """Exactly one of the two roles: what the referent is to the link, or what the link is to the referent."""

    name: str | None = None
    identifier: list[KernelIdentifier]
    referentCreationRole: Literal["Derivation", "Part", "SupplementalResource"] | None = None  # noqa: N815
    linkedCreationRole: Literal["Part"] | None = None  # noqa: N815


class ReferentCreation(Model):
    name: list[KernelName] = Field(min_length=1)
    identifier: list[KernelIdentifier]
    structuralType: Literal["Digital"] = "Digital"  # noqa: N815
    mode: list[Literal["Visual"]] = ["Visual"]
    character: list[Literal["Image"]] = ["Image"]
    type: list[Literal["InteractiveResource", "StillImage", "Dataset"]]
    principalAgent: list[KernelAgent] = []  # noqa: N815
    linkedCreation: list[LinkedCreation] = []  # noqa: N815


class Kernel(Model):
    referentDoiName: None = None  # noqa: N815
    primaryReferentType: Literal["Creation"] = "Creation"  # noqa: N815
    registrationAgencyDoiName: None = None  # noqa: N815
    issueDate: str = Field(pattern=r"^\d{4}-\d\d-\d\d$")  # noqa: N815
    issueNumber: int = 1  # noqa: N815
    referentCreation: ReferentCreation  # noqa: N815


class SelfCheck(Model):
    """How far the kernel goes towards a declaration; `statement` says it in words."""

    present: int
    required: int
    missing: list[str]
    agency_only: list[str]
    statement: Text


class FileEntry(Model):
    """`path` is relative to the session folder, POSIX."""

    path: str
    role: str
    media_type: str
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    bytes: int


class TechnicalMetadata(Model):
    """Of the asset's main file; `facts` come from that file's own header."""

    format: str
    standard: str
    file_size: int
    created_at: str
    unit: str | None
    axes: str
    facts: dict[str, Any]
    files: dict[str, dict[str, Any]]


class ContentMetadata(Model):
    tags: list[str]
    description: Text
    structure_data: dict[str, Any]


class Step(Model):
    """One finished stage that the asset went through."""

    stage: str
    engine: str | None
    engine_version: str | None
    weights_sha256: dict[str, str]
    seed: int | None
    device: str | None
    degraded: bool
    warnings: list[str]


class Source(Model):
    """The still as it came in."""

    name: str
    sha256: str
    bytes: int
    format: str
    width: int
    height: int
    crop: tuple[int, int, int, int]
    color_space: str


class Provenance(Model):
    tool: Literal["Assetize"] = "Assetize"
    tool_version: str
    session_id: str
    digital_source_type: str
    source: Source
    steps: list[Step]


class Licences(Model):
    commercial_use: Commercial
    engines: list[LedgerEntry]


class ImplicitLabel(Model):
    """GB 45438-2025 Annex E, in its order; every value is a string."""

    Label: Literal["1", "2", "3"]
    ContentProducer: str
    ProduceID: str
    ReservedCode1: str
    ContentPropagator: str
    PropagateID: str
    ReservedCode2: str


class AssetRecord(Model):
    """One JSON file an asset; its JSON Schema ships as worker/metadata/schema/asset_record.schema.json."""

    schema_: Literal["assetize.record/1"] = Field(default="assetize.record/1", alias="schema")
    profile: Literal["gbt36369-kernel-draft/1"] = "gbt36369-kernel-draft/1"
    basis: list[str] = BASIS
    registrationStatus: Literal["unregistered", "pending-registration"] = "unregistered"  # noqa: N815
    proposedDoiName: str | None = Field(default=None, pattern=r"^10\.\d{4,9}(\.\d+)*/[a-z0-9._-]+$")  # noqa: N815
    self_check: SelfCheck
    system_metadata: SystemMetadata
    kernel: Kernel
    technical_metadata: TechnicalMetadata
    content_metadata: ContentMetadata
    provenance: Provenance
    licences: Licences
    files: list[FileEntry]
    AIGC: ImplicitLabel
    sourceAIGC: str | None = None  # noqa: N815  the label that the still came with, word for word

    model_config = {"extra": "forbid", "populate_by_name": True}


def check_kernel(kernel: Kernel) -> SelfCheck:
    """Count the elements that the stricter reading (the kernel's XSD) requires at least once."""
    creation = kernel.referentCreation
    elements: dict[str, Any] = {
        "referentDoiName": kernel.referentDoiName,
        "primaryReferentType": kernel.primaryReferentType,
        "registrationAgencyDoiName": kernel.registrationAgencyDoiName,
        "issueDate": kernel.issueDate,
        "issueNumber": kernel.issueNumber,
        "name": creation.name,
        "structuralType": creation.structuralType,
        "mode": creation.mode,
        "character": creation.character,
        "type": creation.type,
        "principalAgent": creation.principalAgent,
    }
    missing = [name for name, value in elements.items() if not value]
    present, required = len(elements) - len(missing), len(elements)
    agency = [name for name in missing if name in AGENCY_ONLY]
    ours = [name for name in missing if name not in AGENCY_ONLY]
    en = f"{present} of {required} kernel elements present; {len(agency)} only a registration agency can supply"
    zh = f"核心元素 {required} 项中已有 {present} 项；{len(agency)} 项只能由注册机构提供"
    if ours:
        en += f"; {', '.join(ours)}: name the producer in the studio options"
        zh += f"；{'、'.join(ours)}：请在工作室选项中填写制作方"
    statement: Text = {"en": f"{en}. Not a valid declaration yet.", "zh": f"{zh}。尚不构成有效声明。"}
    return SelfCheck(present=present, required=required, missing=missing, agency_only=agency, statement=statement)


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a record."""
    schema = AssetRecord.model_json_schema(by_alias=True, mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}

"""Fills metadata records from a session folder. Nothing here reads a clock or draws a number."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from worker.metadata import technical
from worker.metadata.identifiers import asset_uuid, is_eidr, is_isan, prefix_fault
from worker.metadata.labels import DELIVERY, label_for
from worker.metadata.licences import LedgerEntry, ledger, strictest
from worker.metadata.record import (
    AssetRecord,
    ContentMetadata,
    FileEntry,
    Identifier,
    ImplicitLabel,
    Kernel,
    KernelAgent,
    KernelIdentifier,
    KernelName,
    Licences,
    LinkedCreation,
    Provenance,
    ReferentCreation,
    Source,
    Step,
    SystemMetadata,
    TechnicalMetadata,
    Text,
    check_kernel,
)
from worker.session.atomic import sha256_of
from worker.session.harvest import HarvestedProp
from worker.session.layout import SessionFolder
from worker.session.model import PlacedProp, Session, StageState
from worker.session.options import Studio

PROP_STAGES = ("plate", "geometry", "harvest", "props", "placement", "relight")
LATER_STAGES = ("package", "blend", "report")  # what they write is no part of the record
_AXES = "OpenCV camera: x right, y down, z forward"
_PROP_AXES = "Z-up, front to -y, origin at the ground contact (PLY); the same turned to Y-up (GLB)"


class Assembler:
    """Records of one session. `files` are hashed once and shared between records."""

    def __init__(self, session: Session, folder: SessionFolder) -> None:
        self.session, self.folder = session, folder
        self.studio = Studio.model_validate(session.options.get("studio") or {})
        self.ledger = ledger(session)
        self._hashes: dict[Path, str] = {}

    # --- the two kinds of asset -------------------------------------------------------------------------------------
    def prop(self, prop: HarvestedProp, placed: PlacedProp | None) -> AssetRecord:
        folder, session = self.folder, self.session
        paths = [
            ("mesh", folder.prop_glb(prop.id)),
            ("gaussians", folder.prop_ply(prop.id)),
            ("crop", folder.prop_crop(prop.id)),
            ("mask", folder.prop_mask(prop.id)),
            ("relit check", folder.prop_relit(prop.id)),
        ]
        files = self._files(paths)
        main = next((f for f in files if f.role in ("mesh", "gaussians")), files[0])
        structure: dict[str, Any] = {"id": prop.id, "bbox_in_still": list(prop.bbox), "part_of": self._urn(DELIVERY)}
        if placed is not None:
            structure |= {
                "camera_from_prop": [list(row) for row in placed.camera_from_prop],
                "dimensions": placed.dimensions.model_dump(),
                "silhouette_iou": placed.silhouette_iou,
                "pose_confidence": placed.pose_confidence,
                "grounded": placed.grounded,
                "instance_of": placed.instance_of,
            }
        made = session.stages["props"].details.get("props", {}).get(prop.id) if "props" in session.stages else None
        if made is not None:  # not its seconds and megabytes: the same run gives the same record
            structure["made"] = {key: made[key] for key in ("triangles", "gaussians", "measured") if key in made}
        title = f"{prop.label} ({prop.id})"
        return self._record(
            asset=prop.id,
            sub_type="3DModel/TexturedMesh" if main.role == "mesh" else "3DModel/GaussianSplat",
            titles=[
                KernelName(value=title, primaryLanguage="en"),
                KernelName(value=prop.label_zh, primaryLanguage="zh"),
            ],
            description={
                "en": f"The prop “{prop.label}” taken from the still “{session.input.name}” and completed in 3D.",
                "zh": f"从剧照“{session.input.name}”中提取并补全为三维的道具“{prop.label_zh}”。",
            },
            tags=["prop", prop.label],
            structure=structure,
            files=files,
            main=main,
            axes=_PROP_AXES,
            stages=PROP_STAGES,
            links=[LinkedCreation(identifier=[self._uuid(DELIVERY)], referentCreationRole="Part")],
        )

    def delivery(self, props: Iterable[str]) -> AssetRecord:
        """The session as a whole; `props` are the ids that have records of their own."""
        session, folder = self.session, self.folder
        props = list(props)
        files = self._files([(Path(path).stem, folder.root / path) for path in self._outputs()])
        main = next(f for role in ("scene.ply", "points.ply", "still.png") for f in files if f.path.endswith(role))
        scene = session.scene
        structure: dict[str, Any] = {"parts": [{"id": prop, "identifier": self._urn(prop)} for prop in props]}
        if scene is not None:
            structure |= {
                "hfov_deg": scene.hfov_deg,
                "hfov_source": scene.hfov_source,
                "gravity": list(scene.gravity),
                "scale_basis": scene.scale_basis,
                "light_coverage": scene.light.coverage if scene.light else None,
            }
        sub_type = {"scene.ply": "3DModel/GaussianSplat", "points.ply": "3DModel/PointCloud"}
        name = Path(session.input.name).stem
        return self._record(
            asset=DELIVERY,
            sub_type=sub_type.get(Path(main.path).name, "Image/Still"),
            titles=[
                KernelName(value=f"{name}: 3D scene", primaryLanguage="en"),
                KernelName(value=f"{name}：三维场景", primaryLanguage="zh"),
            ],
            description=self._contents(len(props)),
            tags=["scene", "film still"],
            structure=structure,
            files=files,
            main=main,
            axes=_AXES,
            stages=tuple(stage for stage in session.stages if stage not in LATER_STAGES),
            links=[LinkedCreation(identifier=[self._uuid(prop)], linkedCreationRole="Part") for prop in props],
        )

    def _outputs(self) -> list[str]:
        """Session-relative paths that the finished stages own."""
        done = [
            record
            for stage, record in self.session.stages.items()
            if record.state == StageState.DONE and stage not in LATER_STAGES
        ]
        return sorted({path for record in done for path in record.outputs})

    def _contents(self, props: int) -> Text:
        """What really is in the delivery, in words."""
        folder, scene, name = self.folder, self.session.scene, self.session.input.name
        made = self._outputs()
        parts = [
            (scene is not None, "matched camera", "匹配的摄影机"),
            (folder.relative(folder.scene_ply) in made, "background of 3D Gaussians", "三维高斯背景"),
            (folder.relative(folder.points) in made, "point cloud", "点云"),
            (scene is not None and scene.light is not None, "light probe", "光照探针"),
            (props > 0, f"props: {props}", f"{props} 件道具"),
        ]
        en = ", ".join(text for there, text, _ in parts if there) or "plate only"
        zh = "、".join(text for there, _, text in parts if there) or "仅底图"
        return {"en": f"Made from the still “{name}”: {en}.", "zh": f"由剧照“{name}”生成：{zh}。"}

    # --- pieces -----------------------------------------------------------------------------------------------------
    def _record(
        self,
        asset: str,
        sub_type: str,
        titles: list[KernelName],
        description: Text,
        tags: list[str],
        structure: dict[str, Any],
        files: list[FileEntry],
        main: FileEntry,
        axes: str,
        stages: tuple[str, ...],
        links: list[LinkedCreation],
    ) -> AssetRecord:
        session = self.session
        identity = self._uuid(asset)
        done = [(name, session.stages[name]) for name in stages if name in session.stages]
        steps = [
            Step(
                stage=name,
                engine=record.engine,
                engine_version=record.engine_version,
                weights_sha256=dict(sorted(record.weights_sha256.items())),
                seed=record.seed,
                device=record.device,
                degraded=record.degraded,
                warnings=[warning.code for warning in record.warnings],
            )
            for name, record in done
            if record.state == StageState.DONE
        ]
        entries = [entry for entry in self.ledger if entry.stage in stages]
        trained = any(entry.weights for entry in entries)
        generated = asset != DELIVERY and any(entry.stage == "props" and entry.weights for entry in entries)
        label = label_for(session, asset, trained, generated)
        kernel = Kernel(
            issueDate=session.created[:10],
            referentCreation=ReferentCreation(
                name=titles,
                identifier=[
                    identity,
                    KernelIdentifier(nonUriValue=f"sha256:{main.sha256}", type="ProprietaryIdentifier"),
                ],
                type=["InteractiveResource"],
                principalAgent=[KernelAgent(name={"value": self.studio.producer})] if self.studio.producer else [],
                linkedCreation=[self._still(), *links, *self._film()],
            ),
        )
        status, proposed = self._registration(identity.nonUriValue)
        facts = {file.path: technical.describe(self.folder.root / file.path) for file in files}
        media_type, standard = technical.FORMATS.get(Path(main.path).suffix, ("application/octet-stream", "unknown"))
        return AssetRecord(
            registrationStatus=status,
            proposedDoiName=proposed,
            self_check=check_kernel(kernel),
            system_metadata=SystemMetadata(
                referent_sub_type=sub_type,
                referent_name=[title.value for title in titles],
                basic_metadata={
                    "title": titles[0].value,
                    "format": media_type,
                    "file_size": main.bytes,
                    "producer": self.studio.producer,
                    "film": self.studio.film_title,
                },
                referent_identifier=self._identifiers(asset, main),
                created_date=session.created,
            ),
            kernel=kernel,
            technical_metadata=TechnicalMetadata(
                format=media_type,
                standard=standard,
                file_size=main.bytes,
                created_at=session.created,
                unit=session.scene.unit if session.scene else None,
                axes=axes,
                facts=facts[main.path],
                files={path: found for path, found in facts.items() if found and path != main.path},
            ),
            content_metadata=ContentMetadata(tags=tags, description=description, structure_data=structure),
            provenance=Provenance(
                tool_version=session.tool_version,
                session_id=session.session_id,
                digital_source_type=label.source_type,
                source=Source(
                    **{name: getattr(session.input, name) for name in Source.model_fields},
                ),
                steps=steps,
            ),
            licences=Licences(commercial_use=strictest(entries), engines=entries),
            files=files,
            AIGC=ImplicitLabel.model_validate(label.aigc),
            sourceAIGC=label.source,
        )

    def _files(self, paths: list[tuple[str, Path]]) -> list[FileEntry]:
        return [self._file(role, path) for role, path in paths if path.is_file()]

    def _file(self, role: str, path: Path) -> FileEntry:
        if path not in self._hashes:
            self._hashes[path] = sha256_of(path)
        media_type, _ = technical.FORMATS.get(path.suffix, ("application/octet-stream", ""))
        return FileEntry(
            path=self.folder.relative(path),
            role=role,
            media_type=media_type,
            sha256=self._hashes[path],
            bytes=path.stat().st_size,
        )

    def _uuid(self, asset: str) -> KernelIdentifier:
        return KernelIdentifier(nonUriValue=asset_uuid(self.session.session_id, asset), type="UUID")

    def _urn(self, asset: str) -> str:
        return f"urn:uuid:{asset_uuid(self.session.session_id, asset)}"

    def _still(self) -> LinkedCreation:
        still = self.session.input
        sha256 = KernelIdentifier(nonUriValue=f"sha256:{still.sha256}", type="ProprietaryIdentifier")
        return LinkedCreation(name=still.name, identifier=[sha256], referentCreationRole="Derivation")

    def film_identifiers(self) -> list[tuple[Literal["EidrContentID", "ISAN"], str]]:
        """The film's numbers that check; `faults` names the others."""
        found: list[tuple[Literal["EidrContentID", "ISAN"], str]] = []
        if self.studio.film_eidr and is_eidr(self.studio.film_eidr):
            found.append(("EidrContentID", self.studio.film_eidr.upper()))
        if self.studio.film_isan and is_isan(self.studio.film_isan):
            found.append(("ISAN", self.studio.film_isan.upper()))
        return found

    def faults(self) -> list[tuple[str, dict[str, Any]]]:
        """What the studio options hold that does not go into any record, as notice codes."""
        faults: list[tuple[str, dict[str, Any]]] = []
        studio = self.studio
        if studio.doi_prefix and (why := prefix_fault(studio.doi_prefix)):
            faults.append(("package.prefix_refused", {"prefix": studio.doi_prefix, "why": why}))
        if studio.film_eidr and not is_eidr(studio.film_eidr):
            faults.append(("package.film_number_wrong", {"kind": "EIDR", "number": studio.film_eidr}))
        if studio.film_isan and not is_isan(studio.film_isan):
            faults.append(("package.film_number_wrong", {"kind": "ISAN", "number": studio.film_isan}))
        return faults

    def _film(self) -> list[LinkedCreation]:
        numbers = [KernelIdentifier(nonUriValue=value, type=kind) for kind, value in self.film_identifiers()]
        if not numbers and not self.studio.film_title:
            return []
        return [
            LinkedCreation(name=self.studio.film_title, identifier=numbers, referentCreationRole="SupplementalResource")
        ]

    def _identifiers(self, asset: str, main: FileEntry) -> list[Identifier]:
        identifiers = [
            Identifier(type="UUID", value=self._urn(asset)),
            Identifier(type="LocalID", value=asset),
            Identifier(type="SHA-256", value=main.sha256, relationship=f"of {main.path}"),
            Identifier(
                type="Relation", value=f"sha256:{self.session.input.sha256}", relationship="derived from this still"
            ),
        ]
        if asset != DELIVERY:
            identifiers.append(
                Identifier(type="Relation", value=self._urn(DELIVERY), relationship="part of this delivery")
            )
        identifiers += [
            Identifier(type=kind, value=value, relationship="of the film") for kind, value in self.film_identifiers()
        ]
        return identifiers

    def _registration(self, identity: str) -> tuple[Literal["unregistered", "pending-registration"], str | None]:
        prefix = self.studio.doi_prefix
        if not prefix or prefix_fault(prefix):
            return "unregistered", None
        return "pending-registration", f"{prefix}/{identity}"


def ledger_names(entries: list[LedgerEntry], use: str) -> str:
    """Engines of one kind of licence, for a sentence."""
    return ", ".join(sorted({f"{entry.engine} ({entry.stage})" for entry in entries if entry.commercial_use == use}))

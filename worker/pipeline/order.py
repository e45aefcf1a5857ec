"""The stages in the order they run: worker/stages/<name>.py each."""

STAGES: tuple[str, ...] = (
    "plate",
    "geometry",
    "harvest",
    "clean_plate",
    "scene",
    "lighting",
    "props",
    "placement",
    "relight",
    "package",
    "blend",
    "report",
)

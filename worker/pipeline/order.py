"""The stages in the order they run. A stage is the module worker/stages/<name>.py."""

STAGES = (
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

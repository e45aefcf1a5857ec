"""What a user must know of TRELLIS before first use."""

from __future__ import annotations

from worker.engines.card import EngineCard, Licence, WeightFile

REPOSITORY = "hf://microsoft/TRELLIS-image-large@25e0d31ffbebe4b5a97464dd851910efc3002d96/ckpts"
DINOV2 = "https://dl.fbaipublicfiles.com/dinov2/dinov2_vitl14"

# Nobody official publishes hashes; these stand in a third party's lock file. A file that differs is told in the log,
# and used: the first download's own hash is what later ones are held against.
REPORTED_SHA256 = {
    "ss_flow_img_dit_L_16l8_fp16.safetensors": "96dc6bfd4136fd950af564dd16b4ae533c9ba6af8f26c670646b2a9f2789b1db",
    "slat_flow_img_dit_L_64l8p2_fp16.safetensors": "693fb2a58ad497bd222007301eeec49d14d60f8c12d2f2f00c221fa747b4c66c",
    "ss_dec_conv3d_16l8_fp16.safetensors": "1c76d4a40519aa2d711cc263a8404105231ac26db31d946bed48b84fee79009a",
    "slat_dec_mesh_swin8_B_64l8m256c_fp16.safetensors": (
        "3e87aba94b5786407eb06d0502c1ed0885a0027a3f2b8537bfe15b0a92c01859"
    ),
}


def _file(name: str, size: int, manifest: str, folder: str = REPOSITORY) -> WeightFile:
    return WeightFile(name, size, None, f"{folder}/{name}", manifest=f"worker.engines.trellis.manifest:{manifest}")


# In the order of `networks.PARTS`.
WEIGHTS = (
    _file("dinov2_vitl14_reg4_pretrain.pth", 1_217_607_321, "image", DINOV2),
    _file("ss_flow_img_dit_L_16l8_fp16.safetensors", 1_130_770_840, "structure_flow"),
    _file("ss_dec_conv3d_16l8_fp16.safetensors", 147_591_972, "structure_decoder"),
    _file("slat_flow_img_dit_L_64l8p2_fp16.safetensors", 1_203_755_136, "latent_flow"),
    _file("slat_dec_gs_swin8_B_64l8gs32_fp16.safetensors", 171_450_952, "gaussian_decoder"),
    _file("slat_dec_mesh_swin8_B_64l8m256c_fp16.safetensors", 181_903_412, "mesh_decoder"),
)

# The pipeline's own parameters; they win over those written in `config`.
SETTINGS = WeightFile(
    "pipeline.json", 2_000, None, f"{REPOSITORY.removesuffix('/ckpts')}/pipeline.json", bytes_exact=False
)

CARDS = (
    EngineCard(
        name="trellis",
        stage="props",
        version="image-large",
        title="TRELLIS image to 3D (Microsoft, 2024)",
        licence=Licence(
            code="GPL-3.0-or-later",
            weights="MIT (TRELLIS-image-large), Apache-2.0 (DINOv2)",
            commercial="yes",
            output="MIT and Apache-2.0 make no claim on results.",
            url="https://huggingface.co/microsoft/TRELLIS-image-large",
            note="The networks are written anew here; none of TRELLIS' non-commercial extensions is used.",
        ),
        entry="worker.engines.trellis.engine:Trellis",
        weights=(*WEIGHTS, SETTINGS),
        devices=("cuda", "cpu"),
        # on an H100 20,000 voxels take 6.6, 2.9, 2.4 and 2.3 GB (bench/results/trellis.json); 32,000 about 1 GB more;
        # CUDA graphs at most 7.1, 3.4 and 2.6 GB (trellis_graphs.json), of the first two 0.5 the bench's own
        memory_mb={"full": 8192, "sequential": 4096, "low": 3584, "gaussians": 3072, "cpu": 10240},
        tier_devices={
            "full": ("cuda",),
            "sequential": ("cuda",),
            "low": ("cuda",),
            "gaussians": ("cuda",),
            "cpu": ("cpu",),
        },
        named_only=("cpu",),
        timeout_s=24 * 3600.0,  # on a CPU; a GPU that stands still is noticed all the same
        priority=10,
        needs=("torch", "safetensors"),
        install_hint="assetize engines install trellis",
    ),
)

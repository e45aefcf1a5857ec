"""What of the training can be tried without its assets."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

TRAIN = Path(__file__).parents[2] / "bench" / "train"
SHIPPED = Path(__file__).parents[2] / "worker" / "engines" / "embedded" / "weights" / "geometry.onnx"


@pytest.fixture(autouse=True)
def flat_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The training scripts import each other by file name; leave nothing of that behind."""
    monkeypatch.syspath_prepend(str(TRAIN))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if (TRAIN / f"{name}.py").is_file():
            del sys.modules[name]


def test_ranks_draw_other_scenes_of_the_same_shape() -> None:
    from feeder import SHAPES, jobs

    one, two = (list(islice(jobs((5 * 64 + rank) * 100_000, 50, 5), 300)) for rank in (0, 1))
    assert [job[2] for job in one] == [job[2] for job in two]
    assert not {job[0] for job in one} & {job[0] for job in two}
    share = np.bincount([job[2] for job in one], minlength=len(SHAPES)) / len(one)
    assert np.abs(share - [s[2] for s in SHAPES]).max() < 0.08
    assert all(h % 32 == 0 and w % 32 == 0 for h, w, _ in SHAPES)


def test_pictures_are_drawn_without_opencv() -> None:
    from pictures import ellipse, halve, polygon

    picture = np.zeros((4, 4, 3), np.uint8)
    picture[:2, :2] = 200
    assert halve(picture).tolist() == [[[200] * 3, [0] * 3], [[0] * 3, [0] * 3]]
    square = polygon(16, np.array([[2, 2], [10, 2], [10, 8], [2, 8]]))
    assert square.sum() == 8 * 6 and square[2, 2] and not square[8, 10]
    turned = ellipse(32, np.array([16, 16]), np.array([10, 3]), np.pi / 2)
    assert turned[25, 16] and not turned[16, 25]


def test_gradients_are_clipped_and_a_bad_step_is_none() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("PIL")
    from loop import Averager

    q = [torch.zeros(3, requires_grad=True), torch.zeros(2, 2, requires_grad=True)]
    average = Averager(q, 1)
    q[0].grad, q[1].grad = torch.full((3,), 3.0), torch.full((2, 2), 4.0)
    norm = float(average())
    assert norm == pytest.approx(np.sqrt(3 * 9 + 4 * 16))
    assert float(torch.cat([x.grad.flatten() for x in q]).norm()) == pytest.approx(1, abs=1e-5)
    q[0].grad, q[1].grad = torch.tensor([1.0, float("inf"), float("nan")]), torch.ones(2, 2)
    assert not np.isfinite(float(average()))
    assert all(bool((x.grad == 0).all()) for x in q)


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from checkpoint import load, save
    from model import GeometryNet

    torch.manual_seed(1)
    one, two = GeometryNet(), GeometryNet()
    save(one, tmp_path, 7)
    assert load(two, tmp_path) == 7
    assert all(torch.allclose(a, b, atol=1e-3) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert all(f.stat().st_size < 16 * 2**20 for f in tmp_path.iterdir())
    (tmp_path / "weights_heads.pt").write_bytes((tmp_path / "weights_encoder.pt").read_bytes())
    with pytest.raises(ValueError, match="lacks"):
        load(two, tmp_path)


def test_the_shipped_file_holds_every_weight_of_the_network() -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    from model import GeometryNet
    from warm_start import read_weights

    found = read_weights(SHIPPED)
    for name, module in GeometryNet().named_modules():
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear | torch.nn.LayerNorm):
            assert found[name]["weight"].size == module.weight.numel(), name


def test_the_shipped_file_answers_as_the_scripts_ask() -> None:
    torch = pytest.importorskip("torch")
    import onnxruntime
    from evaluate import onnx_predictor
    from model import OUTPUTS, GeometryNet

    session = onnxruntime.InferenceSession(str(SHIPPED), providers=["CPUExecutionProvider"])
    assert tuple(o.name for o in session.get_outputs()) == OUTPUTS
    picture = np.full((1, 3, 64, 96), 100, np.float32)
    with torch.no_grad():
        assert len(GeometryNet().eval()(torch.from_numpy(picture))) == len(OUTPUTS)
    log_disparity, dense, lens = onnx_predictor(SHIPPED)(picture)
    assert log_disparity.shape == (1, 1, 64, 96) and dense.shape == (1, 11, 16, 24) and lens.shape == (1, 4)


def test_the_clock_is_a_share_of_the_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("PIL")
    import loop

    now = [100.0]
    monkeypatch.setattr(loop, "time", SimpleNamespace(time=lambda: now[0]))
    clock = loop.Clock(300.0, torch.device("cpu"), 1)
    now[0] = 150.0
    assert clock.look() == pytest.approx(0.25)


@pytest.fixture
def small_kit(flat_imports: None):
    """A kit of one made-up model for every list that the recipes pick from."""
    from kit import Kit
    from library import Library
    from shapes import build_shapes

    models = [
        ("Male", "Characters", (0.5, 0.3, 1.75)),
        ("Female sitting", "Characters", (0.5, 0.8, 1.3)),
        *((n, "Living room", s) for n, s in (("Chair", (0.5, 0.5, 0.9)), ("Sofa", (1.9, 0.9, 0.8)))),
        *((n, "Living room", s) for n, s in (("Table", (1.4, 0.8, 0.74)), ("Low table", (1.0, 0.6, 0.4)))),
        *((n, "Bedroom", s) for n, s in (("Bookcase", (0.9, 0.3, 1.8)), ("Bed", (1.6, 2.0, 0.5)))),
        *((n, "Lights", s) for n, s in (("Floor lamp", (0.4, 0.4, 1.6)), ("Pendant", (0.4, 0.4, 0.5)))),
        *((n, "Exterior", s) for n, s in (("Plant", (0.5, 0.5, 0.9)), ("Pine", (2.0, 2.0, 5.0)))),
        *((n, "Vehicles", s) for n, s in (("Sedan", (1.8, 4.3, 1.5)), ("Bicycle", (0.5, 1.7, 1.1)))),
        *((n, "Doors and windows", s) for n, s in (("Door", (0.9, 0.1, 2.1)), ("Window", (1.2, 0.1, 1.2)))),
        *(
            (n, "Exterior", s)
            for n, s in (("Trash", (0.5, 0.5, 0.9)), ("Dog", (0.3, 0.9, 0.7)), ("Swing", (2.0, 1.5, 2.0)))
        ),
        *((n, "Kitchen", s) for n, s in (("Cup", (0.1, 0.08, 0.1)), ("Box", (0.4, 0.4, 0.4)))),
        *((n, "Kitchen", s) for n, s in (("Lower cabinet", (0.6, 0.6, 0.86)), ("Upper cabinet", (0.6, 0.35, 0.6)))),
        ("Mirror", "Bathroom", (0.5, 0.05, 0.7)),
    ]
    name, category, size = (list(column) for column in zip(*models, strict=True))
    elevation = np.array([1.2 if n == "Mirror" else 0.0 for n in name])
    shapes, first = {}, len(name)
    for key, variants in build_shapes().items():
        shapes[key] = list(range(first, first + len(variants)))
        first += len(variants)
    made = {
        k: [1] for k in ("all", "cover", "spines", "poster", "screen", "noise", "weave", "wood", "marble", "stripe")
    }
    kinds = {k: [2] for k in ("wood", "wall", "floor", "ground", "metal", "fabric", "facade")}
    sizes = np.array(size, np.float32)
    return Kit(Library(name, category, sizes, np.zeros(len(name)), elevation, shapes, [2], made, kinds, 3))


@pytest.mark.parametrize("recipe", ["film_room", "film_street", "film_table"])
@pytest.mark.parametrize("aspect", [16 / 9, 5 / 7])
def test_film_recipes_frame_what_they_stage(small_kit, recipe: str, aspect: float) -> None:
    import film
    from furnish import Furnisher

    hfovs = []
    for seed in range(40):
        scene = getattr(film, recipe)(Furnisher(small_kit, np.random.default_rng(seed)), aspect)
        assert all(np.isfinite(rows).all() for rows in scene.values())
        assert len(scene["inst"]) < 260 and scene["params"][2] > 0.05
        hfovs.append(2 * np.degrees(np.arctan(0.5 / scene["params"][12])))
        # some base of an object lies within the picture (or just below, cut off by its edge)
        objects = scene["inst"][:, 13] != 1
        ray = scene["forward"][objects][:, :, 3] - scene["params"][0:3]
        axes = scene["params"][3:12].reshape(3, 3)
        right, down, ahead = axes @ ray.T
        focal = scene["params"][12]
        seen = (ahead > 0.2) & (abs(right) * focal < 0.5 * ahead) & (abs(down) * focal * aspect < 0.8 * ahead)
        assert seen.any(), seed
    long_side = np.degrees(2 * np.arctan(np.tan(np.radians(hfovs) / 2) / min(aspect, 1)))
    assert long_side.min() > 17 and long_side.max() < 91 and np.ptp(long_side) > 25
    again = [getattr(film, recipe)(Furnisher(small_kit, np.random.default_rng(3)), aspect) for _ in range(2)]
    assert all((again[0][k] == again[1][k]).all() for k in again[0])


def test_the_mixture_of_recipes_is_whole(small_kit) -> None:
    from scenes import RECIPES, make_scene

    assert sum(share for _, share in RECIPES) == pytest.approx(1)
    names = [RECIPES[int(make_scene(small_kit, seed, 4 / 3)["recipe"])][0].__name__ for seed in range(60)]
    assert {"film_room", "film_street", "film_table"} <= set(names)


def lateral(scene: dict[str, np.ndarray], first_shape: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the made shapes' box corners (n, 8): distance ahead, and place across the frame (1 is its side)."""
    corner = np.array([(a, b, c) for a in (-0.5, 0.5) for b in (-0.5, 0.5) for c in (-0.5, 0.5)])
    rows = scene["forward"][scene["inst"][:, 12] >= first_shape]
    at = np.einsum("nij,kj->nki", rows[:, :, :3], corner) + rows[:, None, :, 3] - scene["params"][0:3]
    axes = scene["params"][3:12].reshape(3, 3)
    ahead = at @ axes[2]
    return ahead, 2 * scene["params"][12] * (at @ axes[0]) / np.maximum(ahead, 1e-3)


def test_rooms_from_among_furniture_have_it_cut_by_the_frame(small_kit) -> None:
    from amid import beside
    from furnish import Furnisher

    cut = []
    for seed in range(40):
        st = Furnisher(small_kit, np.random.default_rng(seed))
        scene, first = beside(st, 4 / 3), len(st.lib.name)
        ahead, across = lateral(scene, first)
        solid = scene["inst"][scene["inst"][:, 12] >= first][:, 32:35].max(1) < 3  # no wall
        near = (ahead > 0.2) & (ahead < 2)
        cut.append(((near & (abs(across) < 1)).any(1) & (near & (abs(across) > 1)).any(1) & solid).any())
    assert np.mean(cut) > 0.7


@pytest.mark.parametrize("recipe", ["amid.beside", "amid.doorway", "roads.road", "roads.car_park", "rooms.table_top"])
def test_recipes_are_finite_small_and_repeatable(small_kit, recipe: str) -> None:
    from importlib import import_module

    from furnish import Furnisher

    module, name = recipe.split(".")
    make = getattr(import_module(module), name)
    for seed in range(8):
        one, two = (make(Furnisher(small_kit, np.random.default_rng(seed)), 16 / 9) for _ in range(2))
        assert all(np.isfinite(rows).all() and (rows == two[key]).all() for key, rows in one.items())
        assert len(one["inst"]) < 420 and one["params"][2] > 0.05


def test_roads_reach_far(small_kit) -> None:
    from furnish import Furnisher
    from roads import road

    for seed in range(10):
        st = Furnisher(small_kit, np.random.default_rng(seed))
        scene = road(st, 16 / 9)
        ahead, _ = lateral(scene, len(st.lib.name))
        assert (ahead.max(1) > 250).any() and abs(scene["params"][11]) < 0.6  # and the horizon stays in view


def test_motion_blur_spreads_light_along_its_path_and_keeps_it() -> None:
    torch = pytest.importorskip("torch")
    from augment import smear

    picture = torch.zeros(1, 3, 21, 21)
    picture[:, :, 10, 10] = 1
    blurred = smear(picture, 8.0, 0.0)
    assert float(blurred[0, 0].sum()) == pytest.approx(1, abs=1e-5)
    assert (blurred[0, 0, 10] > 0).sum() == 9 and (blurred[0, 0].sum(1) > 0).sum() == 1
    assert torch.allclose(smear(torch.ones(1, 3, 9, 9), -3.3, 2.7), torch.ones(1, 3, 9, 9))


def test_photographs_are_pictures() -> None:
    torch = pytest.importorskip("torch")
    from augment import photograph

    torch.manual_seed(0)
    light = torch.rand(3, 3, 48, 64) ** 4 * 10
    for _ in range(12):
        picture = photograph(light, torch.rand(3, 1, 48, 64) * 5)
        assert picture.shape == light.shape and bool(torch.isfinite(picture).all())
        assert float(picture.min()) >= 0 and float(picture.max()) <= 255


def test_a_pixel_describes_the_box_of_its_object() -> None:
    """Truth from a scene of one leaning, stretched box made of two parts; decoded again by hand from one pixel."""
    torch = pytest.importorskip("torch")
    from boxes import box_targets, field_targets, rays, true_boxes

    turn = np.radians(30)
    c, s = np.cos(turn), np.sin(turn)
    sides = np.array([0.8, 0.4, 1.2])
    base = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    parts = [np.c_[base * sides, [3.0, 0.5, 0.6]], np.c_[base * 0.1, [3.0, 0.5, 1.25]]]
    inst = np.zeros((2, 40), np.float32)
    inst[:, 14] = 7
    params = np.zeros(40, np.float32)
    params[:3], params[3:12] = [0, 0, 1], [0, -1, 0, 0, 0, -1, 1, 0, 0]  # looks along x, at one metre
    unit = np.array([[-0.5] * 3], np.float32)
    boxes = true_boxes({"inst": inst, "forward": np.stack(parts), "params": params}, unit, -unit)
    assert boxes[7, 6:] == pytest.approx([0.8, 0.4, 1.3]) and not boxes[:7].any() and not boxes[8:].any()
    assert boxes[7, :3] == pytest.approx([-0.5, 0.35, 3.0])

    seen, up = torch.tensor([-0.4, 0.2, 2.7]), torch.tensor([[0.0, -1.0, 0.0]])
    batch = {"depth": torch.full((1, 1, 32, 32), 2.7), "focal": torch.tensor([1.0]), "up": up,
             "centre": torch.tensor([[16.0, 16.0]]), "boxes": torch.from_numpy(boxes[None])}  # fmt: skip
    assert rays(batch, 8)[0, :, 0, 0].tolist() == pytest.approx([-12 / 32, -12 / 32, 1])
    ray = (seen / seen[2]).reshape(1, 3, 1, 1).expand(1, 3, 4, 4)
    objects = torch.full((1, 1, 4, 4), 7)
    target, weight = box_targets(ray, torch.full((1, 1, 4, 4), 2.7), objects, batch)
    said, far = target[0, :, 0, 0].double().numpy(), float(seen.norm())
    assert float(weight[0, 0, 0, 0]) == pytest.approx(1 / 4)
    forward = np.array([-0.4, 0, 2.7]) / np.hypot(0.4, 2.7)
    right = np.cross(forward, [0, -1, 0])
    frame = np.stack([forward, right, [0, -1, 0]])
    diagonal = np.linalg.norm([0.8, 0.4, 1.3])
    assert seen.numpy() + diagonal * said[:3] @ frame == pytest.approx([-0.5, 0.35, 3.0], abs=1e-5)
    assert np.exp(said[3]) * far == pytest.approx(1.3)
    values, vectors = np.linalg.eigh([[said[4], said[5]], [said[5], said[6]]])
    assert np.exp(values) * far == pytest.approx([0.4, 0.8])
    heading = vectors[:, 1] @ frame[:2]
    assert abs(heading @ boxes[7, 3:6]) == pytest.approx(1)
    angle = np.arctan2(*vectors[::-1, 1])
    assert said[7:] == pytest.approx([np.cos(4 * angle), np.sin(4 * angle)], abs=1e-5)

    elevation, way = field_targets(ray, up)
    assert float(elevation[0, 0, 0, 0]) == pytest.approx(-0.2 / far) and way[0, :, 0, 0].tolist() == [0, -1]


def staged(torch) -> tuple:
    """A picture of a table before a wall (ids 5 and 0), two legs three pixels wide, and a person (id 9) beside it."""
    ids = torch.zeros(1, 1, 192, 256, dtype=torch.long)
    ids[0, 0, 60:90, 60:160] = 5
    ids[0, 0, 90:150, 64:67] = ids[0, 0, 90:150, 150:153] = 5
    ids[0, 0, 40:150, 190:220] = 9
    kind = torch.where(ids == 0, 1, torch.where(ids == 9, 3, 0))
    image = torch.where(ids == 5, 200.0, torch.where(ids == 9, 40.0, 120.0)).expand(1, 3, -1, -1).contiguous()
    return image, {"object": ids, "class": kind}


def test_opening_loses_legs_and_keeps_the_top() -> None:
    torch = pytest.importorskip("torch")
    from outline_prompts import opened

    torch.manual_seed(0)
    _, part = staged(torch)
    mask = (part["object"] == 5).float().expand(40, -1, -1, -1)
    made = opened(mask)
    assert (made <= mask).all() and made[:, :, 62:88, 64:156].all()
    lost = 1 - made[:, 0, 100:140].sum((1, 2)) / mask[:, 0, 100:140].sum((1, 2))
    assert ((lost == 0) | (lost == 1)).all() and 0.4 < lost.mean() < 1  # wide openings and narrow ones


def test_crops_hold_the_thing_they_ask_for() -> None:
    torch = pytest.importorskip("torch")
    from outline_prompts import crops

    torch.manual_seed(3)
    image, part = staged(torch)
    batch = crops(image, part, 48, 128, nothing=0.25)
    assert batch["image"].shape == (48, 3, 128, 128) and batch["prompt"].shape == batch["target"].shape
    assert batch["prompt"].min() >= 0 and batch["prompt"].max() <= 1
    some = batch["target"].sum((1, 2, 3)) > 0
    assert 12 < some.sum() < 48  # things, and places of nothing
    shade = (batch["image"][:, :1] * batch["target"]).sum((1, 2, 3)) / batch["target"].sum((1, 2, 3)).clamp_min(1)
    table, person = some & (batch["person"] == 0), some & (batch["person"] == 1)
    assert table.any() and (shade[table] - 200).abs().max() < 25  # edges are mixed where the crop is shrunk or grown
    assert person.any() and (shade[person] - 40).abs().max() < 25
    pointed = (batch["prompt"] * batch["target"]).sum((1, 2, 3)) > 0
    assert pointed[some & (batch["known"].sum((1, 2, 3)) > 0)].float().mean() > 0.9


def test_the_outline_loss_wants_the_outline_and_its_own_worth() -> None:
    torch = pytest.importorskip("torch")
    from outline_prompts import crops, outline_loss

    torch.manual_seed(4)
    batch = crops(*staged(torch), 24, 64, nothing=0.2)
    sure = torch.stack([torch.full((24,), 6.0), batch["person"] * 12 - 6], 1)
    right = batch["target"] * 16 - 8
    good, parts = outline_loss((right, sure), batch)
    rough, _ = outline_loss((batch["prompt"] * 16 - 8, sure), batch)
    unsure, _ = outline_loss((right, sure * torch.tensor([-1.0, 1.0])), batch)
    assert float(parts["iou"]) == pytest.approx(1, abs=1e-6) and float(parts["iou_before"]) < 0.95
    assert good < rough and good < unsure


def test_the_shipped_outlines_are_the_networks() -> None:
    torch = pytest.importorskip("torch")
    import onnxruntime
    from outline_model import OUTPUTS, SIZE, OutlineNet

    session = onnxruntime.InferenceSession(str(SHIPPED.with_name("outline.onnx")), providers=["CPUExecutionProvider"])
    assert tuple(o.name for o in session.get_outputs()) == OUTPUTS
    image, prompt = torch.full((2, 3, SIZE, SIZE), 100.0), torch.zeros(2, 1, SIZE, SIZE)
    with torch.no_grad():
        wanted = OutlineNet().eval()(image, prompt)
    got = session.run(None, {"image": image.numpy(), "prompt": prompt.numpy()})
    assert [a.shape for a in got] == [tuple(b.shape) for b in wanted]
    assert sum(q.numel() for q in OutlineNet().parameters()) * 2 == pytest.approx(4_980_978, rel=0.02)

"""Scene recipes and how often each is used. `make_scene(kit, seed, aspect)` is the door."""

from __future__ import annotations

import numpy as np
from amid import beside, doorway
from film import film_room, film_street, film_table
from furnish import Furnisher
from interiors import company, corridor, kitchen, open_plan
from kit import Kit
from lens_and_sky import sample_hfov, sky_of
from outdoors import garden, street
from roads import car_park, road
from rooms import room, table_top, workshop
from shelters import arcade, shelter
from stage import PERSON, STUFF


def heap(st: Furnisher, aspect: float) -> dict:
    """Anything anywhere: no layout to learn by heart, only shape, shading and overlap."""
    r, kit = st.rng, st.kit
    if r.random() < 0.7:
        st.shape("box", (0, 0, -0.1), (30, 30, 0.1), cls=STUFF, paint="random")
    for _ in range(r.integers(0, 4)):
        st.shape(
            "box",
            (r.uniform(4, 9), 0, -1),
            (0.1, 30, r.uniform(1, 8)),
            yaw=r.uniform(-1.2, 1.2),
            cls=STUFF,
            paint="random",
        )
    shapes = [k for k in st.lib.shape if k not in ("land", "facade")]
    for _ in range(r.integers(15, 70)):
        depth = 10 ** r.uniform(0, 0.9)
        at = (depth, r.normal(0, 0.45) * depth, r.uniform(0, 0.6) * depth * (r.random() < 0.7))
        turn = (
            {"yaw": r.uniform(0, 6.3), "pitch": r.normal(0, 0.5), "roll": r.normal(0, 0.5)}
            if r.random() < 0.6
            else {"yaw": r.uniform(0, 6.3)}
        )
        if r.random() < 0.6:
            mesh = st.pick(kit.any)
            st.put(
                mesh,
                at,
                r.uniform(0.2, 0.9) * depth * 0.4 / st.lib.size[mesh].max() * 1.5,
                paint="model" if r.random() < 0.5 else "random",
                cls=PERSON if mesh in kit.people else 0,
                **turn,
            )
        else:
            st.shape(shapes[r.integers(len(shapes))], at, r.uniform(0.05, 0.5, 3) * depth, paint="random", **turn)
    for _ in range(r.integers(1, 4)):
        st.light(
            (*r.uniform(-2, 3, 2), r.uniform(1, 5)),
            r.uniform(2, 20) * (1 + r.normal(0, 0.15, 3)),
            radius=r.uniform(0.02, 0.5),
        )
    pitch = r.normal(-0.15, 0.25)
    return st.finish(
        (0, 0, r.uniform(0.5, 2.5)),
        (1, r.normal(0, 0.2), 1.2 + np.tan(pitch)),
        sample_hfov(r, aspect),
        r.normal(0, 0.1),
        sky_of(st, r.random() < 0.5),
    )


RECIPES = (
    (room, 0.09),
    (open_plan, 0.07),
    (corridor, 0.03),
    (kitchen, 0.05),
    (company, 0.03),
    (table_top, 0.07),
    (workshop, 0.03),
    (street, 0.05),
    (garden, 0.045),
    (shelter, 0.03),
    (arcade, 0.01),
    (heap, 0.015),
    (beside, 0.075),
    (doorway, 0.045),
    (road, 0.045),
    (car_park, 0.01),
    (film_room, 0.105),
    (film_street, 0.1),
    (film_table, 0.1),
)


def make_scene(kit: Kit, seed: int, aspect: float) -> dict[str, np.ndarray]:
    """One scene for pictures of width/height `aspect`; the same seed gives the same scene."""
    r = np.random.default_rng(seed)
    recipe = RECIPES[r.choice(len(RECIPES), p=[w for _, w in RECIPES])][0]
    scene = recipe(Furnisher(kit, r), aspect)
    scene["recipe"] = np.int64([f for f, _ in RECIPES].index(recipe))
    return scene

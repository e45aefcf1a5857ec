"""The furniture library sorted into what a scene asks for."""

from __future__ import annotations

import numpy as np
from library import Library


class Kit:
    """The library sorted into what a scene asks for: lists of mesh numbers."""

    def __init__(self, library: Library):
        self.library = library
        library.top[:] = np.where(library.top > 0, library.top, library.size[:, 2])
        name, cat, size = [n.lower() for n in library.name], library.category, library.size
        rows = range(len(name))
        has = lambda i, *words: any(w in name[i] for w in words)  # noqa: E731
        self.people = [
            i for i in rows if cat[i] == "Characters" and has(i, "female", "male", "boy", "girl", "mannequin")
        ]
        self.standing = [i for i in self.people if size[i][2] > 1.0 and not has(i, "sitting", "lying")]
        self.sitting = [i for i in self.people if has(i, "sitting")]
        self.seats = [
            i
            for i in rows
            if has(i, "chair", "stool", "relax")
            and not has(i, "wheelchair", "high")
            and size[i][2] > 0.35
            and size[i][0] < 1.2
        ]
        self.sofas = [
            i for i in rows if has(i, "sofa", "couch", "futon", "bench", "day bed", "convertible") and size[i][0] > 1.0
        ]
        self.beds = [i for i in rows if has(i, " bed", "bed ") or name[i] == "bed"]
        self.tables = [
            i
            for i in rows
            if has(i, "table", "desk", "workbench")
            and 0.3 < library.top[i] < 1.2
            and size[i][0] > 0.5
            and not has(i, "lamp", "tennis", "bedside", "changing")
        ]
        self.storage = [
            i
            for i in rows
            if has(
                i,
                "bookcase",
                "cabinet",
                "shelves",
                "wardrobe",
                "dresser",
                "cupboard",
                "drawers",
                "fridge",
                "refrigerator",
                "chest",
                "vanity",
                "tv stand",
                "piano",
                "bedside",
                "locker",
                "oven",
                "washing",
                "radiator",
                "fireplace",
                "stove",
            )
            and size[i][2] > 0.3
        ]
        self.wall = [
            i
            for i in rows
            if library.elevation[i] > 0.5
            and size[i][1] < 0.5
            and size[i].max() < 2.5
            and cat[i] != "Doors and windows"
            and not has(i, "ceiling", "chandelier", "pendant", "hanging l")
        ]
        self.ceiling = [
            i for i in rows if has(i, "chandelier", "pendant", "ceiling", "hanging l", "track light", "fluorescent")
        ]
        self.lamps = [
            i
            for i in rows
            if has(i, "lamp")
            and not has(i, "post", "park", "wall", "outdoor", "street", "ceiling", "pendant", "chandelier", "camping")
        ]
        self.plants = [
            i
            for i in rows
            if has(
                i,
                "plant",
                "ficus",
                "bamboo",
                "flower",
                "orchid",
                "yucca",
                "lily",
                "cactus",
                "tulip",
                "spathi",
                "bonsai",
                "succulent",
            )
            and size[i][2] < 3
        ]
        self.trees = [
            i
            for i in rows
            if has(
                i,
                "acacia",
                "pine",
                "cypress",
                "poplar",
                "palm",
                "maple",
                "beech",
                "coconut",
                "sycamore",
                "peach",
                "bush",
            )
            and size[i][2] > 0.8
        ]
        self.cars = [
            i
            for i in rows
            if (cat[i] == "Vehicles" and size[i].max() > 2.5)
            or has(
                i,
                "sedan",
                "beetle",
                "smart car",
                "suv",
                "van",
                "bus",
                "truck",
                "chevrolet",
                "scenic",
                "peugeot",
                "seat leon",
                "ford focus",
            )
        ]
        self.cars = [
            i for i in self.cars if size[i].max() > 2.2 and not has(i, "biplane", "rowboat", "container", "elevator")
        ]
        self.bikes = [
            i
            for i in rows
            if has(i, "bike", "bicycle", "yamaha", "scooter", "tricycle", "wheelbarrow", "mower", "stroller")
            and not has(i, "indoor")
        ]
        self.doors = [i for i in rows if has(i, "door") and cat[i] == "Doors and windows" and not has(i, "garage")]
        self.windows = [i for i in rows if has(i, "window") and cat[i] == "Doors and windows"]
        self.street = [
            i
            for i in rows
            if has(
                i,
                "lamppost",
                "street l",
                "park light",
                "trash",
                "hydrant",
                "mailbox",
                "fence",
                "railing",
                "cone",
                "dustbin",
                "letters box",
                "outdoor lamp",
                "stone lantern",
                "barrel",
                "crate",
                "umbrella",
                "barnum",
                "fountain",
                "concrete bench",
                "painted bench",
                "wood bank",
                "swing",
                "seesaw",
                "goal",
                "tent",
            )
        ]
        self.animals = [
            i
            for i in rows
            if has(i, "cat", "dog", "deer", "horse", "rabbit", "bulldog", "teddy", "chicken")
            and cat[i] in ("Characters", "Exterior", "Miscellaneous", "Bedroom")
            and not has(i, "house", "hot", "scat")
        ]
        taken = {*self.people, *self.cars, *self.doors, *self.windows, *self.trees, *self.wall}
        self.small = [i for i in rows if 0.03 < size[i].max() < 0.55 and i not in taken and size[i].min() > 0.004]
        self.still = [
            i
            for i in self.small
            if has(
                i,
                "cup",
                "mug",
                "vase",
                "bottle",
                "kettle",
                "teapot",
                "bowl",
                "apple",
                "lamp",
                "candle",
                "plant",
                "cactus",
                "toy",
                "teddy",
                "train",
                "car model",
                "chess",
                "cube",
                "jar",
                "pot",
                "tulip",
                "flower",
                "bonsai",
                "cake",
                "bread",
                "milk",
                "creamer",
                "radio",
                "clock",
                "camera",
                "phone",
                "lantern",
                "frame",
                "coffee",
                "plate",
                "shaker",
                "book",
                "ball",
                "hat",
                "basket",
                "toaster",
                "blender",
                "brewer",
                "press",
                "bamboo",
                "orchid",
                "wood toy",
                "doll",
                "sugar",
                "oil",
                "gift",
                "deer",
                "helmet",
                "scale",
            )
            and library.elevation[i] < 0.5
            and not has(
                i,
                "wall",
                "ceiling",
                "table tennis",
                "dispenser",
                "boiler",
                "toilet",
                "potty",
                "intercom",
                "surveillance",
            )
        ]
        self.medium = [i for i in rows if 0.25 < size[i].max() < 1.6 and i not in taken and size[i][2] > 0.15]
        self.garage = [
            i
            for i in rows
            if has(
                i,
                "box",
                "barrel",
                "crate",
                "ladder",
                "pallet",
                "drill",
                "saw",
                "shovel",
                "tool",
                "broom",
                "bench",
                "mower",
                "shelves",
                "cabinet",
                "boiler",
                "heater",
                "chest",
                "locker",
                "fork lift",
                "bike",
                "motorbike",
                "suitcase",
                "punching",
                "freezer",
                "washing",
                "dustbin",
                "extinguisher",
            )
        ]
        self.chairs = [
            i
            for i in self.seats
            if not has(i, "stool", "relax", "deck", "child", "baby", "armchair", "folding", "beach")
            and size[i][0] < 0.75
        ]
        self.low_tables = [i for i in self.tables if library.top[i] < 0.6]
        self.counters = [
            i
            for i in rows
            if has(i, "lower cabinet", "drawers cabinet", "sink", "washing machine", "oven", "large stove", "island")
            and not has(i, "corner", "small oven", "bathroom")
            and 0.7 < size[i][2] < 1.3
        ]
        self.upper = [i for i in rows if has(i, "upper cabinet", "glass door cabinet", "range hood", "upper shelves")]
        self.play = [
            i
            for i in rows
            if has(i, "swing", "seesaw", "children game", "sandpit", "trampoline", "goal", "slide", "basket")
        ]
        self.any = [i for i in rows if size[i].max() < 4 and i not in self.doors]

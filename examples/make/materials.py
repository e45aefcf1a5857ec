"""Materials made of shader nodes alone: wood, cloth, ceramic, metal, masonry, paving, glow.

Textures read the vertex attribute `part`: each part's own coordinates before it was turned into place, longest side
along x, so wood grain runs along every leg and slat. Colours are linear Rec.709.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import bpy

Colour = tuple[float, float, float]


class Graph:
    """A few words over a material's node tree, so that a material reads as a recipe."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.surface = self.tree.nodes["Principled BSDF"]

    def node(self, kind: str, settings: dict[str, Any] | None = None, **inputs: Any) -> Any:
        """Add node `kind`; `settings` are properties; inputs are values or sockets, by name with _ for a space."""
        node = self.tree.nodes.new(kind)
        for key, value in (settings or {}).items():
            setattr(node, key, value)
        for key, value in inputs.items():
            socket = node.inputs[int(key[1:])] if key[0] == "i" and key[1:].isdigit() else node.inputs[
                key.replace("_", " ")]
            self.set(socket, value)
        return node

    def set(self, socket: Any, value: Any) -> None:
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, socket)
        else:
            socket.default_value = (*value, 1.0) if socket.type == "RGBA" and len(value) == 3 else value

    def principled(self, **inputs: Any) -> bpy.types.Material:
        for key, value in inputs.items():
            self.set(self.surface.inputs[key.replace("_", " ")], value)
        return self.material

    def part(self, scale: Sequence[float] = (1, 1, 1)) -> Any:
        attribute = self.node("ShaderNodeAttribute", {"attribute_name": "part"})
        return self.node("ShaderNodeMapping", Vector=attribute.outputs["Vector"], Scale=scale).outputs[0]

    def noise(self, vector: Any, scale: float, detail: float = 4, roughness: float = 0.55) -> Any:
        return self.node("ShaderNodeTexNoise", Vector=vector, Scale=scale, Detail=detail,
                         Roughness=roughness).outputs["Fac"]

    def ramp(self, factor: Any, stops: Sequence[tuple[float, Colour]]) -> Any:
        node = self.node("ShaderNodeValToRGB", Fac=factor)
        elements = node.color_ramp.elements
        while len(elements) < len(stops):
            elements.new(0.5)
        for element, (position, colour) in zip(elements, stops, strict=True):
            element.position, element.color = position, (*colour, 1)
        return node.outputs["Color"]

    def range(self, factor: Any, low: float, high: float) -> Any:
        return self.node("ShaderNodeMapRange", Value=factor, To_Min=low, To_Max=high).outputs["Result"]

    def mix(self, factor: Any, a: Any, b: Any, blend: str = "MIX") -> Any:
        node = self.node("ShaderNodeMix", {"data_type": "RGBA", "blend_type": blend})
        for index, value in ((0, factor), (6, a), (7, b)):
            self.set(node.inputs[index], value)
        return node.outputs[2]

    def bump(self, height: Any, strength: float, distance: float) -> Any:
        return self.node("ShaderNodeBump", Height=height, Strength=strength, Distance=distance).outputs["Normal"]


def _shade(c: Colour, k: float) -> Colour:
    return (min(c[0] * k, 1), min(c[1] * k, 1), min(c[2] * k, 1))


@cache
def wood(colour: Colour, gloss: float = 0.45, scale: float = 1.0) -> bpy.types.Material:
    """Grain along x: rings stretched by a noise, pores, worn gloss."""
    g = Graph("wood")
    p = g.part((1.2 * scale, 14 * scale, 14 * scale))
    rings = g.noise(p, 1.6, 5, 0.6)
    pores = g.noise(g.part((30 * scale, 500 * scale, 500 * scale)), 1, 2)
    patch = g.noise(g.part(), 3.0, 3)
    base = g.ramp(rings, [(0.3, _shade(colour, 0.45)), (0.5, colour), (0.68, _shade(colour, 1.35))])
    base = g.mix(g.range(patch, 0.0, 0.35), base, _shade(colour, 0.5))
    base = g.mix(g.range(pores, 0.0, 0.25), base, _shade(colour, 0.3))
    return g.principled(Base_Color=base, Roughness=g.range(rings, gloss - 0.1, gloss + 0.15),
                        Normal=g.bump(pores, 0.15, 0.002))


@cache
def cloth(colour: Colour, weave: float = 260.0, mottled: float = 0.5) -> bpy.types.Material:
    """Woven fabric: fine crossing threads as bump, uneven dye, sheen at grazing angles."""
    g = Graph("cloth")
    threads = g.noise(g.part((1, 1, 1)), weave, 2, 0.7)
    dye = g.noise(g.part(), 7, 5, 0.65)
    base = g.ramp(dye, [(0.3, _shade(colour, 1 - 0.45 * mottled)), (0.7, _shade(colour, 1 + 0.35 * mottled))])
    base = g.mix(g.range(threads, 0, 0.4), base, _shade(colour, 0.45))
    return g.principled(Base_Color=base, Roughness=0.95, Sheen_Weight=0.35, Sheen_Roughness=0.4,
                        Normal=g.bump(threads, 0.35, 0.003))


@cache
def striped(a: Colour, b: Colour, per_metre: float = 6.0) -> bpy.types.Material:
    """Cloth with stripes across x."""
    g = Graph("striped cloth")
    x = g.node("ShaderNodeSeparateXYZ", Vector=g.part()).outputs["X"]
    wave = g.node("ShaderNodeMath", {"operation": "SINE"}, i0=g.node(
        "ShaderNodeMath", {"operation": "MULTIPLY"}, i0=x, i1=6.2832 * per_metre).outputs[0]).outputs[0]
    on = g.node("ShaderNodeMath", {"operation": "GREATER_THAN"}, i0=wave, i1=0.0).outputs[0]
    dirt = g.noise(g.part(), 5, 5)
    base = g.mix(g.range(dirt, 0, 0.5), g.mix(on, a, b), _shade(a, 0.4))
    return g.principled(Base_Color=base, Roughness=0.95, Sheen_Weight=0.2)


@cache
def patterned(a: Colour, b: Colour, scale: float = 4.0) -> bpy.types.Material:
    """A woven rug: lozenges, border left plain, threads."""
    g = Graph("rug")
    checks = g.node("ShaderNodeTexChecker", Vector=g.node(
        "ShaderNodeMapping", Vector=g.part(), Rotation=(0, 0, 0.785)).outputs[0], Scale=scale * 2,
        Color1=a, Color2=b).outputs["Color"]
    dots = g.node("ShaderNodeTexVoronoi", Vector=g.part(), Scale=scale * 3, Randomness=0.0).outputs["Distance"]
    base = g.mix(g.range(g.noise(g.part((1, 1, 1)), 180, 2), 0, 0.6), checks, _shade(a, 0.5))
    base = g.mix(g.range(dots, 0.35, 0.0), base, b)
    return g.principled(Base_Color=base, Roughness=1.0, Sheen_Weight=0.3,
                        Normal=g.bump(g.noise(g.part(), 300, 2), 0.6, 0.004))


@cache
def ceramic(colour: Colour, speckle: float = 0.3, roughness: float = 0.22) -> bpy.types.Material:
    """Glazed stoneware: clear coat over a slightly mottled body, iron speckles."""
    g = Graph("ceramic")
    spots = g.ramp(g.noise(g.part(), 140, 2, 0.5), [(0.33, (speckle, speckle, speckle)), (0.38, (0, 0, 0))])
    pool = g.noise(g.part((1, 1, 2)), 6, 3)
    base = g.ramp(pool, [(0.3, _shade(colour, 0.8)), (0.7, _shade(colour, 1.1))])
    base = g.mix(spots, base, (0.05, 0.03, 0.02))
    return g.principled(Base_Color=base, Roughness=roughness, Coat_Weight=0.5, Coat_Roughness=0.08,
                        Normal=g.bump(pool, 0.05, 0.004))


@cache
def metal(colour: Colour, roughness: float = 0.3, worn: float = 0.2) -> bpy.types.Material:
    g = Graph("metal")
    wear = g.noise(g.part(), 25, 6, 0.7)
    base = g.mix(g.range(wear, 0, worn), colour, _shade(colour, 0.35))
    return g.principled(Base_Color=base, Metallic=1.0,
                        Roughness=g.range(wear, max(roughness - 0.12, 0.03), roughness + 0.18))


@cache
def paint(colour: Colour, roughness: float = 0.35, chipped: float = 0.0, coat: float = 0.3) -> bpy.types.Material:
    """Paint on wood or iron; `chipped` 0..1 shows the rusty ground through."""
    g = Graph("paint")
    wear = g.noise(g.part(), 12, 8, 0.7)
    base = g.mix(g.range(g.noise(g.part(), 4, 4), 0, 0.35), colour, _shade(colour, 0.55))
    if chipped:
        edge = 0.36 + 0.12 * chipped
        chips = g.ramp(wear, [(edge - 0.03, (1, 1, 1)), (edge, (0, 0, 0))])
        base = g.mix(chips, base, (0.10, 0.045, 0.025))
    return g.principled(Base_Color=base, Roughness=g.range(wear, roughness, roughness + 0.2), Coat_Weight=coat,
                        Coat_Roughness=0.15, Normal=g.bump(wear, 0.12, 0.003))


@cache
def plain(colour: Colour, roughness: float = 0.5, subsurface: float = 0.0) -> bpy.types.Material:
    g = Graph("plain")
    base = g.mix(g.range(g.noise(g.part(), 18, 4), 0, 0.4), colour, _shade(colour, 0.6))
    return g.principled(Base_Color=base, Roughness=roughness, Subsurface_Weight=subsurface,
                        Subsurface_Radius=(0.02, 0.01, 0.005))


@cache
def fruit(colour: Colour, blush: Colour) -> bpy.types.Material:
    g = Graph("fruit")
    base = g.ramp(g.noise(g.part((1, 1, 0.6)), 16, 4), [(0.35, colour), (0.65, blush)])
    freckles = g.ramp(g.noise(g.part(), 260, 1), [(0.34, (0.5, 0.5, 0.5)), (0.4, (0, 0, 0))])
    base = g.mix(freckles, base, (0.6, 0.5, 0.25))
    return g.principled(Base_Color=base, Roughness=0.32, Coat_Weight=0.2,
                        Normal=g.bump(g.noise(g.part(), 200, 2), 0.08, 0.001))


@cache
def glazing(colour: Colour = (0.02, 0.03, 0.04)) -> bpy.types.Material:
    """A dark window pane seen from outside: mirror-like, opaque (so depth is that of the pane)."""
    g = Graph("glazing")
    return g.principled(Base_Color=colour, Roughness=0.04, Specular_IOR_Level=0.9,
                        Normal=g.bump(g.noise(g.part(), 2.0, 2), 0.02, 0.05))


@cache
def bottle_glass(colour: Colour) -> bpy.types.Material:
    """Thick dark bottle glass, full: treated as opaque so that its depth is its own skin."""
    g = Graph("bottle glass")
    streaks = g.noise(g.part((1, 1, 0.2)), 9, 3)
    base = g.ramp(streaks, [(0.35, _shade(colour, 0.5)), (0.7, colour)])
    return g.principled(Base_Color=base, Roughness=0.05, Coat_Weight=1.0, Coat_Roughness=0.02,
                        Specular_IOR_Level=0.8)


@cache
def glow(colour: Colour, strength: float) -> bpy.types.Material:
    """Something that shines: lamp shade, lit window, flame."""
    g = Graph("glow")
    uneven = g.range(g.noise(g.part(), 2.2, 3), 0.55, 1.15)
    power = g.node("ShaderNodeMath", {"operation": "MULTIPLY"}, i0=uneven, i1=strength).outputs[0]
    return g.principled(Base_Color=_shade(colour, 0.8), Roughness=0.8, Emission_Color=colour, Emission_Strength=power)


@cache
def plaster(colour: Colour, stain: float = 0.5, bump: float = 0.25) -> bpy.types.Material:
    g = Graph("plaster")
    big = g.noise(g.part((1, 1, 0.5)), 0.9, 8, 0.62)
    trowel = g.noise(g.part(), 9, 6, 0.6)
    base = g.ramp(big, [(0.32, _shade(colour, 1 - 0.5 * stain)), (0.6, colour), (0.75, _shade(colour, 1.12))])
    return g.principled(Base_Color=base, Roughness=0.9, Normal=g.bump(trowel, bump, 0.02))


@cache
def brick(colour: Colour, mortar: Colour = (0.28, 0.25, 0.22), upright: bool = True, width: float = 0.23,
          height: float = 0.075) -> bpy.types.Material:
    """Brickwork on a wall that runs along x or y and z (`upright`), or flat on x and y."""
    g = Graph("brick")
    xyz = g.node("ShaderNodeSeparateXYZ", Vector=g.part())
    along = g.node("ShaderNodeMath", {"operation": "ADD"}, i0=xyz.outputs["X"], i1=xyz.outputs["Y"]).outputs[0]
    vector = g.node("ShaderNodeCombineXYZ", X=along, Y=xyz.outputs["Z"]).outputs[0] if upright else g.part()
    pattern = g.node("ShaderNodeTexBrick", {"offset": 0.5}, Vector=vector, Color1=colour, Color2=_shade(colour, 0.55),
                     Mortar=mortar, Scale=1.0, Mortar_Size=0.006, Mortar_Smooth=0.2, Bias=-0.1, Brick_Width=width,
                     Row_Height=height)
    grime = g.noise(g.part(), 1.1, 8, 0.65)
    base = g.mix(g.range(grime, 0.0, 0.7), pattern.outputs["Color"], _shade(colour, 0.25))
    height_ = g.mix(0.3, g.node("ShaderNodeInvert", Color=pattern.outputs["Fac"]).outputs[0],
                    g.noise(g.part(), 60, 4))
    return g.principled(Base_Color=base, Roughness=0.88, Normal=g.bump(height_, 0.6, 0.012))


@cache
def planks(colour: Colour, width: float = 0.14, length: float = 1.9, gloss: float = 0.35) -> bpy.types.Material:
    """Floor boards along x."""
    g = Graph("planks")
    pattern = g.node("ShaderNodeTexBrick", {"offset": 0.37}, Vector=g.part(), Color1=colour, Color2=_shade(colour, 0.6),
                     Mortar=(0.01, 0.007, 0.004), Scale=1.0, Mortar_Size=0.003, Mortar_Smooth=0.3, Brick_Width=length,
                     Row_Height=width)
    grain = g.noise(g.part((1.5, 30, 1)), 2.2, 6, 0.6)
    base = g.mix(g.range(grain, 0.0, 0.75), pattern.outputs["Color"], _shade(colour, 0.3))
    wear = g.noise(g.part(), 1.3, 5)
    return g.principled(Base_Color=base, Roughness=g.range(wear, gloss - 0.1, gloss + 0.25),
                        Normal=g.bump(g.node("ShaderNodeInvert", Color=pattern.outputs["Fac"]).outputs[0], 0.35, 0.004))


@cache
def cobbles(colour: Colour, size: float = 0.13, wet: float = 0.6) -> bpy.types.Material:
    """Rounded setts with dark joints; rain-wet patches are smoother and darker."""
    g = Graph("cobbles")
    warp = g.node("ShaderNodeVectorMath", {"operation": "ADD"}, i0=g.part(), i1=g.node(
        "ShaderNodeVectorMath", {"operation": "SCALE"}, i0=g.node(
            "ShaderNodeTexNoise", Vector=g.part(), Scale=5.0).outputs["Color"], Scale=0.03).outputs[0]).outputs[0]
    edge = g.node("ShaderNodeTexVoronoi", {"feature": "DISTANCE_TO_EDGE"}, Vector=warp, Scale=1 / size,
                  Randomness=0.55).outputs["Distance"]
    tone = g.node("ShaderNodeTexVoronoi", Vector=warp, Scale=1 / size, Randomness=0.55).outputs["Color"]
    dome = g.ramp(edge, [(0.0, (0, 0, 0)), (0.16, (0.75, 0.75, 0.75)), (0.5, (1, 1, 1))])
    puddle = g.noise(g.part(), 0.55, 5)
    damp = g.ramp(puddle, [(0.42, (0, 0, 0)), (0.62, (wet, wet, wet))])
    stone = g.mix(g.range(g.node("ShaderNodeSeparateColor", Color=tone).outputs[0], 0.0, 0.6), colour,
                  _shade(colour, 0.45))
    base = g.mix(dome, _shade(colour, 0.12), stone, "MIX")
    base = g.mix(damp, base, _shade(colour, 0.35))
    rough = g.node("ShaderNodeMapRange", Value=damp, To_Min=0.62, To_Max=0.16).outputs["Result"]
    return g.principled(Base_Color=base, Roughness=rough, Normal=g.bump(dome, 0.55, 0.02))


@cache
def asphalt(colour: Colour = (0.06, 0.06, 0.065), wet: float = 0.5) -> bpy.types.Material:
    g = Graph("asphalt")
    grit = g.noise(g.part(), 140, 3, 0.8)
    patch = g.noise(g.part(), 0.7, 7, 0.6)
    base = g.mix(g.range(grit, 0, 0.7), colour, _shade(colour, 2.2))
    base = g.mix(g.range(patch, 0, 0.6), base, _shade(colour, 0.5))
    return g.principled(Base_Color=base, Roughness=g.range(patch, 0.85 - 0.6 * wet, 0.75),
                        Normal=g.bump(grit, 0.3, 0.004))


@cache
def picture(seed: int) -> bpy.types.Material:
    """An abstract landscape in oils: banded noise."""
    g = Graph("painting")
    p = g.part((1.2, 1.2, 3.5))
    field = g.node("ShaderNodeTexNoise", {"noise_dimensions": "4D"}, Vector=p, W=float(seed), Scale=2.2, Detail=6,
                   Distortion=1.2).outputs["Fac"]
    base = g.ramp(field, [(0.3, (0.02, 0.05, 0.08)), (0.42, (0.10, 0.18, 0.20)), (0.5, (0.55, 0.42, 0.24)),
                          (0.6, (0.60, 0.22, 0.08)), (0.72, (0.80, 0.72, 0.55))])
    return g.principled(Base_Color=base, Roughness=0.5, Normal=g.bump(g.noise(p, 60, 4), 0.3, 0.004))


def forget() -> None:
    """Drop the memory of made materials; call after the .blend was emptied."""
    for recipe in (wood, cloth, striped, patterned, ceramic, metal, paint, plain, fruit, glazing, bottle_glass, glow,
                   plaster, brick, planks, cobbles, asphalt, picture):
        recipe.cache_clear()

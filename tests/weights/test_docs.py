"""docs/engines.md speaks of every engine there is."""

from __future__ import annotations

from pathlib import Path

from worker.engines.registry import all_cards


def test_every_engine_is_in_the_docs(repo_root: Path) -> None:
    text = (repo_root / "docs" / "engines.md").read_text("utf-8")
    assert not [card.name for card in all_cards() if f"`{card.name}`" not in text]


def test_cards_hang_together() -> None:
    """Every tier has a device that the card names, every manifest a function that is there, every source an address."""
    from importlib import import_module

    from worker.weights import source, store

    for card in all_cards():
        assert set(card.tier_devices) <= set(card.tiers), card.name
        assert all(card.tiers_on(device) for device in card.devices), f"{card.name} names a device that no tier runs on"
        served = {tier for device in card.devices for tier in card.tiers_on(device)}
        assert served == set(card.tiers), f"{card.name} has a tier that no device runs"
        for file in card.weights:
            if file.source != store.SHIPPED:
                assert source.address(file, None).startswith("https://"), file
            if file.manifest:
                module, _, name = file.manifest.partition(":")
                assert callable(getattr(import_module(module), name)), file

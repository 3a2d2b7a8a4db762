"""Changes to training images: torchvision's where it has them, and nothing when they are off."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2

from act.batches.augmentation import Augmentation, kept, recoloured, shifted


def images(batch: int = 3, cameras: int = 2, height: int = 12, width: int = 16) -> Tensor:
    return torch.rand(batch, cameras, 3, height, width, generator=torch.manual_seed(0))


def draw(samples: int = 3, cameras: int = 2, **reach: Any) -> Tensor:
    random = np.random.default_rng(0)
    return torch.from_numpy(Augmentation(**reach).draw(random, samples, cameras))


def test_nothing_asked_for_changes_nothing() -> None:
    assert not Augmentation().is_active
    image, drawn = images(), draw()
    torch.testing.assert_close(recoloured(image, drawn), image)
    assert torch.equal(shifted(image.permute(0, 1, 3, 4, 2), drawn), image.permute(0, 1, 3, 4, 2))
    assert torch.equal(kept(image, drawn), image)


@pytest.mark.parametrize(
    ("what", "place", "theirs"),
    [
        ("brightness", 0, v2.functional.adjust_brightness),
        ("contrast", 1, v2.functional.adjust_contrast),
        ("saturation", 2, v2.functional.adjust_saturation),
    ],
)
def test_colours_are_torchvisions(what: str, place: int, theirs: object) -> None:
    image, drawn = images(), draw(3, 2, **{what: 0.8})
    found = recoloured(image, drawn)
    for b, c in np.ndindex(3, 2):
        factor = float(drawn[b, c, place])
        assert 0.2 <= factor <= 1.8
        torch.testing.assert_close(found[b, c], theirs(image[b, c], factor))  # type: ignore[operator]
    assert len(drawn[..., place].unique()) == 6  # each image has its own


def test_a_third_of_a_turn_moves_red_to_green_and_leaves_greys() -> None:
    image = torch.zeros(1, 1, 3, 2, 2)
    image[:, :, 0] = 0.6
    image[..., 1] = 0.3  # a column of grey
    drawn = draw(1, 1)
    drawn[..., 3] = 1 / 3
    found = recoloured(image, drawn)
    torch.testing.assert_close(
        found[0, 0, :, 0, 0], torch.tensor([0.0, 0.6, 0.0]), atol=1e-6, rtol=0
    )
    torch.testing.assert_close(found[..., 1], image[..., 1])


def test_shifts_are_whole_pixels_with_the_border_repeated() -> None:
    image = (images(8) * 255).byte().permute(0, 1, 3, 4, 2)
    drawn = draw(8, shift=4)
    found = shifted(image, drawn)
    moves = set()
    for b, c in np.ndindex(8, 2):
        down, right = (int(value) for value in drawn[b, c, 4:6])
        moves.add((down, right))
        padded = np.pad(image[b, c].numpy(), ((4, 4), (4, 4), (0, 0)), "edge")
        expected = padded[4 - down : 16 - down, 4 - right : 20 - right]
        assert np.array_equal(found[b, c].numpy(), expected)
    assert len(moves) > 5
    assert {abs(move) for pair in moves for move in pair} <= set(range(5))


def test_a_camera_is_blanked_and_never_all_of_them() -> None:
    drawn = draw(2000, 3, camera_dropout=0.6)
    whole = kept(torch.ones(2000, 3, 1, 1, 1), drawn)[..., 0, 0, 0]
    assert set(whole.unique().tolist()) == {0.0, 1.0}
    assert (whole.sum(dim=1) >= 1).all()
    # 0.6, less the 0.6^3 times in which one of three was kept
    assert float((whole == 0).float().mean()) == pytest.approx(0.6 - 0.6**3 / 3, abs=0.03)

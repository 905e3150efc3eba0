"""One tile through one or more networks: mirrored, activated, averaged. Imports torch."""

import copy
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Literal, TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from morula.errors import InputError
from morula.planning.machine import usable_cores
from morula.planning.plan import Mirror
from morula.prediction.engines import Graph
from morula.prediction.mirror import mirror_back, mirror_batch, mirrorings
from morula.prediction.tiles import Index, TileGrid, cut, stitch
from morula.preprocessing.intensity import Normalizer
from morula.representations import Head
from morula.types import Map, Maps

Progress = Callable[[int, int], None]
"""Called with how many are done, and how many there are."""

Precision = Literal["float32", "bfloat16"]
T = TypeVar("T")
U = TypeVar("U")


@cache
def turns(streams: int) -> threading.Semaphore:
    """As many forward passes at a time, whichever thread asks: more would take the cores from each other."""
    return threading.Semaphore(streams)


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "identity": lambda logits: logits,
    "sigmoid": torch.sigmoid_,
    "softmax": lambda logits: torch.softmax(logits, 1),
}
"""They may overwrite the logits, which nobody needs again: fresh memory costs more than the arithmetic."""


@dataclass(frozen=True)
class Ensemble:
    """Networks whose activated maps are averaged, over mirror images too."""

    networks: tuple[nn.Module, ...]
    """At least one, in evaluation mode, all on `device`."""

    ndim: int
    """Spatial axes, 2 or 3."""

    mirror: Mirror = "all"
    """Mirror images to average over."""

    device: str = "cpu"
    """Where the networks lie, as torch names it."""

    precision: Precision = "float32"
    """Arithmetic of the forward pass."""

    def bands(
        self,
        pixels: np.ndarray,
        grid: TileGrid,
        heads: tuple[Head, ...],
        normalizer: Normalizer | None = None,
        progress: Progress | None = None,
    ) -> Iterator[tuple[int, Maps]]:
        """Blended maps of an image, in bands as `morula.prediction.tiles.stitch` yields them.

        Args:
            pixels: ``(C, *spatial)`` on the working grid.
            grid: Where the tiles lie.
            heads: The maps to blend; others are not computed further than the network does.
            normalizer: Applied to each tile; None when the pixels are normalised already.
            progress: Called after each tile.
        """

        def tile_maps(index: Index) -> tuple[Index, Maps]:
            tile = cut(pixels, grid, index)
            normalized = tile if normalizer is None else normalizer.apply(tile)
            return index, self.maps(np.ascontiguousarray(normalized, np.float32), heads)

        def tiles() -> Iterator[tuple[Index, Maps]]:
            threads = min(self.streams, grid.count)
            for done, made in enumerate(in_order(tile_maps, grid.indices(), threads), 1):
                # Before the tile is handed on: nobody comes back for what follows the last one.
                if progress:
                    progress(done, grid.count)
                yield made

        return stitch(tiles(), grid, {head.name: head.stride for head in heads})

    @property
    def streams(self) -> int:
        """Passes that run at a time."""
        return min(network.streams if isinstance(network, Graph) else 1 for network in self.networks)

    @torch.inference_mode()
    def maps(self, tile: Map, heads: tuple[Head, ...]) -> Maps:
        """Mean over networks and mirror images of the activated maps of one normalised tile."""
        batch = torch.from_numpy(tile)[None].to(self.device)
        views = mirrorings(self.ndim, self.mirror)
        total: dict[str, Tensor] = {}
        for network in self.networks:
            for axes in views:
                logits = self._forward(network, mirror_batch(batch, axes), heads)
                for head in heads:
                    activated = _ACTIVATIONS[head.activation](logits[head.name].float())
                    maps = mirror_back(activated, head, axes)
                    total[head.name] = total[head.name].add_(maps) if head.name in total else maps
        count = len(self.networks) * len(views)
        means = {name: maps if count == 1 else maps.div_(count) for name, maps in total.items()}
        return {name: np.ascontiguousarray(maps[0].cpu().numpy()) for name, maps in means.items()}

    def _forward(self, network: nn.Module, batch: Tensor, heads: tuple[Head, ...]) -> dict[str, Tensor]:
        with turns(self.streams):
            if isinstance(network, Graph):
                return network(batch, tuple(head.name for head in heads))[0]
            if self.ndim == 2:
                batch = batch.contiguous(memory_format=torch.channels_last)
            with torch.autocast(
                torch.device(self.device).type, torch.bfloat16, enabled=self.precision == "bfloat16"
            ):
                return network(batch)[0]


def in_order(work: Callable[[T], U], items: Iterable[T], threads: int) -> Iterator[U]:
    """What `work` makes of each item, in their order; as many are under way as there are threads."""
    if threads == 1:
        yield from map(work, items)
        return
    waiting = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        under_way = deque(pool.submit(work, item) for item in islice(waiting, threads))
        try:
            while under_way:
                made = under_way.popleft().result()
                under_way.extend(pool.submit(work, item) for item in islice(waiting, 1))
                yield made
        finally:
            pool.shutdown(cancel_futures=True)


def check_device(device: str) -> None:
    """Refuse a device that this machine does not have.

    Raises:
        InputError: torch does not know the device, or it is absent.
    """
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError) as error:
        msg = f"device {device!r} cannot be used: {str(error).splitlines()[0]} Choose --device cpu."
        raise InputError(msg) from error


def keep_to_cores() -> None:
    """Let torch, and the engines that follow it, start no more threads than this process has cores."""
    torch.set_num_threads(min(torch.get_num_threads(), usable_cores()))


def best_precision(device: str) -> Precision:
    """bfloat16 where the processor multiplies it faster than float32, else float32."""
    kind = torch.device(device).type
    if kind == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    features = torch.cpu.get_capabilities() if kind == "cpu" else {}
    return "bfloat16" if features.get("amx_bf16") or features.get("avx512_bf16") else "float32"


def ready(network: nn.Module, ndim: int, device: str = "cpu") -> nn.Module:
    """A copy for inference: evaluation mode, batch norms folded into the convolutions before them."""
    network = copy.deepcopy(network).eval().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, nn.Sequential):
            _fold_norms(module)
    network = network.to(device)
    if ndim == 2:
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    return network


def _fold_norms(layers: nn.Sequential) -> None:
    for i in range(len(layers) - 1):
        first, second = layers[i], layers[i + 1]
        convolution = isinstance(first, nn.Conv2d | nn.Conv3d)
        if convolution and isinstance(second, nn.BatchNorm2d | nn.BatchNorm3d):
            layers[i] = fuse_conv_bn_eval(first, second)
            layers[i + 1] = nn.Identity()

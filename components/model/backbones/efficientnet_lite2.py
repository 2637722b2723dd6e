"""EfficientNet-Lite2, which has learnt ImageNet at 260 pixels a side and is given 224 here."""

from components.model.efficientnet_lite import Lite

LITE = Lite(
    name="efficientnet_lite2",
    width=1.1,
    depth=1.2,
    file="efficientnet-lite2-9656183e.pth",
    sha256="9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
)
BACKBONE = LITE.backbone()

"""EfficientNet-Lite1, which has learnt ImageNet at 240 pixels a side and is given 224 here."""

from components.model.efficientnet_lite import Lite

LITE = Lite(
    name="efficientnet_lite1",
    width=1.0,
    depth=1.1,
    file="efficientnet-lite1-77cc7160.pth",
    sha256="77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
)
BACKBONE = LITE.backbone()

"""Which layers of a backbone are trained, and the last tensor that all of these depend on."""

import functools

import keras

from components.errors import ComponentError
from components.model.backbone import find


@functools.cache
def boundary_layer_of(name: str, unfreeze_layers: int) -> str:
    """The name of the layer whose output is the `freeze_boundary` of a backbone.

    Args:
        name: as for `build_backbone`.
        unfreeze_layers: how many of the last layers are trained.

    Raises:
        ComponentError: the backbone has fewer layers, or none of them is frozen.
    """
    backbone = find(name).build()
    trunk = keras.Model(backbone.input, freeze_boundary(backbone, unfreeze_layers))
    if not trunk.count_params():
        raise ComponentError(
            f"unfreeze_layers {unfreeze_layers} leaves no layer of {name} frozen whose output "
            "could be cached: set fewer, or training.augmentation.mode=on_the_fly"
        )
    return boundary_layer_name(backbone, unfreeze_layers)


def unfreeze_last(backbone: keras.Model, unfreeze_layers: int) -> None:
    """Leaves only the last layers trainable, and no BatchNormalization among them.

    A model that holds the backbone must be compiled afterwards. BatchNormalization keeps
    ImageNet's statistics: https://keras.io/guides/transfer_learning.

    Args:
        backbone: from `build_backbone`.
        unfreeze_layers: how many of the last layers; 0 freezes all.

    Raises:
        ComponentError: the backbone has fewer layers.
    """
    first = _first_unfrozen(backbone, unfreeze_layers)
    # The model's own flag covers all layers, so it is set before theirs.
    backbone.trainable = True
    for index, layer in enumerate(backbone.layers):
        layer.trainable = index >= first and not isinstance(layer, keras.layers.BatchNormalization)


def freeze_boundary(backbone: keras.Model, unfreeze_layers: int) -> keras.KerasTensor:
    """Finds the last tensor from which everything the unfrozen layers need can be computed.

    Where the last layers begin inside a residual block, this is the block's input: the few
    frozen layers behind it belong to the tail, which is `keras.Model(boundary, backbone.output)`.
    A convolution and its BatchNormalization stay together, so that they can be folded.

    Args:
        backbone: from `build_backbone`.
        unfreeze_layers: how many of the last layers are trained.

    Returns:
        A tensor of the backbone: its output when nothing is unfrozen, its input when all is.

    Raises:
        ComponentError: the backbone has fewer layers.
    """
    first = _first_unfrozen(backbone, unfreeze_layers)
    for cut in range(first, 0, -1):
        crossing = _tensors_across(backbone, cut)
        if len(crossing) == 1 and not _is_normalized(backbone, crossing[0]):
            return crossing[0]
    return backbone.input


def boundary_layer_name(backbone: keras.Model, unfreeze_layers: int) -> str:
    """The name of the layer whose output is the `freeze_boundary`.

    Raises:
        ComponentError: the backbone has fewer layers.
    """
    boundary = freeze_boundary(backbone, unfreeze_layers)
    (name,) = (layer.name for layer in backbone.layers if layer.output is boundary)
    return str(name)


def _first_unfrozen(backbone: keras.Model, unfreeze_layers: int) -> int:
    layers = len(backbone.layers)
    if not 0 <= unfreeze_layers <= layers:
        raise ComponentError(
            f"unfreeze_layers {unfreeze_layers}: {backbone.name} has {layers} layers, "
            f"give 0 to {layers}"
        )
    return layers - unfreeze_layers


def _tensors_across(backbone: keras.Model, cut: int) -> list[keras.KerasTensor]:
    """The tensors made before layer number `cut` and used from there on."""
    used = [tensor for layer in backbone.layers[cut:] for tensor in keras.tree.flatten(layer.input)]
    used.append(backbone.output)
    used_ids = {id(tensor) for tensor in used}
    return [layer.output for layer in backbone.layers[:cut] if id(layer.output) in used_ids]


def _is_normalized(backbone: keras.Model, tensor: keras.KerasTensor) -> bool:
    """Whether a BatchNormalization reads the tensor."""
    return any(
        layer.input is tensor
        for layer in backbone.layers
        if isinstance(layer, keras.layers.BatchNormalization)
    )

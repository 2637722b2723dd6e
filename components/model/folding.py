"""BatchNormalization folded into the convolution before it: the same function, computed faster.

In inference mode BatchNormalization multiplies and shifts every channel by numbers that do not
change, so the convolution can do it: https://arxiv.org/abs/1712.05877, section 3.2.
"""

import keras
from keras import ops

from components.errors import ComponentError
from components.model.depthwise import depthwise_convolution


def fold_batch_normalization(model: keras.Model) -> keras.Model:
    """Rebuilds a functional model without its BatchNormalization.

    What is trainable at the time of folding stays so: the new model trains the very variables of
    the old one. Convolutions that are frozen become constants, which TensorFlow optimizes
    further, and do not see a later change of their variables.

    Args:
        model: a functional model in which every BatchNormalization is frozen, and follows a
            convolution that nothing else reads.

    Returns:
        A model that computes what the old one computes in inference mode, up to the rounding of
        float32. What else depends on the mode, such as Dropout, still does.

    Raises:
        ComponentError: a BatchNormalization is trainable or cannot be folded.
    """
    following = _normalizations_by_convolution(model)
    folded = {normalization.name for normalization in following.values()}

    def call(layer: keras.layers.Layer, *args: object, **kwargs: object) -> keras.KerasTensor:
        if layer.name in following:
            return FoldedConvolution(layer, following[layer.name])(*args)
        if layer.name in folded:
            return args[0]
        return layer(*args, **kwargs)

    return keras.models.clone_model(model, clone_function=lambda layer: layer, call_function=call)


class FoldedConvolution(keras.layers.Layer):
    """A convolution, plain or depthwise, and the BatchNormalization behind it, as one."""

    def __init__(
        self, convolution: keras.layers.Layer, normalization: keras.layers.BatchNormalization
    ) -> None:
        # The kernel is folded in float32, whatever it is used in.
        super().__init__(name=f"{convolution.name}_folded", autocast=False)
        self.convolution = convolution
        self.normalization = normalization
        self._depthwise = isinstance(convolution, keras.layers.DepthwiseConv2D)
        self._constants = (
            None
            if convolution.trainable
            else tuple(ops.convert_to_numpy(value) for value in self._kernel_and_bias())
        )

    def call(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """[N, height, width, channels] to [N, height', width', channels'], in the layer's dtype."""
        layer = self.convolution
        inputs, kernel, bias = (
            ops.cast(value, self.compute_dtype)
            for value in (inputs, *(self._constants or self._kernel_and_bias()))
        )
        unit_strides = layer.strides == (1, 1)
        # What is trained is computed in ways that have faster gradients.
        if layer.trainable and self._depthwise and unit_strides and layer.padding == "same":
            return depthwise_convolution(inputs, kernel) + bias
        if layer.trainable and layer.kernel_size == (1, 1) and unit_strides:
            return ops.matmul(inputs, kernel[0, 0]) + bias
        convolve = ops.depthwise_conv if self._depthwise else ops.conv
        return convolve(inputs, kernel, layer.strides, layer.padding) + bias

    def _kernel_and_bias(self) -> tuple[keras.KerasTensor, keras.KerasTensor]:
        normalization = self.normalization
        scale = normalization.gamma * ops.rsqrt(
            normalization.moving_variance + normalization.epsilon
        )
        bias = normalization.beta - normalization.moving_mean * scale
        if self.convolution.bias is not None:
            bias = bias + self.convolution.bias * scale
        # A depthwise kernel is [height, width, channels, 1]; a plain one ends with its outputs.
        return self.convolution.kernel * (scale[:, None] if self._depthwise else scale), bias


def _normalizations_by_convolution(
    model: keras.Model,
) -> dict[str, keras.layers.BatchNormalization]:
    """The normalization that each convolution can absorb, by the convolution's name."""
    readers: dict[int, list[keras.layers.Layer]] = {}
    for layer in model.layers:
        for tensor in keras.tree.flatten(layer.input):
            readers.setdefault(id(tensor), []).append(layer)
    outputs = {id(tensor) for tensor in keras.tree.flatten(model.output)}
    following = {
        layer.name: readers[id(layer.output)][0]
        for layer in model.layers
        if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D)
        and id(layer.output) not in outputs
        and [type(reader) for reader in readers[id(layer.output)]]
        == [keras.layers.BatchNormalization]
    }
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization) and (
            layer.trainable or layer not in following.values()
        ):
            raise ComponentError(
                f"{layer.name} cannot be folded: a BatchNormalization must be frozen and be all "
                "that follows a convolution"
            )
    return following

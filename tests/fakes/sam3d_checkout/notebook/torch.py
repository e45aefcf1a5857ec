"""As much of torch as the fake checkout and the child use: importing the real one takes seconds a test."""

from types import SimpleNamespace

import numpy as np

cuda = SimpleNamespace(is_available=lambda: False)


class OutOfMemoryError(RuntimeError):
    pass


class Tensor:
    def __init__(self, values):
        self._values = np.asarray(values)
        self.shape = self._values.shape

    def detach(self):
        return self

    def cpu(self):
        return self

    def numpy(self):
        return self._values


def is_tensor(value):
    return isinstance(value, Tensor)


from_numpy = tensor = Tensor

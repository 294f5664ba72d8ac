"""Errors that a user meets. Each message is one sentence that says what is wrong and what to do.

HomestretchError
├── InputError              the user's data, recipe or model; the command line exits with 2
│   ├── RecipeError         a recipe, an override or an option
│   ├── DataError           a row or a file; the message starts with `file:line`
│   └── MissingDependency   a package to install; the message is the sentence to type
├── CheckpointError         a checkpoint that is not whole or belongs to another run; exits with 2
├── TrainingDiverged        three steps in a row without a finite loss; a checkpoint was kept; exits with 1
└── PeerLost                another process of the same run has stopped, or has other weights; exits with 1
"""


class HomestretchError(Exception):
    """Base of every error this package raises on purpose."""


class InputError(HomestretchError):
    """Something the user gave cannot be used."""


class RecipeError(InputError):
    """A recipe, an override or a command-line option is wrong."""


class DataError(InputError):
    """A data file or one of its rows is wrong."""


class MissingDependency(InputError):
    """An optional package is absent; the message says how to install it."""


class CheckpointError(HomestretchError):
    """A checkpoint is not whole, or belongs to another run."""


class TrainingDiverged(HomestretchError):
    """The loss was not finite for three steps in a row."""


class PeerLost(HomestretchError):
    """Another process of the same run is gone, or no longer computes the same."""

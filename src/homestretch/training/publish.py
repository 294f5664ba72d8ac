"""The final model as a repository of the Hub, or of what HF_ENDPOINT names."""

from __future__ import annotations

from pathlib import Path

from huggingface_hub import HfApi, get_token

from homestretch.errors import InputError

LOG_IN = "log in with `hf auth login`, or set HF_TOKEN"


def check_token() -> None:
    """Raise InputError where nobody is logged in: better before the training than behind it."""
    if get_token() is None:
        raise InputError(f"push_to_hub=true, but there is no token for the Hub; {LOG_IN}.")


def publish(model: Path, name: str) -> None:
    """Upload the folder of a model as the repository `name`, made if it is not there.

    Raises InputError where the Hub cannot be reached or refuses; the model stays where it is.
    """
    api = HfApi()
    try:
        repo = api.create_repo(name, exist_ok=True).repo_id
        api.upload_folder(repo_id=repo, folder_path=model, commit_message="Upload model")
    except Exception as error:  # noqa: BLE001 - whatever the network or the Hub raises: the user needs one sentence
        said = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(
            f"The run is done and its model is in {model}, but it could not be uploaded as `{name}` ({said}); {LOG_IN} "
            "if that is the cause, and start the same command again: only the upload is left."
        ) from None

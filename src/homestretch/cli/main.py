"""The command `homestretch`, and the one place where errors become sentences and exit codes.

0 done    1 a bug, or training that diverged    2 the user's input, or a full disk    130 interrupted
143 asked to end (SIGTERM)
"""

from __future__ import annotations

import errno
import io
import os
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import typer

from homestretch import ranks
from homestretch.cli import (
    audit,
    compare,
    doctor,
    evaluate,
    front,
    generate,
    lab,
    negatives,
    quickstart,
    recipes,
    report,
    reward,
    run,
    soup,
    train,
)
from homestretch.errors import CheckpointError, HomestretchError, InputError

app = typer.Typer(
    name="homestretch",
    help="Make a language model better at your task than fine-tuning does, from (prompt, completion) pairs alone.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("quickstart")(quickstart.quickstart)
app.command("run")(run.run)
app.command("train")(train.train)
app.command("compare")(compare.compare)
app.command("front")(front.front)
app.command("soup")(soup.soup)
app.add_typer(lab.app, name="lab")
app.add_typer(negatives.app, name="negatives")
app.add_typer(reward.app, name="reward")
app.command("generate")(generate.generate)
app.command("evaluate")(evaluate.evaluate)
app.command("audit")(audit.audit)
app.command("report")(report.report)
app.add_typer(recipes.app, name="recipes")
app.command("doctor")(doctor.doctor)

_USAGE_ERROR: type[Exception] = next(c for c in typer.BadParameter.__mro__ if c.__name__ == "ClickException")
_GO_ON = "start the same command again to go on from the last checkpoint."
_QUIET = {
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""What other libraries read at import; whatever the user has set wins."""


class _Ended(KeyboardInterrupt):
    """SIGTERM: whoever shares the machine out wants it back."""


@app.callback(invoke_without_command=True)
def _options(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    if version:
        from homestretch.version import __version__

        print(__version__)
        raise typer.Exit


def main(arguments: list[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    quiet = _QUIET if sys.stderr.isatty() else {**_QUIET, "TQDM_DISABLE": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    for name, value in quiet.items():
        os.environ.setdefault(name, value)
    signal.signal(signal.SIGTERM, _end)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # as stderr does: what it cannot say must not be an error
    if not ranks.is_first():
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115 - for as long as the process lives
    if not sys.warnoptions:
        warnings.simplefilter("ignore", FutureWarning)  # between libraries; nothing that a user could act on
    sys.exit(run_command(sys.argv[1:] if arguments is None else arguments))


def _end(number: int, frame: FrameType | None) -> None:
    """Leave in order; a second signal ends the process at once."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise _Ended


def run_command(arguments: list[str]) -> int:
    """The exit code of a command; what went wrong is said on stderr."""
    try:
        command = typer.main.get_command(app)  # invoked by hand: typer's own boundary knows other exit codes
        with command.make_context("homestretch", arguments or ["--help"]) as context:
            command.invoke(context)
        sys.stdout.flush()  # here, where a full disk or a reader that has gone is understood
        return 0
    except typer.Exit as stop:
        return int(stop.exit_code)
    except _Ended:
        return _say(f"asked to end; {_GO_ON}", 128 + signal.SIGTERM)
    except (KeyboardInterrupt, typer.Abort):
        return _say(f"interrupted; {_GO_ON}", 130)
    except (InputError, CheckpointError) as error:
        return _say(str(error), 2)
    except HomestretchError as error:
        return _say(str(error), 1)
    except _USAGE_ERROR as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            print(error, file=sys.stderr)
            return 2
        return _say(_usage(error), 2)
    except Exception as error:  # noqa: BLE001 - the boundary: what arrives here is a bug or the system
        if isinstance(error, BrokenPipeError) and _nobody_reads():  # nothing is wrong
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        if sentence := _of_the_system(error):
            return _say(sentence, 2)
        traceback.print_exc()
        return _say("this is a bug in homestretch; please report it with the lines above.", 1)


def _nobody_reads() -> bool:
    """Whether stdout is a pipe whose reader has gone: there are other pipes, such as those to child processes."""
    stdout = select.poll()
    stdout.register(sys.stdout, 0)  # asked for nothing, it tells of what is broken
    return bool(stdout.poll(0))


def _say(sentence: str, code: int) -> int:
    who = "homestretch" if ranks.is_first() else f"homestretch, process {ranks.rank()}"
    print(f"{who}: {' '.join(sentence.split())}", file=sys.stderr)
    return code


def _usage(error: Exception) -> str:
    message = str(error.format_message() if hasattr(error, "format_message") else error).replace("Value error, ", "")
    message = message.rstrip(".").replace(". ", "; ")
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "homestretch"
    return f"{message[:1].lower()}{message[1:]}; see `{command} --help`."


def _of_the_system(error: BaseException) -> str | None:
    """A sentence for what the system refuses: a full disk, a folder without rights, a path that cannot be; wherever in
    the chain of causes it stands."""
    for cause in _causes(error):
        number = getattr(cause, "errno", None)
        file = getattr(cause, "filename", None) or "a file of the run"
        if number in (errno.ENOSPC, errno.EDQUOT) or "No space left on device" in str(cause):
            return f"{file}: the disk is full; make room and start the same command again, it goes on where it stopped."
        if isinstance(cause, PermissionError) or number == errno.EROFS:
            return f"{file}: permission denied; choose a folder that you may write to, or change its rights."
        if number == errno.EFBIG or "File too large" in str(cause):
            return f"{file}: larger than this disk or `ulimit -f` lets a file be; choose another folder, or raise it."
        if number in (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR):
            return f"{file}: this cannot be the path of a file ({os.strerror(number)}); check it."
    return None


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

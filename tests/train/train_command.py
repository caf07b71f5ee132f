"""voxpick train, in this process."""

import typer
from typer.testing import CliRunner

from voxpick.cli import train


def run_train(*arguments):
    app = typer.Typer()
    app.callback()(lambda: None)
    train.register(app)
    result = CliRunner().invoke(app, ["train", *map(str, arguments)])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result

"""`corral completion`: what a shell needs to complete verbs and flags."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from corral.cli.options import Json, new_app
from corral.cli.output import show, show_json
from corral.cli.program import COMPLETE_VARIABLE

app = new_app()

Shell = Literal["bash", "zsh", "fish"]


@app.command()
def completion(
    shell: Annotated[Shell, typer.Argument(help="Which shell.")],
    as_json: Json = False,
) -> None:
    """Print the completion script of a shell.

    bash: eval "$(corral completion bash)" in ~/.bashrc.
    zsh: corral completion zsh > ~/.zfunc/_corral.
    fish: corral completion fish > ~/.config/fish/completions/corral.fish.
    """
    from typer import completion as shells  # noqa: PLC0415 - here alone

    script = shells.get_completion_script(  # type: ignore[attr-defined]  # public before and since
        prog_name="corral", complete_var=COMPLETE_VARIABLE, shell=shell
    )
    if as_json:
        show_json({"shell": shell, "script": script})
    else:
        show(script)

"""`kbchat migrate` and `kbchat reembed`: a space to another store, or to the vectors of another model."""

from typing import TYPE_CHECKING, Annotated

import typer

from kbchat.cli import screen
from kbchat.cli.exits import say
from kbchat.cli.session import AsJson, DataDir, find_space, read_settings, run
from kbchat.cli.spaces import Space, Store, show_space

if TYPE_CHECKING:
    from kbchat import KnowledgeBase
    from kbchat.maintenance.moving import Agreement


def migrate(
    space: Space,
    to: Annotated[Store, typer.Option(help="The store that it goes to.", case_sensitive=False, show_default=False)],
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Take a space to another store, without embedding again. It answers all the while."""

    def tell(agreement: "Agreement") -> None:
        say(
            f"{agreement.vectors:,} vectors copied; of the {agreement.top_k} nearest of {agreement.questions} of them, "
            f"the copy finds {agreement.share:.1%} of what the original does"
        )

    async def action(kb: "KnowledgeBase") -> None:
        found = await find_space(kb, space)
        with screen.progress_bar() as advance:
            info = await found.migrate(to, progress=advance, before_switch=tell)
        show_space(info, json=json)

    return run(read_settings(data_dir), action)


def reembed(
    space: Space,
    embedder: Annotated[
        str | None,
        typer.Option(
            help="static, openai:MODEL or sentence-transformers:NAME_OR_FOLDER. Default: what the settings name.",
            show_default=False,
        ),
    ] = None,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Embed a space anew, by another model or the one in use. It answers by the old vectors until all are there."""

    async def action(kb: "KnowledgeBase") -> None:
        found = await find_space(kb, space)
        with screen.progress_bar() as advance:
            info = await found.reembed(progress=advance)
        show_space(info, json=json)
        if embedder not in (None, read_settings(data_dir).embedder):
            say(f"set KBCHAT_EMBEDDER={embedder} from now on; with other settings the space cannot be asked")

    return run(read_settings(data_dir, embedder=embedder), action)

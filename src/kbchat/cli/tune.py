"""`kbchat tune`: which settings are best for a space's own documents, and how sure that is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kbchat.cli import interrupts, screen, trying
from kbchat.cli.exits import Exit, say
from kbchat.cli.session import AsJson, DataDir, find_space, read_settings, run
from kbchat.cli.spaces import Space
from kbchat.errors import InvalidInputError, ModelNotFoundError

if TYPE_CHECKING:
    from kbchat import KnowledgeBase, Settings
    from kbchat.chunking import Splitting
    from kbchat.tuning.grids import Grid
    from kbchat.tuning.making import Ask
    from kbchat.tuning.recommending import Tuning

PARTS = {"chunk_strategy": "strategy", "chunk_tokens": "max_tokens", "chunk_overlap": "overlap"}
"""Settings, and what a splitting calls them."""
SIZES = "128,256,400,600"
"""Chunk sizes that are tried unless others are named."""

Questions = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Questions and what answers them, as JSON lines.", show_default=False),
]
Make = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Make questions from the documents instead, into FILE.", show_default=False),
]
Count = Annotated[int, typer.Option(min=1, max=10_000, help="How many questions to make.")]
Model = Annotated[str | None, typer.Option(help="Who makes questions; extractive: by rule. Default: the default one.")]
TopK = Annotated[
    str | None,
    typer.Option(metavar="NUMBERS", help="Such as 3,5,8. Default: what shows as much text as now.", show_default=False),
]
Thresholds = Annotated[
    str | None, typer.Option(metavar="SCORES", help="Leave out what scores less: such as 0.3,0.5.", show_default=False)
]
Cache = Annotated[
    Path | None, typer.Option(metavar="FILE", help="Keep the embedder's vectors for the next run.", show_default=False)
]


def tune(
    space: Space,
    questions: Questions = None,
    make_questions: Make = None,
    count: Count = 100,
    model: Model = None,
    chunk_tokens: trying.Sizes = None,
    chunk_overlap: trying.Overlaps = None,
    chunk_strategy: trying.Strategies = None,
    embedder: trying.Embedders = None,
    strategy: trying.Searches = None,
    dense_weight: trying.Dense = None,
    sentence_weight: trying.Sentence = None,
    diversity: trying.Diversities = None,
    expand: trying.Expands = None,
    rerank: trying.Reranks = None,
    top_k: TopK = None,
    score_threshold: Thresholds = None,
    measure: trying.Measure = None,
    cache: Cache = None,
    out: trying.Out = None,
    plot: trying.Plot = None,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Find the best settings for a space by questions whose answers are known, and how sure that is.

    Nothing of the space is changed: its texts are indexed anew in a folder that is removed.
    """
    if (questions is None) == (make_questions is None):
        raise InvalidInputError("questions", "give either --questions FILE or --make-questions FILE")
    if make_questions is not None and make_questions.exists():
        raise InvalidInputError("make_questions", f"{make_questions} is there already; name another file")
    trying.check_files(None, out, plot, make_questions=make_questions, cache=cache)
    settings = read_settings(data_dir)
    grid = trying.grid(
        chunk_strategy=chunk_strategy,
        chunk_tokens=chunk_tokens or SIZES,
        chunk_overlap=chunk_overlap,
        embedder=embedder,
        strategy=strategy,
        dense_weight=dense_weight,
        sentence_weight=sentence_weight,
        diversity=diversity,
        expand=expand,
        rerank=rerank,
        top_ks=trying.numbers(top_k, "top_k"),
        thresholds=trying.shares(score_threshold, "score_threshold"),
    )
    name, own, texts = _read_space(settings, space)
    if make_questions is not None:
        return _make(settings, texts, make_questions, count, model)
    assert questions is not None
    made = _tuned(settings, name, own, texts, questions, grid, measure, cache, plot)
    if out:
        trying.write(out, made)
    if json:
        screen.print_json(made.model_dump(mode="json"))
    else:
        _print(made, own)
    return Exit.DONE


def _read_space(settings: "Settings", space: str) -> "tuple[str, Splitting | None, dict[str, str]]":
    """The space's name, how it splits if it says so itself, and its texts. Afterwards it is closed."""
    from kbchat.tuning.search import texts_of

    found: list[tuple[str, Splitting | None, dict[str, str]]] = []

    async def action(kb: "KnowledgeBase") -> None:
        target = await find_space(kb, space)
        found.append((target.name, target.info.splitting, await texts_of(target)))

    run(settings, action)
    return found[0]


def _make(settings: "Settings", texts: dict[str, str], path: Path, count: int, model: str | None) -> Exit:
    """Make questions and write them down, as many as could be made."""
    from kbchat.tuning import making, questions
    from kbchat.wiring import EXTRACTIVE

    made: list[making.Made] = []
    by = []

    async def action(kb: "KnowledgeBase") -> None:
        name = _model(kb, model)
        if name == EXTRACTIVE:
            made.append(making.Made(making.by_rule(texts, count), 0, None))
            by.append("by rule")
        else:
            ask = _asking(kb, name)
            with screen.progress_bar() as advance:
                made.append(await making.by_model(texts, count, model=name, ask=ask, progress=advance))
            by.append(f"by the model {name}")

    run(settings, action)
    found, failed, reason = made[0]
    questions.write(path, found, texts)
    screen.console().print(f"{len(found)} synthetic questions, made {by[0]}, are in {screen.one_line(str(path))}")
    say(f"look them over: {making.CANNOT_TELL}")
    if reason is None:
        return Exit.DONE
    say(f"of {failed} passages there is no question, because the model failed: {reason.message}")
    return Exit.INCOMPLETE


def _model(kb: "KnowledgeBase", named: str | None) -> str:
    """Who is asked for questions. Raises `ModelNotFoundError` before anything is."""
    if named is None or named in kb.models():
        return named or kb.default_model
    if kb.settings.unknown_model == "error":
        raise ModelNotFoundError(named, kb.models())
    return kb.default_model


def _asking(kb: "KnowledgeBase", model: str) -> "Ask":
    async def ask(prompt: str) -> str:
        return (await kb.chat(prompt, spaces=None, model=model)).text

    return ask


def _tuned(
    settings: "Settings",
    name: str,
    own: "Splitting | None",
    texts: dict[str, str],
    path: Path,
    grid: "Grid",
    measure: str | None,
    cache: Path | None,
    plot: Path | None,
) -> "Tuning":
    from kbchat.tuning import plots, questions, recommending, search, trials

    given = questions.read(path, texts, limit=settings.max_question_chars)
    tried = grid.variants(own or settings.splitting, settings)
    decides = trials.measure_named(measure, search.measures(given))
    trying.tell_left_out(grid, own or settings.splitting)
    with trying.working_folder("kbchat-tune-") as folder, screen.progress_bar() as advance:
        searching = search.Search(texts, given, equal_room=not grid.options["top_k"], progress=advance)
        ran = interrupts.run(lambda: searching.run(tried, settings=settings, folder=folder, cache=cache))
    made = recommending.summed_up(ran, given, texts, space=name, embedder=settings.embedder, measure=decides)
    if plot:
        plots.plot(made, plot, spread=ran[0].spread)
    return made


def _print(made: "Tuning", own: "Splitting | None") -> None:
    out = screen.console()
    what = f"{screen.one_line(made.dataset)}: {made.questions} questions, embedder {made.embedder}"
    out.print(f"{what}, decided by {made.measure}\n")
    names = list(made.results[0].figures)
    heads = ("configuration", "chunks", *names, "p50 ms", "p", "")
    luck = {each.label: each for each in made.contrasts}
    rows = []
    for result in made.results:
        against = luck.get(result.label)
        figures = [
            f"{figure.mean:.0f}" if name == "tokens" else f"{figure.mean:.4f}"
            for name, figure in result.figures.items()
        ]
        told = "present" if against is None else _verdict(against.difference.mean, against.p)
        p = "" if against is None else _p(against.p)
        rows.append((result.label, str(result.chunks), *figures, f"{result.p50_ms:.1f}", p, told))
    screen.print_table(heads, rows, numeric=heads[1:-1])
    out.print()
    for line in _advice(made, own):
        out.print(line)
    for warning in made.warnings:
        say(f"warning: {warning}")


def _advice(made: "Tuning", own: "Splitting | None") -> list[str]:
    interval = f"{made.gain.low:+.4f} to {made.gain.high:+.4f}"
    if made.verdict == "none":
        best = "" if made.best == made.present else f" The best of these, {made.best}, may be luck: {_p(made.p, 'p ')}."
        return [f"Keep the present settings: nothing that was tried is better beyond luck.{best}"]
    sure = "This is hardly luck" if made.verdict == "sure" else "This is probably no luck"
    lines = [
        f"Recommended: {made.recommended}, for {made.measure} {made.gain.mean:+.4f} ({interval}).",
        f"{sure}: {_p(made.p, 'p ')}, allowing for the {len(made.results)} that were tried. Chosen by half of the "
        f"questions, it gains {made.others_half:+.4f} on the other half.",
    ]
    if len(made.alike) > 1:
        lines.append(f"Not to be told from the best: {', '.join(made.alike)}; of these the one that shows least.")
    chosen = list(made.settings)
    if own is not None and (splitting := _resplit(made, own)):
        chosen = [setting for setting in chosen if setting.name not in PARTS]
        call = f"await kb.update_space({screen.one_line(made.dataset)!r}, splitting=kbchat.Splitting({splitting}))"
        lines += ["", "The space has a splitting of its own, which goes before the settings. In Python:", call]
    if chosen:
        variables = " ".join(setting.variable for setting in chosen)
        lines += ["", "In kbchat.toml:", *(each.toml for each in chosen), "", f"or as variables: {variables}"]
    return [*lines, *_then(made)]


def _resplit(made: "Tuning", own: "Splitting") -> str:
    """The arguments of the space's own splitting as it is to be; none where it is to stay."""
    changed = {PARTS[it.name]: it.value for it in made.settings if it.name in PARTS}
    kept = own.model_dump(mode="json", exclude_defaults=True)
    return ", ".join(f"{name}={value!r}" for name, value in (kept | changed).items()) if changed else ""


def _then(made: "Tuning") -> list[str]:
    """What is to be done for the new settings to hold."""
    names = {setting.name for setting in made.settings}
    then = []
    if "embedder" in names:
        then.append(f"Then embed the space anew: kbchat reembed {screen.one_line(made.dataset)}")
    if names & PARTS.keys():
        then.append("Then take the documents in again (kbchat ingest): unchanged files are split anew too.")
    return then


def _verdict(difference: float, p: float) -> str:
    if p >= 0.05:
        return "may be luck"
    return "better" if difference > 0 else "worse"


def _p(p: float, head: str = "") -> str:
    return f"{head}<0.001" if p < 0.001 else f"{head}{p:.3f}"

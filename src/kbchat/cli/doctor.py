"""`kbchat doctor`: what is wrong with a set-up, and what to do about it."""

from typing import TYPE_CHECKING, Annotated

import typer

from kbchat.cli import interrupts, screen
from kbchat.cli.exits import Exit, say
from kbchat.cli.session import AsJson, DataDir, read_settings

if TYPE_CHECKING:
    from kbchat.doctor import Finding, Setting

MARKS = {"ok": "ok", "note": "--", "wrong": "!!"}


def doctor(
    everything: Annotated[bool, typer.Option("--all", help="Show every setting, also those left as they are.")] = False,
    no_trial: Annotated[bool, typer.Option("--no-trial", help="Do not ask the trial question.")] = False,
    data_dir: DataDir = None,
    json: AsJson = False,
) -> int:
    """Look over what is installed, where the settings come from, which parts answer, and ask a trial question.

    It changes nothing, and ends with 3 where something is wrong.
    """
    from kbchat import doctor as checks

    settings = read_settings(data_dir)
    given = {} if data_dir is None else {"data_dir": data_dir}
    toml = checks.read_toml()
    in_use = checks.settings_in_use(settings, given=given, toml=toml)

    async def ask() -> "list[Finding]":
        found = await checks.parts_that_answer(settings)
        return found if no_trial else [*found, await checks.trial(settings)]

    said = [*checks.unknown_settings(type(settings)), *checks.serving(settings)]
    findings = [*checks.installed(), *said, *interrupts.run(ask)]
    wrong = list(checks.problems(findings))
    if json:
        screen.print_json(
            {
                "settings": [it.model_dump(mode="json") for it in in_use],
                "findings": [it.model_dump(mode="json") for it in findings],
            }
        )
    else:
        _show(in_use if everything else [it for it in in_use if it.source != "default"], findings)
        say(f"{len(wrong)} things are wrong" if len(wrong) > 1 else "one thing is wrong" if wrong else "all is well")
    return Exit.FAILED if wrong else Exit.DONE


def _show(in_use: "list[Setting]", findings: "list[Finding]") -> None:
    if in_use:
        screen.print_table(("setting", "value", "from"), [(it.name, it.value, it.source) for it in in_use])
        screen.console().print()
    notes = [it.topic == "settings" and it.state == "note" and bool(it.remedy) for it in findings]
    rows = [
        (MARKS[it.state], it.name, f"{it.detail}; {it.remedy}" if note else it.detail)
        for it, note in zip(findings, notes, strict=True)
    ]
    screen.print_table(("", "what", "found"), rows)
    for finding in findings:
        if finding.state == "wrong":
            say(f"{finding.name}: {finding.remedy or finding.detail}")

"""Completion by Tab in bash, zsh and fish: of studies, trials, samplers and pruners."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import click
from click.shell_completion import (
    BashComplete,
    CompletionItem,
    FishComplete,
    ShellComplete,
    ZshComplete,
    add_completion_class,
    split_arg_string,
)

from mnist_tune.commands import program
from mnist_tune.errors import InputError, MnistTuneError
from mnist_tune.storage.location import Location

COMPLETE_VARIABLE = "_MNIST_TUNE_COMPLETE"

_Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]

# The program is called as it was typed, so that they serve `mnist-tune` and `scripts/mnist-tune`.
_BASH = """\
_mnist_tune_completion() {
    local line=${COMP_LINE:0:COMP_POINT} cut= type value
    local word=${line##*[[:space:]]}
    # bash takes a colon for the end of a word: only what follows it is completed.
    [[ $word == *:* && $COMP_WORDBREAKS == *:* ]] && cut=${word%"${word##*:}"}
    COMPREPLY=()
    while IFS=, read -r type value; do
        case $type in
            plain) printf -v value %q "${value#"$cut"}"; COMPREPLY+=("$value") ;;
            file) compopt -o default ;;
        esac
    done < <(COMP_WORDS=$line _MNIST_TUNE_COMPLETE=bash_complete "${1/#\\~/$HOME}" 2>/dev/null)
}
complete -o nosort -F _mnist_tune_completion mnist-tune
"""
_ZSH = """\
_mnist_tune_completion() {
    local -a described plain
    local type value description
    for type value description in "${(@f)$(COMP_WORDS="${(j: :)words[1,CURRENT]}" \\
        _MNIST_TUNE_COMPLETE=zsh_complete ${~words[1]} 2>/dev/null)}"; do
        case $type in
            plain) [[ $description == _ ]] && plain+=("$value") || described+=("$value:$description") ;;
            file) _path_files -f ;;
        esac
    done
    (( $#described )) && _describe -V unsorted described -U
    (( $#plain )) && compadd -U -V unsorted -a plain
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
compdef _mnist_tune_completion mnist-tune
"""
_FISH = """\
function _mnist_tune_completion
    set -l words (commandline -opc)
    for line in (env COMP_WORDS=(commandline -cp | string collect) \\
            _MNIST_TUNE_COMPLETE=fish_complete $words[1] 2>/dev/null)
        set -l parts (string split -m 1 "," -- $line)
        switch $parts[1]
            case file
                __fish_complete_path $parts[2]
            case plain
                echo $parts[2]
        end
    end
end
complete --no-files --command mnist-tune --arguments "(_mnist_tune_completion)"
"""
_SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


class _TypedLine(ShellComplete):
    """Takes the line up to the cursor, whichever way the shell divides it into words."""

    def get_completion_args(self) -> tuple[list[str], str]:
        line = os.environ["COMP_WORDS"]
        words = split_arg_string(line)
        incomplete = words.pop() if words and not line[-1].isspace() else ""
        return words[1:], incomplete


class _Bash(_TypedLine, BashComplete):
    pass


class _Zsh(_TypedLine, ZshComplete):
    pass


class _Fish(_TypedLine, FishComplete):
    pass


for _kind in (_Bash, _Zsh, _Fish):
    add_completion_class(_kind)


def studies(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete the name of a study in the storage."""
    return _items(_stored(context), incomplete)


def study_files(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Complete what `run` takes: a built-in study, or the path of a study file."""
    from mnist_tune.definitions.loading import builtin_files

    names = [file.name for file in builtin_files()]
    return _items(names, incomplete) or [CompletionItem(incomplete, type="file")]


def references(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete STUDY, STUDY:TRIAL or, for `compare`, a published number."""
    from mnist_tune.storage.overview import trial_numbers

    name, colon, _ = incomplete.partition(":")
    names = [n for n in _stored(context) if n == name or (n.startswith(name) and not colon)]
    found = list(names)
    if len(names) == 1:  # its trials are shown once it is clear which study is meant
        location = Location.find(context.params.get("storage"))
        found += [f"{names[0]}:{number}" for number in trial_numbers(location, names[0])]
    if parameter.nargs == -1:
        from mnist_tune.baselines import BASELINES

        found += BASELINES
    return _items(found, incomplete)


def choices(kind: str, *others: str) -> _Complete:
    """Complete one of the values of a type in `mnist_tune.study`, such as `Sampler`."""

    def complete(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
        from mnist_tune import study

        return _items([*others, *get_args(getattr(study, kind))], incomplete)

    return complete


@click.command("completion")
@click.argument("shell", required=False, type=click.Choice(list(_SCRIPTS)))
@click.option("--print", "printed", is_flag=True, help="Print the script and install nothing.")
def completion_command(shell: str | None, printed: bool) -> None:
    """Install completion by Tab: of commands, options, studies, trials, samplers, pruners.

    SHELL is bash, zsh or fish; by default that of this terminal.
    """
    shell = shell or Path(os.environ.get("SHELL", "")).name
    if shell not in _SCRIPTS:
        known = ", ".join(f"`mnist-tune completion {name}`" for name in _SCRIPTS)
        raise InputError(f"this terminal's shell is not known: type one of {known}")
    if printed:
        click.echo(_SCRIPTS[shell], nl=False)
        return
    try:
        lines = _install(shell)
    except OSError as error:
        raise InputError(
            f"{error.filename} cannot be written ({error.strerror}): add what "
            f"`mnist-tune completion {shell} --print` prints to your shell's start-up file"
        ) from error
    for line in lines:
        click.echo(line)


def _install(shell: str) -> list[str]:
    from mnist_tune.files import write_atomically

    if shell == "fish":  # which reads all files of this folder when it starts
        script = _folder("XDG_CONFIG_HOME", ".config") / "fish" / "conf.d" / "mnist-tune.fish"
    else:
        script = _folder("XDG_DATA_HOME", ".local/share") / "mnist-tune" / f"completion.{shell}"
    script.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(script, _SCRIPTS[shell].encode())
    lines = [f"wrote {script}"]
    if shell != "fish":
        start = _folder("ZDOTDIR" if shell == "zsh" else "", "") / f".{shell}rc"
        line = f"source {shlex.quote(str(script))}"
        before = start.read_text(encoding="utf-8") if start.exists() else ""
        if line not in before:
            with start.open("a", encoding="utf-8") as file:
                file.write(f"\n# completion of mnist-tune\n{line}\n")
            lines.append(f"added to {start}: {line}")
    return [*lines, f"open a new terminal, and type: {program()} run l2<Tab>"]


def _folder(variable: str, usual: str) -> Path:
    return Path(os.environ.get(variable) or Path.home() / usual)


def _stored(context: click.Context) -> tuple[str, ...]:
    """Names of the studies in the storage; none where it cannot be read: Tab reports no errors."""
    from mnist_tune.storage.overview import study_names

    try:
        return study_names(Location.find(context.params.get("storage")))
    except MnistTuneError:
        return ()


def _items(values: list[str] | tuple[str, ...], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(value) for value in values if value.startswith(incomplete)]

"""Study files are found by name or path or written, and each way of being wrong has one clear line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from mnist_tune.definitions import loading
from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.definitions.loading import (
    StudyFile,
    builtin_files,
    find_study,
    load_study_file,
    question,
    write_template,
)
from mnist_tune.errors import DefinitionError
from tests.definitions.definition_samples import FILE, changed, python, write

BUILTIN = ["l2_factor", "layer_widths", "notebook_mlp"]


def refusal(reference: str) -> str:
    with pytest.raises(DefinitionError) as caught:
        load_study_file(find_study(reference))
    assert str(caught.value).isprintable()
    return str(caught.value)


class TestFinding:
    def test_builtin_studies_are_found_from_anywhere(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        assert set(BUILTIN) <= {file.name for file in builtin_files()}
        for name in BUILTIN:
            file = find_study(name)
            assert (file.source, file.name) == (name, name)
            assert file.path.is_absolute()
            assert file.path.is_file()

    def test_path_is_remembered_as_absolute(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        write(tmp_path)
        monkeypatch.chdir(tmp_path)
        path = (tmp_path / "mine.py").resolve()
        for reference in ("mine.py", "./mine.py", str(path)):
            assert find_study(reference) == StudyFile(str(path), "mine", path)

    def test_builtin_name_wins_over_a_folder_and_a_path_over_a_builtin_name(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "l2_factor").mkdir()
        write(tmp_path, name="layer_widths.py")
        assert find_study("l2_factor").source == "l2_factor"
        assert find_study("layer_widths.py").path == (tmp_path / "layer_widths.py").resolve()

    def test_home_is_expanded(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        write(tmp_path)
        assert find_study("~/mine.py").name == "mine"

    @pytest.mark.parametrize(
        ("reference", "nearest"),
        [
            ("l2_facto", "l2_factor"),
            ("L2-Factor", "l2_factor"),
            ("layer_width", "layer_widths"),
            ("notebook-mlp", "notebook_mlp"),
            ("l2_factor-quick", "l2_factor"),
        ],
    )
    def test_nearest_name_is_suggested(self, reference: str, nearest: str) -> None:
        assert refusal(reference) == f"there is no study {reference!r}; did you mean {nearest}?"

    @pytest.mark.parametrize("reference", ["", "qqqq", "q" * 300, "a\nb", "~nobody-at-all", "\0"])
    def test_names_that_are_like_nothing(self, reference: str) -> None:
        message = refusal(reference)
        assert all(name in message for name in BUILTIN)
        assert "the path of a study file" in message

    def test_missing_file(self, tmp_path: Path) -> None:
        assert refusal(f"{tmp_path}/a b.py") == (
            f"study file {tmp_path}/a b.py does not exist; "
            f"`mnist-tune new '{tmp_path}/a b.py'` writes one to start from"
        )
        assert f"`mnist-tune new {tmp_path}/mine.py`" in refusal(f"{tmp_path}/mine")

    def test_folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "mine.py").mkdir()
        for reference in (str(tmp_path), ".", "mine.py", "mine.py/"):
            expected = f"{reference} is a folder, not a study file; give a file in it"
            assert refusal(reference) == expected

    def test_file_that_is_gone_when_it_is_read(self, tmp_path: Path) -> None:
        file = find_study(write(tmp_path))
        file.path.unlink()
        with pytest.raises(
            DefinitionError, match=r"study file .*mine\.py cannot be read: .*No such"
        ):
            load_study_file(file)


class TestLoading:
    def test_nothing_is_left_beside_the_file(self, tmp_path: Path) -> None:
        assert load_study_file(find_study(write(tmp_path))).seeds == 3
        assert [path.name for path in tmp_path.iterdir()] == ["mine.py"]

    def test_byte_order_mark_is_no_error(self, tmp_path: Path) -> None:
        (tmp_path / "mine.py").write_text(FILE, encoding="utf-8-sig")
        file = find_study(str(tmp_path / "mine.py"))
        assert load_study_file(file).seeds == 3
        assert question(file) == "How much?"

    def test_our_own_future_imports_are_not_the_files(self, tmp_path: Path) -> None:
        text = FILE + "\n\ndef f(x: 1 + 1) -> None: ...\n\n\nassert f.__annotations__['x'] == 2\n"
        load_study_file(find_study(write(tmp_path, text)))

    def test_file_may_define_dataclasses(self, tmp_path: Path) -> None:
        text = FILE + (
            "\n\nfrom dataclasses import dataclass\n\n\n"
            '@dataclass(slots=True)\nclass Size:\n    width: "int" = 3\n\n\nSize()\n'
        )
        load_study_file(find_study(write(tmp_path, text)))

    def test_file_knows_its_place(self, tmp_path: Path) -> None:
        path = write(tmp_path, FILE + "\n\nseen = __file__\nassert __name__ != '__main__'\n")
        load_study_file(find_study(path))
        assert sys.modules["_mnist_tune_study_mine"].seen == path

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("x = 1\ny = (\n", ":2: '(' was never closed; mend that line"),
            ("x = 1\n  y = 2\n", ":2: unexpected indent; mend that line"),
            ("", " has no variable `study`; it must hold one `study = Study(…)`"),
            ("study = None\n", " has no variable `study`"),
            ("study = 3\n", " has study = 3; it must hold one"),
            ("study = [0] * 999\n", " has study = [0, 0,"),
            ("import nonsense_package\n", ":1: ModuleNotFoundError: No module named"),
            ("x = 1\nraise OSError('disk\\ngone')\n", ":2: OSError: disk gone"),
            ("x = 1\nraise OSError\n", ":2: OSError: no message"),
            ("def f():\n    return 1 / 0\n\nf()\n", ":2: ZeroDivisionError: division by zero"),
            ("import json\njson.loads('{')\n", ":2: JSONDecodeError: "),
            ("x = 1\nexit(0)\n", ":2: SystemExit: 0"),
            ("raise SystemExit\n", ":1: SystemExit: no message"),
            ("raise BaseException('so')\n", ":1: BaseException: so"),
            ("raise GeneratorExit\n", ":1: GeneratorExit: no message"),
            ("x = '\0'\n", "null bytes"),
            ("(" * 300 + ")" * 300, "too many nested parentheses"),
        ],
    )
    def test_one_clear_line(self, tmp_path: Path, text: str, message: str) -> None:
        path = write(tmp_path, text)
        refused = refusal(path)
        assert refused.startswith(path)
        assert message in refused
        assert len(refused) < len(path) + 200

    @pytest.mark.parametrize(
        ("name", "module"),
        [
            ("Study", "mnist_tune.study"),
            ("Grid", "mnist_tune.study"),
            ("Mlp", "mnist_tune.networks"),
            ("Recipe", "mnist_tune.recipes"),
        ],
    )
    def test_file_that_imports_nothing(self, tmp_path: Path, name: str, module: str) -> None:
        path = write(tmp_path, f"\nstudy = {name}()\n")
        assert refusal(path) == (
            f"{path}:2: name {name!r} is not defined; add `from {module} import {name}`"
        )

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("from mnist_tune.networks import MLP", "has no 'MLP'; did you mean Mlp?"),
            (
                "from mnist_tune.networks import Transformer",
                "'Transformer'; there is Mlp, Block, Cnn, Autoencoder, ConvAutoencoder",
            ),
            (
                "from mnist_tune.networks import Recipe",
                "Recipe is in mnist_tune.recipes: `from mnist_tune.recipes import Recipe`",
            ),
            (
                "from mnist_tune.network import Mlp",
                "there is no module mnist_tune.network; did you mean mnist_tune.networks?",
            ),
            (
                "import mnist_tune.study as s; s.Serach(trials=3)",
                "mnist_tune.study has no 'Serach'; did you mean Search?",
            ),
            (
                "from mnist_tune.study import Study; Study(seed=3)",
                "Study has no argument 'seed'; did you mean seeds?",
            ),
            (
                "from mnist_tune.recipes import Recipe; Recipe(callbacks=[])",
                "'callbacks'; there is epochs, batch_size, optimizer, schedule, precision",
            ),
            ("from mnist_tune.recipes import Recipe; Recipe()", "Recipe needs epochs=…"),
            (
                "from mnist_tune.recipes import Sgd; Sgd(0.1)",
                "Sgd takes its arguments by name: learning_rate=…, momentum=…, nesterov=…",
            ),
            (
                "from mnist_tune.networks import Cnn, Block; Cnn(blocks=Block(filters=8))",
                "dropout=0.0): give blocks in brackets, such as (Block(filters=32),)",
            ),
            (
                "from mnist_tune.networks import Autoencoder; Autoencoder(latent=2, noise=None)",
                "Autoencoder noise=None: give a level from 0 to 1, or the lowest and the highest one",
            ),
        ],
    )
    def test_mistake_is_told_with_what_there_is(
        self, tmp_path: Path, line: str, message: str
    ) -> None:
        path = write(tmp_path, f"{line}\n")
        refused = refusal(path)
        assert refused.startswith(f"{path}:1: ")
        assert refused.endswith(message)

    def test_name_that_nobody_knows(self, tmp_path: Path) -> None:
        path = write(tmp_path, "study = Stduy()\n")
        assert refusal(path) == (
            f"{path}:1: name 'Stduy' is not defined; define or import it above that line"
        )

    def test_refused_value_is_told_with_its_line(self, tmp_path: Path) -> None:
        path = write(tmp_path, changed("seeds=3", "seeds=0"))
        line = FILE.splitlines().index("study = Study(") + 1
        assert refusal(path) == (f"{path}:{line}: Study seeds=0: give an integer from 1 to 1,000")

    def test_text_that_is_not_utf_8(self, tmp_path: Path) -> None:
        path = tmp_path / "mine.py"
        path.write_bytes(b"# caf\xe9\n")
        message = refusal(str(path))
        assert message.startswith(f"study file {path} cannot be read: ")
        assert message.endswith("; give a Python file in UTF-8")


class TestQuestion:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ('"""How much?"""', "How much?"),
            ('"""How\n   much\ndo we need?\n\nMore.\n"""', "How much do we need?"),
            ("x = 1", ""),
            ("x = (", ""),
            ("x = '\0'", ""),
        ],
    )
    def test_is_the_first_paragraph_of_the_docstring(
        self, tmp_path: Path, text: str, expected: str
    ) -> None:
        assert question(find_study(write(tmp_path, text))) == expected

    def test_each_builtin_study_asks_one(self) -> None:
        assert all(question(file).endswith("?") for file in builtin_files())


def test_loading_builtin_studies_imports_no_tensorflow_and_is_quick_to_import() -> None:
    code = """
import sys
from mnist_tune.definitions.definition import Overrides, define
from mnist_tune.definitions.loading import builtin_files
for file in builtin_files():
    define(file.name, Overrides())
heavy = {"tensorflow", "keras", "sqlalchemy", "distributed", "pandas"}
print(sorted(heavy & set(sys.modules)))
"""
    assert python(code) == "[]\n"


def test_installed_package_carries_its_studies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "_PACKAGE", tmp_path / "mnist_tune")
    assert loading.builtin_folder() == tmp_path / "studies"
    (tmp_path / "mnist_tune" / "builtin_studies").mkdir(parents=True)
    assert loading.builtin_folder() == tmp_path / "mnist_tune" / "builtin_studies"


def test_template_is_a_study(tmp_path: Path) -> None:
    write_template(tmp_path / "mine.py")
    definition = define(str(tmp_path / "mine.py"), Overrides())
    assert definition.name == "mine"
    assert definition.question.endswith("?")
    assert set(definition.space.parameters) == {"width", "learning_rate"}


def test_alternative_plan_of_the_template_fits(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    write_template(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    plan = next(line.partition("plan: ")[2] for line in lines if "Or a fixed plan" in line)
    text = [f"    plan={plan}," if line.strip().startswith("plan=") else line for line in lines]
    path.write_text("\n".join(text), encoding="utf-8")
    assert define(str(path), Overrides()).study.trials == 4


def test_template_imports_all_that_its_comments_offer(tmp_path: Path) -> None:
    write_template(tmp_path / "mine.py")
    code = "import runpy, sys; print(sorted(runpy.run_path(sys.argv[1])))"
    names = python(code, tmp_path / "mine.py")
    assert all(repr(name) in names for name in ("Grid", "Search", "Sgd", "Adam", "AdamW"))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("there.py", r"there\.py exists already; give another name$"),
        ("folder.py", r"folder\.py exists already"),
        ("mine", r"mine: a study file ends in \.py; try `mnist-tune new .*mine\.py`$"),
        ("mine.txt", r"try `mnist-tune new .*mine\.py`$"),
        ("no/mine.py", r"mine\.py cannot be written: No such file or directory"),
        ("there.py/mine.py", r"mine\.py cannot be written: Not a directory"),
    ],
)
def test_template_that_cannot_be_written(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "there.py").write_text("mine", encoding="utf-8")
    (tmp_path / "folder.py").mkdir()
    with pytest.raises(DefinitionError, match=message):
        write_template(tmp_path / name)
    assert (tmp_path / "there.py").read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder.py", "there.py"]

import ast
import base64
import io
import json
import os
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command, load_command_class

from django_jwtauth.jose.key_parsing import ALGORITHMS, MINIMUM_SECRET_BYTES
from django_jwtauth.jose.keys import Key


def generate(*arguments):
    """Return what the command writes to standard output and to standard error."""
    out, err = io.StringIO(), io.StringIO()
    call_command("jwtauth_generate_key", *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture(params=ALGORITHMS)
def algorithm(request):
    return request.param


def test_the_output_is_a_key_for_the_algorithm_and_nothing_else(algorithm):
    out, _ = generate("--algorithm", algorithm)
    member = "SECRET" if algorithm in MINIMUM_SECRET_BYTES else "PRIVATE_KEY"
    for text in (out, out.strip(), out.replace("\n", "\\n")):
        key = Key.from_dict({"ALGORITHM": algorithm, member: text})
        assert key.verify(b"data", key.sign(b"data"))
    lines = out.splitlines()
    if member == "SECRET":
        assert len(lines) == 1
        assert len(base64.b64decode(lines[0], validate=True)) == MINIMUM_SECRET_BYTES[algorithm]
    else:
        assert (lines[0], lines[-1]) == ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----")


def kid_of(**entry):
    return Key.from_dict(entry).kid


def test_the_advice_goes_to_standard_error_and_shows_no_key():
    out, err = generate("--algorithm", "EdDSA")
    assert err == (
        f"The kid of this key is {kid_of(ALGORITHM='EdDSA', PRIVATE_KEY=out)}. "
        "Keep the key out of the repository.\n"
        'Set JWTAUTH["ISSUER"], and add this to the list JWTAUTH["SIGNING_KEYS"]:\n'
        '{"ALGORITHM": "EdDSA", "PRIVATE_KEY": os.environ["JWT_KEY"]}\n'
    )
    assert out.splitlines()[1] not in err


def test_the_advice_for_a_secret_names_the_other_member():
    out, err = generate("--algorithm", "HS512")
    assert '{"ALGORITHM": "HS512", "SECRET": os.environ["JWT_KEY"]}' in err
    assert out.strip() not in err


def test_the_default_is_es256():
    out, err = generate()
    assert Key.from_dict({"ALGORITHM": "ES256", "PRIVATE_KEY": out}).algorithm == "ES256"
    assert '"ALGORITHM": "ES256"' in err


@pytest.mark.parametrize("algorithm", ["ES256", "HS256"])
def test_every_call_makes_another_key(algorithm):
    assert generate("--algorithm", algorithm)[0] != generate("--algorithm", algorithm)[0]


@pytest.mark.parametrize("algorithm", ["ES512", "EdDSA", "PS256"])
def test_a_jwk_is_the_whole_key_and_names_itself(algorithm):
    out, err = generate("--algorithm", algorithm, "--format", "jwk")
    jwk = json.loads(out)
    assert (jwk["alg"], jwk["use"], "d" in jwk, "key_ops" in jwk) == (algorithm, "sig", True, False)
    assert f"kid of this key is {jwk['kid']}." in err
    for material in (out, jwk):
        key = Key.from_dict({"ALGORITHM": algorithm, "PRIVATE_KEY": material})
        assert key.verify(b"data", key.sign(b"data"))
        assert key.kid == jwk["kid"]


def test_a_secret_has_no_jwk():
    with pytest.raises(CommandError, match=r"^A secret is not written as a JWK\."):
        generate("--algorithm", "HS256", "--format", "jwk")


@pytest.mark.parametrize("algorithm", ["ES384", "EdDSA", "HS512", "RS256"])
def test_a_line_for_the_settings_is_python_and_json(algorithm):
    out, err = generate("--algorithm", algorithm, "--format", "settings")
    assert out.count("\n") == 1
    entry = ast.literal_eval(out)
    assert entry == json.loads(out)
    assert entry["ALGORITHM"] == algorithm
    assert f"kid of this key is {kid_of(**entry)}." in err
    assert err.endswith('\nSet JWTAUTH["ISSUER"], and add that line to the list JWTAUTH["SIGNING_KEYS"].\n')


class TestOutput:
    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "key"

    def line(self, err):
        """The key that the advice names, as Python reads it."""
        return eval(err.splitlines()[-1], {"Path": Path})  # noqa: S307

    @pytest.mark.parametrize("arguments", [(), ("--format", "jwk"), ("--algorithm", "HS384")])
    def test_only_the_owner_can_read_the_file_and_the_advice_names_it(self, path, arguments):
        out, err = generate("--output", str(path), *arguments)
        assert out == ""
        assert path.stat().st_mode & 0o777 == 0o600
        key = Key.from_dict(self.line(err))
        assert key.verify(b"data", key.sign(b"data"))
        assert f"kid of this key is {key.kid}." in err

    def test_a_settings_line_goes_there_too(self, path):
        generate("--output", str(path), "--format", "settings")
        assert kid_of(**json.loads(path.read_text()))

    def test_the_advice_names_the_whole_path(self, path, monkeypatch):
        monkeypatch.chdir(path.parent)
        _, err = generate("--output", "key")
        assert self.line(err)["PRIVATE_KEY"] == path

    def test_no_umask_opens_it(self, path):
        before = os.umask(0)
        try:
            generate("--output", str(path))
        finally:
            os.umask(before)
        assert path.stat().st_mode & 0o777 == 0o600

    @pytest.mark.parametrize("kind", ["file", "folder", "link", "link that leads nowhere"])
    def test_what_is_there_is_left_alone(self, path, kind):
        target = path.with_name("target")
        if kind == "folder":
            path.mkdir()
        elif kind == "file":
            path.write_text("before")
        else:
            if kind == "link":
                target.write_text("before")
            path.symlink_to(target)
        with pytest.raises(CommandError, match=r"was not written: File exists\.$"):
            generate("--output", str(path))
        if kind == "file":
            assert path.read_text() == "before"
        assert target.exists() == (kind == "link")

    def test_a_folder_that_is_not_there_is_told(self, path):
        with pytest.raises(CommandError, match=r"was not written: No such file or directory\.$"):
            generate("--output", str(path / "key"))


@pytest.mark.parametrize("algorithm", ["none", "es256", "ES256K", ""])
def test_another_algorithm_is_refused(algorithm):
    with pytest.raises(CommandError, match="invalid choice"):
        generate("--algorithm", algorithm)


def test_works_while_the_settings_still_lack_a_key(settings, capsys):
    settings.JWTAUTH = {"SIGNING_KEYS": []}
    load_command_class("django_jwtauth", "jwtauth_generate_key").run_from_argv(["manage.py", "jwtauth_generate_key"])
    assert capsys.readouterr().out.startswith("-----BEGIN PRIVATE KEY-----\n")

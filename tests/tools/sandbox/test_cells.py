import pytest
from PIL import Image


def test_the_last_expression_is_the_result_and_state_is_kept(session):
    assert session.run("x = 20\nx + 1").result == "21"
    assert session.run("def double(n):\n    return 2 * n\nNone").result is None
    cell = session.run("double(x)")
    assert (cell.status, cell.result, cell.stdout, cell.stderr) == ("ok", "40", "", "")


def test_code_runs_as_written_only_its_common_indentation_goes(session):
    code = """
        total = 0
        for n in range(3):
            total += n
        total *= 10
        total
    """
    assert session.run(code).result == "30"


def test_print_subprocesses_and_c_code_all_reach_stdout(session):
    cell = session.run(
        "import ctypes, os, subprocess\nprint('python', flush=True)\nsubprocess.run(['echo', 'child'])\n"
        "os.write(1, b'fd\\n')\nctypes.CDLL(None).puts(b'libc')\nctypes.CDLL(None).fflush(None)\nNone"
    )
    assert cell.stdout == "python\nchild\nfd\nlibc\n"


def test_bytes_that_are_not_text_and_lone_surrogates_come_back_readable(session):
    cell = session.run("import os\nos.write(1, b'\\xff\\xfe')\nprint('\\ud800')\n'\\ud800' + chr(0xdc00)")
    assert cell.status == "ok"
    assert cell.stdout == "��\\ud800\n"
    cell.stdout.encode()
    assert cell.result is not None
    cell.result.encode()


def test_a_traceback_begins_in_the_cell_and_shows_its_line(session):
    session.run("def inner():\n    return 1 / 0")
    cell = session.run("print('before')\ninner()")
    assert cell.status == "error"
    assert cell.stdout == "before\n"
    assert cell.stderr.startswith('Traceback (most recent call last):\n  File "<cell 2>", line 2, in <module>\n')
    assert '  File "<cell 1>", line 2, in inner\n    return 1 / 0\n' in cell.stderr
    assert cell.stderr.endswith("ZeroDivisionError: division by zero\n")
    assert cell.stderr.count("File ") == 2


def test_a_syntax_error_names_its_line(session):
    cell = session.run("x = 1\nif x\n    pass")
    assert cell.status == "error"
    assert 'File "<cell 1>", line 2\n    if x\n' in cell.stderr
    assert "SyntaxError" in cell.stderr


@pytest.mark.parametrize(
    ("code", "status", "stderr"),
    [
        ("raise SystemExit", "ok", ""),
        ("exit()", "ok", ""),
        ("import sys; sys.exit('no good')", "error", "SystemExit: no good\n"),
    ],
)
def test_exit_ends_the_cell_not_the_session(session, code, status, stderr):
    session.run("kept = 1")
    cell = session.run(code)
    assert (cell.status, cell.stderr) == (status, stderr)
    assert session.run("kept").result == "1"


def test_input_finds_no_text_at_once(session):
    cell = session.run("input('name? ')", timeout=5)
    assert cell.status == "error"
    assert "EOFError" in cell.stderr


def test_every_image_is_preloaded_pixel_by_pixel(box):
    first = Image.effect_mandelbrot((31, 17), (-3, -2.5, 2, 2.5), 50).convert("RGB")
    second = Image.new("RGBA", (4, 4), (255, 0, 0, 128))
    session = box.open([first, second])
    assert session.run("image_1.size, image_1.mode, image_2.size").result == "((31, 17), 'RGB', (4, 4))"
    assert session.image("image_1").tobytes() == first.tobytes()
    assert session.run("image_2.getpixel((0, 0))").result == "(255, 127, 127)"
    assert session.run("image_3").status == "error"
    session.close()


def test_forked_children_of_a_cell_decode_the_same_image(box):
    image = Image.effect_noise((700, 500), 80).convert("RGB")
    session = box.open([image])
    cell = session.run(
        "import hashlib, multiprocessing\n"
        "def look(_):\n    return hashlib.sha256(image_1.tobytes()).hexdigest()\n"
        "with multiprocessing.get_context('fork').Pool(3) as pool:\n    found = set(pool.map(look, range(6)))\n"
        "found == {look(0)}"
    )
    assert cell.result == "True", cell.stderr
    session.close()


def test_input_is_decoded_only_when_it_is_used(box):
    session = box.open([Image.new("RGB", (2000, 2000))])
    code = "import resource; resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024"
    before = int(session.run(code).result)
    session.run("image_1.size")
    assert int(session.run(code).result) - before < 4
    session.run("_ = image_1.getpixel((0, 0))")
    assert int(session.run(code).result) - before > 12
    session.close()


@pytest.mark.parametrize(
    "code",
    [
        "from PIL import Image\nImage.new('RGB', (7, 5), 'red')",
        "from PIL import Image\nImage.new('RGB', (7, 5), 'red').show()",
        "from PIL import Image\ndisplay(Image.new('RGB', (7, 5), 'red'))\nNone",
        "from PIL import Image\ndisplay(Image.new('RGBA', (7, 5), (255, 0, 0, 255)))",
        "from PIL import Image\nImage.new('P', (7, 5), 1).convert('RGB').point(lambda _: 255).convert('CMYK')"
        ".convert('RGB').point([255] * 256 + [0] * 512)",
    ],
)
def test_pictures_come_back_as_pixels(session, code):
    cell = session.run(code)
    assert (cell.status, cell.result) == ("ok", None), cell.stderr
    assert [image.size for image in cell.images] == [(7, 5)]
    assert cell.images[0].mode == "RGB"
    assert cell.images[0].getcolors() == [(35, (255, 0, 0))]


FIGURE = "import matplotlib.pyplot as plt\nplt.figure(figsize=(2, 1))\nplt.plot([1, 2])\n"


@pytest.mark.parametrize(
    ("code", "count"),
    [
        (FIGURE + "plt.show()", 1),
        (FIGURE, 1),
        (FIGURE + "plt.gcf()", 1),
        (FIGURE + "plt.gcf().show()", 1),
        (FIGURE + "display(plt.gcf())", 1),
        (FIGURE + FIGURE + "plt.show()", 2),
        (FIGURE + "plt.close()", 0),
    ],
)
def test_figures_come_back_once(session, code, count):
    cell = session.run(code)
    assert cell.status == "ok", cell.stderr
    assert len(cell.images) == count
    assert all(image.width > 100 and len(image.getcolors(1 << 16)) > 2 for image in cell.images)
    assert session.run("1").images == []


def test_a_picture_is_shown_as_it_was_at_that_moment(session):
    cell = session.run(
        "from PIL import Image\nim = Image.new('RGB', (2, 2), 'red')\ndisplay(im)\n"
        "im.paste('blue', (0, 0, 2, 2))\ndisplay(im)"
    )
    assert [image.getpixel((0, 0)) for image in cell.images] == [(255, 0, 0), (0, 0, 255)]


def test_pictures_shown_before_an_error_are_kept(session):
    cell = session.run("from PIL import Image\ndisplay(Image.new('RGB', (3, 3)))\n1 / 0")
    assert (cell.status, len(cell.images)) == ("error", 1)


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("Image.new('L', (6, 4))", (6, 4)),
        ("np.zeros((4, 6), np.uint8)", (6, 4)),
        ("np.zeros((4, 6, 3), np.uint8)", (6, 4)),
        ("np.zeros((4, 6, 4), np.uint8)", None),
        ("np.zeros((4, 6))", None),
        ("np.zeros((0, 6), np.uint8)", None),
        ("'text'", None),
    ],
)
def test_image_finds_pictures_and_arrays_by_name(session, value, size):
    session.run(f"import numpy as np\nfrom PIL import Image\nthing = {value}")
    found = session.image("thing")
    assert (found and found.size) == size
    assert session.image("no_such_thing") is None
    assert session.image("np.zeros((4, 6), np.uint8)") is None


def test_a_child_that_falls_out_of_the_cell_does_not_answer_for_it(session):
    cell = session.run(
        "import os\npid = os.fork()\nif pid:\n    _ = os.waitpid(pid, 0)\nprint(pid == 0, flush=True)\n5"
    )
    assert sorted(cell.stdout.split()) == ["False", "True"]
    assert (cell.status, cell.result) == ("ok", "5")
    assert session.run("6").result == "6"


def test_sessions_repeat_what_is_random(box):
    def draw():
        session = box.open()
        cell = session.run(
            "import random, numpy\nrandom.random(), numpy.random.rand(), hash('a'), list({'b', 'a', 'c'})"
        )
        session.close()
        return cell.result

    assert draw() == draw()

import pytest

from edge.dataset.labels import parse_labels
from edge.errors import UsageError

NAMES = ("circle", "square", "triangle")


@pytest.mark.parametrize(
    "content",
    [
        b"circle\nsquare\ntriangle",
        b"\xef\xbb\xbfcircle\r\nsquare\r\ntriangle\r\n\r\n",
        "\ufeffcircle\r\nsquare\r\ntriangle\r\n".encode("utf-16-le"),
        "\ufeffcircle\nsquare\ntriangle\n".encode("utf-16-be"),
        "circle\nsquare\ntriangle\n".encode("utf-16-le"),
        b"circle\rsquare\rtriangle\r",
        b"0 circle\n1 square\n2 triangle\n",
        b"0: circle\n1: square\n2: triangle\n",
        b"0,circle\n1,square\n2,triangle\n",
        b"0;circle\n1;square\n2;triangle\n",
        b"0\tcircle\n1\tsquare\n2\ttriangle\n",
        b"1. circle\n2. square\n3. triangle\n",
        b"2 triangle\n0 circle\n1 square\n",
        b"0 - circle\n1 - square\n2 - triangle\n",
        b"0=circle\n1=square\n2=triangle\n",
        b"square,1\ncircle,0\ntriangle,2\n",
        b"label,index\ncircle,0\nsquare,1\ntriangle,2\n",
        b'index,label\n0,"circle"\n1,square\n2,triangle\n',
        b"n01440764 circle\nn01443537 square\nn01484850 triangle\n",
        b'["circle", "square", "triangle"]',
        b'{"0": "circle", "2": "triangle", "1": "square"}',
        b'{"triangle": 2, "circle": 0, "square": 1}',
    ],
)
def test_the_same_labels_in_many_forms(content: bytes) -> None:
    assert parse_labels(content, "labels.txt", 3).names == NAMES


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0\n1\n2", ("0", "1", "2")),
        ("1 euro\n2 euro\n5 euro", ("1 euro", "2 euro", "5 euro")),
        ("2 euro\n5 euro cents", ("2 euro", "5 euro cents")),
        ("e\u0301te\u0301\nhiver", ("\u00e9t\u00e9", "hiver")),
        ("tench, Tinca tinca\ngoldfish", ("tench, Tinca tinca", "goldfish")),
        ("Class 0\nClass 1", ("Class 0", "Class 1")),
        ("Boeing: 737\nBoeing: 747", ("Boeing: 737", "Boeing: 747")),
        ("0 great white shark\n1 tiger", ("great white shark", "tiger")),
        ("n00000001 crane\nn00000002 crane", ("crane (n00000001)", "crane (n00000002)")),
    ],
)
def test_what_is_part_of_a_name_stays(text: str, names: tuple[str, ...]) -> None:
    assert parse_labels(text.encode(), "labels.txt").names == names


def test_wordnet_ids_are_kept() -> None:
    found = parse_labels(b"n01440764 tench\nn01443537 goldfish\n", "labels.txt")
    assert found.wnids == ("n01440764", "n01443537")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"circle\n\nsquare\ntriangle", "line 2 of labels.txt is blank"),
        (b"\ncircle\nsquare\ntriangle", "line 1 of labels.txt is blank"),
        (b"circle\nsquare\ncircle\n", "label 3 .*'circle', is that of label 1"),
        ("\u00e9\ne\u0301\nx".encode(), "is that of label 1"),
        (b"circle\nsqu\x07are\ntriangle", "label 2 .*control character"),
        ("circle\nsqu\u2028are\ntriangle".encode(), "label 2 .*control character"),
        (b"circle\nsqu\xe4re\ntriangle", "line 2 of labels.txt is not UTF-8"),
        (b"", "holds no label"),
        (b"\r\n \r\n", "holds no label"),
        (b"circle\nsquare", "has 2 labels; the model has 3 classes"),
        (b"0 circle\n1 square\n1 triangle", "the index 1 twice"),
        (b"0 circle\n1 square\n3 triangle", "lacks the index 2"),
        (b"0 circle\n1 square\ntriangle\n2 star", "line 3 of labels.txt has no index"),
        (b'{"a": [1]}', "JSON of another form"),
    ],
)
def test_labels_that_say_nothing_clear(content: bytes, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_labels(content, "labels.txt", 3)


@pytest.mark.parametrize(
    ("lines", "hint"),
    [
        (["background", *NAMES], "'background'"),
        (["name", *NAMES], "too many"),
        (["circle", "square"], "background"),
        (["circle"], "as many"),
    ],
)
def test_another_number_of_labels(lines: list[str], hint: str) -> None:
    with pytest.raises(UsageError, match=f"has {len(lines)} label") as caught:
        parse_labels("\n".join(lines).encode(), "labels.txt", 3)
    assert hint in caught.value.hint


@pytest.mark.parametrize("line", [0, 1, 2])
def test_a_stray_nul_is_named_where_it_is(line: int) -> None:
    names = ["circle", "square", "triangle"]
    names[line] += "\0"
    with pytest.raises(UsageError, match=f"label {line + 1} .*control character"):
        parse_labels("\n".join(names).encode(), "labels.txt", 3)

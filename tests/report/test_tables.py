from pipeline.report.tables import class_table, number, parameter_rows, percent, proposal_table

FIGURES = {"map_voc07": 0.6075, "map_voc": 0.613875, "map_coco": None, "per_class": {"a": 0.5, "b": None}}


def test_figures_in_print():
    assert [percent(value) for value in (0.607511, 1, 0, None)] == ["60.8", "100.0", "0.0", "\N{EN DASH}"]
    assert [number(value) for value in (12345, 0.91149, 98.76543, 12170.3, None)] == [
        "12,345",
        "0.9115",
        "98.77",
        "12,170",
        "\N{EN DASH}",
    ]


def test_the_best_of_a_row_is_known_where_there_is_one():
    table = class_table(["a", "b"], {"x": FIGURES, "y": FIGURES | {"per_class": {"a": 0.25, "b": None}}})
    assert table.rows == {"a": [0.5, 0.25], "b": [None, None]}
    assert (table.best("a"), table.best("b")) == (0.5, None)


def test_proposals_of_splits_with_unlike_figures():
    table = proposal_table({"train": {"mabo": 0.8}, "test": {"recall": {"0.5": 0.9}, "mabo": 0.7}})
    assert table.columns == ["mabo", "recall.0.5"]
    assert table.rows == {"train": [0.8, None], "test": [0.7, 0.9]}


def test_parameters_under_dotted_names():
    nested = {"a": {"b": [1, "x"], "c": {}}, "d": "ü", "e": True}
    assert parameter_rows(nested) == [("a.b", '[1, "x"]'), ("a.c", "{}"), ("d", "ü"), ("e", "true")]

"""Pictures of definitions."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET

import pytest
from definition_scene import LARGE, PASS, machine, one

from corral import Workflow
from corral.workflows.builder import Catch, Retry, steps, when
from corral.workflows.drawing.layers import layers_of
from corral.workflows.drawing.layout import Layout, lay_out
from corral.workflows.drawing.picture import picture_of
from corral.workflows.graph import mermaid, svg
from corral.workflows.language.reading import read


def test_mermaid_has_states_ways_bodies_and_colours():
    made = (
        Workflow("w")
        .task("classify", agent="intent", retry=Retry(attempts=2), catch=Catch(errors=["Busy"], then="later"))
        .choice("route", when("{% $states.input.a %}", "both"), otherwise="later")
        .parallel("both", steps().shape("left"), steps().wait("right", 3))
        .succeed("later")
    )
    assert mermaid(made.machine(), {"classify": "SUCCEEDED", "left": "FAILED", "right": "nothing"}).splitlines() == [
        "flowchart TD",
        "    start(( ))",
        "    finish((( )))",
        "    start --> s1",
        '    s1["classify<br/><small>agent intent</small>"]',
        '    s2{"route"}',
        '    subgraph s3["both"]',
        '        subgraph s3b0[" "]',
        '            s5["left"]',
        "        end",
        '        subgraph s3b1[" "]',
        '            s6(["right<br/><small>3 s</small>"])',
        "        end",
        "    end",
        '    s4(["later"])',
        "    s1 --> s2",
        '    s1 -.->|"Busy"| s4',
        '    s1 -.->|"retry 2x"| s1',
        '    s2 -->|"$states.input.a"| s3',
        '    s2 -->|"otherwise"| s4',
        "    s3 --> s4",
        "    s4 --> finish",
        "    classDef succeeded fill:#d7f2de,stroke:#1f7a3d,color:#0b3d1d",
        "    class s1 succeeded",
        "    classDef failed fill:#fbd9d9,stroke:#b3261e,color:#5c0f0b",
        "    class s5 failed",
    ]


def test_rules_are_told_in_a_few_words():
    text = mermaid(read(LARGE))
    assert '|"$.value NumericGreaterThan 10"|' in text
    assert '|"$.kind StringMatches a* and not ($who' in text


def test_names_do_not_become_markup():
    name = 'a"]<script>&#;`\n'
    machine_ = read(machine({name: PASS}))
    assert "<script>" not in mermaid(machine_)
    assert "&lt;script&gt;" in svg(machine_, title="<b>")
    ET.fromstring(svg(machine_, title="<b>"))


def test_an_svg_stands_alone_and_says_how_states_went():
    text = svg(read(LARGE), {"Work": "CAUGHT", "Item": "RUNNING", "Left": "TIMED_OUT"}, title="Everything")
    root = ET.fromstring(text)
    space = "{http://www.w3.org/2000/svg}"
    titles = {title.text for title in root.iter(f"{space}title")}
    assert {
        "Everything",
        "Task: Work (CAUGHT)",
        "Task: Item (RUNNING)",
        "Task: Left (TIMED_OUT)",
        "Wait: Pause",
    } <= titles
    groups = [group.get("class") for group in root.iter(f"{space}g") if group.get("class")]
    assert sorted(groups) == ["caught", "running", "stopped"]
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
    assert len(root.findall(f".//{space}path[@class='e d']")) == 2, "a Catch and a Retry"


def overlapping(layout: Layout) -> list[tuple[str, str]]:
    def box(name: str) -> tuple[float, float, float, float]:
        spot = layout.spots[name]
        return spot.x - spot.width / 2, spot.y, spot.x + spot.width / 2, spot.y + spot.height

    return [
        (one_, other)
        for one_, other in itertools.combinations(layout.spots, 2)
        if box(one_)[0] < box(other)[2]
        and box(other)[0] < box(one_)[2]
        and box(one_)[1] < box(other)[3]
        and box(other)[1] < box(one_)[3]
    ]


@pytest.mark.parametrize("width", [1, 2, 7])
def test_states_never_lie_on_one_another_and_lie_inside(width):
    rules = [{"Variable": "$.a", "NumericEquals": n, "Next": f"s{n}"} for n in range(width)]
    states = {f"s{n}": {"Type": "Pass", "Next": "End" if n % 2 else "Begin"} for n in range(width)}
    document = machine(
        {"Begin": {"Type": "Choice", "Choices": rules, "Default": "End"}, **states, "End": {"Type": "Succeed"}}
    )
    layout = lay_out(picture_of(read(document)))
    assert overlapping(layout) == []
    for spot in layout.spots.values():
        assert spot.x - spot.width / 2 >= 0
        assert spot.x + spot.width / 2 <= layout.width
        assert spot.y + spot.height <= layout.height
    for route in layout.routes:
        assert all(0 <= x <= layout.width and 0 <= y <= layout.height for x, y in route.points)


def test_what_leads_somewhere_is_above_it_but_for_circles():
    layers = layers_of(picture_of(read(LARGE)))
    assert layers.back == []
    assert all(layers.rank[way.edge.source] < layers.rank[way.edge.target] for way in layers.ways)
    circle = machine(
        {
            "A": {"Type": "Pass", "Next": "B"},
            "B": {"Type": "Choice", "Choices": [{"Variable": "$.a", "IsNull": True, "Next": "A"}], "Default": "C"},
            "C": PASS,
        }
    )
    layers = layers_of(picture_of(read(circle)))
    assert [(edge.source, edge.target) for edge in layers.back] == [("s2", "s1")]


def test_a_picture_of_very_much_is_drawn_all_the_same():
    count = 1_500
    states = {
        f"s{n}": {
            "Type": "Task",
            "Resource": "corral:function:f",
            "Next": f"s{n + 1}",
            "Catch": [{"ErrorEquals": ["States.ALL"], "Next": f"s{n * 7919 % count}"}],
        }
        for n in range(count)
    }
    text = svg(read(machine({**states, f"s{count}": PASS})))
    assert text.count("<title>Task") == count


def test_an_item_of_a_distributed_map_says_so():
    inner = {"ProcessorConfig": {"Mode": "DISTRIBUTED", "ExecutionType": "STANDARD"}, **machine({"Two": PASS})}
    assert "distributed" in mermaid(read(one(Type="Map", ItemProcessor=inner)))
    assert '"each item"' in mermaid(read(one(Type="Map", ItemProcessor=machine({"Two": PASS}))))

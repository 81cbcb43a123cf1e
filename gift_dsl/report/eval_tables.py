"""An evaluation as tables: games with their counts and chance levels, benchmarks with their protocols."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from gift_dsl.report.tables import Align, Table, benchmarks_table

_GAMES: Final = ("game", "place", "success %", "95 % interval", "score %", "chance %", "rounds")
_ALWAYS: Final = ("bad format", "illegal", "void")
_COUNTED: Final[Mapping[str, str]] = {
    "draws": "draw", "losses": "loss", "bad format": "bad_format", "illegal": "illegal_action", "void": "void",
    "unplayed": "unplayed", "cut turns": "truncated", "opponent illegal": "opponent_illegal",
}  # fmt: skip
"""Columns of counts, and what each counts; one that is not of `_ALWAYS` is left out where it is 0 in every row."""
_NUMBERS: Final[tuple[Align, ...]] = ("right",) * 8


def eval_tables(document: Mapping[str, Any]) -> list[Table]:
    """The tables of a `gift-eval/1` document: games, then benchmarks; those that there are."""
    tables: list[Table] = []
    if document["games"] or document["chains"]:
        tables.append(games_table(document))
    own = {name: value for name, value in document["results"].items() if not name.startswith(("game/", "chain/"))}
    if own:
        tables.append(benchmarks_table({**document, "results": own}))
    return tables


def games_table(document: Mapping[str, Any]) -> Table:
    """Every game alone, then as a part of a chain, with what a reader must know below.

    Args:
        document: with `games` and `chains` as `GamesResult.to_json()` has them, and their `protocol`.
    """
    scores = list(_scores(document))
    protocol: Mapping[str, Any] = document["protocol"]
    notes = [
        f"split {protocol['split']}, temperature {protocol['temperature']}, at most {protocol['max_tokens']} tokens a "
        f"turn, evaluation seed {protocol['seed']}; intervals are clustered by instance",
        *_without_history(protocol),
        *dict.fromkeys(_opponents(score) for _, _, score in scores if score["opponents"]),
        *(_bounds(name, score) for name, _, score in scores if score["counts"]["void"] or score["unplayed"]),
    ]
    counted = [(name, [_count(score, key) for _, _, score in scores]) for name, key in _COUNTED.items()]
    shown = [(name, numbers) for name, numbers in counted if name in _ALWAYS or any(numbers)]
    rows = tuple(
        (*_row(*score), *(str(numbers[index]) for _, numbers in shown), str(score[2]["held_out"]))
        for index, score in enumerate(scores)
    )
    header = (*_GAMES, *(name for name, _ in shown), "held out")
    numbers_aligned: tuple[Align, ...] = ("right",) * (len(header) - 3)
    return Table(header, rows, ("left", "left", *numbers_aligned, "left"), tuple(notes))


def _count(score: Mapping[str, Any], key: str) -> int:
    """How often something happened in the rounds of a score; `truncated` are turns, `opponent_illegal` actions."""
    counts: Mapping[str, int] = score["counts"]
    return counts[key] if key in counts else score[key]


def _without_history(protocol: Mapping[str, Any]) -> Sequence[str]:
    """What must be said where prompts were not those of training."""
    is_said = protocol.get("history", "full") != "full"
    return ("prompts without history: each holds the rules and the present state, no earlier turn",) if is_said else ()


def _scores(document: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for name, score in document["games"].items():
        yield name, "alone", score
    for chain, parts in document["chains"].items():
        for label, score in parts.items():
            yield label, f"in {chain}", score


def _row(name: str, place: str, score: Mapping[str, Any]) -> tuple[str, ...]:
    """What stands before the counts."""
    return (
        name,
        place,
        _percent(score["rate"]),
        _interval(score["interval"]),
        _percent(score["score"]),
        _percent(score["chance"]),
        str(score["rounds"]),
    )


def _opponents(score: Mapping[str, Any]) -> str:
    return f"{score['game']}: against {', '.join(score['opponents'])}"


def _bounds(name: str, score: Mapping[str, Any]) -> str:
    missing = score["counts"]["void"] + score["unplayed"]
    return f"{name}: {missing} rounds without a result; the rate is between {_interval(score['rate_bounds'])} %"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def _interval(ends: Sequence[float]) -> str:
    return f"{100 * ends[0]:.1f} – {100 * ends[1]:.1f}"


_CONTRAST: Final = ("game", "arms", "means %", "difference", "95 % interval", "p", "pairs", "verdict")
_CONTRAST_ALIGNS: Final[tuple[Align, ...]] = ("left", "left", *_NUMBERS[:5], "left")
_MOST_DIFFERENCES: Final = 12
_NO_CONTROL: Final = (
    "no arm is a control (`reward: format_only`): part of a difference on benchmarks may be what was learned of the "
    "form of answers"
)


def comparison_tables(document: Mapping[str, Any]) -> list[Table]:
    """The table of a `gift-comparison/1` document: what was found, then who the arms are.

    Differences and intervals are in points; p-values are corrected for the number of games and pairs of arms.
    """
    benchmarks: Sequence[Mapping[str, Any]] = document["benchmarks"]
    rows = tuple(_contrast(one) for one in (*document["contrasts"], *benchmarks))
    arms = [_arm(name, runs) for name, runs in document["arms"].items()]
    differences = [f"{place}: {' / '.join(values)}" for place, values in document["differences"].items()]
    more = len(differences) - _MOST_DIFFERENCES
    notes = (
        document["note"],
        *_how_played(document),
        *arms,
        *(f"{name} is a control: it is rewarded for the form of its answers alone" for name in document["controls"]),
        *([_NO_CONTROL] if benchmarks and not document["controls"] else []),
        "the arms differ in:",
        *differences[:_MOST_DIFFERENCES],
        *([f"and {more} more places (--json)"] if more > 0 else []),
    )
    return [Table(_CONTRAST, rows, _CONTRAST_ALIGNS, notes)]


def _how_played(document: Mapping[str, Any]) -> list[str]:
    """Of games; nothing where benchmarks alone are compared."""
    protocol = document["protocol"]
    if protocol is None:
        return []
    return [
        f"{document['measure']} in `{document['source']}`: {protocol['rounds']} rounds of each game on "
        f"{protocol['split']}, temperature {protocol['temperature']}, evaluation seed {protocol['seed']}",
        *_without_history(protocol),
    ]


def _arm(name: str, runs: Sequence[Mapping[str, Any]]) -> str:
    seeds = sorted(run["seed"] for run in runs)
    return f"{name}: {len(runs)} {'run' if len(runs) == 1 else 'runs'}, seed {', '.join(map(str, seeds))}"


def _contrast(one: Mapping[str, Any]) -> tuple[str, ...]:
    first, second = one["arms"]
    means = " → ".join(_percent(mean) or "-" for mean in one["means"])
    verdict = {"none": one["reason"] or "no difference", "refused": f"no verdict: {one['reason']}"}.get(one["verdict"])
    return (
        one["game"],
        f"{second} against {first}",
        means,
        "" if one["difference"] is None else f"{100 * one['difference']:+.1f}",
        "" if one["interval"] is None else _interval(one["interval"]),
        "" if one["corrected"] is None else f"{one['corrected']:.3f}",
        str(one["pairs"]),
        verdict or str(one["verdict"]),
    )


_RATINGS: Final = ("player", "Elo", "95 % interval", "score %", "games", "given away %", "its interval")
_ENCOUNTERS: Final = ("game", "first", "second", "score of the first %", "95 % interval", "rounds", "void")
_ENCOUNTER_ALIGNS: Final[tuple[Align, ...]] = ("left", "left", "left", *_NUMBERS[:4])


_MARK: Final = "* made all points of its games with the others, or none: it is finite only by the games that are added"


def tournament_tables(document: Mapping[str, Any]) -> list[Table]:
    """The tables of a `gift-tournament/1` document: ratings over all games, of each game, and every encounter."""
    protocol = document["protocol"]
    notes = (
        f"{protocol['rounds']} rounds of each pair in each game on {protocol['split']}, temperature "
        f"{protocol['temperature']}, evaluation seed {protocol['seed']}; 0 Elo is the mean of all players",
        "given away: share of the value that a solver finds lost, 0 is perfect play "
        f"({protocol['samples']} plays of each instance)",
    )
    said = (notes[0], *_without_history(protocol))
    overall: Sequence[Mapping[str, Any]] = document["overall"]
    everything = tuple(_rating(one) for one in overall)
    tables = [Table(("all games", *_RATINGS[1:5]), everything, notes=(*said, *_marked(overall)))]
    for game, ratings in document["games"].items():
        lost: Mapping[str, Any] = document["exploitability"].get(game, {})
        rows = tuple((*_rating(one), *_lost(lost.get(one["player"]))) for one in ratings)
        tables.append(Table((game, *_RATINGS[1:]), rows, notes=(*(notes[1:] if lost else ()), *_marked(ratings))))
    rows = tuple(
        (
            one["game"],
            one["first"],
            one["second"],
            _percent(one["score"]),
            _interval(one["interval"]),
            str(one["rounds"]),
            str(one["void"]),
        )
        for one in document["encounters"]
    )
    return [*tables, Table(_ENCOUNTERS, rows, _ENCOUNTER_ALIGNS)]


def _marked(ratings: Sequence[Mapping[str, Any]]) -> Sequence[str]:
    return (_MARK,) if any(one.get("rests_on_prior") for one in ratings) else ()


def _rating(one: Mapping[str, Any]) -> tuple[str, ...]:
    low, high = one["interval"]
    elo = f"{one['elo']:.0f}" + (" *" if one.get("rests_on_prior") else "")
    return (one["player"], elo, f"{low:.0f} – {high:.0f}", _percent(one["score"]), str(one["games"]))


def _lost(one: Mapping[str, Any] | None) -> tuple[str, str]:
    return ("", "") if one is None or one["mean"] is None else (_percent(one["mean"]), _interval(one["interval"]))

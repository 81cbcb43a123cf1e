"""`opponents`: the players that are not trained, named once and typed."""

from typing import Annotated, Final, Literal

from pydantic import Field

from gift_dsl.spec.models.fields import (
    Count,
    EnvName,
    Extra,
    Int,
    NonNegative,
    NotHashed,
    OpponentName,
    Positive,
    Probability,
    Strict,
    Text,
    Url,
    Weight,
)
from gift_dsl.spec.models.model import FromRun

Temperature = Annotated[float, Field(ge=0, le=5)]


class RandomOpponent(Strict):
    """Plays a uniformly random legal action."""

    type: Literal["random"]


class FirstLegalOpponent(Strict):
    """Plays the first legal action: the weakest opponent that never errs."""

    type: Literal["first_legal"]


class ScriptedOpponent(Strict):
    """Says the given texts in turn."""

    type: Literal["scripted"]
    replies: Annotated[list[Text], Field(min_length=1, description="What it says, one text a turn.")]
    cycle: Annotated[bool, Field(description="Start again after the last text; otherwise repeat it.")] = True


class MinimaxOpponent(Strict):
    """Plays board games by exact minimax, or by alpha-beta to a depth on boards too large for that."""

    type: Literal["minimax"]
    epsilon: Annotated[Probability, Field(description="Share of moves that are uniformly random instead.")] = 0.0
    depth: Annotated[
        Count | None, Field(le=20, description="Search depth in half-moves; none: exact up to nine cells, else 4.")
    ] = None


class EquilibriumOpponent(Strict):
    """Plays a Nash equilibrium strategy of a matrix game."""

    type: Literal["equilibrium"]


class BestResponseOpponent(Strict):
    """Plays a best response of a matrix game to the stated mix of its opponent."""

    type: Literal["best_response"]


class ClueOpponent(Strict):
    """Plays Who's the Spy from the shipped clue lists: describes and votes without a model."""

    type: Literal["clue"]
    specific: Annotated[Probability, Field(description="Share of its clues that fit only its own word.")] = 0.7
    random_vote: Annotated[Probability, Field(description="Share of its votes that are uniformly random.")] = 0.0


class HumanOpponent(Strict):
    """A person at the terminal; for `gift play` only."""

    type: Literal["human"]


class TokenPrices(Strict):
    """What an endpoint charges."""

    input: Annotated[float, Field(ge=0, description="US dollars per million prompt tokens.")]
    output: Annotated[float, Field(ge=0, description="US dollars per million completion tokens.")]


class OpenAIOpponent(Strict):
    """Any server with an OpenAI-compatible chat API; every sampling field is sent and locked."""

    type: Literal["openai"]
    base_url: Annotated[Url, NotHashed(), Field(description="Address of the API, up to and including `/v1`.")]
    model: Annotated[Text, Field(description="Model name as the server knows it.")]
    api_key_env: Annotated[
        EnvName | None, Field(description="NAME of the environment variable that holds the key; never the key.")
    ] = None
    temperature: Annotated[Temperature, Field(description="Sampling temperature.")] = 0.5
    top_p: Annotated[Probability, Field(gt=0, description="Nucleus sampling; 1 is off.")] = 1.0
    max_tokens: Annotated[Count, Field(description="Most tokens of one reply.")] = 200
    seed: Annotated[Int | None, Field(description="Seed sent with each request, where the server honours one.")] = None
    thinking: Annotated[
        Literal["off", "on", "default"],
        Field(description="Switch a hybrid model's thinking through the chat template; `default` sends nothing."),
    ] = "off"
    system: Annotated[Text | None, Field(description="System prompt sent to it instead of the game's own.")] = None
    extra_body: Annotated[Extra | None, Field(description="Further fields of the request body, sent as they are.")] = (
        None
    )
    concurrency: Annotated[
        Count, NotHashed(), Field(le=4096, description="Most requests under way at once to this host.")
    ] = 32
    timeout_s: Annotated[Positive, Field(le=3600, description="Seconds until one request counts as failed.")] = 60.0
    retries: Annotated[
        NonNegative, Field(le=20, description="Further tries of a failed request, with back-off and jitter.")
    ] = 4
    usd_per_mtok: Annotated[
        TokenPrices | None, Field(description="Prices; needed when `limits.opponent_usd` is set.")
    ] = None


class LocalOpponent(Strict):
    """A frozen model that runs inside the training process."""

    type: Literal["local"]
    source: Annotated[Text | None, Field(description="Hub id or local folder.")] = None
    from_run: Annotated[FromRun | None, Field(description="A checkpoint of another run.")] = None
    revision: Annotated[Text | None, Field(description="Commit of a hub model.")] = None
    temperature: Annotated[Temperature, Field(description="Sampling temperature; 0 is greedy.")] = 0.5
    max_tokens: Annotated[Count, Field(description="Most tokens of one reply.")] = 200


class SelfOpponent(Strict):
    """The live policy itself, without gradient."""

    type: Literal["self"]
    temperature: Annotated[
        Temperature | None, Field(description="Sampling temperature; the policy's own unless given.")
    ] = None


class SnapshotOpponent(Strict):
    """Earlier versions of the policy, frozen; never swapped inside an episode."""

    type: Literal["snapshot"]
    every: Annotated[Count, Field(description="A snapshot is taken every so many steps.")] = 20
    keep: Annotated[Count, Field(le=64, description="How many of the newest snapshots are kept.")] = 1
    pick: Annotated[
        Literal["latest", "uniform"], Field(description="Which of the kept snapshots plays; drawn once a group.")
    ] = "latest"
    first: Annotated[
        OpponentName | None, Field(description="Who plays before there is one; the start model unless given.")
    ] = None
    temperature: Annotated[
        Temperature | None, Field(description="Sampling temperature; the policy's own unless given.")
    ] = None


class PoolMember(Strict):
    """One member of a pool with its weight."""

    opponent: Annotated[OpponentName, Field(description="Name of another opponent.")]
    weight: Annotated[Weight, Field(description="Relative weight of the draw.")] = 1.0


class PoolOpponent(Strict):
    """Draws one of several opponents for each group."""

    type: Literal["pool"]
    members: Annotated[
        list[OpponentName | PoolMember], Field(min_length=1, max_length=64, description="Who may be drawn.")
    ]
    by: Annotated[
        Literal["weight", "hard", "even"],
        Field(
            description="`weight`: fixed weights. `hard` and `even`: prioritised by the trainee's win rate x against "
            "each member, (1 - x)^power and x (1 - x), times the weights."
        ),
    ] = "weight"
    power: Annotated[Positive, Field(le=10, description="Exponent of `by: hard`.")] = 2.0
    window: Annotated[Count, Field(description="Number of latest games per member that its win rate counts.")] = 200


OpponentSpec = Annotated[
    RandomOpponent
    | FirstLegalOpponent
    | ScriptedOpponent
    | MinimaxOpponent
    | EquilibriumOpponent
    | BestResponseOpponent
    | ClueOpponent
    | HumanOpponent
    | OpenAIOpponent
    | LocalOpponent
    | SelfOpponent
    | SnapshotOpponent
    | PoolOpponent,
    Field(discriminator="type"),
]

OPPONENT_TYPES: Final[dict[str, type[Strict]]] = {
    "random": RandomOpponent,
    "first_legal": FirstLegalOpponent,
    "scripted": ScriptedOpponent,
    "minimax": MinimaxOpponent,
    "equilibrium": EquilibriumOpponent,
    "best_response": BestResponseOpponent,
    "clue": ClueOpponent,
    "human": HumanOpponent,
    "openai": OpenAIOpponent,
    "local": LocalOpponent,
    "self": SelfOpponent,
    "snapshot": SnapshotOpponent,
    "pool": PoolOpponent,
}

PREDEFINED: Final = ("random", "first_legal", "minimax", "equilibrium", "best_response", "clue", "human", "self")
"""Types that need no field; each is also a name that may be used without being defined."""

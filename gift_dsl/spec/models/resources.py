"""`resources`, `limits`, `output`: where a run happens and what it may use. None of it changes the meaning."""

from typing import Annotated, Literal

from pydantic import Field

from gift_dsl.spec.models.fields import Count, NonNegative, Positive, Strict, Text, Url


class VllmSpec(Strict):
    """vLLM as the rollout engine (untested until it has run on a real one)."""

    mode: Annotated[
        Literal["colocate", "serve"], Field(description="Inside the training processes, or a server started apart.")
    ]
    base_url: Annotated[Url | None, Field(description="Address of the server, with `mode: serve`.")] = None
    memory_share: Annotated[
        float, Field(gt=0, lt=1, description="Share of the device that vLLM may use, with `mode: colocate`.")
    ] = 0.3
    tensor_parallel: Annotated[Count, Field(le=64, description="Devices one copy is spread over.")] = 1


class ResourcesSpec(Strict):
    """Machines and processes."""

    processes: Annotated[Count, Field(le=4096, description="Training processes, one a device.")] = 1
    sharding: Annotated[
        Literal["none", "fsdp", "zero2", "zero3"],
        Field(description="How weights, gradients and optimizer are spread: copies, FSDP, or DeepSpeed ZeRO."),
    ] = "none"
    micro_batch_size: Annotated[
        Count, Field(le=4096, description="Sequences in one forward and backward pass of a device.")
    ] = 1
    rollout_batch_size: Annotated[
        Count | None, Field(description="Most episodes alive at once on a device; all of a step unless given.")
    ] = None
    vllm: Annotated[VllmSpec | None, Field(description="Use vLLM instead of the in-process engine.")] = None
    threads: Annotated[Count | None, Field(le=1024, description="Threads of one process on a CPU.")] = None
    device_memory_gib: Annotated[
        Positive | None, Field(description="Memory of one device; `plan` then says whether the run fits.")
    ] = None
    tokens_per_second: Annotated[
        Positive | None, Field(description="Measured speed of a step; `plan` then estimates hours.")
    ] = None
    usd_per_device_hour: Annotated[Positive | None, Field(description="Price; `plan` then estimates money.")] = None


class LimitsSpec(Strict):
    """A run that reaches one of these stops, resumable, with exit code 1."""

    opponent_usd: Annotated[Positive | None, Field(description="US dollars spent on priced endpoints.")] = None
    opponent_calls: Annotated[Count | None, Field(description="Requests to endpoints.")] = None
    wall_hours: Annotated[
        Positive | None,
        Field(description="Hours of wall clock, loading and measuring included, all sessions together."),
    ] = None
    policy_tokens: Annotated[Count | None, Field(description="Tokens sampled by the policy.")] = None


class OutputSpec(Strict):
    """Where a run is written."""

    dir: Annotated[Text, Field(description="Folder of all runs.")] = "runs"
    save_every: Annotated[Count, Field(description="Steps between two checkpoints.")] = 20
    keep_checkpoints: Annotated[Count, Field(description="How many of the latest checkpoints are kept.")] = 2
    trajectories: Annotated[
        Literal["all", "sample", "none"], Field(description="Which trajectories are recorded, per step.")
    ] = "all"
    trajectory_sample: Annotated[
        NonNegative, Field(description="Groups recorded per step with `trajectories: sample`.")
    ] = 2


Tracker = Literal["tensorboard", "trackio", "wandb"]

"""The backend ``vllm``: one vLLM engine that belongs to this process, fed continuously.

The engine computes in processes of its own; an event loop in a thread here feeds it and takes its answers. Prompts
enter as others leave, so no batch waits for its slowest member. Prompts are token ids and answers too: vLLM neither
tokenises nor detokenises.
"""

from __future__ import annotations

import asyncio
import atexit
import json
import os
import signal
import subprocess
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from itertools import count
from queue import SimpleQueue
from typing import Any

from udfs.errors import CuveeError
from udfs.labels.backends.engine import Answer, Engine, Prompt, tokenizer_folder
from udfs.labels.backends.settings import VllmSettings
from udfs.labels.chat import ChatFormat
from udfs.labels.spec import Generation, Model, Spec
from udfs.model_folders import require_safetensors

#: The environment that vLLM reads when it is imported, unless the user has set it: warnings only, and not among the
#: results on standard output; no report of what runs here to vLLM's authors; and no copy of a process that has threads.
ENVIRONMENT = {
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_LOGGING_STREAM": "ext://sys.stderr",
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_WORKER_MULTIPROC_METHOD": "spawn",
}

#: Of an idle GPU, the share that vLLM takes; of one in use, what is free but this many bytes, which
#: starting takes.
_SHARE = 0.92
_MARGIN = 2 << 30

#: On a CPU the cache gets this share of what is free, and at most this many bytes: more answers at once would not be
#: faster there.
_CPU_SHARE = 0.25
_CPU_CACHE = 8 << 30

#: The ranks of adapters for which vLLM has room.
_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)


def start_engine(spec: Spec) -> VllmEngine:
    """Load the labeler's model. Raises CuveeError if it cannot be had; ImportError without vLLM."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from vllm.engine.arg_utils import AsyncEngineArgs
    from vllm.exceptions import VLLMError
    from vllm.usage.usage_lib import UsageContext
    from vllm.v1.engine.async_llm import AsyncLLM

    model = spec.model
    assert model is not None
    settings = spec.engine
    assert isinstance(settings, VllmSettings)
    for folder in (model.folder, model.adapter):
        if folder is not None:
            require_safetensors(folder)
    chat = ChatFormat(tokenizer_folder(model), spec.chat_template)
    try:
        arguments = AsyncEngineArgs(
            model=model.source,
            revision=model.revision,
            tokenizer_revision=model.revision,
            trust_remote_code=model.trust_remote_code,
            dtype=model.dtype,
            quantization=model.quantization,
            max_model_len=spec.input_tokens + spec.generation.max_tokens,
            tensor_parallel_size=settings.tensor_parallel,
            data_parallel_size=settings.data_parallel,
            enable_prefix_caching=settings.prefix_caching,
            enforce_eager=settings.eager,
            disable_log_stats=True,
            use_tqdm_on_load=False,
            **memory(settings),
            **_adapter(model),
        )
        _parameters(spec.generation, frozenset(), None)  # what vLLM cannot do is said before it starts
        with _undisturbed():
            # As vLLM's own class for batches: its sizes favour throughput over the wait for a first token.
            engine = AsyncLLM.from_engine_args(arguments, usage_context=UsageContext.LLM_CLASS)
    except (VLLMError, OSError, ValueError, RuntimeError) as error:
        hint = None
        if "max_model_len" in str(error):
            hint = "write a smaller document: {tokens: …} in the labeler; the answer has to fit too"
        raise CuveeError(f"cannot load the model {model.source}: {_reason(error)}", hint=hint) from error
    try:
        return VllmEngine(engine, chat, spec, settings)
    except BaseException:
        engine.shutdown()
        raise


class VllmEngine(Engine):
    """A running engine, and the thread with its event loop."""

    def __init__(self, engine: Any, chat: ChatFormat, spec: Spec, settings: VllmSettings) -> None:
        from vllm.lora.request import LoRARequest

        self._engine = engine
        self.chat: ChatFormat = chat
        config = engine.vllm_config
        self._in_flight = settings.in_flight or 2 * config.scheduler_config.max_num_seqs * settings.data_parallel
        model = config.model_config
        named = [model.try_get_generation_config().get("eos_token_id"), model.hf_config.eos_token_id]
        self._ends = chat.ends(named)
        self._parameters: dict[str | None, Any] = {}
        patterns = [each.codec.pattern for each in spec.passes] if spec.generation.structured else [None]
        for pattern in patterns:
            self._parameters[pattern] = _parameters(spec.generation, self._ends, pattern)
        adapter = spec.model.adapter if spec.model else None
        self._adapter = LoRARequest("adapter", 1, str(adapter)) if adapter else None
        self._numbers = count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="vllm", daemon=True)
        self._thread.start()
        self._guard = _guard(engine)
        atexit.register(self.close)

    def generate(self, prompts: Iterator[Prompt]) -> Generator[Answer, None, None]:
        """Answer every prompt once, in the order in which they are finished."""
        running: set[Future[Answer]] = set()
        finished: SimpleQueue[Future[Answer]] = SimpleQueue()
        more = True
        try:
            while more or running:
                # While answers wait, two prompts for each: the engine fills up, and no answer waits for all of them.
                taken = 0
                while more and len(running) < self._in_flight and (taken < 2 or finished.empty()):
                    taken += 1
                    prompt = next(prompts, None)
                    if prompt is None:
                        more = False
                        break
                    asked = self._ask(prompt.key, prompt.number, prompt.tokens or [], self._parameters[prompt.pattern])
                    future = asyncio.run_coroutine_threadsafe(asked, self._loop)
                    running.add(future)
                    future.add_done_callback(finished.put)
                if running:
                    future = finished.get()
                    running.discard(future)
                    yield future.result()
        finally:
            for future in running:
                future.cancel()

    def close(self) -> None:
        """Stop the engine's processes and free the model."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(_cancelled(), self._loop).result()
        self._engine.shutdown()
        self._guard.kill()
        self._guard.communicate()
        atexit.unregister(self.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _ask(self, key: str, number: int, tokens: list[int], parameters: Any) -> Answer:
        from vllm.inputs.engine import tokens_input
        from vllm.v1.engine.exceptions import EngineDeadError

        output = None
        try:
            request = str(next(self._numbers))
            asked = self._engine.generate(tokens_input(tokens), parameters, request, lora_request=self._adapter)
            async for each in asked:  # one output, when it is finished
                output = each
        except EngineDeadError as error:
            raise CuveeError("the vLLM engine has stopped", hint="what it said is above") from error
        except Exception as error:  # whatever it is, the engine lives: it concerns this prompt
            return Answer(key, number, "", False, 0, 0, f"vLLM refuses the prompt: {_reason(error)}")
        if output is None or output.outputs[0].finish_reason not in ("stop", "length"):
            reason = output.outputs[0].finish_reason if output else "without a word"
            return Answer(key, number, "", False, len(tokens), 0, f"vLLM gave the answer up: {reason}")
        written = output.outputs[0].token_ids
        ids = [token for token in written if token not in self._ends]
        return Answer(
            key, number, self.chat.decode(ids), output.outputs[0].finish_reason == "stop", len(tokens), len(written)
        )


async def _cancelled() -> None:
    """Cancel what else runs in this loop, and wait for it."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _parameters(generation: Generation, ends: frozenset[int], pattern: str | None) -> Any:
    """Make the sampling parameters of answers. Raises ValueError for what vLLM cannot do.

    Nothing comes from the model's own sampling settings, which vLLM applies only where it is asked for its defaults.
    """
    from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

    return SamplingParams(
        max_tokens=generation.max_tokens,
        temperature=generation.temperature,
        top_p=generation.top_p,
        top_k=generation.top_k,
        seed=generation.seed if generation.temperature else None,
        repetition_penalty=1.0,
        stop_token_ids=sorted(ends),
        structured_outputs=StructuredOutputsParams(regex=pattern) if pattern else None,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
    )


def memory(settings: VllmSettings) -> dict[str, Any]:
    """Return vLLM's arguments for the memory that it may take."""
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        from vllm.utils.cpu_resource_utils import get_memory_node_info, get_visible_memory_node

        node = get_memory_node_info(get_visible_memory_node()[0])
        free = min(_CPU_SHARE * node.available_memory, _CPU_CACHE)
        wanted = free if settings.memory is None else settings.memory * node.total_memory
        return {"kv_cache_memory_bytes": int(wanted / settings.tensor_parallel / settings.data_parallel)}
    if settings.memory is not None:
        return {"gpu_memory_utilization": settings.memory}
    if current_platform.is_cuda():
        from vllm.utils.import_utils import import_pynvml

        # From the driver: to ask CUDA itself would begin its work in this process.
        driver = import_pynvml()
        driver.nvmlInit()
        shares = []
        for device in range(settings.tensor_parallel * settings.data_parallel):
            number = current_platform.device_id_to_physical_device_id(device)
            found = driver.nvmlDeviceGetMemoryInfo(driver.nvmlDeviceGetHandleByIndex(number))
            shares.append((found.free - _MARGIN) / found.total)
        driver.nvmlShutdown()
        return {"gpu_memory_utilization": max(0.01, min(_SHARE, *shares))}
    return {}


def _adapter(model: Model) -> dict[str, Any]:
    """Return vLLM's arguments for a LoRA adapter. Raises CuveeError for a folder without one."""
    if model.adapter is None:
        return {}
    try:
        rank = json.loads((model.adapter / "adapter_config.json").read_bytes())["r"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CuveeError(f"no adapter in {model.adapter}: adapter_config.json: {error}") from error
    room = next((each for each in _RANKS if each >= rank), None)
    if room is None:
        raise CuveeError(f"the adapter in {model.adapter} has rank {rank}; vLLM takes {_RANKS[-1]} at most")
    return {"enable_lora": True, "max_loras": 1, "max_lora_rank": room}


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Hide Ctrl-C, which a terminal sends to all, from processes started meanwhile: this one decides what it means.

    The mask of blocked signals is inherited, handlers that vLLM installs in its processes are not called.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _guard(engine: Any) -> subprocess.Popen[bytes]:
    """Start a process that kills the engine's processes when this one is gone, for whatever reason.

    Left alone by a SIGKILL they wait for ever, and hold the model's memory. The shell reads until this process's end
    of the pipe is closed; in a session of its own Ctrl-C does not reach it.
    """
    processes = [str(each.pid) for each in engine.engine_core.resources.engine_manager.processes]
    script = 'cat >/dev/null; kill -9 "$@" 2>/dev/null'
    return subprocess.Popen(
        ["sh", "-c", script, "sh", *processes],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _reason(error: BaseException) -> str:
    """Shorten an error to a line: vLLM's are long, and its wrappers say nothing."""
    cause = error.__cause__ or error
    return " ".join((str(cause) or type(cause).__name__).split())[:500]

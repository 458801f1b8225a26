"""What the demo says while it runs, on standard error: a moving line, or plain ones in a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from agentmetrics import MemoryRecorder


class Progress:
    """The step that the demo is at, and what the recorder holds by now."""

    def __init__(self, console: Console, recorder: MemoryRecorder) -> None:
        self._console = console
        self._recorder = recorder
        self._spinner = Spinner("dots")
        self._step = ""

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Keep the moving line up to date inside the block; it is gone afterwards."""
        if not self._console.is_terminal:
            yield
            return
        with Live(
            get_renderable=self._line, console=self._console, transient=True, refresh_per_second=10
        ):
            yield

    def now(self, step: str) -> None:
        """Show a step that is one of very many, which is of use on the moving line alone."""
        self._step = step

    def say(self, step: str) -> None:
        """Tell of a step: on the moving line, or on one of its own."""
        self.now(step)
        if not self._console.is_terminal:
            self._console.print(step, soft_wrap=True)

    def _line(self) -> Spinner:
        value = self._recorder.value
        calls, active = value("llm_calls_total"), value("llm_active_calls")
        line = self._step
        if calls or active:
            line += (
                f"\n  {calls:.0f} calls, {active:.0f} active, "
                f"{value('llm_tokens_total'):,.0f} tokens, ${value('llm_cost_usd_total'):.4f}"
            )
        self._spinner.update(text=Text(line))  # of a plain string it takes brackets for markup
        return self._spinner

"""Edges that others rely on: names, the task's name, the light process."""

import ast
import subprocess
import sys
from pathlib import Path

import rerankq
from rerankq import status
from rerankq.ledger import keys, scripts
from rerankq.status import ALLOWED, JobStatus

ROOT = Path(__file__).parents[2]


def test_all_is_exactly_the_public_names() -> None:
    tree = ast.parse((ROOT / "rerankq" / "__init__.py").read_text())
    imported = {
        alias.name for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert set(rerankq.__all__) == imported | {"__version__"}


def test_names_others_read_stay() -> None:
    assert keys.name(keys.Key.PENDING, status.Lane.BULK) == "rerankq:pending:bulk"
    assert keys.name(keys.Key.PENDING, status.Lane.INTERACTIVE) == "rerankq:pending:interactive"
    assert (keys.QUEUE_INTERACTIVE, keys.QUEUE_BULK) == ("rerankq.interactive", "rerankq.bulk")
    assert keys.TASK_RERANK == "rerankq.rerank"


def test_every_state_is_final_or_leads_to_one() -> None:
    assert set(ALLOWED) == set(JobStatus)
    assert {s for s in JobStatus if s.final} == {
        JobStatus.SUCCEEDED,
        JobStatus.FAILED,
        JobStatus.CANCELLED,
        JobStatus.EXPIRED,
    }


def test_every_script_is_there_and_states_its_conditions() -> None:
    for name in scripts.NAMES:
        text = (ROOT / "rerankq" / "ledger" / "lua" / f"{name}.lua").read_text()
        assert text.startswith(f"-- {name}:"), name
        assert "ARGV:" in text, name


def test_api_process_holds_no_model_stack() -> None:
    code = (
        "import sys; from rerankq.settings import Settings; from api.app import create_app;"
        "create_app(Settings());"
        "print([m for m in ('torch', 'transformers', 'numpy', 'worker') if m in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[]"


def test_the_tasks_sent_are_the_tasks_registered() -> None:
    code = (
        "from unittest.mock import MagicMock; from rerankq.settings import Settings;"
        "from rerankq.celery_app import make_app; from worker import tasks;"
        "app = make_app(Settings()); tasks.register(app, MagicMock());"
        "print(sorted(name for name in app.tasks if not name.startswith('celery.')))"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == str([keys.TASK_RERANK])


def test_importing_the_task_leaves_other_apps_of_the_process_alone() -> None:
    code = (
        "import rerankq.tasks; from celery import Celery, current_app;"
        "print(['rerankq.rerank' in app.tasks for app in (Celery(), current_app)])"
    )
    said = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout.strip() == "[False, False]"

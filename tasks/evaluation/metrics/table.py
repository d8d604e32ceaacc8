"""Tables of metrics: values that are passed on, and the shipped one."""

from dataclasses import dataclass

from tasks.conversations.task_table import TaskError, TaskTable
from tasks.evaluation.metrics.choices import CHOICE, READABLE
from tasks.evaluation.metrics.error_rates import CER, WER
from tasks.evaluation.metrics.labels import ACCURACY, BALANCED_ACCURACY
from tasks.evaluation.metrics.metric import Metric
from tasks.evaluation.metrics.modes import DUAL_MODE
from tasks.evaluation.metrics.translation import BLEU, CHRF


@dataclass(frozen=True)
class MetricTable:
    """Metrics by name.

    Raises:
        ValueError: where two metrics have one name, or a secondary metric is not in the table.
    """

    metrics: tuple[Metric, ...]

    def __post_init__(self) -> None:
        names = [metric.name for metric in self.metrics]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(
                f"the table of metrics has several entries called {', '.join(twice)}: a name "
                "stands for one metric. Rename all but one."
            )
        for metric in self.metrics:
            for name in metric.secondary:
                self.named(name)

    def named(self, name: str) -> Metric:
        """Return the metric that an `EvaluationItem` or a report calls `name`.

        Raises:
            ValueError: where no metric has this name.
        """
        for metric in self.metrics:
            if metric.name == name:
                return metric
        raise ValueError(
            f"no metric is called {name!r}: use one of "
            f"{', '.join(metric.name for metric in self.metrics)}, or add a `Metric` of this name "
            "to METRICS in tasks/evaluation/metrics/table.py."
        )


METRICS = MetricTable(
    (WER, CER, BLEU, CHRF, ACCURACY, BALANCED_ACCURACY, CHOICE, READABLE, DUAL_MODE)
)
"""The shipped metrics. A new one is one entry here."""


def check_metrics(tasks: TaskTable, metrics: MetricTable = METRICS) -> None:
    """Refuse tasks whose metric is not in the table, or not for their kind of answer.

    Raises:
        TaskError: with the task, the known metrics and how to add one.
    """
    for name, spec in tasks.items():
        try:
            metric = metrics.named(spec.metric)
        except ValueError as error:
            raise TaskError(f"task {name}: {error}") from error
        if metric.is_of_labels and spec.kind != "label":
            raise TaskError(
                f"task {name}: metric {metric.name} is for kind label, and this is {spec.kind}. "
                "Declare `kind: label`, or another metric."
            )
